"""What was asked for of many sessions at once, and what became of it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from ranvier.database.base import Record
from ranvier.priority import Priority


class Rerun(Record):
    """A request for runs of all sessions of a selection."""

    created = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="reruns")
    selection = models.JSONField(default=dict, blank=True, help_text="As it was asked for")
    force = models.BooleanField(default=False, help_text="Also what has not changed")
    downstream = models.BooleanField(default=True, help_text="Also what comes after the tasks")
    priority = models.CharField(max_length=16, choices=[(each.value, each.value) for each in Priority], default=Priority.NOW.value)

    class Meta:
        ordering = ["-created"]

    def __str__(self) -> str:
        return self.tag

    @property
    def tag(self) -> str:
        """Tag of its flow runs in Prefect."""
        return f"rerun-{str(self.pk)[:8]}"


class RerunSession(Record):
    """A session of a rerun: which tasks were asked for and why, and how its flow run ended."""

    rerun = models.ForeignKey(Rerun, models.CASCADE, related_name="sessions")
    session = models.ForeignKey("actions.Session", models.CASCADE, related_name="reruns")
    event = models.OneToOneField("jobs.Event", models.SET_NULL, null=True, related_name="rerun_session")
    tasks = models.JSONField(null=True, blank=True, help_text="Names of tasks or instances; null: all that are due")
    reason = models.TextField(blank=True, default="")
    withdrawn = models.BooleanField(default=False, help_text="It shall not start any more")
    outcome = models.TextField(blank=True, default="", help_text="How its flow run ended; empty until it has")
    ended = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["session__start_time", "session__number"]
        constraints = [models.UniqueConstraint(fields=["rerun", "session"], name="one_run_per_session_of_a_rerun")]

    def __str__(self) -> str:
        return f"{self.session} of {self.rerun}"


class Backfill(Record):
    """A new version of a task over many sessions: planned with its price, tried on a few, and carried on when told."""

    class State(models.TextChoices):
        """Where it stands."""

        PLANNED = "planned"
        CANARY = "canary"
        WAITING = "waiting"
        GOING = "going"
        DONE = "done"
        STOPPED = "stopped"

    created = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="backfills")
    task = models.CharField(max_length=128, help_text="Name of the task's code")
    version = models.CharField(max_length=64, help_text="That it shall have run everywhere")
    selection = models.JSONField(default=dict, blank=True, help_text="As it was asked for")
    canary = models.PositiveIntegerField(default=5, help_text="Sessions that go first")
    state = models.CharField(max_length=16, choices=State, default=State.PLANNED)
    estimate = models.JSONField(default=dict, help_text="What would run, why, and at what price, as it was planned")

    class Meta:
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.task} {self.version}"

    @property
    def tag(self) -> str:
        """Tag of its flow runs in Prefect."""
        return f"backfill-{str(self.pk)[:8]}"


class BackfillSession(Record):
    """A session of a backfill."""

    backfill = models.ForeignKey(Backfill, models.CASCADE, related_name="sessions")
    session = models.ForeignKey("actions.Session", models.CASCADE, related_name="backfills")
    tasks = models.JSONField(help_text="Names of its instances")
    reason = models.TextField(blank=True, default="")
    is_canary = models.BooleanField(default=False)
    before = models.JSONField(default=dict, blank=True, help_text="QC outcome of each instance when it was planned")
    rerun_session = models.OneToOneField(
        RerunSession, models.SET_NULL, null=True, blank=True, related_name="backfill_session", help_text="Once it was asked for"
    )

    class Meta:
        ordering = ["-is_canary", "session__start_time", "session__number"]
        constraints = [models.UniqueConstraint(fields=["backfill", "session"], name="a_session_once_per_backfill")]

    def __str__(self) -> str:
        return f"{self.session} of {self.backfill}"
