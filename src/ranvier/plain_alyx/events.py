"""What sets runs off where the database has no events: looking for sessions, and the outbox; what there is no stand-in for."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from typing import Any

from ranvier.client import DatabaseRefused, Record
from ranvier.errors import RanvierError
from ranvier.plain_alyx import reruns
from ranvier.plain_alyx.connection import Connection, log

#: Sessions are asked for that were changed since the last look or up to a day before it: whatever the clocks and time zones are.
OVERLAP = dt.timedelta(days=1)


class Events(Connection):
    """Events, failures, reruns, backfills."""

    def pending_events(self) -> list[Record]:
        """Events that have not been delivered, oldest first; now and then new sessions are looked for."""
        if time.monotonic() - self._looked >= self._settings.database.poll_s:
            self._look_for_sessions()
            self._looked = time.monotonic()
        return self.outbox.pending()

    def _look_for_sessions(self) -> None:
        begun, last = dt.datetime.now(dt.UTC), self.outbox.last_look(self._lab)
        recent = f"&django=auto_datetime__gte,{(last - OVERLAP).replace(tzinfo=None).isoformat(timespec='seconds')}" if last else ""
        found = self._all(f"/sessions?lab={self._lab}&limit=250{recent}")
        with_folder = [record["id"] for record in found if record["start_time"] and record["number"] is not None]
        new = self.outbox.looked(self._lab, begun, with_folder)
        if last is None:
            log.info("%s has %d sessions of %s; those that come from now on are preprocessed", self.url, len(found), self._lab)
        for eid in new:
            log.info("session %s is new", eid)

    def event_delivered(self, event_id: int, flow_run: str) -> Record:
        """Mark an event as delivered to a flow run."""
        return self.outbox.delivered(event_id, flow_run)

    def event_failed(self, event_id: int, error: str) -> Record:
        """Note why an event could not be delivered."""
        return self.outbox.failed(event_id, error)

    def request_run(self, eid: str, kind: str, key: str, payload: Record | None = None) -> Record:
        """Ask for a session's preprocessing; the same key twice asks once.

        Raises
        ------
        RanvierError
            If this machine does not hold the lab's data: nobody would read what it writes down.
        """
        if not self._settings.lab_root.is_dir():
            raise RanvierError(
                f"{self._settings.lab_root} is not on this machine, and {self.url} is a plain Alyx that cannot pass a request on",
                f"ask on the server of {self._lab}",
            )
        return self.outbox.add(kind, key, eid, self.session(eid)["lab"], payload)

    def event(self, event_id: int) -> Record:
        """One event."""
        return self.outbox.event(event_id)

    def rerun(self, **asked: Any) -> Record:
        """Ask for the runs of named sessions.

        Raises
        ------
        DatabaseRefused
            If the sessions are to be searched for, or are not there.
        """
        return reruns.ask(self, self._settings, {"id": str(uuid.uuid4()), **asked})

    def rerun_session_ended(self, rerun_session: str, outcome: str) -> Record:
        """Refused, as `open_rerun_sessions` names none whose end could be told.

        Raises
        ------
        DatabaseRefused
            Always.
        """
        raise self._keeps_no("reruns")

    def rerun_sessions(self, rerun: str) -> list[Record]:
        """The sessions of a rerun, with their events."""
        events = self.outbox.beginning(f"rerun:{rerun}:")
        return [{"event": event["id"], "reference": event["session"], "flow_run": event["flow_run"]} for event in events]

    def open_rerun_sessions(self) -> list[Record]:
        """Nothing: how the flow runs of reruns ended is not kept."""
        return []

    def plan_backfill(self, **asked: Any) -> Record:
        """Refused: what a backfill would cost is told from attempts that only Ranvier's own database keeps.

        Raises
        ------
        DatabaseRefused
            Always.
        """
        raise self._keeps_no("backfills")

    def backfill(self, backfill: str) -> Record:
        """Refused, as `plan_backfill`."""
        raise self._keeps_no("backfills")

    def backfills(self, limit: int = 20) -> list[Record]:
        """None."""
        return []

    def step_backfill(self, backfill: str, state: str, *, anyway: bool = False) -> Record:
        """Refused, as `plan_backfill`."""
        raise self._keeps_no("backfills")

    def _keeps_no(self, what: str) -> DatabaseRefused:
        return DatabaseRefused(400, f"{self.url} is a plain Alyx, which keeps no {what}", "`ranvier rerun SESSION` runs a session again")

    def failures(self, **query: Any) -> list[Record]:
        """Refused: nobody counts equal failures here.

        Raises
        ------
        DatabaseRefused
            Always.
        """
        raise DatabaseRefused(
            404, f"{self.url} is a plain Alyx, which counts no failures", "`ranvier status SESSION` tells what failed in a session"
        )

    def pauses(self, task: str = "", lab: str = "") -> list[Record]:
        """Nothing is ever paused."""
        return []

    def lift(self, pause_id: str) -> Record:
        """Refused, as nothing is ever paused.

        Raises
        ------
        DatabaseRefused
            Always.
        """
        raise DatabaseRefused(404, f"{self.url} is a plain Alyx, in which no task is paused")

    def pending_notices(self) -> list[Record]:
        """No events for people."""
        return []
