"""What a person wants to know of a session: is it done, and is it good?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranvier.client import Database
from ranvier.lookup import SessionNotFound, folder_on_disk
from ranvier.session import reference_of
from ranvier.settings import Settings
from ranvier.states import GOOD_ENOUGH, NOTHING_APPLIES, Status

_NOT_DONE = (Status.STARTED, Status.WAITING)
_NAMED = 3
_TROUBLE = (Status.ERRORED, Status.HELD, Status.ABANDONED, Status.EMPTY)


@dataclass(frozen=True)
class Overview:
    """A session in one screen.

    Attributes
    ----------
    eid, reference, lab
        Id, ``subject/date/number`` and lab.
    verdict
        One sentence.
    good
        True when all is done and nothing is wrong; False when something is; None while it is not done.
    qc, checks
        Worst outcome, and outcome by the task's and the device's name.
    tasks
        Task rows, parents first.
    units
        Number of units by the probe's name.
    datasets, size, downloadable
        Number of registered datasets, bytes in all, and of how many a copy can be downloaded.
    figures
        Figures on this machine.
    links
        Addresses by what is to be seen there.
    """

    eid: str
    reference: str
    lab: str
    verdict: str
    good: bool | None
    qc: str
    checks: dict[str, str]
    tasks: list[dict[str, Any]]
    units: dict[str, int]
    datasets: int
    size: int
    downloadable: int
    figures: list[Path]
    links: dict[str, str]


def overview(record: dict[str, Any], database: Database, settings: Settings) -> Overview:
    """Gather what is known of a session.

    Parameters
    ----------
    record
        The session, in full, as the database gives it.
    database
        The database.
    settings
        Of this machine.
    """
    eid = str(record.get("id") or record["url"].rpartition("/")[2])
    rows = sorted(database.tasks(eid), key=lambda row: (row["level"], row["name"]))
    qc, extended = record.get("qc") or "NOT_SET", record.get("extended_qc") or {}
    datasets = list(database.datasets(eid))
    good, sentence = verdict(rows, qc, record.get("json"))
    return Overview(
        eid=eid,
        reference=reference_of(record),
        lab=record["lab"],
        verdict=sentence,
        good=good,
        qc=qc,
        checks={name: value for name, value in extended.items() if not name.startswith("_") and isinstance(value, str)},
        tasks=rows,
        units=_units(rows, extended),
        datasets=len(datasets),
        size=sum(item["file_size"] or 0 for item in datasets),
        downloadable=len(record["data_dataset_session_related"]),
        figures=_figures(record, settings),
        links={"database": database.page(eid), **_flow_run_link(rows, database, settings)},
    )


def verdict(rows: list[dict[str, Any]], qc: str, noted: dict[str, Any] | None = None) -> tuple[bool | None, str]:
    """Whether a session is done and good, and the sentence that says so.

    Parameters
    ----------
    rows
        Its task rows.
    qc
        Its quality outcome.
    noted
        Its `json`, where a flow run notes that no task applies.
    """
    statuses = [Status.parse(row["status"]) for row in rows]
    if not statuses and (noted or {}).get(NOTHING_APPLIES):
        return True, "Nothing to do: no task applies to it; `ranvier plan` says why."
    if not statuses:
        return None, "Nothing has been planned for it yet."
    counts = Counter(statuses)
    done = sum(counts[status] for status in GOOD_ENOUGH)
    trouble = ", ".join(f"{counts[status]} {status.label.lower()}{_names(rows, status)}" for status in _TROUBLE if counts[status])
    if sum(counts[status] for status in _NOT_DONE):
        running = f", {counts[Status.STARTED]} running" if counts[Status.STARTED] else ""
        coming = f"{running}, {counts[Status.WAITING]} to come" + (f"; {trouble}" if trouble else "")
        return None, f"Not done yet: {done} of {len(rows)} tasks are done{coming}."
    if counts[Status.ERRORED] or counts[Status.HELD]:
        return False, f"Not done: {done} of {len(rows)} tasks are done, but {trouble}."
    rest = f" ({trouble})" if trouble else ""
    if counts[Status.INCOMPLETE]:
        return False, f"Done, but {counts[Status.INCOMPLETE]} of {len(rows)} tasks left out part of their outputs{rest}."
    quality = {"PASS": "its quality is good", "NOT_SET": "nobody has judged its quality"}.get(qc)
    return quality is not None, f"Done, and {quality}{rest}." if quality else f"Done, but its quality is {qc}{rest}."


def _names(rows: list[dict[str, Any]], status: Status) -> str:
    """The tasks that are Errored, by name, as these are what someone has to look at."""
    names = [row["name"] for row in rows if row["status"] == status.label]
    if status != Status.ERRORED:
        return ""
    return f" ({', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''})"


def _units(rows: list[dict[str, Any]], extended: dict[str, Any]) -> dict[str, int]:
    """What the last task to count a device's units made of it."""
    keys = [(row["device"], f"_{row['executable']}_{row['device']}_n_units") for row in rows if row["device"]]
    return {device: int(extended[key]) for device, key in keys if key in extended}


def _figures(record: dict[str, Any], settings: Settings) -> list[Path]:
    try:
        folder = folder_on_disk(record, settings).path
    except SessionNotFound:
        return []
    return sorted((folder / "figures").rglob("*.png"))


def _flow_run_link(rows: list[dict[str, Any]], database: Database, settings: Settings) -> dict[str, str]:
    tried = [row for row in rows if row.get("attempt")]
    attempts = database.attempts(tried[-1]["id"]) if tried else []
    if not attempts or not attempts[0].get("flow_run"):
        return {}
    return {"flow run": f"{settings.prefect_ui_url}/runs/flow-run/{attempts[0]['flow_run']}"}
