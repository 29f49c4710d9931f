"""Who may run a task: claim, heartbeat, end, and what becomes of a task whose worker fell silent."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from ranvier.database.jobs.models import Attempt, Event, Task
from ranvier.database.jobs.verdicts import record_qc
from ranvier.database.rest.errors import Conflict
from ranvier.states import VERDICTS, Status

#: What of an attempt's report the task takes over at its end.
TASK_FIELDS = ("reason", "identity", "receipt", "outputs")
SILENT = "the worker fell silent: no heartbeat before its lease ran out"


def _until(lease_s: float) -> datetime.datetime:
    return timezone.now() + datetime.timedelta(seconds=lease_s)


@transaction.atomic
def claim(task: Task, lease_s: float, after: int | None = None, **fields: Any) -> Attempt:
    """Take a task for a worker.

    One conditional update decides, so that of any number of workers one gets it.

    Parameters
    ----------
    task
        The task.
    lease_s
        Seconds for which the worker may be silent.
    after
        Number of the last attempt that the worker has seen: with it a task may be run again that is not Waiting.
        None: the task must be Waiting.
    **fields
        Fields of the attempt.

    Raises
    ------
    Conflict
        If it is claimed already, or may not start.
    """
    until = _until(lease_s)
    claimed = Task.objects.filter(_free(after), pk=task.pk).update(
        status=Status.STARTED, attempt=F("attempt") + 1, lease_until=until, cancel_requested=False, reason="", datetime=timezone.now()
    )
    task.refresh_from_db()
    if not claimed:
        raise Conflict(_why_not(task, after))
    close_attempts(Attempt.objects.filter(task=task), SILENT)
    return Attempt.objects.create(task=task, number=task.attempt, lease_until=until, **fields)


def _free(after: int | None) -> Q:
    overdue = Q(status=Status.STARTED, lease_until__lt=timezone.now())
    if after is None:
        return Q(status=Status.WAITING) | overdue
    return Q(attempt=after) & (~Q(status__in=(Status.STARTED, Status.ABANDONED)) | overdue)


def _why_not(task: Task, after: int | None) -> str:
    if task.status != Status.STARTED:
        if after not in (None, task.attempt):
            return f"{task.name} has been attempted since: {task.attempt} times, not {after}; read the task again, and decide anew"
        reason = f": {task.reason}" if task.reason else ""
        return f"{task.name} is {Status(task.status).label}{reason}; set it Waiting to have it claimed"
    holder = task.attempts.filter(status=Status.STARTED).first()
    if holder is None or task.lease_until is None:
        return f"{task.name} was Started without a lease, by a client that knows none; set it Waiting to take it from there"
    return f"{task.name} is claimed by {holder.worker} until {task.lease_until.isoformat(timespec='seconds')}"


def close_attempts(attempts: QuerySet[Attempt], reason: str) -> None:
    """End the running ones among some attempts as Errored."""
    attempts.filter(status=Status.STARTED).update(status=Status.ERRORED, reason=reason, finished=timezone.now(), lease_until=None)


def set_from_outside(task: Task, before: Status, by: str) -> None:
    """Where someone took a task out of Started by hand, end its attempt; the worker hears of it at its next heartbeat."""
    if before == Status.STARTED and task.status != Status.STARTED:
        close_attempts(task.attempts.all(), f"ended from outside: {by} set the task {Status(task.status).label}")
        Task.objects.filter(pk=task.pk).update(lease_until=None)


@transaction.atomic
def heartbeat(attempt_id: uuid.UUID, lease_s: float, **fields: Any) -> Attempt:
    """Renew the lease of a running attempt.

    Raises
    ------
    Conflict
        If the attempt has ended, or is not the task's current one: its worker should stop.
    """
    until = _until(lease_s)
    attempt = Attempt.objects.select_related("task").get(pk=attempt_id)
    held = Task.objects.filter(pk=attempt.task_id, status=Status.STARTED, attempt=attempt.number).update(lease_until=until)
    _refuse_late(attempt, bool(held))
    return _store(attempt, lease_until=until, **fields)


def _refuse_late(attempt: Attempt, held: bool) -> None:
    if attempt.status != Status.STARTED:
        label = Status(attempt.status).label
        raise Conflict(f"attempt {attempt.number} has ended, {label}: {attempt.reason or 'no reason given'}; stop, and claim the task anew")
    if not held:
        raise Conflict(f"attempt {attempt.number} is not the current one of {attempt.task.name}; stop, for its outputs are not wanted")


def _store(attempt: Attempt, **fields: Any) -> Attempt:
    for name, value in fields.items():
        setattr(attempt, name, value)
    attempt.save(update_fields=fields.keys())
    return attempt


@transaction.atomic
def finish(attempt_id: uuid.UUID, status: Status, *, log: str | None = None, version: str | None = None, **fields: Any) -> Attempt:
    """End an attempt with its verdict; the same verdict again changes nothing.

    Raises
    ------
    ValueError
        If the status is no verdict.
    Conflict
        If the attempt ended otherwise, or is not the task's current one.
    """
    if status not in VERDICTS:
        raise ValueError(f"{status.label} ends no attempt; a verdict is one of {', '.join(v.label for v in sorted(VERDICTS))}")
    # The row is locked in the order task, attempt everywhere, so that nobody waits in a circle.
    task = Task.objects.select_for_update().get(attempts=attempt_id)
    attempt = Attempt.objects.select_for_update().get(pk=attempt_id)
    attempt.task = task
    if attempt.status == status:
        return attempt
    _refuse_late(attempt, task.status == Status.STARTED and task.attempt == attempt.number)
    _store(attempt, status=status, finished=timezone.now(), lease_until=None, **fields)
    taken = {name: getattr(attempt, name) for name in TASK_FIELDS}
    extra = {name: value for name, value in (("log", log), ("version", version)) if value is not None}
    _end_task(task, status=status, time_elapsed_secs=attempt.wall_s, **taken, **extra)
    record_qc(task, attempt.qc)
    return attempt


def _end_task(task: Task, **fields: Any) -> None:
    for name, value in {**fields, "lease_until": None, "cancel_requested": False}.items():
        setattr(task, name, value)
    task.save()


@transaction.atomic
def reap(**restriction: Any) -> list[uuid.UUID]:
    """Give back the tasks whose lease ran out: Waiting again, their attempts Errored, an event for each.

    Returns
    -------
    list of UUID
        The tasks.
    """
    overdue = Task.objects.filter(status=Status.STARTED, lease_until__lt=timezone.now(), **restriction).select_related("session")
    returned = []
    for task in overdue.select_for_update(of=("self",), skip_locked=True).order_by("pk"):
        close_attempts(task.attempts.all(), SILENT)
        reason = f"given back: the worker of attempt {task.attempt} fell silent"
        Task.objects.filter(pk=task.pk).update(status=Status.WAITING, lease_until=None, reason=reason, datetime=timezone.now())
        Event.of(
            Event.Kind.RETURNED, task.session, f"{task.pk}:{task.attempt}:returned", task=str(task.pk), name=task.name, attempt=task.attempt
        )
        returned.append(task.pk)
    return returned
