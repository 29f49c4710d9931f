"""The circuit breaker: a task version that fails alike in one session after the other is paused in its lab, until a person looks at it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework.exceptions import APIException

from ranvier.database.actions.models import Session
from ranvier.database.jobs.failures import task_name
from ranvier.database.jobs.models import Attempt, Event, Pause, Task
from ranvier.priority import Priority
from ranvier.states import VERDICTS, Status

#: From these a task that may not run becomes Held; a result that is there stays what it is.
_OPEN = (Status.WAITING, Status.ERRORED, Status.HELD)


class Paused(APIException):
    """The task is paused in this lab; `reason` says since when, why, and how to lift it."""

    status_code = 423
    default_code = "paused"


def pause_of(task: Task, version: str | None) -> Pause | None:
    """What keeps a task of this version from running in its session's lab."""
    return Pause.objects.filter(lab=task.session.lab_id, task=task_name(task), version=version or "", lifted=None).first()


def pauses_in(lab: Any) -> dict[tuple[str, str], Pause]:
    """All that is paused in a lab, by task and version."""
    return {(pause.task, pause.version): pause for pause in Pause.objects.filter(lab=lab, lifted=None)}


def refuse_paused(task: Task, version: str | None) -> None:
    """Say no to the claim of a task that is paused."""
    if pause := pause_of(task, version):
        raise Paused(pause.reason)


def hold(task: Task, reason: str) -> None:
    """Set a task Held that may not run."""
    Task.objects.filter(pk=task.pk, status__in=_OPEN).update(status=Status.HELD, reason=reason, datetime=timezone.now())


def trip(attempt: Attempt, task: Task) -> Pause | None:
    """Pause the task where this failure is one too many; returns the pause."""
    most = settings.RANVIER.failures.pause_after
    if not most or _equal_in_a_row(attempt, task, most) < most:
        return None
    lab, name = task.session.lab, task_name(task)
    reason = (
        f"paused in {lab} since {timezone.now():%Y-%m-%d %H:%M} UTC after {most} equal failures {attempt.fingerprint}: "
        f"{attempt.reason[:300]}; `ranvier tasks resume {name}` lifts it"
    )
    try:
        with transaction.atomic():
            pause = Pause.objects.create(
                lab=lab, task=name, version=attempt.version, fingerprint=attempt.fingerprint, failures=most, reason=reason
            )
    except IntegrityError:  # another attempt has tripped it just now
        return None
    told = {"task": str(task.pk), "name": name, "version": pause.version, "fingerprint": pause.fingerprint, "reason": reason}
    Event.of(Event.Kind.PAUSED, task.session, f"paused:{pause.pk}", **told)
    return pause


def _equal_in_a_row(attempt: Attempt, task: Task, most: int) -> int:
    """In how many sessions in a row the lab's latest attempts at this version failed alike; several probes of one session count once."""
    same = {"lab": task.session.lab_id, "task": task_name(task), "version": attempt.version}
    ended = Attempt.objects.filter(
        task__session__lab=same["lab"], task__executable=task.executable, version=attempt.version, status__in=VERDICTS
    )
    if lifted := Pause.objects.filter(**same).exclude(lifted=None).order_by("-lifted").values_list("lifted", flat=True).first():
        ended = ended.filter(finished__gt=lifted)
    sessions: set[Any] = set()
    for status, print_, session in (
        ended.exclude(status=Status.ERRORED, fingerprint="")
        .order_by("-finished")
        .values_list("status", "fingerprint", "task__session")
        .iterator(chunk_size=50)
    ):
        if status != Status.ERRORED or print_ != attempt.fingerprint or len(sessions) == most:
            break
        sessions.add(session)
    return len(sessions)


@transaction.atomic
def lift(pause: Pause, by: str) -> int:
    """Let a task run again, and ask for the runs of the sessions in which it was held; returns how many there are."""
    pause = Pause.objects.select_for_update().get(pk=pause.pk)
    if pause.lifted is None:
        pause.lifted, pause.lifted_by = timezone.now(), by
        pause.save(update_fields=["lifted", "lifted_by"])
    held = Task.objects.filter(session__lab=pause.lab, status=Status.HELD, reason=pause.reason)
    sessions = list(Session.objects.filter(pk__in=held.values("session")))
    held.update(status=Status.WAITING, reason="", datetime=timezone.now())
    priority = Priority.of(len(sessions)).value
    for session in sessions:
        Event.of(Event.Kind.REQUESTED, session, f"resumed:{pause.pk}:{session.pk}", tasks=None, force=False, priority=priority)
    return len(sessions)
