"""Which kind of database an address is: Ranvier's own, or a plain Alyx; found out from its OpenAPI document and remembered for a day."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from ranvier.client import Database, DatabaseUnreachable
from ranvier.settings import Settings

#: The endpoints that the pipeline needs and an Alyx does not have.
OWN_ENDPOINTS = ("plans", "attempts", "events", "expired-leases")
#: For so many seconds a database is taken for what it was.
REMEMBERED_S = 86_400.0


def connect(settings: Settings, patience_s: float) -> Database:
    """The database of this machine's settings, as what it is.

    Parameters
    ----------
    settings
        Of this machine. A database that `ranvier up` runs here, or at the centre of this lab server, is Ranvier's own without asking.
    patience_s
        For how many seconds a request is tried again while the database does not answer.

    Raises
    ------
    DatabaseUnreachable
        If it does not answer and never has.
    """
    if settings.machine.role == "all" and settings.database.url and is_plain(settings, patience_s):
        from ranvier.plain_alyx import PlainAlyx  # it is made from `Database`

        return PlainAlyx(settings, patience_s)
    return Database(*sign_in(settings), patience_s, settings.secret_source("token"))


def sign_in(settings: Settings) -> tuple[str, str, str]:
    """Address, token and user's name of the database.

    Raises
    ------
    SettingsError
        If this machine has no token.
    """
    return settings.database_url, settings.secret("token"), settings.database.username


def is_plain(settings: Settings, patience_s: float = 0.0, *, anew: bool = False) -> bool:
    """Whether the database is a plain Alyx.

    Parameters
    ----------
    settings, patience_s
        As for `connect`.
    anew
        Ask, whatever is remembered.
    """
    asked, plain = _remembered(settings)
    if not anew and plain is not None and time.time() - asked < REMEMBERED_S:
        return plain
    try:
        found = bool(missing_endpoints(settings, patience_s))
    except DatabaseUnreachable:
        if anew or plain is None:
            raise
        return plain
    _remember(settings, found)
    return found


def missing_endpoints(settings: Settings, patience_s: float = 0.0) -> list[str]:
    """Ranvier's own endpoints that the database does not have, by its OpenAPI document."""
    database = Database(*sign_in(settings), patience_s, settings.secret_source("token"))
    return [name for name in OWN_ENDPOINTS if not database.has(name)]


def _note(settings: Settings) -> Path:
    return settings.home / "run" / "dialect.json"


def _remembered(settings: Settings) -> tuple[float, bool | None]:
    try:
        note = json.loads(_note(settings).read_text())
    except (OSError, ValueError):
        return 0.0, None
    return (note["asked"], note["plain"]) if note["url"] == settings.database_url else (0.0, None)


def _remember(settings: Settings, plain: bool) -> None:
    path = _note(settings)
    with contextlib.suppress(OSError):  # who may not write in the home asks each time
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({"url": settings.database_url, "plain": plain, "asked": time.time()}))
        new.replace(path)
