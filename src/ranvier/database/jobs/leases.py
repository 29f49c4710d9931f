"""Who may run a task: claim, heartbeat, end, and what becomes of a task whose worker fell silent."""

from __future__ import annotations

import datetime
import itertools
import uuid
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from ranvier.database.actions.models import Session
from ranvier.database.jobs import breaker, failures
from ranvier.database.jobs.models import CLOCK_SLACK, Attempt, Event, Task
from ranvier.database.jobs.verdicts import follow_losses, lock_session, record_qc
from ranvier.database.rest.errors import Conflict
from ranvier.states import VERDICTS, Status

#: What of an attempt's report the task takes over at its end.
TASK_FIELDS = ("reason", "identity", "receipt", "outputs")
SILENT = "the worker fell silent: no heartbeat before its lease ran out"
#: Kind of error of such an attempt. It may still come back, as long as nobody has claimed its task since.
EXPIRED = "LeaseExpired"
#: Kind of error of an attempt whose worker was being stopped and has said so: nothing has failed.
RETURNED = "WorkerStopped"
#: Kind of error of an attempt that was cancelled.
CANCELLED = "Cancelled"
#: A task that nobody has asked to be cancelled.
_UNMARKED: dict[str, Any] = {"cancel_requested": False, "cancelled_by": ""}
#: Kind of error of the last of several such attempts in a row, with which its task was given up.
GIVEN_UP = "GivenUp"
#: What it takes off then that its silence had put on.
_RUNNING: dict[str, Any] = {"status": Status.STARTED, "reason": "", "error_type": "", "fingerprint": "", "finished": None}


def _granted(lease_s: float) -> dict[str, datetime.datetime]:
    """The times of a lease that is granted or renewed now, by the clock of the database's server."""
    now = timezone.now()
    return {"renewed": now, "lease_until": now + datetime.timedelta(seconds=lease_s)}


def claim(task: Task, lease_s: float, after: int | None = None, *, takes_over: bool = False, **fields: Any) -> Attempt:
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
    takes_over
        The worker has found the task Started, and its lease run out: should it have been given up since, that holds.
    **fields
        Fields of the attempt.

    Raises
    ------
    Conflict
        If it is claimed already, or may not start.
    Paused
        If the task's version is paused in the lab.
    """
    if task.status == Status.STARTED and not task.cancel_requested and (reason := _given_up(task)):
        raise Conflict(f"{task.name} is Errored: {reason}")
    return _claim(task, _free(after, takes_over=takes_over), lease_s, after, **fields)


@transaction.atomic
def _given_up(task: Task) -> str:
    found = Task.objects.select_for_update().filter(overdue(), pk=task.pk).first()
    return _give_up(found) if found else ""


@transaction.atomic
def _claim(task: Task, free: Q, lease_s: float, after: int | None, **fields: Any) -> Attempt:
    version = str((fields.get("receipt") or {}).get("version") or task.version or "")
    breaker.refuse_paused(task, version)
    taken = {"status": Status.STARTED, "attempt": F("attempt") + 1, "flow_run": fields.get("flow_run", "")}
    claimed = Task.objects.filter(free, pk=task.pk, cancel_requested=False).update(
        **taken, **_UNMARKED, reason="", datetime=timezone.now(), **_granted(lease_s)
    )
    task.refresh_from_db()
    if not claimed:
        raise Conflict(_why_not(task, after))
    _close_silent(task)
    return Attempt.objects.create(task=task, number=task.attempt, version=version, lease_until=task.lease_until, **fields)


def _free(after: int | None, *, takes_over: bool) -> Q:
    if after is None or takes_over:
        return (Q(status=Status.WAITING) | overdue()) & (Q() if after is None else Q(attempt=after))
    return Q(attempt=after) & (~Q(status__in=(Status.STARTED, Status.ABANDONED)) | overdue())


def overdue() -> Q:
    """Started tasks whose lease ran out, or was renewed at a time that is still to come: the clock was set back since."""
    now = timezone.now()
    return Q(status=Status.STARTED) & (Q(lease_until__lt=now) | Q(lease_until__isnull=False, renewed__gt=now + CLOCK_SLACK))


def _why_not(task: Task, after: int | None) -> str:
    if task.cancel_requested and task.status != Status.STARTED:
        return f"{task.name} was {cancelled(task)}; it can be claimed once it is planned again"
    if task.status != Status.STARTED:
        if after not in (None, task.attempt):
            return f"{task.name} has been attempted since: {task.attempt} times, not {after}; read the task again, and decide anew"
        reason = f": {task.reason}" if task.reason else ""
        return f"{task.name} is {Status(task.status).label}{reason}; set it Waiting to have it claimed"
    holder = task.attempts.filter(status=Status.STARTED).first()
    if holder is None or task.lease_until is None:
        return f"{task.name} was Started without a lease, by a client that knows none; set it Waiting to take it from there"
    return f"{task.name} is claimed by {holder.worker} until {task.lease_until.isoformat(timespec='seconds')}"


def close_attempts(attempts: QuerySet[Attempt], reason: str, error_type: str = "", fingerprint: str = "") -> None:
    """End the running ones among some attempts as Errored."""
    ended = {"status": Status.ERRORED, "reason": reason, "error_type": error_type, "finished": timezone.now(), "lease_until": None}
    attempts.filter(status=Status.STARTED).update(fingerprint=fingerprint, **ended)


def _close_silent(task: Task) -> None:
    close_attempts(task.attempts.all(), SILENT, EXPIRED, failures.fingerprint(task, task.version or "", EXPIRED, SILENT))


def set_from_outside(task: Task, before: Status, by: str) -> None:
    """See to what follows from a status set by hand: a running attempt ends, and its worker hears of it at its next heartbeat."""
    if task.status == Status.ABANDONED != before:
        told = {"task": str(task.pk), "name": task.name, "version": task.version, "by": by, "reason": task.reason[:500]}
        Event.of(Event.Kind.ABANDONED, task.session, f"abandoned:{task.pk}:{timezone.now():%Y%m%dT%H%M%S.%f}", **told)
    if before == Status.STARTED and task.status != Status.STARTED:
        close_attempts(task.attempts.all(), f"ended from outside: {by} set the task {Status(task.status).label}")
        Task.objects.filter(pk=task.pk).update(lease_until=None)
    if before != task.status:
        follow_losses(task.session_id)


@transaction.atomic
def heartbeat(attempt_id: uuid.UUID, lease_s: float, **fields: Any) -> Attempt:
    """Renew the lease of a running attempt; one whose lease ran out takes its task up again where nobody has claimed it since.

    Raises
    ------
    Conflict
        If the attempt has ended, or is not the task's current one: its worker should stop.
    """
    attempt = _locked(attempt_id)
    _refuse_late(attempt)
    granted = _granted(lease_s)
    if attempt.status != Status.STARTED:
        fields = {**_RUNNING, **fields}
        Task.objects.filter(pk=attempt.task_id).update(status=Status.STARTED, reason="", datetime=timezone.now())
    Task.objects.filter(pk=attempt.task_id).update(**granted)
    return _store(attempt, lease_until=granted["lease_until"], **fields)


def _locked(attempt_id: uuid.UUID) -> Attempt:
    """The attempt, its task's row locked; rows are locked in the order session, task, attempt, so that nobody waits in a circle."""
    task = Task.objects.select_for_update().get(attempts=attempt_id)
    attempt = Attempt.objects.get(pk=attempt_id)
    attempt.task = task
    return attempt


