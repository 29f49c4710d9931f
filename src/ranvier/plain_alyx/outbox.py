"""The outbox on a plain Alyx: events of new sessions, found by polling, and requests for runs; kept in the ledger's file."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Iterable

from ranvier.client import Record
from ranvier.plain_alyx.ledger import Ledger

_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL UNIQUE, session TEXT NOT NULL, lab TEXT NOT NULL,
    payload TEXT NOT NULL, created TEXT NOT NULL, delivered TEXT, flow_run TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS seen (session TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS looks (lab TEXT PRIMARY KEY, at TEXT NOT NULL);
"""


class Outbox:
    """Events that the dispatcher must tell Prefect.

    Parameters
    ----------
    ledger
        In whose file they are.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        with ledger.transaction() as sql:
            for table in filter(str.strip, _TABLES.split(";")):
                sql.execute(table)

    def add(self, kind: str, key: str, session: str, lab: str, payload: Record | None = None) -> Record:
        """Write an event down; the same key again is the same event."""
        with self._ledger.transaction() as sql:
            _add(sql, kind, key, session, lab, payload or {})
        return _event(self._ledger.query("SELECT * FROM events WHERE key = ?", key)[0])

    def pending(self) -> list[Record]:
        """Events that have not been delivered, oldest first."""
        return [_event(row) for row in self._ledger.query("SELECT * FROM events WHERE delivered IS NULL ORDER BY id")]

    def event(self, event_id: int) -> Record:
        """One event."""
        return _event(self._ledger.query("SELECT * FROM events WHERE id = ?", event_id)[0])

    def beginning(self, key: str) -> list[Record]:
        """Events whose keys begin so, oldest first."""
        return [_event(row) for row in self._ledger.query("SELECT * FROM events WHERE substr(key, 1, ?) = ? ORDER BY id", len(key), key)]

    def delivered(self, event_id: int, flow_run: str) -> Record:
        """Mark an event as delivered to a flow run."""
        return self._set(event_id, "delivered = ?, flow_run = ?, error = ''", _now(), flow_run)

    def failed(self, event_id: int, error: str) -> Record:
        """Note why an event could not be delivered."""
        return self._set(event_id, "error = ?, tries = tries + 1", error)

    def withdraw(self, session: str, reason: str) -> None:
        """Take back the events of a session that have not been delivered."""
        with self._ledger.transaction() as sql:
            sql.execute(
                "UPDATE events SET delivered = ?, error = ? WHERE session = ? AND delivered IS NULL AND kind != 'session.cancelled'",
                (_now(), reason, session),
            )

    def last_look(self, lab: str) -> dt.datetime | None:
        """When the lab's sessions were last looked for, in UTC; None when they never were."""
        rows = self._ledger.query("SELECT at FROM looks WHERE lab = ?", lab)
        return dt.datetime.fromisoformat(rows[0]["at"]) if rows else None

    def looked(self, lab: str, at: dt.datetime, sessions: Iterable[str]) -> list[str]:
        """Note which sessions were there, and write an event for each that was not before.

        The first look writes none: what was in the database before Ranvier came is not to be computed anew.

        Returns
        -------
        list of str
            Ids of the new sessions.
        """
        first = self.last_look(lab) is None
        with self._ledger.transaction() as sql:
            new = [eid for eid in sessions if sql.execute("INSERT OR IGNORE INTO seen VALUES (?)", (eid,)).rowcount]
            if first:
                new = []
            for eid in new:
                _add(sql, "session.registered", f"{eid}:created", eid, lab, {})
            sql.execute("INSERT OR REPLACE INTO looks VALUES (?, ?)", (lab, at.isoformat()))
        return new

    def _set(self, event_id: int, assignments: str, *values: str) -> Record:
        with self._ledger.transaction() as sql:
            sql.execute(f"UPDATE events SET {assignments} WHERE id = ?", (*values, event_id))
        return _event(self._ledger.query("SELECT * FROM events WHERE id = ?", event_id)[0])


def _add(sql: sqlite3.Connection, kind: str, key: str, session: str, lab: str, payload: Record) -> None:
    sql.execute(
        "INSERT OR IGNORE INTO events (kind, key, session, lab, payload, created) VALUES (?, ?, ?, ?, ?, ?)",
        (kind, key, session, lab, json.dumps(payload), _now()),
    )


def _event(row: sqlite3.Row) -> Record:
    return dict(row) | {"payload": json.loads(row["payload"])}


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat()
