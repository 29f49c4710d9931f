"""The flow behind the form in Prefect's UI that reruns tasks of many sessions."""

from __future__ import annotations

import datetime as dt
from enum import Enum
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from pydantic import Field

from ranvier import settings as settings_module
from ranvier.client import Database, Record
from ranvier.dispatcher import RERUN_FLOW
from ranvier.flows.outcomes import cell
from ranvier.priority import Priority
from ranvier.runs import RunProblem, summary
from ranvier.states import Status

TaskStatus = Enum("TaskStatus", {status.name: status.label for status in Status}, type=str)  # type: ignore[misc]  # the form's choices


def _name() -> str:
    asked = flow_run.parameters
    return " ".join(filter(None, ["rerun", ", ".join(asked["tasks"] or ["what is due"]), asked["failure"]]))


@flow(name=RERUN_FLOW, flow_run_name=_name)
def rerun(
    sessions: list[str] = Field([], description="Sessions, by id or as subject/yyyy-mm-dd/number. Empty: whatever the rest chooses."),
    tasks: list[str] = Field([], description="Tasks, such as spike_sorting, or one instance, such as spike_sorting[probe00]. Empty: all."),
    labs: list[str] = Field([], description="Labs. Empty: all."),
    since: dt.date | None = Field(None, description="First day of the sessions."),
    until: dt.date | None = Field(None, description="Last day of the sessions."),
    statuses: list[TaskStatus] = Field([], description="Tasks that are now Errored, for example. Empty: whatever they are."),
    failure: str = Field("", description="Fingerprint of a failure, or its beginning: tasks whose last attempt failed so."),
    force: bool = Field(False, description="Run the tasks although nothing has changed."),
    downstream: bool = Field(True, description="Also run what comes after these tasks, where they change what it reads."),
    priority: Priority | None = Field(None, description="How soon. Left out: now for one session, behind all others for more."),
    dry: bool = Field(False, description="Only show what would be asked for."),
) -> str:
    """Ask for the reruns that the form chooses; each session becomes a flow run of its own.

    What is filled in must all agree. With neither tasks nor statuses nor a failure, each session runs what is due.
    """
    asked = {
        "sessions": sessions,
        "tasks": tasks,
        "labs": labs,
        "since": since and since.isoformat(),
        "until": until and until.isoformat(),
        "statuses": [status.value for status in statuses],
        "failures": [failure] if failure else [],
        "priority": priority and priority.value,
    }
    answer = Database.from_settings(settings_module.load()).rerun(id=_flow_run_id(), **asked, force=force, downstream=downstream, dry=dry)
    return _tell(answer)


def _flow_run_id() -> str:
    """The flow run's id is the request's, so that a retry asks for nothing twice."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return str(context.flow_run.id)


def _tell(answer: Record) -> str:
    for each in answer["sessions"]:
        get_run_logger().info("%s: %s, as %s", each["reference"], ", ".join(each["tasks"] or ["all tasks"]), each["reason"])
    words = summary(answer)
    create_markdown_artifact(f"{words}\n\n{_table(answer['sessions'])}", key="rerun", description=words)
    if not answer["sessions"]:
        raise RunProblem(words, "choose otherwise; `dry` shows what would be asked for")
    return words


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"| {each['reference']} | {cell(', '.join(each['tasks'] or ['all']))} | {cell(each['reason'])} |" for each in rows]
    return "\n".join(["| session | tasks | reason |", "|---|---|---|", *lines])
