"""What an attempt's QC, and a task that failed, say of the session and of the probe."""

from __future__ import annotations

import uuid
from collections import defaultdict
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from one.alf.spec import QC

from ranvier.database.actions.models import Session
from ranvier.database.experiments.models import ProbeInsertion
from ranvier.database.jobs.models import Task
from ranvier.states import Status

#: The outcome in `extended_qc` of a session, or a probe, that lost something to an error; the tasks are listed under `LOST`.
PIPELINE, LOST = "pipeline", "_pipeline_lost"
#: A task that was lost and is tried again is in one of these.
_UNDER_WAY = (Status.WAITING, Status.STARTED)


def record_qc(task: Task, qc: dict[str, Any] | None) -> None:
    """Merge an attempt's QC into its session's, and into that of the insertion that the task's device is.

    As in IBL's convention a key without underscore before it is an outcome, one with it a number; the worst outcome is the whole's.
    """
    if not qc:
        return
    merged = extended(task, qc)
    session = Session.objects.select_for_update(no_key=True).get(pk=task.session_id)
    _set_session_qc(session, {**(session.extended_qc or {}), **merged})
    insertion = ProbeInsertion.objects.select_for_update().filter(session=session, name=task.device).first() if task.device else None
    if insertion:
        _set_insertion_qc(insertion, {**((insertion.json or {}).get("extended_qc") or {}), **merged})


def lock_session(attempt_id: uuid.UUID) -> None:
    """Lock the session of an attempt whose QC is going to be merged, before its task, as a plan does."""
    Session.objects.select_for_update(no_key=True).get(tasks__attempts=attempt_id)


def follow_losses(session_id: uuid.UUID) -> None:
    """Have `record_losses` look at a session as soon as the change that is being made to its tasks is committed."""
    transaction.on_commit(partial(record_losses, session_id))


def record_losses(session_id: uuid.UUID) -> None:
    """Have the QC of a session and of its probes say what was lost to an error, so that nobody takes for good what is not whole.

    A task is lost that is Errored, or Held because of one that is; what a person has cancelled is not done, which its status says. While it
    is tried again it stays so; once it has ended well, or was given up by hand, it is not. All of it is derived from the tasks as they
    stand, so it does not matter in which order changes are seen; the caller must hold no task's lock, as the session is locked here.
    """
    failed = Exists(Task.objects.filter(session=OuterRef("pk"), status=Status.ERRORED))
    if Session.objects.filter(Q(extended_qc__has_key=LOST) | failed, pk=session_id).exists():  # else, as nearly always, nothing is locked
        _record_losses(session_id)


@transaction.atomic
def _record_losses(session_id: uuid.UUID) -> None:
    session = Session.objects.only("extended_qc").get(pk=session_id)
    if list(_losses(session)) == _lost_before(session.extended_qc):
        return
    session = Session.objects.select_for_update(no_key=True).get(pk=session_id)
    losses = _losses(session)
    _set_session_qc(session, _with_losses(session.extended_qc, list(losses)))
    for insertion in ProbeInsertion.objects.select_for_update().filter(session=session):
        known = (insertion.json or {}).get("extended_qc")
        here = [name for name, device in losses.items() if device == insertion.name]
        if here != _lost_before(known):
            _set_insertion_qc(insertion, _with_losses(known, here))


def _losses(session: Session) -> dict[str, str]:
    """The device of each task that is lost, by the task's name."""
    tasks = {task.pk: task for task in Task.objects.filter(session=session).only("name", "device", "status", "cancel_requested")}
    parents = defaultdict(set)
    for child, parent in Task.parents.through.objects.filter(from_task__in=tasks).values_list("from_task", "to_task"):
        parents[child].add(parent)
    before = set(_lost_before(session.extended_qc))
    failed = {key for key, task in tasks.items() if task.status == Status.ERRORED and not task.cancel_requested}
    lost = failed | {key for key, task in tasks.items() if task.status in _UNDER_WAY and task.name in before}
    held = {key for key, task in tasks.items() if task.status == Status.HELD}
    while more := {key for key in held - lost if parents[key] & lost}:
        lost |= more
    return dict(sorted((tasks[key].name, tasks[key].device) for key in lost))


def _lost_before(extended_qc: dict[str, Any] | None) -> list[str]:
    return list((extended_qc or {}).get(LOST, []))


def _with_losses(extended_qc: dict[str, Any] | None, losses: list[str]) -> dict[str, Any]:
    rest = {key: value for key, value in (extended_qc or {}).items() if key not in (PIPELINE, LOST)}
    return {**rest, **({PIPELINE: QC.FAIL.name, LOST: losses} if losses else {})}


def _set_session_qc(session: Session, extended_qc: dict[str, Any]) -> None:
    by_hand = session.qc if session.qc != worst(session.extended_qc or {}) else QC.NOT_SET
    session.extended_qc, session.qc = extended_qc, max(worst(extended_qc), by_hand)  # what a person found bad does not become good
    session.save(update_fields=["extended_qc", "qc", "auto_datetime"])


def _set_insertion_qc(insertion: ProbeInsertion, extended_qc: dict[str, Any]) -> None:
    insertion.json = {**(insertion.json or {}), "extended_qc": extended_qc, "qc": worst(extended_qc).name}
    insertion.save(update_fields=["json", "auto_datetime"])


def extended(task: Task, qc: dict[str, Any]) -> dict[str, Any]:
    """``{"<task>_<device>": outcome, "_<task>_<device>_<check>": value}``."""
    name = "_".join(filter(None, (task.executable or task.name.split("[")[0], task.device)))
    outcome = {name: qc["outcome"]} if "outcome" in qc else {}
    return {**outcome, **{f"_{name}_{check}": result.get("value") for check, result in qc.get("checks", {}).items()}}


def worst(outcomes: dict[str, Any]) -> QC:
    """The worst of the outcomes, those that are no outcome left out."""
    levels = [
        QC[value] for key, value in outcomes.items() if not key.startswith("_") and isinstance(value, str) and value in QC.__members__
    ]
    return max(levels, default=QC.NOT_SET)