def _fell_silent(attempt: Attempt) -> bool:
    return attempt.status == Status.ERRORED and attempt.error_type == EXPIRED


def _refuse_late(attempt: Attempt) -> None:
    """Refuse an attempt that is over; not one that fell silent, whose task was given back and is still to be claimed."""
    expected = Status.WAITING if _fell_silent(attempt) else Status.STARTED
    current = attempt.task.attempt == attempt.number and attempt.task.status == expected
    if attempt.status != Status.STARTED and not (current and _fell_silent(attempt)):
        label = Status(attempt.status).label
        raise Conflict(f"attempt {attempt.number} has ended, {label}: {attempt.reason or 'no reason given'}; stop, and claim the task anew")
    if not current:
        raise Conflict(f"attempt {attempt.number} is not the current one of {attempt.task.name}; stop, for its outputs are not wanted")


def _store(attempt: Attempt, **fields: Any) -> Attempt:
    for name, value in fields.items():
        setattr(attempt, name, value)
    attempt.save(update_fields=fields.keys())
    return attempt


@transaction.atomic
def finish(attempt_id: uuid.UUID, status: Status, *, log: str | None = None, version: str | None = None, **fields: Any) -> Attempt:
    """End an attempt with its verdict; the same verdict again changes nothing.

    The verdict of an attempt whose lease ran out is taken where nobody has claimed its task since.

    Raises
    ------
    ValueError
        If the status is no verdict.
    Conflict
        If the attempt ended otherwise, or is not the task's current one.
    """
    if status not in VERDICTS:
        raise ValueError(f"{status.label} ends no attempt; a verdict is one of {', '.join(v.label for v in sorted(VERDICTS))}")
    if fields.get("qc"):
        lock_session(attempt_id)
    attempt = _locked(attempt_id)
    task = attempt.task
    if attempt.status == status and not _fell_silent(attempt):
        return attempt
    _refuse_late(attempt)
    told = {**fields, "version": version or attempt.version}
    _store(attempt, **{**_RUNNING, **told, "status": status, "finished": timezone.now(), "lease_until": None})
    if status == Status.ERRORED and not task.cancel_requested:
        failures.note(attempt, task)
        breaker.trip(attempt, task)
    taken = {name: getattr(attempt, name) for name in TASK_FIELDS} | {"qc": (attempt.qc or {}).get("outcome", "")}
    extra = {name: value for name, value in (("log", log), ("version", version)) if value is not None}
    _end_task(task, status=status, time_elapsed_secs=attempt.wall_s, **taken, **extra)
    record_qc(task, attempt.qc)
    follow_losses(task.session_id)
    return attempt


