"""Asking for a session's preprocessing through the database, and waiting until it has come to an end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import requests

from ranvier.client import Database
from ranvier.errors import RanvierError
from ranvier.settings import Settings
from ranvier.states import Status

#: What Prefect calls the ends of a flow run.
_ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
UNSETTLED = (Status.WAITING.label, Status.STARTED.label)


class RunProblem(RanvierError):
    """A run that was asked for does not come about."""


def ask(database: Database, eid: str, tasks: Sequence[str] | None = None, *, force: bool = False) -> dict[str, Any]:
    """Ask for a run of a session; the dispatcher hands it to Prefect.

    Parameters
    ----------
    database
        The database.
    eid
        Id of the session.
    tasks
        Names of tasks or task instances; None for all that are due.
    force
        Run them although nothing has changed.

    Returns
    -------
    dict
        The event.
    """
    payload = {"tasks": list(tasks) if tasks else None, "force": force}
    return database.request_run(eid, "session.requested", f"{eid}:asked:{uuid.uuid4()}", payload)


def revive(database: Database, eid: str, tasks: Sequence[str] | None = None) -> list[str]:
    """Set what was given up (Abandoned) Waiting, so that the next run takes it up.

    Parameters
    ----------
    database
        The database.
    eid
        Id of the session.
    tasks
        Names of tasks or task instances; None for all.

    Returns
    -------
    list of str
        Names of the instances that were.
    """
    rows = [row for row in database.tasks(eid) if row["status"] == Status.ABANDONED.label]
    chosen = [row for row in rows if tasks is None or {row["name"], row["executable"]} & set(tasks)]
    for row in chosen:
        database.patch_task(row["id"], status=Status.WAITING.label, reason="")
    return [row["name"] for row in chosen]


def await_delivery(database: Database, event: dict[str, Any], timeout_s: float = 60.0) -> str:
    """Wait until an event has become a flow run.

    Returns
    -------
    str
        Id of the flow run.

    Raises
    ------
    RunProblem
        If it has not within the time; it says what the dispatcher noted.
    """
    until = time.monotonic() + timeout_s
    while not event.get("flow_run"):
        if time.monotonic() > until:
            noted = event.get("error") or "the dispatcher has not looked at it"
            raise RunProblem(
                f"no flow run was made of event {event['id']} within {timeout_s:g} s: {noted}", "`ranvier doctor` looks into it"
            )
        time.sleep(0.5)  # the same key again answers with the event as it stands
        event = database.request_run(event["session"], event["kind"], event["key"], event["payload"])
    return str(event["flow_run"])


def await_end(settings: Settings, flow_run: str, tick: Callable[[], None] = lambda: None) -> tuple[bool, str]:
    """Wait until a flow run has ended.

    Parameters
    ----------
    settings
        Of this machine; they say where Prefect is.
    flow_run
        Id of the flow run.
    tick
        Called about once a second.

    Returns
    -------
    bool, str
        Whether it went well, and its own words.

    Raises
    ------
    RunProblem
        If Prefect does not answer.
    """
    while True:
        state = _state(settings, flow_run)
        tick()
        if state["type"] in _ENDS:
            return state["type"] == "COMPLETED", state["message"] or state["name"]
        time.sleep(1.0)


def unsettled(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the task instances that have still to come to an end."""
    return [row["name"] for row in rows if row["status"] in UNSETTLED]


def _state(settings: Settings, flow_run: str) -> dict[str, Any]:
    url = f"{settings.prefect_api_url}/flow_runs/{flow_run}"
    try:
        answer = requests.get(url, timeout=10)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise RunProblem(f"GET {url}: {error}", "the run goes on without this command; `ranvier status` tells how it stands") from None
    return dict(answer.json()["state"] or {"type": "PENDING", "name": "Pending", "message": ""})
