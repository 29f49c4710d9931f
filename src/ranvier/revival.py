"""Starts flow runs again whose process has gone: the server was stopped or lost its power, or Prefect's worker died.

Prefect goes on showing such a run as Running. On this machine each flow run holds a lock while its process lives (see `ranvier.leash`), so
a run without it is gone for certain. It is put into AwaitingRetry, as the Retry button of Prefect's UI does; what was done is not done
again.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import AwaitingRetry, State
from prefect.types._datetime import now

from ranvier.leash import shows_life
from ranvier.settings import Settings

log = logging.getLogger("ranvier.dispatcher")

#: Seconds between two looks.
LOOK_S = 5.0
#: A run that was handed to the worker has a process after so many seconds.
PENDING_S = 60.0
#: A run that has been started so often is left as it is: it crashes by itself.
MOST_STARTS = 10


class Reviver:
    """Looks for flow runs of this machine's lab whose process has gone.

    Parameters
    ----------
    prefect
        Prefect's client.
    flow
        Name of the flow.
    settings
        The machine's settings.
    """

    def __init__(self, prefect: SyncPrefectClient, flow: str, settings: Settings) -> None:
        self.prefect = prefect
        self.flow = flow
        self.lab = settings.lab.name
        self.locks = settings.home / "run" / "flows"
        self._looked = 0.0
        self._given_up: set[object] = set()

    def round(self) -> bool:
        """Start again what has gone, if it is time to look; returns whether it looked."""
        if time.monotonic() - self._looked < LOOK_S:
            return False
        self._looked = time.monotonic()
        for run in [run for run in self._unfinished() if self._has_gone(run)]:
            self._start_again(run)
        return True

    def _unfinished(self) -> list[FlowRun]:
        types = [StateType.RUNNING, StateType.PENDING, StateType.CRASHED]
        return self.prefect.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[self.flow])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types))),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[self.lab])),
        )

    def _has_gone(self, run: FlowRun) -> bool:
        if shows_life(self._lock(run)):
            return False
        # asked again, as it may have ended, and said so, just before its lock was free
        state = self.prefect.read_flow_run(run.id).state
        if state is None:
            return False
        starting = state.is_pending() and (now("UTC") - state.timestamp).total_seconds() < PENDING_S
        return state.is_running() or state.is_crashed() or (state.is_pending() and not starting)

    def _start_again(self, run: FlowRun) -> None:
        if run.run_count >= MOST_STARTS:
            if run.id not in self._given_up:
                log.error("flow run %s (%s) has crashed %d times; it is left as it is", run.name, run.id, run.run_count)
            self._given_up.add(run.id)
            return
        self._lock(run).unlink(missing_ok=True)
        state: State[None] = AwaitingRetry(message="its process has gone; it goes on where it was")
        self.prefect.set_flow_run_state(run.id, state, force=True)
        log.warning("flow run %s (%s) had no process any more; it goes on where it was", run.name, run.id)

    def _lock(self, run: FlowRun) -> Path:
        return self.locks / f"{run.id}.lock"
