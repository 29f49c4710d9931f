"""What the database is asked to set off: runs of sessions by events, reruns, backfills."""

from __future__ import annotations

import uuid
from typing import Any

from ranvier.client.connection import Connection, Record

#: Kinds of events that are for people; all others are for Prefect.
NOTICES = ("task.failed", "task.paused", "task.abandoned")


class Events(Connection):
    """Events, reruns and backfills."""

    def pending_events(self) -> list[Record]:
        """Events for Prefect that have not been delivered, oldest first."""
        return [event for event in self._get("/events?pending=true") if event["kind"] not in NOTICES]

    def pending_notices(self) -> list[Record]:
        """Events for people that have not been delivered, oldest first."""
        return list(self._get(f"/events?pending=true&kind={','.join(NOTICES)}"))

    def event(self, event_id: int) -> Record:
        """One event."""
        return self._get(f"/events/{event_id}")

    def event_delivered(self, event_id: int, flow_run: str) -> Record:
        """Mark an event as delivered to a flow run."""
        return self._call("patch", f"/events/{event_id}", {"delivered": True, "flow_run": flow_run})

    def event_failed(self, event_id: int, error: str) -> Record:
        """Note why an event could not be delivered."""
        return self._call("patch", f"/events/{event_id}", {"error": error})

    def request_run(self, eid: str, kind: str, key: str, payload: Record | None = None) -> Record:
        """Ask for a session's preprocessing; the same key twice asks once."""
        return self._post("/events", {"kind": kind, "session": eid, "key": key, "payload": payload or {}})

    def rerun(self, **asked: Any) -> Record:
        """Ask for the runs of a selection; see ``POST /reruns`` in docs/architecture.md.

        Raises
        ------
        DatabaseRefused
            If the selection names nothing, or what is not there.
        """
        return self._post("/reruns", {"id": str(uuid.uuid4()), **asked})

    def rerun_sessions(self, rerun: str) -> list[Record]:
        """The sessions of a rerun, with their flow runs and how these ended."""
        return list(self._get(f"/rerun-sessions?rerun={rerun}&limit=1000"))

    def open_rerun_sessions(self) -> list[Record]:
        """The sessions of all reruns that Prefect has heard of and whose flow run has not ended, as far as is known."""
        return list(self._get("/rerun-sessions?open=true&delivered=true&limit=1000"))

    def rerun_session_ended(self, rerun_session: str, outcome: str) -> Record:
        """Tell how the flow run of a rerun's session ended."""
        return self._call("patch", f"/rerun-sessions/{rerun_session}", {"outcome": outcome})

    def plan_backfill(self, **asked: Any) -> Record:
        """Plan a backfill; see ``POST /backfills`` in docs/architecture.md."""
        return self._post("/backfills", asked)

    def backfill(self, backfill: str) -> Record:
        """A backfill, and how it goes."""
        return self._get(f"/backfills/{backfill}")

    def backfills(self, limit: int = 20) -> list[Record]:
        """The latest backfills."""
        found = self._get(f"/backfills?limit={limit}")
        return [found[index] for index in range(min(limit, len(found)))]

    def step_backfill(self, backfill: str, state: str, *, anyway: bool = False) -> Record:
        """Start a backfill (``canary``), have it go on (``going``) or stop it (``stopped``).

        Raises
        ------
        DatabaseRefused
            With status 409 when it is not where this follows.
        """
        return self._call("patch", f"/backfills/{backfill}", {"state": state, "anyway": anyway})
