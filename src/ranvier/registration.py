"""Registration: a session folder on the lab's server becomes a session of the database, which starts its preprocessing.

Registering the same session again changes nothing. A new flag beside a session that is registered already (the rig registered it before its
data were copied, or more was copied since) asks for its preprocessing once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranvier import acquisition
from ranvier.acquisition import Acquisition
from ranvier.client import Database, DatabaseRefused
from ranvier.errors import RanvierError
from ranvier.session import READY_FLAG, Session
from ranvier.settings import Settings


class RegistrationError(RanvierError):
    """A folder cannot be registered; the message names it, the reason and the mend."""


@dataclass
class Registered:
    """A session of the database.

    Attributes
    ----------
    session
        The folder.
    record
        The session in the database, with its ``id``.
    created
        Whether it was not there before.
    problems
        What is wrong with its description and does not stop the rest.
    """

    session: Session
    record: dict[str, Any]
    created: bool
    problems: list[str]


def register(path: Path | str, settings: Settings, database: Database) -> Registered:
    """Register a session folder.

    Parameters
    ----------
    path
        The session folder, below the lab's data folder.
    settings, database
        This machine's settings, and the database.

    Returns
    -------
    Registered
        The session, new or as it was. The flag ``raw_session.flag`` is removed.

    Raises
    ------
    SessionPathError, AcquisitionError, RegistrationError
        If the folder cannot be registered as it is; the flag stays.
    DatabaseRefused, DatabaseUnreachable
        If the database does not take it; the flag stays.
    """
    session = check_place(Session.parse(path), settings)
    recorded = acquisition.read(session)
    if not session_files(session):
        raise RegistrationError(f"{session.path} holds no files", "copy the session's data there first")
    ensure_subject(session, settings, database)
    flag = session.path / READY_FLAG
    ready = str(flag.stat().st_mtime_ns) if flag.exists() else None
    record, created = _ensure_session(session, recorded, ready, settings, database)
    for probe, description in recorded.of("probe").items():
        database.ensure_insertion(record["id"], probe, str(description.get("serial") or ""))
    if not created and ready is not None:
        database.request_run(record["id"], "session.ready", f"{record['id']}:{ready}")
    if recorded.inferred and not (session.path / acquisition.DESCRIPTION).exists():
        acquisition.write(session, recorded)
    flag.unlink(missing_ok=True)
    return Registered(session, record, created, recorded.problems)


def check_place(session: Session, settings: Settings) -> Session:
    """The session, if it is a folder below the lab's data folder.

    Raises
    ------
    RegistrationError
        If it is not.
    """
    if not session.path.is_dir():
        raise RegistrationError(f"{session.path} is not there", "check the path; is the data disk mounted?")
    if session.path.parents[2] != settings.lab_root.absolute():
        raise RegistrationError(
            f"{session.path} is not below this server's data folder {settings.lab_root}", "move it there, or set lab.root in config.toml"
        )
    return session


def session_files(session: Session) -> bool:
    """Whether a session folder holds any file besides flags."""
    return any(path.is_file() and path.suffix != ".flag" for path in session.path.rglob("*"))


def ensure_subject(session: Session, settings: Settings, database: Database) -> None:
    """See that the database knows the subject, creating it where the lab's settings say so.

    Raises
    ------
    RegistrationError
        If it does not, and the settings say to refuse.
    """
    if database.subject(session.subject) is not None:
        return
    if settings.registration.unknown_subject == "refuse":
        raise RegistrationError(
            f"{session.path}: the database knows no subject {session.subject!r}",
            f'add it at {settings.database_url}/admin, or set [registration] unknown_subject = "create" in {settings.home}/config.toml',
        )
    try:
        database.create_subject(session.subject, settings.lab.name)
    except DatabaseRefused:
        if database.subject(session.subject) is None:  # else somebody else has just created it
            raise


def _ensure_session(
    session: Session, recorded: Acquisition, ready: str | None, settings: Settings, database: Database
) -> tuple[dict[str, Any], bool]:
    if (known := database.find_session(session)) is not None:
        if known["lab"] != settings.lab.name:
            raise RegistrationError(
                f"{session.path}: {session.reference} is registered already as a session of the lab {known['lab']}",
                "give this session another number, or its subject another name",
            )
        return known, False
    database.ensure_projects(recorded.projects)
    procedures = database.known_procedures()
    unknown = [name for name in recorded.procedures if name not in procedures]
    recorded.problems.extend(f"{session.path}: procedure {name!r} is not one of the database's and was left out" for name in unknown)
    record = {
        "subject": session.subject,
        "users": [database.username],
        "lab": settings.lab.name,
        "type": "Experiment",
        "number": session.number,
        "start_time": f"{session.date.isoformat()}T00:00:00",
        "task_protocol": recorded.task_protocol,
        "projects": recorded.projects,
        "procedures": [name for name in recorded.procedures if name in procedures],
        "json": {"ready": ready} if ready else {},
    }
    try:
        return database.create_session(record), True
    except DatabaseRefused:
        if (known := database.find_session(session)) is not None:  # somebody else has just registered it
            return known, False
        raise
