"""Asking for a session's preprocessing through the database, and waiting until it has come to an end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import requests

from ranvier import prefect_api
from ranvier.amounts import counted
from ranvier.client import Database
from ranvier.errors import RanvierError
from ranvier.plugins import registry
from ranvier.priority import Priority
from ranvier.settings import Settings
from ranvier.states import Status

#: What Prefect calls the ends of a flow run.
_ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
#: Seconds for which Prefect may be silent while somebody waits.
SILENT_S = 120.0
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


def refuse_unknown(database: Database, eid: str, tasks: Sequence[str]) -> None:
    """Refuse names of tasks and task instances that neither the session has nor a new plan could bring.

    Raises
    ------
    RunProblem
        Naming them, and what the session has.
    """
    names = [row["name"] for row in database.tasks(eid)]
    here = {*names, *map(_task_of, names)}
    missing = [name for name in tasks if name not in here]
    # what is installed may be new here, but for an instance of a session that has been planned
    if unknown := [name for name in missing if _task_of(name) not in registry() or (names and "[" in name)]:
        hint = f"it has {', '.join(names) or 'none yet'}; `ranvier tasks list` shows what is installed"
        raise RunProblem(f"the session has no task {', '.join(unknown)}", hint)


def _task_of(name: str) -> str:
    return name.partition("[")[0]


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
        time.sleep(0.5)
        event = database.event(event["id"])
    return str(event["flow_run"])


def summary(answer: dict[str, Any]) -> str:
    """What came of a request for reruns, in a sentence or two.

    Parameters
    ----------
    answer
        What ``POST /reruns`` answered.
    """
    sessions, rest = len(answer["sessions"]), answer["left_out"]
    left_out = f" {rest} of the selection {'has' if rest == 1 else 'have'} no such task." if rest else ""
    if not sessions:
        return f"Nothing matches; nothing was asked for.{left_out}"
    soon = "" if answer["priority"] == Priority.NOW else ", behind all others"
    revived = f" {counted(answer['revived'], 'abandoned task')} taken up again." if answer["revived"] else ""
    asked = "Would ask" if answer["dry"] else "Asked"
    where = "" if answer["dry"] else f" In Prefect they have the tag rerun-{answer['id'][:8]}."
    return f"{asked} for runs of {counted(sessions, 'session')}{soon}.{revived}{left_out}{where}"


def await_rerun(database: Database, settings: Settings, rerun: str) -> Iterator[tuple[str, bool, str]]:
    """Wait for the flow runs of a rerun.

    Yields
    ------
    str, bool, str
        Of each session ``subject/date/number``, whether it went well, and the flow run's own words.
    """
    for row in database.rerun_sessions(rerun):
        flow_run = await_delivery(database, database.event(row["event"]))
        yield row["reference"], *await_end(settings, flow_run)


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
        If Prefect has not answered for two minutes, in which it would be started again, or does not know the flow run.
    """
    heard = time.monotonic()
    while True:
        state = None
        try:
            state = _state(settings, flow_run)
            heard = time.monotonic()
        except requests.RequestException as error:
            refused = error.response is not None and error.response.status_code < 500
            if refused or time.monotonic() - heard > SILENT_S:
                hint = "the run goes on without this command; `ranvier status` tells how it stands"
                raise RunProblem(f"Prefect at {settings.prefect_api_url} does not answer: {error}", hint) from None
        tick()
        if state is not None and state["type"] in _ENDS:
            return state["type"] == "COMPLETED", state["message"] or state["name"]
        time.sleep(1.0)


def unsettled(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the task instances that have still to come to an end."""
    return [row["name"] for row in rows if row["status"] in UNSETTLED]


def _state(settings: Settings, flow_run: str) -> dict[str, Any]:
    run = prefect_api.ask(settings, "GET", f"/flow_runs/{flow_run}")
    return dict(run["state"] or {"type": "PENDING", "name": "Pending", "message": ""})
