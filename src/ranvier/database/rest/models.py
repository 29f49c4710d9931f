"""What is kept of requests."""

from __future__ import annotations

import datetime

from django.conf import settings
from django.db import models
from django.utils import timezone


class Change(models.Model):
    """What somebody has changed in a row: the history of every table that people write."""

    class Kind(models.TextChoices):
        """What was done."""

        ADDED = "added"
        CHANGED = "changed"
        DELETED = "deleted"

    id = models.BigAutoField(primary_key=True)
    time = models.DateTimeField(default=timezone.now)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    username = models.CharField(max_length=150, help_text="Of the user, who may be gone by now")
    model = models.CharField(max_length=64, help_text="Table, such as actions.session")
    row = models.CharField(max_length=64, help_text="Id of the row")
    name = models.CharField(max_length=255, help_text="What the row was called")
    kind = models.CharField(max_length=8, choices=Kind)
    fields = models.JSONField(default=dict, help_text="By field, what it was and what it became")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["model", "row"], name="changes_of_a_row")]

    def __str__(self) -> str:
        return f"{self.name} {self.kind} by {self.username}"

    # Names by which the admin's page of a row's history asks.

    @property
    def action_time(self) -> datetime.datetime:
        """When it was."""
        return self.time

    def get_change_message(self) -> str:
        """What was changed, for people."""
        told = "; ".join(f"{name}: {before!r} → {after!r}" for name, (before, after) in self.fields.items())
        return f"{self.kind}: {told}" if told else self.kind


class FailedSignIns(models.Model):
    """How many sign-ins failed of late, of a name from an address, or from an address."""

    key = models.CharField(max_length=64, primary_key=True, help_text="sha256 of the name and the address")
    since = models.DateTimeField(default=timezone.now, db_index=True)
    count = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.count} since {self.since}"


class KeptAnswer(models.Model):
    """The answer to a write that came with a key, for when it comes again."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    request = models.CharField(max_length=64, help_text="sha256 of what was asked")
    status = models.PositiveSmallIntegerField(null=True)
    content_type = models.CharField(max_length=255, blank=True, default="")
    body = models.BinaryField(default=bytes)
    created = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="one_answer_per_key")]

    def __str__(self) -> str:
        return f"{self.key}: {self.status}"
