"""What is done with subjects: sessions above all."""

from __future__ import annotations

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone
from one.alf.spec import QC

from ranvier.database.base import NamedRecord, Record
from ranvier.database.data.models import QC_CHOICES


class ProcedureType(NamedRecord):
    """A kind of procedure, as a licence names it."""

    description = models.TextField(blank=True)


class Action(Record):
    """Something done with a subject, by someone, somewhere, at some time."""

    subject = models.ForeignKey("subjects.Subject", models.CASCADE, related_name="%(app_label)s_%(class)ss")
    users = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="%(app_label)s_%(class)ss")
    location = models.ForeignKey("people.LabLocation", models.SET_NULL, null=True, blank=True)
    lab = models.ForeignKey("people.Lab", models.PROTECT, related_name="%(app_label)s_%(class)ss")
    procedures = models.ManyToManyField(ProcedureType, blank=True)
    name = models.CharField(max_length=255, blank=True)
    narrative = models.TextField(blank=True)
    start_time = models.DateTimeField(default=timezone.now)
    end_time = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Session(Action):
    """A recording: one subject, one day, one number."""

    projects = models.ManyToManyField("people.Project", blank=True, related_name="sessions")
    parent_session = models.ForeignKey("self", models.SET_NULL, null=True, blank=True)
    type = models.CharField(max_length=255, blank=True, default="Experiment")
    number = models.PositiveIntegerField(null=True, blank=True)
    date = models.DateField(editable=False, help_text="The day of start_time")
    task_protocol = models.CharField(max_length=1023, blank=True, default="")
    n_trials = models.PositiveIntegerField(null=True, blank=True)
    n_correct_trials = models.PositiveIntegerField(null=True, blank=True)
    qc = models.IntegerField(choices=QC_CHOICES, default=QC.NOT_SET)
    extended_qc = models.JSONField(null=True, blank=True)
    auto_datetime = models.DateTimeField(auto_now=True, verbose_name="last updated")

    class Meta:
        ordering = ["-start_time", "number"]
        constraints = [models.UniqueConstraint(fields=["subject", "date", "number"], name="one_session_per_number")]

    def __str__(self) -> str:
        return self.path

    @transaction.atomic
    def save(self, *args: object, **kwargs: object) -> None:
        """Write the row, and in the same transaction whatever its signals write: the event that a new session is."""
        self.date = self.start_time.date()
        super().save(*args, **kwargs)

    @property
    def path(self) -> str:
        """``<subject>/<date>/<number>``, as below a repository's folder."""
        return f"{self.subject.nickname}/{self.date.isoformat()}/{self.number or 0:03d}"
