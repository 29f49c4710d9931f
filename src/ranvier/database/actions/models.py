"""What is done with subjects: sessions above all."""

from __future__ import annotations

from django.contrib.contenttypes.fields import GenericRelation
from django.db import models, transaction
from one.alf.spec import QC

from ranvier.database.actions.base import Action, ProcedureType
from ranvier.database.actions.culls import Cull, CullMethod, CullReason
from ranvier.database.actions.husbandry import WaterAdministration, WaterRestriction, WaterType, Weighing
from ranvier.database.actions.notes import Note
from ranvier.database.actions.surgery import OtherAction, Surgery, VirusInjection
from ranvier.database.data.models import QC_CHOICES

__all__ = [
    "Action",
    "Cull",
    "CullMethod",
    "CullReason",
    "Note",
    "OtherAction",
    "ProcedureType",
    "Session",
    "Surgery",
    "VirusInjection",
    "WaterAdministration",
    "WaterRestriction",
    "WaterType",
    "Weighing",
]


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
    notes = GenericRelation(Note)

    class Meta:
        ordering = ["-start_time", "number"]
        constraints = [models.UniqueConstraint(fields=["subject", "date", "number"], name="one_session_per_number")]

    def __str__(self) -> str:
        return self.path

    @transaction.atomic
    def save(self, *args: object, **kwargs: object) -> None:
        """Write the row, and in the same transaction whatever its signals write: the event that a new session is.

        A new session without a number is number 0, as ONE reads it; so there is one of them a day.
        """
        if self._state.adding and self.number is None:
            self.number = 0
        self.date = self.start_time.date()
        super().save(*args, **kwargs)

    @property
    def path(self) -> str:
        """``<subject>/<date>/<number>``, as below a repository's folder."""
        return f"{self.subject.nickname}/{self.date.isoformat()}/{self.number or 0:03d}"
