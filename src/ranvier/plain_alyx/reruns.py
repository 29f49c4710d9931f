"""Reruns on a plain Alyx: of sessions that are named; to choose among all of them takes a database that knows attempts and failures."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ranvier.client import DatabaseRefused, Record
from ranvier.priority import Priority
from ranvier.session import locate, reference_of
from ranvier.settings import Settings
from ranvier.states import Status

if TYPE_CHECKING:
    from ranvier.client import Database

#: What chooses among sessions or tasks by what is known of them.
_SEARCHES = ("labs", "projects", "subjects", "since", "until", "statuses", "failures")


def ask(database: Database, settings: Settings, asked: dict[str, Any]) -> Record:
    """Ask for the runs of the named sessions, and take up what was given up of them; the answer is like that of ``POST /reruns``.

    Raises
    ------
    DatabaseRefused
        If it asks for a search, names no session, or one that is not there.
    """
    if searches := [name for name in _SEARCHES if asked.get(name)]:
        what = f"{database.url} is a plain Alyx, which cannot choose sessions by {', '.join(searches)}"
        raise DatabaseRefused(404, what, "name the sessions")
    if not asked.get("sessions"):
        raise DatabaseRefused(400, "the selection says not which sessions", "name them")
    records = [_find(database, settings, name) for name in asked["sessions"]]
    priority = asked.get("priority") or (Priority.NOW if len(records) == 1 else Priority.BACKFILL)
    payload = {name: asked.get(name) or None for name in ("tasks", "force", "downstream")} | {"priority": str(priority)}
    answer: Record = {
        "id": asked["id"],
        "dry": bool(asked.get("dry")),
        "priority": str(priority),
        "left_out": 0,
        "revived": 0,
        "sessions": [],
    }
    for record in records:
        reason = "asked for by its name"
        reference = reference_of(record)
        answer["sessions"].append(
            {"session": record["id"], "reference": reference, "lab": record["lab"], "tasks": payload["tasks"], "reason": reason}
        )
        if not answer["dry"]:
            answer["revived"] += _revive(database, record["id"], asked.get("tasks"))
            key = f"rerun:{asked['id']}:{record['id']}"
            told = payload | {"reason": reason, "tags": [f"rerun-{asked['id'][:8]}"]}
            database.request_run(record["id"], "session.requested", key, told)
    return answer


def _find(database: Database, settings: Settings, name: str) -> Record:
    if "/" not in name:
        return database.session(name)
    subject, day, number = name.split("/")
    found = database.find_session(locate(settings.lab_root, subject, dt.date.fromisoformat(day), int(number)))
    if found is None:
        raise DatabaseRefused(400, f"no such session: {name}", "give its id, or subject/yyyy-mm-dd/number")
    return database.session(str(found.get("id") or found["url"].rpartition("/")[2]))


def _revive(database: Database, eid: str, tasks: list[str] | None) -> int:
    rows = [row for row in database.tasks(eid) if row["status"] == Status.ABANDONED.label]
    chosen = [row for row in rows if not tasks or {row["name"], row["executable"]} & set(tasks)]
    for row in chosen:
        database.patch_task(row["id"], status=Status.WAITING.label, reason="")
    return len(chosen)
