"""Tasks in a plain Alyx, with what the ledger keeps of them; plans and cancellations."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from ranvier.client import DatabaseRefused, Record
from ranvier.plain_alyx.connection import Connection
from ranvier.plain_alyx.ledger import leased
from ranvier.plain_alyx.rows import fitted, merged
from ranvier.states import SETTLED, Status, may_follow

#: Fields of a task row that the ledger keeps.
_OURS = ("reason", "device", "identity", "receipt", "outputs", "cancel_requested")


class Tasks(Connection):
    """Task rows."""

    def tasks(self, eid: str) -> list[Record]:
        """The task rows of a session."""
        kept = self.ledger.tasks_of(eid) if self._remembers() else {}
        return [merged(row, kept.get(row["id"])) for row in super().tasks(eid)]

    def task(self, task_id: str) -> Record:
        """One task row."""
        return merged(self._row(task_id), self.ledger.task(task_id) if self._remembers() else None)

    def lab_tasks(self, lab: str, *statuses: Status) -> Iterator[Record]:
        """The task rows of a lab that have one of some statuses; those of other programs are left out."""
        for status in statuses if self._remembers() else ():  # Alyx takes one at a time
            for row in super().lab_tasks(lab, status):
                if (kept := self.ledger.task(row["id"])) is not None:
                    yield merged(row, kept)

    def task_counts(self) -> list[Record]:
        """Number of task instances by ``lab``, ``task`` and ``status``, as far as this lab has set them."""
        return [{"lab": self._lab, **row} for row in self.ledger.counts()]

    def patch_task(self, task_id: str, **fields: Any) -> Record:
        """Change a task row; a reason goes into Alyx's log of the task, too, so that people see it there."""
        ours = {name: fields.pop(name) for name in _OURS if name in fields}
        if "status" in fields:
            ours["status"] = fields["status"]
            fields.setdefault("log", ours.get("reason") or None)
        if fields:
            self._patch(f"/tasks/{task_id}", fields)
        if ours:
            self.ledger.set(task_id, **ours)
        return self.task(task_id)

    def save_plan(self, eid: str, rows: list[Record], flow_run: str = "") -> list[Record]:
        """Create or update the task rows of a session, for a flow run, one after the other; returns them in the order given.

        Raises
        ------
        DatabaseRefused
            With status 409 when one of them was attempted since the plan looked at it.
        """
        with self._locked(f"tasks.{eid}"):
            known = {row["name"]: row for row in self.tasks(eid)}
            _refuse_stale(rows, known)
            ids = {name: row["id"] for name, row in known.items()}
            for planned in rows:
                fields = {**fitted(planned), "parents": sorted(ids[parent] for parent in planned["parents"])}
                row = known.get(planned["name"]) or known.get(fields["name"])
                ids[planned["name"]] = self._save(eid, planned, fields, row)
                stays = planned["status"] is None and row is not None and Status.parse(row["status"]) in SETTLED
                self.ledger.plan(ids[planned["name"]], None if stays else flow_run)
        saved = {row["id"]: row for row in self.tasks(eid)}
        return [saved[ids[planned["name"]]] for planned in rows]

    def explain(self, task_id: str, reason: str, where: str, status: str = "") -> None:
        """Say why a task is where it stands, with its status where one is given; nothing where it stands elsewhere or was cancelled."""
        row = self.task(task_id)
        with self._locked(f"tasks.{row['session']}"):  # so that nobody claims it meanwhile
            row = self.task(task_id)
            if row["status"] in where.split(",") and not row["cancel_requested"]:
                self.patch_task(task_id, reason=reason, **({"status": status} if status else {}))

    def flow_run_tasks(self, flow_run: str) -> list[Record]:
        """The task rows that a flow run has planned or attempted last."""
        sessions = self.ledger.sessions_of(flow_run)
        return [row for eid in sessions for row in self.tasks(eid) if row["flow_run"] == flow_run]

    def cancel(self, **what: Any) -> list[Record]:
        """Stop tasks of a session or of a flow run: what runs at its next heartbeat, what waits at once; returns those."""
        by = what.get("by") or self.username
        if "flow_run" in what:
            rows = self.flow_run_tasks(what["flow_run"])
        else:
            eid, names = what["session"], set(what.get("tasks") or ())
            rows = _named(self.tasks(eid), names)
            if not names:
                self.outbox.withdraw(eid, f"cancelled by {by} before it was delivered")
                key = f"{eid}:cancelled:{uuid.uuid4()}"
                self.outbox.add("session.cancelled", key, eid, self.session(eid)["lab"], {"by": by})
        return [row for row in rows if self._cancel(row, by)]

    def _cancel(self, row: Record, by: str) -> bool:
        """Mark a task that is not marked yet; returns whether it was running or about to."""
        if row["cancel_requested"] or (kept := self.ledger.cancel(row["id"], by)) is None:
            return False
        waits = row["status"] == Status.WAITING.label and not leased(kept)
        if waits:
            self.patch_task(row["id"], status=Status.HELD.label, reason=f"cancelled by {by} before it started")
        return waits or leased(kept)

    def _save(self, eid: str, planned: Record, fields: Record, known: Record | None) -> str:
        if known is None:
            status = planned["status"] or Status.WAITING.label
            row = self._post("/tasks", {**fields, "session": eid, "status": status, "log": planned["reason"] or None})
        elif known["leased"]:
            return str(known["id"])
        else:
            row = self._update(known, fields, planned)
        self.ledger.note(row, name=planned["name"], device=planned["device"])
        if planned["status"] == row["status"]:
            self.ledger.set(row["id"], status=row["status"], reason=planned["reason"])
        return str(row["id"])

    def _update(self, known: Record, fields: Record, planned: Record) -> Record:
        now = {**known, "name": fields["name"], "parents": sorted(known["parents"])}
        changes = {name: value for name, value in fields.items() if now.get(name) != value}
        before, after = Status.parse(known["status"]), planned["status"]
        if after is not None and after != before.label and may_follow(before, Status.parse(after)):
            changes |= {"status": after, "log": planned["reason"] or None}
        return self._patch(f"/tasks/{known['id']}", changes) if changes else now


def _refuse_stale(planned: list[Record], known: dict[str, Record]) -> None:
    """Refuse a plan that was made before the last attempt at one of its tasks, as Ranvier's own database does."""
    since = [
        row["name"]
        for row in planned
        if row["seen"] is not None and (known.get(row["name"]) or {}).get("attempt", row["seen"]) != row["seen"]
    ]
    if since:
        raise DatabaseRefused(HTTPStatus.CONFLICT, f"attempted since the plan was made: {', '.join(sorted(since))}; plan again")


def _named(rows: list[Record], names: set[str]) -> list[Record]:
    """The rows of some tasks or task instances; all where no names are given."""
    known = {name for row in rows for name in (row["name"], row["executable"])}
    if unknown := sorted(names - known):
        raise DatabaseRefused(400, f"no task {', '.join(unknown)} in this session", f"it has {', '.join(sorted(known)) or 'none yet'}")
    return [row for row in rows if not names or {row["name"], row["executable"]} & names]
