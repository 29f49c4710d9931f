"""Holds what the database says against what is on disk, in Prefect and on the Dask cluster.

Each difference is a finding with the command that mends it; nothing is changed here.
"""

from __future__ import annotations

import datetime as dt
import functools
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import requests

from ranvier import prefect_api
from ranvier.agent import ERROR_NOTE
from ranvier.amounts import counted
from ranvier.client import Database, Record
from ranvier.finding import Finding
from ranvier.hashes import digest
from ranvier.leash import shows_life
from ranvier.metrics import age_s
from ranvier.session import READY_FLAG, Session, SessionPathError, reference_of
from ranvier.settings import Settings
from ranvier.states import Status

#: Seconds for which something may be on its way before it is a finding.
GRACE_S = 600.0
#: Findings of one kind that are told one by one; of the rest only their number.
MOST_TOLD = 10
#: Prefect's states of a flow run that has not ended.
_ACTIVE = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")


def differences(settings: Settings, database: Database, *, since: dt.date, hashes: bool = False) -> Iterator[Finding]:
    """Compare database, Prefect, Dask and disk for this machine's lab.

    Parameters
    ----------
    settings
        Of the lab's server, whose disk is looked at.
    database
        The database.
    since
        Sessions and datasets that are older are not looked at.
    hashes
        Whether to read every file again and compare its md5, which takes as long as reading them.

    Yields
    ------
    Finding
        One for each difference; for a kind of difference that there is none of, one that says so.
    """
    known = {reference_of(record) for record in database.lab_sessions(settings.lab.name, since)}
    active = _active_runs(settings)
    yield from _told("leases", _overdue(database, settings), "no task is Started beyond its lease")
    if isinstance(active, Finding):
        yield active
    else:
        yield from _told("waiting tasks", _idle(database, settings, active), "a flow run attends to every task that waits")
        yield from _told("flow runs", _dead(settings, active), "every running flow run has its process")
    yield from _told("workers", _silent_workers(database, settings), "every attempt has its process")
    yield from _told("registration", _unregistered(settings, known, since), "every session folder is registered")
    yield from _told("files", _damaged(database, settings, since, hashes), f"all are as registered{' (md5 compared)' if hashes else ''}")
    yield from _told("scratch", _leftovers(database, settings), "nothing is left of attempts that have ended")


def _told(part: str, found: Iterable[tuple[str, str]], well: str) -> Iterator[Finding]:
    """A finding for each difference, up to `MOST_TOLD`, and one for the number of the others; or one that all is well."""
    rest = iter(found)
    told = [Finding(part, False, detail, mend) for detail, mend in islice(rest, MOST_TOLD)]
    yield from told or [Finding(part, True, well)]
    if more := sum(1 for _ in rest):
        yield Finding(part, False, f"and {more} more of this kind", "mend these first, and look again")


# database and Prefect


def _overdue(database: Database, settings: Settings) -> Iterator[tuple[str, str]]:
    for row in database.lab_tasks(settings.lab.name, Status.STARTED):
        lease = row.get("lease_until")
        if lease is None:
            yield f"{_name(row, database)} is Started without a lease, by a client that knows none", _rerun(row, database)
        elif age_s(lease) > GRACE_S:
            yield f"{_name(row, database)} is Started, but its lease ran out at {lease}", f"less {settings.home}/logs/dispatcher.log"


def _idle(database: Database, settings: Settings, active: list[Record]) -> Iterator[tuple[str, str]]:
    """Sessions with tasks that wait while no flow run attends to them and no event asks for one."""
    attended = {run["parameters"].get("session") for run in active}
    attended |= {event["session"] for event in database.pending_events()}
    waiting: dict[str, list[Record]] = defaultdict(list)
    for row in database.lab_tasks(settings.lab.name, Status.WAITING):
        if row["session"] not in attended and age_s(row["datetime"]) > GRACE_S:
            waiting[row["session"]].append(row)
    for eid, rows in waiting.items():
        reference = reference_of(database.session(eid))
        yield f"no flow run attends to {counted(len(rows), 'waiting task')} of {reference}", f"ranvier run {reference}"


def _active_runs(settings: Settings) -> list[Record] | Finding:
    """The flow runs of this lab that have not ended, or the finding that Prefect does not answer."""
    body = {
        "work_pools": {"name": {"any_": [settings.lab.name]}},
        "flow_runs": {"state": {"type": {"any_": list(_ACTIVE)}}},
        "limit": 200,
    }
    found: list[Record] = []
    try:
        while page := prefect_api.ask(settings, "POST", "/flow_runs/filter", {**body, "offset": len(found)}):
            found += page
    except requests.RequestException as error:
        return Finding("flow runs", False, f"Prefect at {settings.prefect_api_url} does not answer: {error}", "ranvier up")
    return found


