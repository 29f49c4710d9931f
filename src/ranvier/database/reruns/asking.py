"""Asking for the runs of a selection: an event for each session, all in one transaction."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from rest_framework.exceptions import ValidationError

from ranvier.database.actions.models import Session
from ranvier.database.jobs.models import Event, Task
from ranvier.database.reruns.models import Rerun, RerunSession
from ranvier.database.reruns.selection import Selection
from ranvier.priority import Priority
from ranvier.states import Status

#: Characters of a task's own reason that are repeated.
LONGEST_REASON = 200


@dataclass
class Wanted:
    """A session of which runs are asked for.

    Attributes
    ----------
    session
        The session.
    tasks
        Names of tasks or of instances; None for all that are due.
    reason
        Why, for people.
    """

    session: Session
    tasks: list[str] | None
    reason: str


def choose(selection: Selection) -> tuple[list[Wanted], int]:
    """What a selection comes to.

    Returns
    -------
    list of Wanted, int
        The sessions in the order of their dates, and how many others of the selection have no such task.

    Raises
    ------
    ValidationError
        If a task is named that no session has.
    """
    if unknown := selection.unknown_tasks():
        hint = f"`ranvier run SESSION --task {unknown[0]}` runs one that is new"
        raise ValidationError({"tasks": [f"no session has a task called {', '.join(unknown)}; {hint}"]})
    sessions = list(selection.find_sessions().select_related("subject", "lab").order_by("start_time", "number"))
    if not selection.by_task:
        return [Wanted(session, None, "all that is due") for session in sessions], 0
    found = _by_session(selection.find_tasks().defer("log", "receipt", "outputs", "arguments").order_by("level", "name"))
    chosen = [session for session in sessions if session.pk in found]
    wanted = [Wanted(session, _names(found[session.pk], selection), _reason(found[session.pk])) for session in chosen]
    return wanted, len(sessions) - len(wanted)


def ask(
    wanted: Sequence[Wanted],
    *,
    pk: uuid.UUID,
    by: Any = None,
    selection: dict[str, Any],
    force: bool,
    downstream: bool,
    priority: Priority,
    tags: Sequence[str] = (),
) -> Rerun:
    """Write the events of a rerun; the same id again changes nothing.

    Parameters
    ----------
    wanted
        The sessions.
    pk
        The rerun's id, chosen by whoever asks.
    by
        The user.
    selection
        What was asked for, kept for people.
    force, downstream, priority
        As for the flow.
    tags
        More tags of its flow runs.
    """
    with transaction.atomic():
        made = dict(created_by=by, selection=selection, force=force, downstream=downstream, priority=priority.value)
        rerun, is_new = Rerun.objects.get_or_create(pk=pk, defaults=made)
        if is_new:
            events = Event.objects.bulk_create([_event(rerun, each, tags) for each in wanted])
            pairs = zip(wanted, events, strict=True)
            RerunSession.objects.bulk_create(
                RerunSession(rerun=rerun, session=each.session, event=event, tasks=each.tasks, reason=each.reason) for each, event in pairs
            )
    return rerun


def revive(selection: Selection) -> int:
    """Set what was given up and is among the tasks of a selection Waiting, so that its run takes it up; returns how many."""
    if not selection.takes_abandoned:
        return 0
    given_up = selection.find_tasks().filter(status=Status.ABANDONED).values("pk")
    return Task.objects.filter(pk__in=given_up).update(status=Status.WAITING, reason="")


def _event(rerun: Rerun, wanted: Wanted, tags: Sequence[str]) -> Event:
    payload = {
        "tasks": wanted.tasks,
        "force": rerun.force,
        "downstream": rerun.downstream,
        "priority": rerun.priority,
        "reason": wanted.reason,
        "tags": [rerun.tag, *tags],
    }
    session = wanted.session
    return Event(kind=Event.Kind.REQUESTED, key=f"rerun:{rerun.pk}:{session.pk}", session=session, lab_id=session.lab_id, payload=payload)


def _by_session(tasks: Iterable[Task]) -> defaultdict[uuid.UUID, list[Task]]:
    found: defaultdict[uuid.UUID, list[Task]] = defaultdict(list)
    for task in tasks:
        found[task.session_id].append(task)
    return found


def _names(tasks: Iterable[Task], selection: Selection) -> list[str]:
    """As they were asked for, so that an instance that is new is among them; instances where their state was asked for."""
    if selection.statuses or selection.failures:
        return [task.name for task in tasks]
    there = {name for task in tasks for name in (task.name, task.executable)}
    return [name for name in selection.tasks if name in there]


def _reason(tasks: Iterable[Task]) -> str:
    return "; ".join(_standing(task) for task in tasks)


def _standing(task: Task) -> str:
    return f"{task.name} is {Status(task.status).label}" + (f": {task.reason[:LONGEST_REASON]}" if task.reason else "")
