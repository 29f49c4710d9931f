"""The course of a backfill: a few sessions first, the rest when told, and no further when stopped."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from ranvier.database.jobs.models import Event
from ranvier.database.reruns import asking, reports
from ranvier.database.reruns.models import Backfill, BackfillSession, RerunSession
from ranvier.database.rest.errors import Conflict
from ranvier.priority import Priority

State = Backfill.State
STOPPED = "Stopped before it began"


@transaction.atomic
def start(pk: uuid.UUID, by: Any = None) -> Backfill:
    """Ask for the canary's sessions; without a canary for all.

    Raises
    ------
    Conflict
        If it has been started already.
    """
    backfill = _locked(pk)
    if backfill.state != State.PLANNED:
        raise Conflict(f"the backfill {backfill} is {backfill.state}, and only one that is planned can be started")
    canaries = list(backfill.sessions.filter(is_canary=True).select_related("session"))
    if not canaries:
        return _ask_for_the_rest(backfill, by)
    return _ask(backfill, canaries, State.CANARY, by)


@transaction.atomic
def go(pk: uuid.UUID, by: Any = None, *, anyway: bool = False) -> Backfill:
    """Ask for all the sessions that have not been asked for.

    Parameters
    ----------
    pk
        The backfill's id.
    by
        The user.
    anyway
        Although the canary has not shown that the version runs.

    Raises
    ------
    Conflict
        If the canary has not come to its end, or has neither run the version nor had it already.
    """
    backfill = _locked(pk)
    if backfill.state != State.WAITING:
        raise Conflict(f"the backfill {backfill} is {backfill.state}; it can go on when its canary has come to its end")
    ran = reports.report(backfill)["versions"]
    has = ran or reports.canary_has(backfill)
    if not anyway and set(has) != {backfill.version}:
        what = f"ran versions {', '.join(sorted(ran))}" if ran else f"ran nothing, and has {', '.join(sorted(has)) or 'no such task'}"
        raise Conflict(f"the canary {what}, not {backfill.version}: install it on the lab servers first, or go on with `anyway`")
    return _ask_for_the_rest(backfill, by)


@transaction.atomic
def stop(pk: uuid.UUID) -> Backfill:
    """Start no more of its sessions; what is running comes to its end.

    Raises
    ------
    Conflict
        If it is done.
    """
    backfill = _locked(pk)
    if backfill.state == State.DONE:
        raise Conflict(f"the backfill {backfill} is done")
    open_ = RerunSession.objects.filter(backfill_session__backfill=backfill, ended=None)
    undelivered = list(open_.filter(event__delivered=None).values_list("pk", "event"))
    Event.objects.filter(pk__in=[event for _, event in undelivered]).update(delivered=timezone.now(), error=STOPPED)
    RerunSession.objects.filter(pk__in=[pk for pk, _ in undelivered]).update(ended=timezone.now(), outcome=STOPPED, withdrawn=True)
    open_.update(withdrawn=True)
    return _set(backfill, State.STOPPED)


def advance(rerun_session: RerunSession) -> None:
    """A session's flow run has ended: where it was the last one, the backfill waits for a word, or is done."""
    found = BackfillSession.objects.filter(rerun_session=rerun_session).first()
    if found is None:
        return
    backfill = _locked(found.backfill_id)
    if backfill.sessions.filter(rerun_session__isnull=False, rerun_session__ended=None).exists():
        return
    if backfill.state == State.CANARY and backfill.sessions.filter(rerun_session=None).exists():
        _set(backfill, State.WAITING)
    elif backfill.state in (State.CANARY, State.GOING):
        _set(backfill, State.DONE)


def _locked(pk: uuid.UUID) -> Backfill:
    return Backfill.objects.select_for_update().get(pk=pk)


def _ask_for_the_rest(backfill: Backfill, by: Any) -> Backfill:
    return _ask(backfill, list(backfill.sessions.filter(rerun_session=None).select_related("session")), State.GOING, by)


def _ask(backfill: Backfill, sessions: Sequence[BackfillSession], state: str, by: Any) -> Backfill:
    rerun = asking.ask(
        [asking.Wanted(each.session, each.tasks, each.reason) for each in sessions],
        pk=uuid.uuid5(backfill.pk, state),
        by=by,
        selection={"backfill": str(backfill.pk)},
        force=False,
        downstream=True,
        priority=Priority.BACKFILL,
        tags=[backfill.tag],
    )
    asked = {row.session_id: row for row in rerun.sessions.all()}
    for each in sessions:
        each.rerun_session = asked[each.session_id]
    BackfillSession.objects.bulk_update(sessions, ["rerun_session"])
    return _set(backfill, state if sessions else State.DONE)


def _set(backfill: Backfill, state: str) -> Backfill:
    backfill.state = state
    backfill.save(update_fields=["state"])
    return backfill
