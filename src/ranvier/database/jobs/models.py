"""Tasks, attempts at them, and the events that set them off."""

from __future__ import annotations

import datetime

from django.db import models
from django.utils import timezone

from ranvier.database.base import Record
from ranvier.states import VERDICTS, Status

#: By how much the clocks of the database's servers may differ.
CLOCK_SLACK = datetime.timedelta(seconds=10)
#: Longer than any transaction that writes an event.
LONGEST_WRITE = datetime.timedelta(seconds=15)
#: Events that are read in order at once; more than a page.
MOST_IN_ORDER = 2000

STATUS_CHOICES = [(status.value, status.label) for status in Status]


def status_constraint(name: str, *statuses: Status) -> models.CheckConstraint:
    """A table's promise that its status is one of these."""
    return models.CheckConstraint(condition=models.Q(status__in=sorted(status.value for status in statuses)), name=name)


class Task(Record):
    """A task of a session: what is to be run, and how it stands."""

    session = models.ForeignKey("actions.Session", models.CASCADE, related_name="tasks")
    name = models.CharField(max_length=128)
    executable = models.CharField(max_length=128, blank=True, help_text="Name of the task's code")
    graph = models.CharField(max_length=64, blank=True)
    version = models.CharField(max_length=64, null=True, blank=True)
    arguments = models.JSONField(null=True, blank=True)
    device = models.CharField(max_length=64, blank=True, default="", help_text="Probe, camera or plane, where it runs once for each")
    parents = models.ManyToManyField("self", blank=True, symmetrical=False, related_name="children")
    data_repository = models.ForeignKey("data.DataRepository", models.SET_NULL, null=True, blank=True, related_name="tasks")

    level = models.PositiveSmallIntegerField(null=True, blank=True, default=0, help_text="Depth in the graph")
    priority = models.SmallIntegerField(null=True, blank=True)
    io_charge = models.SmallIntegerField(null=True, blank=True)
    cpu = models.SmallIntegerField(null=True, blank=True, help_text="Cores")
    gpu = models.SmallIntegerField(null=True, blank=True)
    ram = models.IntegerField(null=True, blank=True, help_text="Gigabytes")
    time_out_secs = models.PositiveIntegerField(null=True, blank=True)

    status = models.IntegerField(choices=STATUS_CHOICES, default=Status.WAITING, db_index=True)
    reason = models.TextField(blank=True, default="", help_text="Why it has its status")
    log = models.TextField(null=True, blank=True)
    identity = models.CharField(max_length=64, blank=True, default="", help_text="sha256 of what its outputs came from")
    receipt = models.JSONField(null=True, blank=True, help_text="Version, parameters, inputs and packages of the last run")
    outputs = models.JSONField(null=True, blank=True, help_text="Path, size and hash of each file it wrote")
    qc = models.CharField(max_length=16, blank=True, default="", help_text="Outcome of the last run's QC; empty where it judged nothing")
    time_elapsed_secs = models.FloatField(null=True, blank=True)
    attempt = models.PositiveIntegerField(default=0, help_text="Number of the current or last attempt")
    lease_until = models.DateTimeField(null=True, blank=True, help_text="Until when its worker may be silent")
    renewed = models.DateTimeField(null=True, blank=True, help_text="When its lease was granted or renewed last")
    started_by = models.CharField(max_length=255, blank=True, default="", help_text="Who set it Started without an attempt, and where")
    flow_run = models.CharField(max_length=64, blank=True, default="", db_index=True, help_text="The one that planned or attempted it last")
    cancel_requested = models.BooleanField(default=False, help_text="It must stop, or not start, until it is planned again")
    cancelled_by = models.CharField(max_length=255, blank=True, default="", help_text="Who asked for that")
    datetime = models.DateTimeField(auto_now=True, verbose_name="last updated")

    class Meta:
        ordering = ["level", "-priority", "-session__start_time", "name"]
        constraints = [
            models.UniqueConstraint(fields=["session", "name"], name="one_task_per_name"),
            status_constraint("task_status_is_known", *Status),
        ]
        indexes = [models.Index(fields=["status", "lease_until"])]

    def __str__(self) -> str:
        return f"{self.name} of {self.session}"

    @property
    def leased(self) -> bool:
        """Whether an attempt is running that is not overdue."""
        now = timezone.now()
        set_back = self.renewed is not None and self.renewed > now + CLOCK_SLACK
        return self.status == Status.STARTED and self.lease_until is not None and self.lease_until > now and not set_back


def parent_ids() -> models.Prefetch:
    """For `prefetch_related`: the parents of tasks, without their logs and receipts."""
    return models.Prefetch("parents", Task.objects.only("pk"))


