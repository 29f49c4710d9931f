"""What the database has of tasks: plans, attempts, failures and pauses."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from ranvier.client.connection import Connection, DatabaseRefused, Record
from ranvier.states import Status


class Tasks(Connection):
    """Tasks, the attempts at them, and how they fail."""

    def tasks(self, eid: str) -> list[Record]:
        """The task rows of a session."""
        return list(self._get(f"/tasks?session={eid}&limit=1000"))

    def flow_run_tasks(self, flow_run: str) -> list[Record]:
        """The task rows that a flow run has planned or attempted last."""
        return list(self._get(f"/tasks?flow_run={flow_run}&limit=1000"))

    def task(self, task_id: str) -> Record:
        """One task row."""
        return self._get(f"/tasks/{task_id}")

    def has_task(self, name: str) -> bool:
        """Whether any session has a task of that name."""
        return bool(len(self._get(f"/tasks?{urlencode({'executable': name})}&limit=1")))

    def patch_task(self, task_id: str, **fields: Any) -> Record:
        """Change a task row."""
        return self._call("patch", f"/tasks/{task_id}", fields)

    def explain(self, task_id: str, reason: str, where: str, status: str = "") -> None:
        """Say why a task is where it stands; nothing where it stands elsewhere by now, or was cancelled, which says why it is there.

        Parameters
        ----------
        task_id
            The task.
        reason
            For people.
        where
            Labels of the statuses in which the task must be, joined by commas.
        status
            Label of the status that it takes with the reason; it keeps its own by default.
        """
        try:
            self._call("patch", f"/tasks/{task_id}?status={where}", {"reason": reason, **({"status": status} if status else {})})
        except DatabaseRefused as error:
            if error.status != 404:
                raise

    def save_plan(self, eid: str, rows: list[Record], flow_run: str = "") -> list[Record]:
        """Create or update the task rows of a session, for a flow run, in one transaction; returns them in the order given.

        Raises
        ------
        DatabaseRefused
            With status 409 when one of them was attempted since the plan looked at it.
        """
        return list(self._post("/plans", {"session": eid, "tasks": rows, "flow_run": flow_run}))

    def cancel(self, **what: Any) -> list[Record]:
        """Stop tasks; see ``POST /cancellations`` in docs/architecture.md. Returns those that were running or about to."""
        return list(self._post("/cancellations", what))

    def claim(self, **fields: Any) -> Record:
        """Claim a task; see ``POST /attempts`` in docs/architecture.md.

        Raises
        ------
        DatabaseRefused
            With status 409 when somebody else has it.
        """
        return self._post("/attempts", {"id": str(uuid.uuid4()), **fields})

    def report(self, attempt_id: str, **fields: Any) -> Record:
        """Renew an attempt's lease, or hand in its verdict; see ``PATCH /attempts`` in docs/architecture.md.

        Raises
        ------
        DatabaseRefused
            With status 409 when the attempt has been fenced off.
        """
        return self._call("patch", f"/attempts/{attempt_id}", fields)

    def give_back(self, attempt_id: str, reason: str) -> None:
        """End an attempt whose worker is being stopped: its task waits again, and nothing has failed.

        Raises
        ------
        DatabaseRefused
            With status 409 when the attempt has been fenced off.
        """
        self._call("patch", f"/attempts/{attempt_id}", {"given_back": reason})

    def attempts(self, task_id: str) -> list[Record]:
        """All attempts at a task, newest first."""
        return list(self._get(f"/attempts?task={task_id}"))

    def attempts_of(self, flow_run: str) -> list[Record]:
        """All attempts that a flow run had made, newest first."""
        return list(self._get(f"/attempts?flow_run={flow_run}&limit=1000"))

    def lab_tasks(self, lab: str, *statuses: Status) -> Iterator[Record]:
        """The task rows of a lab that have one of some statuses."""
        return self._pages(f"/tasks?lab={lab}&status={','.join(status.label for status in statuses)}")

    def task_counts(self) -> list[Record]:
        """Number of task instances by ``lab``, ``task`` and ``status``."""
        return list(self._get("/task-counts"))

    def expired_leases(self) -> list[str]:
        """Give back the tasks whose lease ran out; returns their ids."""
        return list(self._post("/expired-leases", {}))

    def failures(self, **query: Any) -> list[Record]:
        """Equal failures over sessions and labs; see ``GET /failures`` in docs/architecture.md."""
        given = {name: value for name, value in query.items() if value}
        return list(self._get(f"/failures?{urlencode(given)}"))

    def pauses(self, task: str = "", lab: str = "") -> list[Record]:
        """What is paused: task versions that may not run in a lab."""
        given = {"active": "true", **{name: value for name, value in (("task", task), ("lab", lab)) if value}}
        return list(self._get(f"/pauses?{urlencode(given)}"))

    def lift(self, pause_id: str) -> Record:
        """Let a paused task run again; its `sessions` says in how many it was held, whose runs are asked for."""
        return self._call("patch", f"/pauses/{pause_id}", {"lifted": True})
