"""The ledger: what a plain Alyx cannot keep of a lab's tasks, in an SQLite file beside the lab's data.

It holds claims with their leases, the history of attempts, receipts and reasons. All of a lab's attempts run where its data are, so that
one conditional update here lets one of any number of workers have a task. It stands in rollback-journal mode, as the data folder may be
shared by several machines.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ranvier.client import DatabaseRefused, Record
from ranvier.errors import RanvierError
from ranvier.states import VERDICTS, Status

#: What ends an attempt whose worker gave no sign of life.
SILENT = "the worker fell silent: no heartbeat before its lease ran out"

_TABLES = """
CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY, session TEXT NOT NULL, name TEXT NOT NULL, device TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', attempt INTEGER NOT NULL DEFAULT 0, lease_until REAL, renewed REAL,
    cancel_requested INTEGER NOT NULL DEFAULT 0, cancelled_by TEXT NOT NULL DEFAULT '', flow_run TEXT NOT NULL DEFAULT '',
    identity TEXT NOT NULL DEFAULT '', receipt TEXT, outputs TEXT, untold_since REAL);
CREATE INDEX IF NOT EXISTS tasks_of_session ON tasks (session);
CREATE TABLE IF NOT EXISTS attempts (
    id TEXT PRIMARY KEY, task TEXT NOT NULL, number INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    started TEXT NOT NULL, finished TEXT, lease_until REAL, fields TEXT NOT NULL, UNIQUE (task, number));
