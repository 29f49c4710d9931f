"""What an attempt's QC says of the session and of the probe."""

from __future__ import annotations

from typing import Any

from one.alf.spec import QC

from ranvier.database.actions.models import Session
from ranvier.database.experiments.models import ProbeInsertion
from ranvier.database.jobs.models import Task


def record_qc(task: Task, qc: dict[str, Any] | None) -> None:
    """Merge an attempt's QC into its session's, and into that of the insertion that the task's device is.

    As in IBL's convention a key without underscore before it is an outcome, one with it a number; the worst outcome is the whole's.
    """
    if not qc:
        return
    merged = extended(task, qc)
    session = Session.objects.select_for_update().get(pk=task.session_id)
    session.extended_qc = {**(session.extended_qc or {}), **merged}
    session.qc = worst(session.extended_qc)
    session.save(update_fields=["extended_qc", "qc", "auto_datetime"])
    insertion = ProbeInsertion.objects.select_for_update().filter(session=session, name=task.device).first() if task.device else None
    if insertion:
        kept = insertion.json or {}
        combined = {**(kept.get("extended_qc") or {}), **merged}
        insertion.json = {**kept, "extended_qc": combined, "qc": worst(combined).name}
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
