"""Attempts at the tasks of a plain Alyx: claimed in the ledger, then told to Alyx."""

from __future__ import annotations

import uuid
from typing import Any

from ranvier.client import DatabaseRefused, DatabaseUnreachable, Record
from ranvier.errors import RanvierError
from ranvier.plain_alyx import quality
from ranvier.plain_alyx.connection import log, say_once
from ranvier.plain_alyx.tasks import Tasks
from ranvier.states import VERDICTS, Status

#: After so many seconds the dispatcher tells Alyx what an attempt could not.
UNTOLD_S = 30.0


class Attempts(Tasks):
    """Claims, heartbeats, verdicts, leases that ran out."""

    def claim(self, **fields: Any) -> Record:
        """Claim a task: in the ledger, which decides among this lab's workers, and then in Alyx.

        Raises
        ------
        DatabaseRefused
            With status 409 when somebody else has it.
        """
        task_id, lease_s = fields.pop("task"), fields.pop("lease_s")
        session = (self.ledger.task(task_id) or self._row(task_id))["session"]
        with self._locked(f"tasks.{session}", shared=True):  # claims do not wait for one another, but for a plan that is being saved
            row = self._row(task_id)
            kept = self.ledger.task(task_id)
            _refuse_foreign(row, kept)
            if kept is None:
                self.ledger.note(row, name=row["name"], device="")
            attempt = self.ledger.claim(task_id, str(uuid.uuid4()), fields.pop("after", None), lease_s, **fields)
            try:
                self._start(row, attempt)
            except RanvierError as error:
                # where the answer was lost, Alyx may have heard: it is told later how the task stands
                self.ledger.withdraw(attempt["id"], row["status"], str(error), untold=isinstance(error, DatabaseUnreachable))
                raise
        return attempt

    def _start(self, row: Record, attempt: Record) -> None:
        """Set a task Started, and look whether anybody else has touched it at that very moment."""
        says = f"attempt {attempt['number']} by {attempt.get('worker')}; its log is {attempt.get('log_path')}"
        started = self._patch(f"/tasks/{row['id']}", {"status": Status.STARTED.label, "log": says})
        seen = self._row(row["id"])
        if (seen["status"], seen["datetime"]) != (started["status"], started["datetime"]):
            raise DatabaseRefused(409, f"{row['name']} was taken by another program at the same moment; leave it to that one")

    def report(self, attempt_id: str, **fields: Any) -> Record:
        """Renew an attempt's lease, or hand in its verdict.

        A verdict that Alyx does not hear now is in the ledger, and the dispatcher tells it later.

        Raises
        ------
        DatabaseRefused
            With status 409 when the attempt has been fenced off.
        """
        if self.ledger.fell_silent(attempt_id):
            self._take_up_again(attempt_id)
        if "status" not in fields:
            attempt = self.ledger.renew(attempt_id, **fields)
            self._look_at(attempt)
            return attempt
        attempt = self.ledger.finish(attempt_id, **fields)
        task = self.ledger.task(attempt["task"])
        assert task is not None
        try:
            self._tell(task)
        except (DatabaseUnreachable, DatabaseRefused) as error:
            log.warning("%s is %s; Alyx has yet to be told: %s", task["name"], task["status"], error)
        return attempt

    def give_back(self, attempt_id: str, reason: str) -> None:
        """End an attempt whose worker is being stopped: its task waits again, and nothing has failed.

        Raises
        ------
        DatabaseRefused
            With status 409 when the attempt has been fenced off.
        """
        if (task := self.ledger.return_one(attempt_id, reason)) is None:
            return
        if task["status"] == Status.WAITING.label:
            self._note_return(task["session"], [task], flow_run=self.ledger.attempt(attempt_id).get("flow_run", ""))
        try:
            self._tell(task)
        except (DatabaseUnreachable, DatabaseRefused) as error:
            log.warning("%s is given back; Alyx has yet to be told: %s", task["name"], error)

    def _take_up_again(self, attempt_id: str) -> None:
        """Set a task Started again that was given back while its attempt was only silent."""
        attempt = self.ledger.attempt(attempt_id)
        row, kept = self._row(attempt["task"]), self.ledger.task(attempt["task"])
        still_ours = row["status"] == Status.STARTED.label and kept is not None and kept["untold_since"] is not None
        if row["status"] != Status.WAITING.label and not still_ours:
            raise DatabaseRefused(409, f"attempt {attempt['number']} fell silent, and in Alyx the task is {row['status']} since")
        self._patch(f"/tasks/{row['id']}", {"status": Status.STARTED.label})

    def _look_at(self, attempt: Record) -> None:
        """Whether the task is still Started in Alyx; one that is not was taken away by hand, and the attempt must stop."""
        try:
            status = self._glance.task(attempt["task"])["status"]
        except DatabaseUnreachable:
            return  # the ledger holds the lease; the next heartbeat looks again
        except DatabaseRefused as error:
            if error.status != 404:
                return
            status = "removed"
        if status != Status.STARTED.label:
            self.ledger.set(attempt["task"], status=status)
            raise DatabaseRefused(409, f"attempt {attempt['number']} was ended from outside: in Alyx the task is {status}")

    def attempts(self, task_id: str) -> list[Record]:
        """All attempts at a task, newest first."""
        return self.ledger.attempts(task_id) if self._remembers() else []

    def attempts_of(self, flow_run: str) -> list[Record]:
        """All attempts that a flow run had made, newest first."""
        return self.ledger.attempts_of(flow_run) if self._remembers() else []

    def expired_leases(self) -> list[str]:
        """Give back the tasks whose lease ran out, and tell Alyx what it has not heard; returns the ids of those given back."""
        given_back = self.ledger.give_back(self._settings.attempts.returns)
        for session in {task["session"] for task in given_back}:
            self._note_return(session, [task for task in given_back if task["session"] == session])
        for task in self.ledger.untold(UNTOLD_S):
            try:
                self._tell(task)
            except DatabaseRefused as error:
                say_once(f"Alyx cannot be told that {task['name']} of session {task['session']} is {task['status']}: {error}")
        return [task["id"] for task in given_back]

    def _note_return(self, session: str, tasks: list[Record], **told: Any) -> None:
        first = tasks[0]
        # an attempt may come back and fall silent again: that is another return
        key = f"{session}:returned:{first['id']}:{first['attempt']}:{first['lease_until']}"
        payload = {"given_back": {task["name"]: task["attempt"] for task in tasks}, "tasks": [task["name"] for task in tasks]}
        self.outbox.add("task.returned", key, session, self._lab, payload | {"downstream": True, **told})

    def _tell(self, task: Record) -> None:
        """Tell Alyx how a task stands, unless somebody else has set it otherwise since it was Started."""
        row = self._row(task["id"])
        if row["status"] == Status.STARTED.label:
            attempt = next(iter(self.ledger.attempts(task["id"])), {})
            words = [task["reason"], attempt.get("log")]
            changes: Record = {"status": task["status"]}
            if Status.parse(task["status"]) in VERDICTS:
                changes["time_elapsed_secs"] = attempt.get("wall_s")
                words.insert(1, self._try_to_tell_quality({**row, "device": task["device"]}, attempt.get("qc")))
            self._patch(f"/tasks/{task['id']}", {**changes, "log": "\n\n".join(filter(None, words)) or None})
        self.ledger.told(task)

    def _try_to_tell_quality(self, row: Record, qc: Record | None) -> str:
        """Write an attempt's quality into its session and probe; returns why that could not be done, for the task's log."""
        try:
            self._tell_quality(row, qc)
        except DatabaseRefused as error:
            log.warning("the quality that %s found is not in Alyx: %s", row["name"], error)
            return f"the quality found is not in Alyx: {error}"
        return ""

    def _tell_quality(self, row: Record, qc: Record | None) -> None:
        if not qc:
            return
        found = quality.extended(row, qc)
        with self._locked(f"quality.{row['session']}"):
            outcomes = {**(self.session(row["session"])["extended_qc"] or {}), **found}
            self._patch(f"/sessions/{row['session']}", {"extended_qc": outcomes, "qc": quality.worst(outcomes)})
            probes = self._get(f"/insertions?session={row['session']}&name={row['device']}") if row["device"] else []
            for probe in probes:
                kept = probe["json"] or {}
                outcomes = {**(kept.get("extended_qc") or {}), **found}
                new = {**kept, "extended_qc": outcomes, "qc": quality.worst(outcomes)}
                self._patch(f"/insertions/{probe['id']}", {"json": new})


def _refuse_foreign(row: Record, kept: Record | None) -> None:
    """Refuse to claim what somebody else than this lab has set Started, or given up."""
    if row["status"] == Status.ABANDONED.label:
        raise DatabaseRefused(409, f"{row['name']} is {row['status']}; set it Waiting to have it claimed")
    ours = kept is not None and kept["status"] == Status.STARTED.label
    if row["status"] == Status.STARTED.label and not ours:
        raise DatabaseRefused(
            409, f"{row['name']} was Started without a lease, by a program that knows none; set it Waiting to take it from there"
        )