"""
#: How the reason begins for which a task is given up whose worker fell silent once too often.
_GIVEN_UP = "given up"
#: How the reason begins for which an attempt ended whose worker was being stopped.
_RETURNED = "given back"
_JSON = ("receipt", "outputs")
#: Tasks, each with the outcome of its last attempt's QC.
_TASKS = (
    "SELECT tasks.*, coalesce((SELECT json_extract(attempts.fields, '$.qc.outcome') FROM attempts"
    " WHERE attempts.task = tasks.id AND attempts.number = tasks.attempt), '') AS qc FROM tasks"
)
#: By how many seconds the clocks of a lab's machines may differ.
_CLOCK_SLACK_S = 10.0
#: A lease ran out, or was renewed at a time that is still to come: the clock was set back since.
_OVERDUE = "(lease_until < ? OR renewed > ?)"


class LedgerError(RanvierError):
    """The ledger cannot be opened; the message names the file and the reason."""


class Ledger:
    """What a lab remembers of its tasks.

    Parameters
    ----------
    path
        The SQLite file; made where there is none.

    Raises
    ------
    LedgerError
        If the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()  # an attempt and its heartbeats share the connection
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            self._connection.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"{path}: {error}", "may the user of this process write there?") from None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside happens, or nothing; other processes wait."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def query(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Rows of a query."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # tasks

    def task(self, task_id: str) -> Record | None:
        """What is kept of a task."""
        rows = self.query(f"{_TASKS} WHERE id = ?", task_id)
        return _task(rows[0]) if rows else None

    def tasks_of(self, session: str) -> dict[str, Record]:
        """What is kept of a session's tasks, by their ids."""
        return {row["id"]: _task(row) for row in self.query(f"{_TASKS} WHERE session = ?", session)}

    def counts(self) -> list[Record]:
        """Number of task instances by ``task`` and ``status``; the instances of a task differ in what stands in brackets."""
        rows = self.query(
            "SELECT substr(name, 1, instr(name || '[', '[') - 1) AS task, status, count(*) AS count FROM tasks GROUP BY 1, 2 ORDER BY 1, 2"
        )
        return [dict(row) for row in rows]

    def note(self, row: Record, *, name: str, device: str) -> None:
        """Keep a task of Alyx under its full name; what is kept already stays."""
        with self.transaction() as sql:
            sql.execute(
                "INSERT INTO tasks (id, session, name, device, status) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET name = excluded.name, device = excluded.device",
                (row["id"], row["session"] or "", name, device, row["status"]),
            )

    def set(self, task_id: str, **fields: Any) -> None:
        """Change what is kept of a task; a status other than Started ends an attempt that runs."""
        columns = {name: json.dumps(value) if name in _JSON else value for name, value in fields.items()}
        with self.transaction() as sql:
            assignments = ", ".join(f"{name} = ?" for name in columns)
            sql.execute(f"UPDATE tasks SET {assignments} WHERE id = ?", (*columns.values(), task_id))
            if fields.get("status", Status.STARTED.label) != Status.STARTED.label:
                _end_running(sql, task_id, f"ended from outside: the task was set {fields['status']}")

    def plan(self, task_id: str, flow_run: str | None) -> None:
        """Note that a task was planned anew: what was cancelled may start again; a flow run that is given sees to it."""
        with self.transaction() as sql:
            sql.execute(
                "UPDATE tasks SET cancel_requested = 0, cancelled_by = '', flow_run = coalesce(?, flow_run)"
                " WHERE id = ? AND lease_until IS NULL",
                (flow_run, task_id),
            )

    def cancel(self, task_id: str, by: str) -> Record | None:
        """Mark a task, so that its attempt stops at its next heartbeat and no other begins; the task, or None where it is not kept."""
        with self.transaction() as sql:
            sql.execute("UPDATE tasks SET cancel_requested = 1, cancelled_by = ? WHERE id = ?", (by, task_id))
        return self.task(task_id)

    def sessions_of(self, flow_run: str) -> list[str]:
        """Sessions of whose tasks a flow run has planned or attempted some."""
        return [row["session"] for row in self.query("SELECT DISTINCT session FROM tasks WHERE flow_run = ?", flow_run)]

    # attempts

    def claim(self, task_id: str, attempt_id: str, after: int | None, lease_s: float, *, takes_over: bool = False, **fields: Any) -> Record:
        """Take a task for a worker: one conditional update decides; who `takes_over` a silent one's does not where it was given up since.

        Raises
        ------
        DatabaseRefused
            With status 409 when another attempt holds it, or has been made since the one that the worker has seen.
        """
        now = time.time()
        with self.transaction() as sql:
            claimed = sql.execute(
                "UPDATE tasks SET attempt = attempt + 1, lease_until = ?, renewed = ?, status = ?, reason = '', untold_since = NULL,"
                " flow_run = ? WHERE id = ? AND cancel_requested = 0"
                f" AND (? IS NULL OR attempt = ?) AND (lease_until IS NULL AND (status = ? OR NOT ?) OR {_OVERDUE})",
                (
                    *(now + lease_s, now, Status.STARTED.label, fields.get("flow_run") or ""),
                    *(task_id, after, after, Status.WAITING.label, takes_over, *_overdue()),
                ),
            ).rowcount
            if not claimed:
                raise DatabaseRefused(409, self._why_not(task_id, after))
            _end_attempts(sql, task_id, SILENT)
            number = sql.execute("SELECT attempt FROM tasks WHERE id = ?", (task_id,)).fetchone()["attempt"]
            sql.execute(
                "INSERT INTO attempts (id, task, number, status, started, lease_until, fields) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (attempt_id, task_id, number, Status.STARTED.label, _now(), now + lease_s, json.dumps(fields)),
            )
        return self.attempt(attempt_id)

    def attempt(self, attempt_id: str) -> Record:
        """One attempt, with whether its task is to be cancelled.

        Raises
        ------
        DatabaseRefused
            With status 404 when there is none.
        """
        rows = self.query(
            "SELECT attempts.*, tasks.cancel_requested, tasks.cancelled_by"
            " FROM attempts JOIN tasks ON tasks.id = attempts.task WHERE attempts.id = ?",
            attempt_id,
        )
        if not rows:
            raise DatabaseRefused(404, f"{self.path} has no attempt {attempt_id}")
        marks = {"cancel_requested": bool(rows[0]["cancel_requested"]), "cancelled_by": rows[0]["cancelled_by"]}
        return _attempt(rows[0]) | marks

    def attempts(self, task_id: str) -> list[Record]:
        """All attempts at a task, newest first."""
        return [_attempt(row) for row in self.query("SELECT * FROM attempts WHERE task = ? ORDER BY number DESC", task_id)]

    def attempts_of(self, flow_run: str) -> list[Record]:
        """All attempts that a flow run had made, newest first."""
        made = "SELECT * FROM attempts WHERE json_extract(fields, '$.flow_run') = ? ORDER BY started DESC"
        return [_attempt(row) for row in self.query(made, flow_run)]

    def renew(self, attempt_id: str, lease_s: float, **fields: Any) -> Record:
        """Renew the lease of a running attempt; one whose lease ran out takes its task up again where nobody has claimed it since.

        Raises
        ------
        DatabaseRefused
            With status 409 when it has ended, or is not the current one.
        """
        now = time.time()
        with self.transaction() as sql:
            attempt = self._current(attempt_id)
            if attempt["status"] != Status.STARTED.label:
                _take_up_again(sql, attempt)
            sql.execute("UPDATE tasks SET lease_until = ?, renewed = ? WHERE id = ?", (now + lease_s, now, attempt["task"]))
            sql.execute("UPDATE attempts SET lease_until = ? WHERE id = ?", (now + lease_s, attempt_id))
            _merge(sql, attempt_id, fields)
        return self.attempt(attempt_id)

    def finish(self, attempt_id: str, status: str, reason: str = "", **fields: Any) -> Record:
        """End an attempt with its verdict, which Alyx is still to be told; the same verdict again changes nothing.

        Raises
        ------
        ValueError
            If the status is no verdict.
        DatabaseRefused
            With status 409 when it has ended otherwise, or is not the current one.
        """
        if Status.parse(status) not in VERDICTS:
            raise ValueError(f"{status} ends no attempt")
        with self.transaction() as sql:
            known = self.attempt(attempt_id)
            if known["status"] == status and known["reason"] != SILENT:
                return known
            attempt = self._current(attempt_id)
            if attempt["status"] != Status.STARTED.label:
                _take_up_again(sql, attempt)
            _merge(sql, attempt_id, fields)
            _end_running(sql, attempt["task"], reason, status)
            told = self.attempt(attempt_id)
            sql.execute(
                "UPDATE tasks SET status = ?, reason = ?, identity = ?, receipt = ?, outputs = ?, untold_since = ? WHERE id = ?",
                (status, reason, told.get("identity") or "", *(json.dumps(told.get(name)) for name in _JSON), time.time(), attempt["task"]),
            )
            if status != Status.ERRORED.label:  # else the flow run that is just coming to its end could have it attempted again
                sql.execute("UPDATE tasks SET cancel_requested = 0, cancelled_by = '' WHERE id = ?", (attempt["task"],))
        return self.attempt(attempt_id)

    def withdraw(self, attempt_id: str, status: str, reason: str, *, untold: bool) -> None:
        """End an attempt that never came to run; the task stands as it did before, which Alyx may have still to be told."""
        with self.transaction() as sql:
            task_id = self.attempt(attempt_id)["task"]
            _end_running(sql, task_id, reason)
            sql.execute("UPDATE tasks SET status = ?, untold_since = ? WHERE id = ?", (status, time.time() if untold else None, task_id))

    def give_back(self, returns: int = 3) -> list[Record]:
        """Set the tasks Waiting whose lease ran out, and end their attempts; Alyx is still to be told.

        Those that were cancelled, and those whose worker has fallen silent more than `returns` times in a row, end Errored instead.

        Returns
        -------
        list of dict
            The tasks that were given back, as they were before.
        """
        with self.transaction() as sql:
            overdue = [_task(row) for row in self.query(f"{_TASKS} WHERE lease_until IS NOT NULL AND {_OVERDUE}", *_overdue())]
            return [task for task in overdue if self._end_silent(sql, task, returns)]

    def return_one(self, attempt_id: str, reason: str) -> Record | None:
        """Set the task Waiting of an attempt whose worker is being stopped, and end the attempt; Alyx is still to be told.

        One that was cancelled ends Errored instead.

        Returns
        -------
        dict or None
            The task as it stands now, with the lease that it had; None where it has been given back before.

        Raises
        ------
        DatabaseRefused
            With status 409 when the attempt ended otherwise, or is not the current one.
        """
        with self.transaction() as sql:
            if self.attempt(attempt_id)["reason"].startswith(_RETURNED) or self.fell_silent(attempt_id):
                return None
            task = self.task(self._current(attempt_id)["task"])
            assert task is not None
            status, how = Status.WAITING, f"{_RETURNED} by attempt {task['attempt']}: {reason}"
            if task["cancel_requested"]:
                status, how = Status.ERRORED, f"cancelled by {task['cancelled_by'] or 'request'}; {reason}"
            now = time.time()
            _end_running(sql, task["id"], how)
            sql.execute("UPDATE tasks SET status = ?, reason = ?, untold_since = ? WHERE id = ?", (status.label, how, now, task["id"]))
            return task | {"status": status.label, "reason": how, "untold_since": now}

    def _end_silent(self, sql: sqlite3.Connection, task: Record, returns: int) -> bool:
        """End the attempt of a task whose lease ran out; returns whether the task is given back."""
        if task["cancel_requested"]:
            how = reason = f"cancelled by {task['cancelled_by'] or 'request'}; its worker fell silent"
        elif (silent := self._silent_in_a_row(task)) > returns:
            how = reason = f"{_GIVEN_UP}: its worker fell silent {silent} times in a row; the task may be what kills its worker"
        else:
            how, reason = SILENT, f"given back: the worker of attempt {task['attempt']} fell silent"
        status = Status.WAITING if how == SILENT else Status.ERRORED
        _end_running(sql, task["id"], how)
        sql.execute("UPDATE tasks SET status = ?, reason = ?, untold_since = 0 WHERE id = ?", (status.label, reason, task["id"]))
        return how == SILENT

    def _silent_in_a_row(self, task: Record) -> int:
        """How many attempts have fallen silent, the running one among them, since one has handed in a verdict."""
        reasons = (attempt["reason"] for attempt in self.attempts(task["id"])[1:])
        earlier = (reason for reason in reasons if not reason.startswith(_RETURNED))
        return 1 + sum(1 for _ in itertools.takewhile(lambda reason: reason == SILENT or reason.startswith(_GIVEN_UP), earlier))

    # what Alyx has not been told yet

    def untold(self, since_s: float = 0.0) -> list[Record]:
        """Tasks of whose status Alyx has not been told for so many seconds."""
        return [_task(row) for row in self.query(f"{_TASKS} WHERE untold_since <= ?", time.time() - since_s)]

    def told(self, task: Record) -> None:
        """Note that Alyx has been told how a task stands, unless that has changed since."""
        with self.transaction() as sql:
            sql.execute(
                "UPDATE tasks SET untold_since = NULL WHERE id = ? AND attempt = ? AND status = ?",
                (task["id"], task["attempt"], task["status"]),
            )

    def fell_silent(self, attempt_id: str) -> bool:
        """Whether an attempt's lease ran out and its task, given back, has not been claimed since."""
        attempt = self.attempt(attempt_id)
        task = self.task(attempt["task"])
        current = task is not None and (task["attempt"], task["status"]) == (attempt["number"], Status.WAITING.label)
        return current and attempt["reason"] == SILENT

    def _current(self, attempt_id: str) -> Record:
        attempt = self.attempt(attempt_id)
        if attempt["status"] != Status.STARTED.label and not self.fell_silent(attempt_id):
            raise DatabaseRefused(
                409, f"attempt {attempt['number']} has ended, {attempt['status']}: {attempt['reason'] or 'no reason given'}"
            )
        return attempt

    def _why_not(self, task_id: str, after: int | None) -> str:
        task = self.task(task_id)
        if task is None:
            return f"{self.path} knows no task {task_id}; make the plan again"
        if leased(task):
            worker = self.attempts(task_id)[0].get("worker", "another worker")
            return f"{task['name']} is claimed by {worker} until {moment(task['lease_until'])}"
        if task["cancel_requested"]:
            return f"{task['name']} was cancelled by {task['cancelled_by'] or 'request'}; it can be claimed once it is planned again"
        if after == task["attempt"]:
            return f"{task['name']} has ended meanwhile, {task['status']}: {task['reason'] or 'no reason given'}"
        return f"{task['name']} has been attempted since: {task['attempt']} times, not {after}; read the task again, and decide anew"


