"""Starts flow runs again whose process has gone (``python -m ranvier.revival``): the server was stopped, or Prefect's worker died.
It also sees which of them are cancelled in Prefect (see `ranvier.cancelling`), and hands in what attempts have left in the spool (see
`ranvier.spool`).

Prefect goes on showing such a run as Running, or as Failed where Prefect itself did not answer it in time. On its lab's server each flow
run holds a lock while its process lives (see `ranvier.leash`), so a run without it is gone for certain; no other machine can tell. The run
is put into AwaitingRetry, as the Retry button of Prefect's UI does; what was done is not done again.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import sys
import time
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilterEndTime
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import AwaitingRetry, State
from prefect.types._datetime import now

from ranvier import settings as settings_module
from ranvier.cancelling import CancelWatch, flow_runs
from ranvier.client import Database, DatabaseRefused, DatabaseUnreachable
from ranvier.cluster import Cluster
from ranvier.dispatcher import FLOW, RERUN_FLOW
from ranvier.leash import shows_life
from ranvier.outages import Outages
from ranvier.services import pulse
from ranvier.settings import Settings
from ranvier.signs import Signs
from ranvier.spool import Spool

log = logging.getLogger("ranvier.revival")

#: Seconds between two looks.
LOOK_S = 2.0
#: A run that was handed to the worker has a process after so many seconds.
PENDING_S = 60.0
#: A run that failed so long ago is not looked at any more.
PAST = dt.timedelta(hours=1)
#: What Prefect says of a run that failed for no other reason than that Prefect itself did not answer it.
_UNHEARD = re.compile(
    r"encountered an exception: (\w*Timeout|\w*ConnectError|ReadError|WriteError|RemoteProtocolError|PrefectHTTPStatusError: Server error)"
)
#: A run that has been started so often is left as it is: it crashes by itself.
MOST_STARTS = 10


class Reviver:
    """Looks for flow runs of this machine's lab whose process has gone.

    Parameters
    ----------
    prefect
        Prefect's client.
    settings
        The machine's settings.
    """

    def __init__(self, prefect: SyncPrefectClient, settings: Settings) -> None:
        self.prefect = prefect
        self.lab = settings.lab.name
        self.locks = settings.home / "run" / "flows"
        self.cancels = CancelWatch(prefect, Database.from_settings(settings, patience_s=1.0), FLOW, self.lab, self.locks)
        self._outages = Outages(log)
        self._given_up: set[object] = set()
        self._pending_since: dict[object, float] = {}

    def round(self) -> None:
        """Stop what is cancelled, start again what has gone; while Prefect is away, nothing."""
        try:
            self._stop_what_is_cancelled()
            unfinished = self._unfinished()
            self._pending_since = {run.id: self._pending_since.get(run.id, time.monotonic()) for run in unfinished if _is_pending(run)}
            for run in [run for run in unfinished if self._has_gone(run)]:
                self._start_again(run)
        except httpx.HTTPError as error:
            self._outages.begin("Prefect", f"{self.prefect.api_url}: {error!r}")
        else:
            self._outages.end("Prefect")

    def _stop_what_is_cancelled(self) -> None:
        try:
            self.cancels.round()
        except (DatabaseUnreachable, DatabaseRefused) as error:
            self._outages.begin("the database", str(error))
        else:
            self._outages.end("the database")

    def _unfinished(self) -> list[FlowRun]:
        flows, states = (FLOW, RERUN_FLOW), (StateType.RUNNING, StateType.PENDING, StateType.CRASHED)
        failed = flow_runs(self.prefect, flows, self.lab, (StateType.FAILED,), end_time=FlowRunFilterEndTime(after_=now() - PAST))
        return [*flow_runs(self.prefect, flows, self.lab, states), *(run for run in failed if _is_unheard(run.state))]

    def _has_gone(self, run: FlowRun) -> bool:
        if shows_life(self._lock(run)):
            return False
        # asked again, as it may have ended, and said so, just before its lock was free
        state = self.prefect.read_flow_run(run.id).state
        if state is None:
            return False
        # not by the state's own time, which is that of Prefect's server
        starting = time.monotonic() - self._pending_since.get(run.id, time.monotonic()) < PENDING_S
        return state.is_running() or state.is_crashed() or _is_unheard(state) or (state.is_pending() and not starting)

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


def _is_unheard(state: State | None) -> bool:
    return state is not None and state.is_failed() and bool(_UNHEARD.search(state.message or ""))


def _is_pending(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_pending()


class HandIn:
    """Hands in the reports that attempts could not hand in themselves.

    Parameters
    ----------
    spool, database
        Where they are, and where they go.
    """

    def __init__(self, spool: Spool, database: Database) -> None:
        self.spool = spool
        self.database = database
        self._outages = Outages(log)

    def round(self) -> None:
        """Hand in what is there; while the database is away, nothing."""
        try:
            for report in self.spool.catch_up(self.database):
                status = report.verdict["status"]
                log.info("handed in for attempt %d at %s of %s: %s", report.number, report.instance, report.session_path, status)
        except DatabaseUnreachable as error:
            self._outages.begin("the database", str(error))
        else:
            self._outages.end("the database")


def main() -> None:
    """Look after the flow runs and the reports of this machine's lab, and tell the centre that it lives, until killed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = settings_module.load()
    sign = pulse(settings, "reviver")
    signs = Signs(Database.from_settings(settings, patience_s=1.0), settings, Cluster(settings))
    with get_client(sync_client=True) as prefect:
        reviver = Reviver(prefect, settings)
        spool = HandIn(Spool(settings), Database.from_settings(settings, patience_s=0.0))
        while True:
            spool.round()
            reviver.round()
            signs.round()
            sign.touch()
            time.sleep(LOOK_S)


if __name__ == "__main__":
    main()
