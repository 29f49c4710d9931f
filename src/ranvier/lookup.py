"""Which session a person means: by its id, by its folder, or by subject, date and number; and its plan."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ranvier.client import Database, DatabaseRefused, DatabaseUnreachable
from ranvier.errors import RanvierError
from ranvier.plan import Plan, Request, plan_session
from ranvier.plugins import registry
from ranvier.session import Session, SessionPathError, locate
from ranvier.settings import Settings, SettingsError


class SessionNotFound(RanvierError):
    """There is no such session, here or in the database."""


def folder_of(text: str, settings: Settings) -> Session:
    """The session folder that a text names.

    Parameters
    ----------
    text
        Path of a session folder, or ``subject/yyyy-mm-dd/number`` below the lab's folder.
    settings
        Of this machine.

    Raises
    ------
    SessionPathError
        If the text is neither.
    """
    if not Path(text).exists() and re.fullmatch(r"[^/]+/\d{4}-\d\d-\d\d/\d{1,3}", text):
        subject, date, number = text.split("/")
        return Session.parse(settings.lab_root / subject / date / f"{int(number):03d}")
    path = Path(text).expanduser()
    if len(path.parts) == 1 and not path.exists():
        raise SessionPathError(f"{text} names no session", "give its id, its folder, or subject/yyyy-mm-dd/number")
    return Session.parse(path.resolve())


def reference(text: str, settings: Settings) -> str:
    """What the database calls the session that a text names: its id, or ``subject/yyyy-mm-dd/number``.

    Raises
    ------
    SessionPathError
        If the text is neither an id nor what `folder_of` takes.
    """
    return text if _is_id(text) else folder_of(text, settings).reference


def find(text: str, database: Database, settings: Settings) -> dict[str, Any]:
    """The session of the database that a text names, in full.

    Parameters
    ----------
    text
        The session's id, or what `folder_of` takes.
    database, settings
        The database, and this machine's settings.

    Raises
    ------
    SessionNotFound
        If the database has no such session.
    """
    if _is_id(text):
        return _by_id(text, database)
    session = folder_of(text, settings)
    found = database.find_session(session)
    if found is None:
        here = session.path.is_dir()
        hint = (
            f"`ranvier register {session.path}` registers it"
            if here
            else "there is no such folder here either; `ranvier status` lists the latest"
        )
        raise SessionNotFound(f"the database at {database.url} has no session {session.reference}", hint)
    return database.session(_eid(found))


def folder_on_disk(record: dict[str, Any], settings: Settings) -> Session:
    """The folder in which this machine keeps a session of the database.

    Raises
    ------
    SessionNotFound
        If it is not here.
    """
    day = dt.datetime.fromisoformat(record["start_time"]).date()
    session = locate(settings.lab_root, record["subject"], day, int(record["number"] or 0))
    if not session.path.is_dir():
        raise SessionNotFound(f"{session.path} is not on this machine", "ask on the lab server that holds it, or set lab.root")
    return session


def plan_of(text: str, settings: Settings, tasks: Collection[str] | None = None, *, force: bool = False) -> Plan:
    """The plan of the session that a text names.

    Without a database that answers it is made as if nothing had ever run; the plan's problems say so.

    Parameters
    ----------
    text
        As for `find`.
    settings
        Of this machine.
    tasks, force
        What is asked for; see `ranvier.plan.Request`.

    Raises
    ------
    SessionNotFound
        If it has no folder here.
    """
    rows: list[dict[str, Any]] = []
    problems = [str(problem) for problem in registry().problems]
    try:
        database = Database.from_settings(settings, patience_s=1.0)
        record = find(text, database, settings)
        session, rows = folder_on_disk(record, settings), database.tasks(_eid(record))
    except (SettingsError, DatabaseUnreachable) as error:
        session = folder_of(text, settings)
        if not session.path.is_dir():
            raise SessionNotFound(f"{session.path} is not on this machine, and {error.message}", error.hint) from None
        problems.append(f"planned without the database, as if nothing had ever run: {error.message}")
    except SessionNotFound as error:
        if _is_id(text):
            raise
        session = folder_of(text, settings)
        if not session.path.is_dir():
            raise
        problems.append(error.message)
    plan = plan_session(session, registry().values(), settings, rows, Request(tasks, force))
    plan.problems += problems
    return plan


def _by_id(text: str, database: Database) -> dict[str, Any]:
    try:
        return database.session(str(uuid.UUID(text)))
    except DatabaseRefused as error:
        if error.status != 404:
            raise
        raise SessionNotFound(f"the database at {database.url} has no session {text}", "`ranvier status` lists the latest") from None


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _eid(record: dict[str, Any]) -> str:
    return str(record.get("id") or record["url"].rpartition("/")[2])
