"""The flow that preprocesses a session.

It orders things only: the plan decides, attempts on the lab's Dask cluster work, the database remembers.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
from http import HTTPStatus
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.states import State
from prefect.task_runners import ThreadPoolTaskRunner

from ranvier import settings as settings_module
from ranvier.client import Database, DatabaseRefused, Record
from ranvier.cluster import Cluster
from ranvier.dispatcher import FLOW
from ranvier.errors import RanvierError
from ranvier.flows.outcomes import flow_state, table, without_engine_traceback
from ranvier.flows.patience import patiently
from ranvier.flows.run import SessionRun
from ranvier.plan import Plan, Request, plan_rows, plan_session
from ranvier.plugins import registry
from ranvier.priority import Priority
from ranvier.session import Session, locate, reference_of
from ranvier.settings import Settings
from ranvier.spool import Spool
from ranvier.states import SETTLED

#: Threads of a flow run: each waits for one attempt, so there are as many as a session may have task instances.
_THREADS = 512


class UnknownSession(RanvierError):
    """The database has no such session."""


class NothingMeant(RanvierError):
    """Nothing in the session has the names that were asked for."""


class OtherLab(RanvierError):
    """The session is of another lab, whose own server has its data."""


@flow(name=FLOW, task_runner=ThreadPoolTaskRunner(max_workers=_THREADS))  # type: ignore[arg-type]  # as Prefect's documentation has it
def preprocess_session(
    session: str, force: bool = False, tasks: list[str] | None = None, downstream: bool = False, priority: Priority = Priority.NOW
) -> State[Any]:
    """Preprocess a session: run what is due, and only that.

    Parameters
    ----------
    session
        Id of the session in the database, or path of its folder.
    force
        Run although nothing has changed.
    tasks
        Names of tasks (`spike_sorting`) or of task instances (`spike_sorting[probe00]`) to look at; all by default.
    downstream
        Look at what comes after these tasks, too, and run what they have changed.
    priority
        `now` before `backfill`, where the cluster has more to do than it can at once.
    """
    settings = settings_module.load()
    database = Database.from_settings(settings).with_patience(math.inf, get_run_logger())
    record = _of_this_lab(_find(session, database), settings)
    flow_run = _introduce(record, database)
    day = dt.date.fromisoformat(record["start_time"][:10])
    folder = locate(settings.lab_root, record["subject"], day, record["number"])
    if not folder.path.is_dir():
        return State(type=StateType.COMPLETED, name="NoData", message=f"waiting for the data: {folder.path} is not on this server yet")
    run = _prepare(folder, record, settings, database, flow_run, Request(tasks, force, downstream))
    run.priority = priority
    try:
        for future in run.submit().values():
            future.wait()
    finally:
        run.cluster.close()
    return _conclude(run, record)


def _find(session: str, database: Database) -> Record:
    if "/" not in session:
        return database.session(session)
    found = database.find_session(Session.parse(session))
    if found is None:
        raise UnknownSession(f"{session} is not registered", "`ranvier register` does so")
    return database.session(found["id"])


def _of_this_lab(record: Record, settings: Settings) -> Record:
    if record["lab"] != settings.lab.name:
        raise OtherLab(
            f"session {record['id']} is of the lab {record['lab']}, and its data are not on the server of {settings.lab.name}",
            f"run the deployment {FLOW}/{record['lab']}, as `ranvier run {record['id']}` does",
        )
    return record


def _introduce(record: Record, database: Database) -> str:
    """Name the flow run after the session and link it; returns the flow run's id."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    flow_run = context.flow_run
    address = database.page(record["id"])

    def tell_prefect() -> None:
        if flow_run.name != reference_of(record):
            with get_client(sync_client=True) as client:
                client.update_flow_run(flow_run.id, name=reference_of(record))
        create_link_artifact(link=address, link_text=reference_of(record), key="session", description="The session in the database")

    patiently(tell_prefect, get_run_logger())
    return str(flow_run.id)


def _prepare(folder: Session, record: Record, settings: Settings, database: Database, flow_run: str, request: Request) -> SessionRun:
    for report in Spool(settings).catch_up(database, record["id"]):
        get_run_logger().info("handed in for attempt %d at %s: %s", report.number, report.instance, report.verdict["status"])
    plan, rows = _planned(folder, record["id"], settings, database, flow_run, request)
    by_name = {str(row["name"]): row for row in rows}
    if not plan.instances:
        database.note_nothing_applies(record)
    return SessionRun(plan, by_name, database, Cluster(settings), settings, record["id"], flow_run)


def _planned(
    folder: Session, eid: str, settings: Settings, database: Database, flow_run: str, request: Request
) -> tuple[Plan, list[Record]]:
    """The plan and its rows, from the tasks as they stood when it was saved: another run of the session may be at work on them."""
    installed = registry()
    while True:
        rows = database.tasks(eid)
        if request.force:
            request.done = _done_before(flow_run, rows, database)
        plan = plan_session(folder, installed.values(), settings, rows, request)
        if not any(map(request.names, plan.instances)) and (unmet := request.unmet(plan)):
            raise NothingMeant("; ".join(unmet), "`ranvier plan` shows what there is, and why the rest does not apply")
        try:
            saved = database.save_plan(eid, plan_rows(plan, settings), flow_run)
        except DatabaseRefused as refusal:
            if refusal.status != HTTPStatus.CONFLICT:
                raise
            get_run_logger().info(refusal.detail)
        else:
            _tell(plan, [*map(str, installed.problems), *plan.problems])
            return plan, saved


def _done_before(flow_run: str, rows: list[Record], database: Database) -> set[str]:
    """Instances that this flow run has brought to an end before its retry."""
    settled = {status.label for status in SETTLED}
    done = {attempt["task"] for attempt in database.attempts_of(flow_run) if attempt["status"] in settled}
    return {row["name"] for row in rows if row["id"] in done}


def _tell(plan: Plan, problems: list[str]) -> None:
    logger = get_run_logger()
    for problem in problems:
        logger.warning(problem)
    for name, decision in plan.decisions.items():
        logger.info("%s: %s, %s", name, decision.action, decision.reason)


def _conclude(run: SessionRun, record: Record) -> State[Any]:
    logging.getLogger("prefect.flow_runs").addFilter(without_engine_traceback)
    in_order = {instance.name: run.ended[instance.name] for instance in run.plan.instances if instance.name in run.ended}
    state = flow_state(in_order)
    content, description = f"{state.message}\n\n{table(in_order)}", f"What came of {reference_of(record)}"
    patiently(lambda: create_markdown_artifact(content, key="outcome", description=description), get_run_logger())
    return state
