"""The flow that preprocesses a session.

It orders things only: the plan decides, attempts on the lab's Dask cluster work, the database remembers.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.states import State
from prefect.task_runners import ThreadPoolTaskRunner

from ranvier import settings as settings_module
from ranvier.client import Database, Record
from ranvier.cluster import Cluster
from ranvier.dispatcher import FLOW, run_name
from ranvier.errors import RanvierError
from ranvier.flows.outcomes import flow_state, table, without_engine_traceback
from ranvier.flows.run import SessionRun
from ranvier.plan import Plan, Request, plan_rows, plan_session
from ranvier.plugins import registry
from ranvier.session import Session, locate
from ranvier.settings import Settings

#: Threads of a flow run: each waits for one attempt, so there are as many as a session may have task instances.
_THREADS = 512


class UnknownSession(RanvierError):
    """The database has no such session."""


@flow(name=FLOW, task_runner=ThreadPoolTaskRunner(max_workers=_THREADS))  # type: ignore[arg-type]  # as Prefect's documentation has it
def preprocess_session(session: str, force: bool = False, tasks: list[str] | None = None) -> State[Any]:
    """Preprocess a session: run what is due, and only that.

    Parameters
    ----------
    session
        Id of the session in the database, or path of its folder.
    force
        Run although nothing has changed.
    tasks
        Names of tasks (`spike_sorting`) or of task instances (`spike_sorting[probe00]`) to look at; all by default.
    """
    settings = settings_module.load()
    database = Database.from_settings(settings)
    record = _find(session, database)
    flow_run = _introduce(record, database)
    day = dt.date.fromisoformat(record["start_time"][:10])
    folder = locate(settings.lab_root, record["subject"], day, record["number"])
    if not folder.path.is_dir():
        return State(type=StateType.COMPLETED, name="NoData", message=f"waiting for the data: {folder.path} is not on this server yet")
    run = _prepare(folder, record, settings, database, flow_run, Request(tasks, force))
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


def _introduce(record: Record, database: Database) -> str:
    """Name the flow run after the session and link it; returns the flow run's id."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    if context.flow_run.name != run_name(record):
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, name=run_name(record))
    create_link_artifact(
        link=f"{database.url}/session/{record['id']}", link_text=run_name(record), key="session", description="The session in the database"
    )
    return str(context.flow_run.id)


def _prepare(folder: Session, record: Record, settings: Settings, database: Database, flow_run: str, request: Request) -> SessionRun:
    installed = registry()
    plan = plan_session(folder, installed.values(), settings, database.tasks(record["id"]), request)
    _tell(plan, [*map(str, installed.problems), *plan.problems])
    rows = database.save_plan(record["id"], plan_rows(plan, settings))
    by_name = {str(row["name"]): row for row in rows}
    return SessionRun(plan, by_name, database, Cluster(settings), settings, record["id"], flow_run, request.force)


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
    create_markdown_artifact(f"{state.message}\n\n{table(in_order)}", key="outcome", description=f"What came of {run_name(record)}")
    return state
