"""Users, labs, projects and places."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from ranvier.database.base import NamedRecord, Record
from ranvier.database.rest.rules import ROLE_CHOICES, Role

word = RegexValidator(r"^\w+$", "use letters, digits and _ only: the name becomes a folder of every session's path")


class User(AbstractUser):
    """A person, or a service, that signs in."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    allowed_users = models.ManyToManyField(
        "self", blank=True, symmetrical=False, related_name="allowed_by", help_text="Who else may act on this user's subjects"
    )
    is_stock_manager = models.BooleanField(default=False)
    is_public_user = models.BooleanField(default=False, help_text="May read, and never write")

    class Meta:
        ordering = ["username"]


class Lab(NamedRecord):
    """A lab; its name is the first folder of its sessions' paths."""

    name = models.CharField(max_length=255, unique=True, validators=[word])
    institution = models.CharField(max_length=255, blank=True)
    address = models.CharField(max_length=255, blank=True)
    timezone = models.CharField(max_length=64, blank=True, default="UTC")
    repositories = models.ManyToManyField("data.DataRepository", blank=True, related_name="lab_set", help_text="Where its data is kept")
    reference_weight_pct = models.FloatField(default=0.0, help_text="Least weight, as a fraction of the one before water restriction")
    zscore_weight_pct = models.FloatField(default=0.0, help_text="Least weight, as a fraction of what is expected at the age")
    cage_type = models.CharField(max_length=255, blank=True, default="", help_text="Of its cages, where nothing else is said")
    enrichment = models.CharField(max_length=255, blank=True, default="")
    food = models.CharField(max_length=255, blank=True, default="")
    light_cycle = models.CharField(max_length=255, blank=True, default="")
    cage_cleaning_frequency_days = models.PositiveIntegerField(null=True, blank=True)


class LabServer(Record):
    """The machine that works on a lab's data: who it signs in as, where it keeps the data, and how it was when it last wrote."""

    lab = models.OneToOneField(Lab, models.CASCADE, related_name="server")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="lab_servers", help_text="Whom its services sign in as")
    repository = models.ForeignKey("data.DataRepository", models.PROTECT, related_name="servers", help_text="The data that it keeps")
    machine = models.CharField(max_length=255, blank=True, default="", help_text="Its host name")
    version = models.CharField(max_length=64, blank=True, default="", help_text="Of Ranvier, there")
    cluster = models.JSONField(null=True, blank=True, help_text="Workers of its Dask cluster, and what they offer together")
    last_seen = models.DateTimeField(null=True, blank=True, help_text="Its last sign of life")

    class Meta:
        ordering = ["lab__name"]

    def __str__(self) -> str:
        return f"server of {self.lab}"


class LabMembership(Record):
    """A user's time in a lab."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    lab = models.ForeignKey(Lab, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=255, choices=ROLE_CHOICES, default=Role.EXPERIMENTER.value)
    start_date = models.DateField(null=True, blank=True)
    end_date = models.DateField(null=True, blank=True)

    class Meta:
        ordering = ["lab__name", "user__username"]

    def __str__(self) -> str:
        return f"{self.user} in {self.lab}"


class LabLocation(NamedRecord):
    """A rig or a room of a lab."""

    lab = models.ForeignKey(Lab, models.SET_NULL, null=True, blank=True, related_name="locations")


class Project(NamedRecord):
    """What experiments are done for."""

    description = models.TextField(blank=True)
    users = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        blank=True,
        related_name="projects",
        help_text="Who alone reads its sessions, beside their lab; nobody: all",
    )
    public = models.BooleanField(default=False, help_text="Whether public users may read its sessions")


class AccessToken(models.Model):
    """A token with a name of its own, which may stand for a part of what its user may do, and ends by itself or when it is revoked.

    The token itself is told once, when it is made; only its hash is kept.
    """

    class Scope(models.TextChoices):
        """What it is good for, of what its user may."""

        ALL = "all", "All that its user may"
        READ = "read", "Reading"
        LAB = "lab", "Writing in one lab"
        PIPELINE = "pipeline", "Sessions, data and tasks"

    #: What each begins with, which tells it from the one token that Alyx gives every user.
    PREFIX = "rvt_"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="access_tokens")
    name = models.CharField(max_length=255, help_text="What it is for")
    scope = models.CharField(max_length=16, choices=Scope, default=Scope.ALL)
    lab = models.ForeignKey(Lab, models.CASCADE, null=True, blank=True, related_name="+", help_text="The only one that it writes in")
    hash = models.CharField(max_length=64, unique=True, editable=False, help_text="sha256 of the token")
    created = models.DateTimeField(default=timezone.now, editable=False)
    expires = models.DateTimeField(null=True, blank=True, help_text="Nothing: never")
    last_used = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["user__username", "name"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="one_token_per_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"

    @classmethod
    def issue(cls, **fields: Any) -> tuple[AccessToken, str]:
        """Make one; the row, and the token that nobody can read again."""
        key = cls.PREFIX + secrets.token_urlsafe(30)
        return cls.objects.create(hash=cls.hash_of(key), **fields), key

    @staticmethod
    def hash_of(key: str) -> str:
        """What is kept of a token; it is long and random, so that no slow hash is needed."""
        return hashlib.sha256(key.encode()).hexdigest()