def _dead(settings: Settings, active: list[Record]) -> Iterator[tuple[str, str]]:
    """Flow runs that Prefect shows as running and that no process of this machine works at."""
    for run in active:
        begun = run["state_type"] == "RUNNING" and age_s(run["state"]["timestamp"]) > GRACE_S
        if begun and not shows_life(settings.home / "run" / "flows" / f"{run['id']}.lock"):
            detail = f"the flow run {run['name']} ({run['id']}) is Running in Prefect and has no process here"
            yield detail, f"ranvier rerun {run['name']}"


# cluster


def _silent_workers(database: Database, settings: Settings) -> Iterator[tuple[str, str]]:
    """Attempts of this machine whose worker process is gone, so that they end only when their lease runs out."""
    for row in database.lab_tasks(settings.lab.name, Status.STARTED):
        current = next((each for each in database.attempts(row["id"]) if each["status"] == Status.STARTED.label), None)
        host, _, pid = (current or {}).get("worker", "").rpartition(":")
        if host == socket.gethostname() and not Path("/proc", pid).exists():
            yield f"the worker of {_name(row, database)} (process {pid}) is gone", f"less {settings.home}/logs/dask-worker.log"


# disk


def _unregistered(settings: Settings, known: set[str], since: dt.date) -> Iterator[tuple[str, str]]:
    for folder in sorted(settings.lab_root.glob("*/*/*")):
        try:
            session = Session.parse(folder)
        except SessionPathError:
            continue
        if session.date < since or session.reference in known:
            continue
        note = folder / ERROR_NOTE
        if note.exists():
            yield f"{folder} cannot be registered: {note.read_text().strip()}", f"ranvier register {folder}"
        elif time.time() - folder.stat().st_mtime < GRACE_S:
            continue
        elif (folder / READY_FLAG).exists():
            yield f"{folder} has its flag and is not registered", f"less {settings.home}/logs/agent.log"
        else:
            yield f"{folder} has no {READY_FLAG} and is not registered", f"ranvier register {folder}"


def _damaged(database: Database, settings: Settings, since: dt.date, hashes: bool) -> Iterator[tuple[str, str]]:
    """Files that the database says to be here and that are not, or not as they were registered."""
    tasks = functools.cache(database.tasks)
    for dataset in database.lab_datasets(settings.lab.name, since):
        for copy in dataset["file_records"]:
            if copy["exists"] and copy["data_repository"] == settings.repository:
                path = settings.lab_root / copy["relative_path"]
                if problem := _problem(path, dataset, hashes):
                    yield f"{path} {problem}", _mend(copy["relative_path"], tasks(dataset["session"][-36:]))


def _problem(path: Path, dataset: Record, hashes: bool) -> str:
    if not path.is_file():
        return "is registered and is not there"
    if dataset["file_size"] is not None and path.stat().st_size != dataset["file_size"]:
        return f"has {path.stat().st_size} bytes and was registered with {dataset['file_size']}"
    if hashes and dataset["hash"] and digest(path) != dataset["hash"]:
        return f"has another md5 than the {dataset['hash']} that was registered"
    return ""


def _mend(relative_path: str, tasks: Iterable[Record]) -> str:
    """What makes a file again: the task that wrote it, or a copy of what the rig wrote."""
    *session, below = relative_path.split("/", 3)
    writers = [row["name"] for row in tasks if any(output["path"] == below for output in row.get("outputs") or ())]
    if below.startswith("raw_") or not writers:
        return "copy it again from the rig or a backup"
    return f"ranvier rerun {'/'.join(session)} --task '{writers[0]}' --force"


def _leftovers(database: Database, settings: Settings) -> Iterator[tuple[str, str]]:
    """Scratch folders of attempts that do not run any more."""
    for session_scratch in sorted((settings.work_folder / "scratch").glob("*")):
        old = [path for path in session_scratch.iterdir() if time.time() - path.stat().st_mtime > GRACE_S]
        if not old:
            continue
        running = [(row["name"], row["attempt"]) for row in database.tasks(session_scratch.name) if row["status"] == Status.STARTED.label]
        slugs = {f"{name.replace('[', '.').removesuffix(']')}.{attempt}" for name, attempt in running}
        for path in old:
            if path.name not in slugs:
                yield f"{path} is left of an attempt that was cut off; its next attempt removes it", f"ranvier rerun {session_scratch.name}"


# names and times


def _name(row: Record, database: Database) -> str:
    return f"{row['name']} of {reference_of(database.session(row['session']))}"


def _rerun(row: Record, database: Database) -> str:
    return f"ranvier rerun {reference_of(database.session(row['session']))} --task '{row['name']}'"