@transaction.atomic
def give_back(attempt_id: uuid.UUID, reason: str) -> Attempt:
    """End an attempt whose worker is being stopped: its task waits again, and nothing has failed. The same once more changes nothing.

    Raises
    ------
    Conflict
        If the attempt ended otherwise, or is not the task's current one.
    """
    attempt = _locked(attempt_id)
    task = attempt.task
    if attempt.error_type == RETURNED or _fell_silent(attempt):
        return attempt
    _refuse_late(attempt)
    if task.cancel_requested:
        _end_cancelled(task, reason)
    else:
        close_attempts(task.attempts.all(), reason, RETURNED)
        _end_lease(task, Status.WAITING, f"given back by attempt {attempt.number}: {reason}")
        _tell_of_return(task.session, [task], flow_run=attempt.flow_run)
    attempt.refresh_from_db()
    return attempt


def _end_task(task: Task, **fields: Any) -> None:
    # what was cancelled stays marked, so that the flow run that is just coming to its end cannot have it attempted again
    unmarked = {} if task.cancel_requested and fields["status"] == Status.ERRORED else _UNMARKED
    for name, value in {**fields, **unmarked, "lease_until": None}.items():
        setattr(task, name, value)
    task.save()


@transaction.atomic
def reap(**restriction: Any) -> list[uuid.UUID]:
    """Give back the tasks whose lease ran out: Waiting again, their attempts Errored, an event for each session.

    A task whose worker has fallen silent once too often is Errored instead, as it may well be what kills its worker.

    Returns
    -------
    list of UUID
        The tasks that were given back.
    """
    found = Task.objects.filter(overdue(), **restriction).select_related("session")
    returned: dict[Session, list[Task]] = {}
    for task in found.select_for_update(of=("self",), skip_locked=True).order_by("pk"):
        if task.cancel_requested:
            _end_cancelled(task, "its worker fell silent")
            continue
        if _give_up(task):
            continue
        _close_silent(task)
        _end_lease(task, Status.WAITING, f"given back: the worker of attempt {task.attempt} fell silent")
        returned.setdefault(task.session, []).append(task)
    for session, tasks in returned.items():
        _tell_of_return(session, tasks)
    return [task.pk for tasks in returned.values() for task in tasks]


def cancelled(task: Task) -> str:
    """Who has cancelled a task, in words."""
    return f"cancelled by {task.cancelled_by}" if task.cancelled_by else "cancelled on request"


def _end_cancelled(task: Task, how: str) -> None:
    """End a task without a worker that was to stop anyway, instead of giving it back."""
    reason = f"{cancelled(task)}; {how}"
    close_attempts(task.attempts.all(), reason, CANCELLED)
    _end_task(task, status=Status.ERRORED, reason=reason)
    follow_losses(task.session_id)


def _tell_of_return(session: Session, tasks: list[Task], **told: Any) -> None:
    first = tasks[0]
    # an attempt may come back and fall silent again: that is another return
    key = f"{session.pk}:returned:{first.pk}:{first.attempt}:{first.lease_until:%Y%m%dT%H%M%S.%f}"
    asked = {"tasks": [task.name for task in tasks], "downstream": True}
    Event.of(Event.Kind.RETURNED, session, key, given_back={task.name: task.attempt for task in tasks}, **asked, **told)


def _give_up(task: Task) -> str:
    """End a task whose lease ran out as Errored where that has happened too often in a row; the reason, empty where it may go on."""
    silent = _silent_in_a_row(task) + 1
    if silent <= settings.RANVIER.attempts.returns:
        return ""
    reason = (
        f"given up: its worker fell silent {silent} times in a row, in attempts {task.attempt - silent + 1} to {task.attempt}; "
        "the task may be what kills its worker: look at the end of its log, and of logs/dask-worker.log"
    )
    close_attempts(task.attempts.all(), reason, GIVEN_UP)
    _end_lease(task, Status.ERRORED, reason)
    follow_losses(task.session_id)
    return reason


def _silent_in_a_row(task: Task) -> int:
    """How many attempts before the current one fell silent, one after the other, since one has handed in a verdict.

    Those after which the task was given up count: else each flow run that was asked for in the meantime would begin to count anew.
    """
    before = task.attempts.filter(number__lt=task.attempt).exclude(error_type=RETURNED).order_by("-number")
    kinds = before.values_list("error_type", flat=True)
    return sum(1 for _ in itertools.takewhile((EXPIRED, GIVEN_UP).__contains__, kinds))


def _end_lease(task: Task, status: Status, reason: str) -> None:
    Task.objects.filter(pk=task.pk).update(status=status, lease_until=None, reason=reason, datetime=timezone.now())