class Attempt(Record):
    """One try at a task; attempts are added and closed, never overwritten."""

    task = models.ForeignKey(Task, models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField(help_text="1 for the first; fences late writers")
    status = models.IntegerField(choices=[c for c in STATUS_CHOICES if c[0] in VERDICTS | {Status.STARTED}], default=Status.STARTED)
    reason = models.TextField(blank=True, default="")
    worker = models.CharField(max_length=255, blank=True, default="")
    flow_run = models.CharField(max_length=64, blank=True, default="", help_text="Prefect's id of the flow run")
    version = models.CharField(max_length=64, blank=True, default="", help_text="Of the task")
    identity = models.CharField(max_length=64, blank=True, default="")
    receipt = models.JSONField(null=True, blank=True)
    log_path = models.CharField(max_length=1000, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    started = models.DateTimeField(default=timezone.now)
    finished = models.DateTimeField(null=True, blank=True)
    progress = models.FloatField(default=0.0, help_text="0 to 1")
    message = models.TextField(blank=True, default="")
    exit_code = models.IntegerField(null=True, blank=True)
    wall_s = models.FloatField(null=True, blank=True)
    cpu_s = models.FloatField(null=True, blank=True)
    peak_memory_mb = models.FloatField(null=True, blank=True)
    read_bytes = models.BigIntegerField(null=True, blank=True)
    written_bytes = models.BigIntegerField(null=True, blank=True)
    error_type = models.CharField(max_length=255, blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    traceback = models.TextField(blank=True, default="")
    fingerprint = models.CharField(max_length=64, blank=True, default="", help_text="Equal for failures of one cause")
    qc = models.JSONField(null=True, blank=True)
    figures = models.JSONField(null=True, blank=True)
    outputs = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ["-started", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["task", "number"], name="one_attempt_per_number"),
            status_constraint("attempt_status_is_known", Status.STARTED, *VERDICTS),
        ]
        indexes = [models.Index(fields=["fingerprint", "finished"]), models.Index(fields=["version", "finished"])]

    def __str__(self) -> str:
        return f"attempt {self.number} at {self.task}"


class Failure(Attempt):
    """Attempts that failed, as the admin groups them by fingerprint."""

    class Meta:
        proxy = True


class Pause(Record):
    """A task version that may not run in a lab, since it failed alike in one session after the other."""

    lab = models.ForeignKey("people.Lab", models.CASCADE, related_name="pauses")
    task = models.CharField(max_length=128, help_text="Name of the task")
    version = models.CharField(max_length=64, blank=True, default="")
    fingerprint = models.CharField(max_length=64, help_text="Of the failures")
    failures = models.PositiveIntegerField(help_text="Sessions in a row that failed so")
    reason = models.TextField(help_text="What a task says that is held by it")
    created = models.DateTimeField(default=timezone.now)
    lifted = models.DateTimeField(null=True, blank=True)
    lifted_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        ordering = ["-created"]
        constraints = [
            models.UniqueConstraint(fields=["lab", "task", "version"], condition=models.Q(lifted=None), name="one_pause_at_a_time")
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.version} in {self.lab}"


class Event(models.Model):
    """A row of the outbox: something that the dispatcher must tell Prefect, or people."""

    class Kind(models.TextChoices):
        """What happened."""

        REGISTERED = "session.registered"
        READY = "session.ready"
        RETURNED = "task.returned"
        REQUESTED = "session.requested"
        CANCELLED = "session.cancelled"
        FAILED = "task.failed"
        PAUSED = "task.paused"
        ABANDONED = "task.abandoned"

    kind = models.CharField(max_length=32, choices=Kind)
    key = models.CharField(max_length=255, unique=True, help_text="The same key twice is the same event")
    session = models.ForeignKey("actions.Session", models.CASCADE, null=True, blank=True, related_name="events")
    lab = models.ForeignKey("people.Lab", models.CASCADE, null=True, blank=True, related_name="events")
    payload = models.JSONField(default=dict, blank=True)
    created = models.DateTimeField(default=timezone.now)
    delivered = models.DateTimeField(null=True, blank=True, db_index=True)
    flow_run = models.CharField(max_length=64, blank=True, default="")
    error = models.TextField(blank=True, default="", help_text="Why the last try at delivering it failed")
    tries = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"

    @classmethod
    def of(cls, kind: str, session: models.Model, key: str, **payload: object) -> Event:
        """Write an event of a session; the same key again writes nothing."""
        defaults = {"kind": kind, "session": session, "lab_id": session.lab_id, "payload": payload}
        return cls.objects.get_or_create(key=key, defaults=defaults)[0]

    @classmethod
    def last_in_order(cls, after: int) -> int:
        """Id of the last event up to which no more can come: ids are given before they are committed, so that a gap may still be filled."""
        last, late = after, timezone.now() - LONGEST_WRITE
        for key, created in cls.objects.filter(pk__gt=after).order_by("pk").values_list("pk", "created")[:MOST_IN_ORDER]:
            if key > last + 1 and created > late:
                break
            last = key
        return last