def leased(task: Record) -> bool:
    """Whether an attempt at a task is running that is not overdue."""
    now, future = _overdue()
    return task["lease_until"] is not None and task["lease_until"] >= now and task["renewed"] <= future


def moment(seconds: float | None) -> str | None:
    """A time of the ledger as the REST interface writes it, in UTC."""
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")


def _overdue() -> tuple[float, float]:
    """The values of `_OVERDUE`."""
    now = time.time()
    return now, now + _CLOCK_SLACK_S


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat()


def _task(row: sqlite3.Row) -> Record:
    task = dict(row)
    return task | {name: json.loads(task[name]) if task[name] else None for name in _JSON}


def _attempt(row: sqlite3.Row) -> Record:
    attempt = {name: row[name] for name in ("id", "task", "number", "status", "reason", "started", "finished")}
    return {**json.loads(row["fields"]), **attempt, "lease_until": moment(row["lease_until"])}


def _merge(sql: sqlite3.Connection, attempt_id: str, fields: Record) -> None:
    kept = json.loads(sql.execute("SELECT fields FROM attempts WHERE id = ?", (attempt_id,)).fetchone()["fields"])
    sql.execute("UPDATE attempts SET fields = ? WHERE id = ?", (json.dumps(kept | fields), attempt_id))


def _take_up_again(sql: sqlite3.Connection, attempt: Record) -> None:
    """Let an attempt that fell silent run on."""
    sql.execute("UPDATE tasks SET status = ?, reason = '', untold_since = NULL WHERE id = ?", (Status.STARTED.label, attempt["task"]))
    sql.execute("UPDATE attempts SET status = ?, reason = '', finished = NULL WHERE id = ?", (Status.STARTED.label, attempt["id"]))


def _end_running(sql: sqlite3.Connection, task_id: str, reason: str, status: str = Status.ERRORED.label) -> None:
    """End the running attempt at a task and its lease."""
    _end_attempts(sql, task_id, reason, status)
    sql.execute("UPDATE tasks SET lease_until = NULL WHERE id = ?", (task_id,))


def _end_attempts(sql: sqlite3.Connection, task_id: str, reason: str, status: str = Status.ERRORED.label) -> None:
    sql.execute(
        "UPDATE attempts SET status = ?, reason = ?, finished = ?, lease_until = NULL WHERE task = ? AND status = ?",
        (status, reason, _now(), task_id, Status.STARTED.label),
    )
