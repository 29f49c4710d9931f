"""What an attempt's quality checks say of its session and its probe, as Ranvier's own database would write it down."""

from __future__ import annotations

from typing import Any

from one.alf.spec import QC

from ranvier.client import Record


def extended(task: Record, qc: Record) -> Record:
    """``{"<task>_<device>": outcome, "_<task>_<device>_<check>": value}``."""
    name = "_".join(filter(None, (task["executable"] or task["name"].split("[")[0], task["device"])))
    outcome = {name: qc["outcome"]} if "outcome" in qc else {}
    return outcome | {f"_{name}_{check}": result.get("value") for check, result in qc.get("checks", {}).items()}


def worst(outcomes: dict[str, Any]) -> str:
    """The worst of the outcomes; keys that begin with an underscore are numbers and do not count."""
    named = (value for key, value in outcomes.items() if not key.startswith("_") and isinstance(value, str))
    return max((QC[value] for value in named if value in QC.__members__), default=QC.NOT_SET).name
