"""Follows up the flow runs of reruns: tells the database how each has ended, and takes back those that are no longer wanted.

The database cannot ask Prefect; the dispatcher, which knows both, carries the answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled

from ranvier.client import Database, Record

log = logging.getLogger("ranvier.dispatcher")

#: Seconds between two looks.
LOOK_S = 5.0
#: Flow runs that Prefect is asked for at once: its own limit.
PAGE = 200


class Followup:
    """Looks at the flow runs of reruns that have not ended.

    Parameters
    ----------
    database
        The database, which knows them.
    prefect
        Prefect's client.
    """

    def __init__(self, database: Database, prefect: SyncPrefectClient) -> None:
        self.database = database
        self.prefect = prefect
        self._looked = 0.0

    def round(self) -> bool:
        """Look, if it is time to; returns whether Prefect was asked and answered."""
        if time.monotonic() - self._looked < LOOK_S:
            return False
        self._looked = time.monotonic()
        open_ = self.database.open_rerun_sessions()
        for row in open_:
            if not row["flow_run"]:  # its event was taken back before Prefect heard of it
                self._tell(row, "Cancelled: taken back before it began")
        waiting = [row for row in open_ if row["flow_run"]]
        for page in _pages(waiting):
            states = self._states(page)
            for row in page:
                self._follow(row, states.get(row["flow_run"]))
        return bool(waiting)

    def _states(self, rows: Sequence[Record]) -> dict[str, FlowRun]:
        ids = [UUID(row["flow_run"]) for row in rows]
        found = self.prefect.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)), limit=PAGE)
        return {str(run.id): run for run in found}

    def _follow(self, row: Record, run: FlowRun | None) -> None:
        if run is None or run.state is None:
            self._tell(row, "Gone: Prefect has no such flow run any more")
        elif run.state.is_final():
            self._tell(row, f"{run.state.name}: {run.state.message}" if run.state.message else str(run.state.name))
        elif row["withdrawn"] and run.state.is_scheduled():
            self.prefect.set_flow_run_state(run.id, Cancelled(message="stopped before it began"), force=True)
            self._tell(row, "Cancelled: stopped before it began")

    def _tell(self, row: Record, outcome: str) -> None:
        self.database.rerun_session_ended(row["id"], outcome)
        log.info("flow run %s of %s has ended: %s", row["flow_run"] or "(none)", row["reference"], outcome)


def _pages(rows: Sequence[Record]) -> Iterator[Sequence[Record]]:
    return (rows[start : start + PAGE] for start in range(0, len(rows), PAGE))
