"""Cancelling: what runs is told to stop at its next heartbeat, and what has not started does not start.

The mark `cancel_requested` stays with a task until a new plan names it, so that an attempt which a flow run handed in before, and which
waits for its turn on the cluster, finds it when it wants to begin.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework.exceptions import ValidationError

from ranvier.database.actions.models import Session
from ranvier.database.jobs.models import Event, Task
from ranvier.states import Status

#: Statuses of a task that is still to be done, or is being done.
OPEN = (Status.WAITING, Status.STARTED)


@transaction.atomic
def cancel_session(session: Session, by: str, tasks: Collection[str] = ()) -> list[Task]:
    """Cancel what is open of a session; without `tasks` its flow runs, too, and those that are asked for already.

    Parameters
    ----------
    session
        The session.
    by
        Who asks for it.
    tasks
        Names of tasks or of task instances; all where there are none.

    Returns
    -------
    list of Task
        The tasks that were open: those that are Started are being stopped.

    Raises
    ------
    ValidationError
        If the session has no such task.
    """
    Session.objects.select_for_update().get(pk=session.pk)
    rows = Task.objects.filter(session=session)
    if tasks:
        return _mark(_named(rows, tasks), by)
    _withdraw_requests(session, by)
    Event.of(Event.Kind.CANCELLED, session, f"{session.pk}:cancelled:{uuid.uuid4()}", by=by)
    return _mark(rows, by)


@transaction.atomic
def cancel_flow_run(flow_run: str, by: str) -> list[Task]:
    """Cancel what is open of the tasks that a flow run has planned or attempts; returns them."""
    return _mark(Task.objects.filter(flow_run=flow_run), by)


def _named(rows: QuerySet[Task], names: Collection[str]) -> QuerySet[Task]:
    known = set(rows.values_list("name", flat=True)) | set(rows.values_list("executable", flat=True))
    if unknown := sorted(set(names) - known):
        raise ValidationError({"tasks": [f"no task {', '.join(unknown)} in this session; it has {', '.join(sorted(known)) or 'none yet'}"]})
    return rows.filter(Q(name__in=names) | Q(executable__in=names))


def _mark(rows: QuerySet[Task], by: str) -> list[Task]:
    """Mark tasks that are not marked yet, in the order of their keys, as everywhere, so that nobody waits in a circle."""
    marked = list(rows.filter(cancel_requested=False).select_for_update(of=("self",)).order_by("pk"))
    opened = [task for task in marked if task.status in OPEN]
    for task in marked:
        task.cancel_requested, task.cancelled_by = True, by
        if task.status == Status.WAITING:
            task.status, task.reason, task.datetime = Status.HELD, f"cancelled by {by} before it started", timezone.now()
    Task.objects.bulk_update(marked, ["cancel_requested", "cancelled_by", "status", "reason", "datetime"])
    return opened


def _withdraw_requests(session: Session, by: str) -> None:
    """Take back the events of a session that have not reached Prefect."""
    Event.objects.filter(session=session, delivered=None).exclude(kind=Event.Kind.CANCELLED).update(
        delivered=timezone.now(), error=f"cancelled by {by} before it was delivered"
    )
