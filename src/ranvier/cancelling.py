"""Cancelling between the database and Prefect, in both directions.

Whoever cancels a flow run in Prefect cancels its tasks in the database, whose attempts hear of it at their next heartbeat; whoever cancels
a session in the database cancels its flow runs in Prefect.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterName,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, TaskRun
from prefect.states import Cancelled, Cancelling, State
from prefect.types._datetime import now

from ranvier.client import Database, Record
from ranvier.leash import shows_life
from ranvier.states import SETTLED, Status

log = logging.getLogger("ranvier.cancelling")

#: Who cancels in Prefect's UI, which knows no names.
SOMEONE = "someone in Prefect"
#: A flow run that was cancelled so long ago is not looked at any more.
_PAST = dt.timedelta(hours=1)
#: So long after it was asked to stop, a flow run without a process has none that could still say that it has stopped.
_DYING = dt.timedelta(seconds=60)
#: Seconds for which Prefect's task runs are looked at after their flow run has stopped.
_LATE_S = 60.0
_OPEN = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED)


def flow_runs(prefect: SyncPrefectClient, flows: Sequence[str], lab: str, types: tuple[StateType, ...], **more: object) -> list[FlowRun]:
    """Flow runs of a lab whose state is of one of some types.

    Parameters
    ----------
    prefect
        Prefect's client.
    flows, lab
        Names of the flows and of the lab's work pool.
    types
        Types of states.
    **more
        Further criteria of Prefect's `FlowRunFilter`.
    """
    return prefect.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))), **more),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[lab])),
    )


def cancel_flow_runs(prefect: SyncPrefectClient, flow: str, lab: str, name: str, by: str) -> list[FlowRun]:
    """Have Prefect cancel a session's flow runs that have not ended, as its UI does; returns them.

    Parameters
    ----------
    prefect
        Prefect's client.
    flow, lab, name
        Names of the flow, of the lab's work pool and of the session's flow runs.
    by
        Who asked for it.
    """
    found = flow_runs(prefect, [flow], lab, _OPEN, name=FlowRunFilterName(any_=[name]))
    for run in found:
        prefect.set_flow_run_state(run.id, Cancelling(message=f"cancelled by {by}"))
    return found


class CancelWatch:
    """Sees which flow runs of this machine's lab are cancelled in Prefect, and has their tasks stop.

    Parameters
    ----------
    prefect, database
        Clients of both.
    flow, lab
        Names of the flow and of the lab's work pool.
    locks
        The folder in which each flow run of this machine shows that it lives.
    """

    def __init__(self, prefect: SyncPrefectClient, database: Database, flow: str, lab: str, locks: Path) -> None:
        self.prefect = prefect
        self.database = database
        self.flow = flow
        self.lab = lab
        self.locks = locks
        self._stopped: dict[object, float] = {}
        self._over: set[object] = set()

    def round(self) -> None:
        """Cancel in the database what is cancelled in Prefect; once it has stopped, tell Prefect where each task stands."""
        recent = FlowRunFilterEndTime(after_=now("UTC") - _PAST)
        cancelling = flow_runs(self.prefect, [self.flow], self.lab, (StateType.CANCELLING,))
        cancelled = flow_runs(self.prefect, [self.flow], self.lab, (StateType.CANCELLED,), end_time=recent)
        for run in cancelling:
            self._stop(run)
            self._see_to_its_end(run)
        for run in cancelled:
            if _once(run) not in self._over:
                self._stop(run)
                self._conclude(run)

    def _stop(self, run: FlowRun) -> None:
        # again and again, as the run may have made its plan after the last time
        stopped = self.database.cancel(flow_run=str(run.id), by=SOMEONE)
        if stopped:
            log.info("flow run %s (%s) is cancelled; with it %s", run.name, run.id, ", ".join(row["name"] for row in stopped))

    def _see_to_its_end(self, run: FlowRun) -> None:
        """Call it cancelled where no process is left that could: Prefect's worker had died with it."""
        assert run.state is not None
        if now("UTC") - run.state.timestamp > _DYING and not shows_life(self.locks / f"{run.id}.lock"):
            message = f"{run.state.message or 'cancelled'}; its process had gone before"
            self.prefect.set_flow_run_state(run.id, Cancelled(message=message), force=True)

    def _conclude(self, run: FlowRun) -> None:
        rows = {row["name"]: row for row in self.database.flow_run_tasks(str(run.id))}
        if shows_life(self.locks / f"{run.id}.lock") or any(row["status"] == Status.STARTED.label for row in rows.values()):
            return
        for task_run in self._task_runs(run):
            wanted = _state(rows[task_run.name]) if task_run.name in rows else None
            if wanted is not None and (task_run.state_type, task_run.state_name) != (wanted.type, wanted.name):
                self.prefect.set_task_run_state(task_run.id, wanted, force=True)
        # Prefect takes note of task runs with some delay: what their engine said last may come after this
        if time.monotonic() - self._stopped.setdefault(_once(run), time.monotonic()) > _LATE_S:
            self._over.add(_once(run))

    def _task_runs(self, run: FlowRun) -> list[TaskRun]:
        """Task runs of the run that was cut off, which Prefect's engine has left as they were, or as crashed."""
        found = self.prefect.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])), limit=200)
        return [each for each in found if each.flow_run_run_count == run.run_count and each.state_type != StateType.COMPLETED]


def _once(run: FlowRun) -> tuple[object, int]:
    """One run of a flow run, which may be retried, and be cancelled once more."""
    return run.id, run.run_count


def _state(row: Record) -> State[None]:
    """What Prefect is to show of a task whose flow run was cancelled: what became of it in the database."""
    status, reason = Status.parse(row["status"]), row["reason"]
    if status in SETTLED:
        return State(type=StateType.COMPLETED, name=status.label, message=reason)
    if status == Status.ERRORED and not reason.startswith("cancelled "):
        return State(type=StateType.FAILED, name=status.label, message=reason)
    held_otherwise = status == Status.HELD and not reason.startswith("cancelled ")
    return State(type=StateType.CANCELLED, name=status.label if held_otherwise else "Cancelled", message=reason)
