"""Task rows on a plain Alyx: what fits into one, and one put together with what the ledger keeps of it."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from ranvier.client import Record
from ranvier.plain_alyx.ledger import leased, moment
from ranvier.states import Status

log = logging.getLogger("ranvier.plain_alyx")

#: Alyx shows a graph's tasks on one page, ``/admin-tasks/status/<graph>/<lab>``.
GRAPH = "ranvier"
#: The greatest number that Alyx's columns take, and the longest texts.
LARGEST = 32_767
LONGEST = {"name": 64, "executable": 128, "version": 64}
_NUMBERS = ("level", "priority", "cpu", "gpu", "ram", "time_out_secs")
_KEPT = ("name", "device", "attempt", "identity", "receipt", "outputs", "flow_run", "cancelled_by", "qc")
_NOTHING_KEPT: Record = {
    "device": "",
    "reason": "",
    "attempt": 0,
    "identity": "",
    "receipt": None,
    "outputs": None,
    "qc": "",
    "lease_until": None,
    "leased": False,
    "flow_run": "",
    "cancel_requested": False,
    "cancelled_by": "",
}


def fitted(planned: Record) -> Record:
    """The fields of a planned task that Alyx has, cut to what its columns take.

    Parameters
    ----------
    planned
        A row of a plan; see `ranvier.plan.plan_rows`.
    """
    texts = {name: _fit_text(str(planned[name]), length) for name, length in LONGEST.items()}
    numbers = {name: _fit_number(planned, name) for name in _NUMBERS}
    return {**texts, **numbers, "graph": GRAPH, "arguments": planned["arguments"], "data_repository": planned["data_repository"]}


def merged(row: Record, kept: Record | None) -> Record:
    """A task as the pipeline sees it: Alyx's row, and what the ledger keeps of it.

    Alyx's status stands, whoever has set it, unless the ledger has a newer one that Alyx has still to be told.
    """
    plain = {**row, "name": row["name"] or "", "executable": row["executable"] or "", "level": row["level"] or 0}
    if kept is None:
        return plain | _NOTHING_KEPT
    status = row["status"] if kept["untold_since"] is None else kept["status"]
    return {
        **plain,
        **{name: kept[name] for name in _KEPT},
        "status": status,
        "reason": kept["reason"] if status == kept["status"] else "",
        "lease_until": moment(kept["lease_until"]),
        "leased": status == Status.STARTED.label and leased(kept),
        "cancel_requested": bool(kept["cancel_requested"]),
    }


def _fit_text(text: str, length: int) -> str:
    """The text, or its beginning and a few letters that tell it from others with that beginning."""
    if len(text) <= length:
        return text
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: length - len(mark) - 1]}~{mark}"


def _fit_number(planned: Record, name: str) -> Any:
    value = planned[name]
    if value is not None and value > LARGEST:
        log.info("%s: %s is %s; Alyx takes %d at most and shows that, the attempt keeps to its own", planned["name"], name, value, LARGEST)
        return LARGEST
    return value
