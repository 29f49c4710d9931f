"""Everything that the pipeline says to the database, through ONE-api's `AlyxClient`.

Sessions, files and tasks are asked for as of any Alyx. Plans, attempts and events are those of Ranvier's own database; on one that lacks
them `ranvier.plain_alyx` stands in, with the same methods.
"""

from __future__ import annotations

import os

from ranvier.client.connection import Connection, DatabaseRefused, DatabaseUnreachable, Record, sign_in
from ranvier.client.datasets import Datasets
from ranvier.client.events import NOTICES, Events
from ranvier.client.sessions import Sessions
from ranvier.client.tasks import Tasks
from ranvier.settings import Settings, SettingsError

__all__ = ["NOTICES", "Connection", "Database", "DatabaseRefused", "DatabaseUnreachable", "Record"]


class Database(Sessions, Datasets, Tasks, Events):
    """The database, as the pipeline sees it; `Connection` has the parameters."""

    @classmethod
    def from_settings(cls, settings: Settings, patience_s: float = 30.0) -> Database:
        """The database of this machine's settings, signed in as its service user; of whatever kind it is.

        Raises
        ------
        SettingsError
            If this machine has no token.
        DatabaseUnreachable
            If it has never answered yet, so that its kind is not known.
        """
        from ranvier import dialect  # which knows the kinds of databases, that are made from this class

        return dialect.connect(settings, patience_s)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What this database lacks of what the pipeline needs, and what stands in for it."""
        return ()

    def page(self, eid: str) -> str:
        """Address of a session's page for people."""
        return f"{self.url}/session/{eid}"

    @classmethod
    def as_administrator(cls, settings: Settings, patience_s: float = 3.0) -> Database:
        """The same, for what only staff may do: by the token in ``$RANVIER_TOKEN``, else as `admin` with this machine's password.

        Raises
        ------
        SettingsError
            If this machine has neither.
        DatabaseRefused
            If the password is not right.
        """
        token = os.environ.get("RANVIER_TOKEN") or sign_in(settings.database_url, "admin", _password(settings))
        return cls(settings.database_url, token, "admin", patience_s)


def _password(settings: Settings) -> str:
    """The administrator's, which a lab's server has none of."""
    elsewhere = settings.machine.role == "lab" and not os.environ.get("RANVIER_ADMIN_PASSWORD")
    if elsewhere and not settings.secret_file("admin_password").exists():
        raise SettingsError(
            f"{settings.home} is the home of a lab's server, and this is for an administrator of {settings.database_url}",
            "run it at the centre, or set RANVIER_TOKEN to an administrator's token",
        )
    return settings.secret("admin_password")
