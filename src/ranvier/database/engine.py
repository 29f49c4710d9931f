"""From a database URL to what Django wants to know."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ranvier.errors import RanvierError

#: Several writers need all of this: a reader that turns writer fails at once without IMMEDIATE, whatever the time-out.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 30,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-32768;",
}


class EngineError(RanvierError):
    """The database URL cannot be used; the message says why."""


def database_config(url: str) -> dict[str, Any]:
    """Django's settings of one database.

    Parameters
    ----------
    url
        ``sqlite:///absolute/path`` or ``postgresql://user:password@host:port/name?option=value``.

    Raises
    ------
    EngineError
        If the URL names another kind of database, or no database at all.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": _sqlite_path(url), "OPTIONS": SQLITE_OPTIONS, "CONN_MAX_AGE": None}
    if parts.scheme in ("postgresql", "postgres"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path.lstrip("/"),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": str(parts.port or ""),
            "OPTIONS": dict(parse_qsl(parts.query)),
            "CONN_MAX_AGE": None,
            "CONN_HEALTH_CHECKS": True,
        }
    raise EngineError(f"database.engine = {url!r} is of no known kind", "use sqlite:///… or postgresql://user:password@host/name")


def _sqlite_path(url: str) -> str:
    path = url.removeprefix("sqlite:").strip("/")
    if not url.startswith("sqlite:///") or not path:
        raise EngineError(f"database.engine = {url!r} names no file", "write sqlite:/// and then the path from the root")
    return f"/{path}"
