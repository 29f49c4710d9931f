"""The logs of a session's attempts: the files on the lab server while they grow, else what the database keeps of their ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ranvier.client import Database
from ranvier.errors import RanvierError
from ranvier.runs import unsettled


class NoSuchTask(RanvierError):
    """The session has no such task; the message lists those that it has."""


@dataclass(frozen=True)
class Line:
    """One line of an attempt's log.

    Attributes
    ----------
    task
        Name of the task instance.
    text
        The line, without its end.
    """

    task: str
    text: str


def read(database: Database, eid: str, task: str | None = None) -> Iterator[Line]:
    """The logs of the latest attempts.

    Parameters
    ----------
    database
        The database.
    eid
        Id of the session.
    task
        Name of a task or of one instance; None for all.

    Raises
    ------
    NoSuchTask
        If the session has no such task.
    """
    for row in _rows(database, eid, task):
        path = _path(database, row)
        text = path.read_text(errors="replace") if path else row.get("log") or ""
        yield from (Line(row["name"], line) for line in text.splitlines())


def follow(database: Database, eid: str, task: str | None = None, every_s: float = 0.5) -> Iterator[Line]:
    """The logs of the latest attempts, and what is added to them until every task has come to an end.

    Parameters
    ----------
    database, eid, task
        As for `read`.
    every_s
        Seconds between two looks.
    """
    streams: dict[Path, tuple[str, TextIO]] = {}
    try:
        while True:
            rows = _rows(database, eid, task)
            for row in rows:
                path = _path(database, row)
                if path and path not in streams:
                    streams[path] = row["name"], path.open(errors="replace")
            for name, stream in streams.values():
                yield from (Line(name, line) for line in _complete_lines(stream))
            if not unsettled(rows):
                return
            time.sleep(every_s)
    finally:
        for _, stream in streams.values():
            stream.close()


def _complete_lines(stream: TextIO) -> Iterator[str]:
    while True:
        begin = stream.tell()
        line = stream.readline()
        if not line.endswith("\n"):  # the writer is in the middle of it
            stream.seek(begin)
            return
        yield line[:-1]


def _rows(database: Database, eid: str, task: str | None) -> list[dict[str, Any]]:
    rows = sorted(database.tasks(eid), key=lambda row: (row["level"], row["name"]))
    chosen = [row for row in rows if task is None or task in (row["name"], row["executable"])]
    if not chosen:
        known = ", ".join(row["name"] for row in rows) or "none"
        raise NoSuchTask(
            f"the session has no task {task!r}" if task else "nothing has been planned for the session yet", f"its tasks: {known}"
        )
    return chosen


def _path(database: Database, row: dict[str, Any]) -> Path | None:
    attempts = database.attempts(row["id"]) if row.get("attempt") else []
    path = Path(attempts[0]["log_path"]) if attempts and attempts[0].get("log_path") else None
    return path if path and path.is_file() else None
