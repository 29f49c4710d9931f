"""How a plain Alyx is asked, and what is kept beside it: the ledger, the outbox, locks."""

from __future__ import annotations

import fcntl
import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ranvier.client import Database, DatabaseRefused, Record
from ranvier.plain_alyx.ledger import Ledger
from ranvier.plain_alyx.outbox import Outbox
from ranvier.settings import Settings

log = logging.getLogger("ranvier.plain_alyx")

#: What a plain Alyx lacks, and what stands in for it.
LACKS = (
    "atomic claims: the ledger makes them among this lab's workers; another program that works on the same tasks is noticed, not excluded",
    "leases and heartbeats: the ledger keeps them, and this lab's dispatcher gives back what has fallen silent",
    "attempts, receipts and reasons: the ledger keeps them; a reason is also in the task's log",
    "events: new sessions are looked for every {poll_s:g} s",
    "the counting of equal failures, which pauses a task and is told to people: nothing stands in for it",
    "reruns of sessions that are searched for, and backfills: nothing stands in for them",
)
#: Seconds that the look at a task's row beside a heartbeat may take.
_GLANCE_S = (2.0, 5.0)
#: What it takes to create things, for who may not.
_RIGHTS = {
    "/subjects": "create subjects",
    "/projects": "create projects",
    "/dataset-types": "create dataset types",
    "/sessions": "create sessions",
    "/insertions": "create probe insertions",
    "/tasks": "create tasks",
    "/register-file": "register files",
}
_said: set[str] = set()


class Connection(Database):
    """A plain Alyx, as the pipeline sees it.

    Parameters
    ----------
    settings
        Of this machine, which must hold the lab's data for anything but reading.
    patience_s
        For how many seconds a request is tried again while Alyx does not answer.
    """

    def __init__(self, settings: Settings, patience_s: float = 30.0) -> None:
        signed_in = settings.database_url, settings.secret("token"), settings.database.username
        super().__init__(*signed_in, patience_s, settings.secret_source("token"))
        self._settings = settings
        self._lab = settings.lab.name
        self._glance = Database(*signed_in, patience_s=0.0)
        self._glance.be_brief(_GLANCE_S)
        self._looked = -settings.database.poll_s
        say_once(f"{self.url} is a plain Alyx and lacks {'; '.join(self.lacks)}")

    @property
    def lacks(self) -> tuple[str, ...]:
        """What this database lacks, and what stands in for it."""
        return tuple(line.format(poll_s=self._settings.database.poll_s) for line in LACKS)

    @functools.cached_property
    def ledger(self) -> Ledger:
        """What Alyx cannot keep."""
        return Ledger(self._settings.work_folder / "ledger.sqlite")

    @functools.cached_property
    def outbox(self) -> Outbox:
        """Events to be delivered."""
        return Outbox(self.ledger)

    def _remembers(self) -> bool:
        """Whether there is a ledger; on a machine without the lab's data there is none, and reading makes none."""
        return "ledger" in self.__dict__ or (self._settings.work_folder / "ledger.sqlite").exists()

    def _post(self, query: str, data: Record) -> Any:
        # a field of Alyx that is not there has its default, and most of them take no null
        given = {name: value for name, value in data.items() if value is not None}
        try:
            return super()._post(query, given)
        except DatabaseRefused as error:
            if error.status == 403:
                raise self._lacking_right(query, error) from None
            if error.status == 400 and "data_repository" in error.message:
                raise DatabaseRefused(400, error.message, "set lab.repository in config.toml to a data repository that Alyx has") from None
            raise

    def _lacking_right(self, query: str, error: DatabaseRefused) -> DatabaseRefused:
        what = _RIGHTS.get(query, f"POST {query}")
        return DatabaseRefused(
            403,
            f"the user {self.username} may not {what} in {self.url}: {error.message}",
            f"an administrator of that Alyx gives the user the right to {what}, or does it at {self.url}/admin",
        )

    def _patch(self, query: str, fields: Record) -> Record:
        return self._call("patch", query, fields)

    def _all(self, query: str) -> list[Record]:
        """Every row of every page."""
        return self._retrying(self._call_alyx, lambda: list(self._alyx.get(query)))

    @contextmanager
    def _locked(self, name: str, *, shared: bool = False) -> Iterator[None]:
        """Hold a lock of the lab's processes; who wants it for himself waits for all others, and they for him."""
        path = self._settings.work_folder / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield

    def _row(self, task_id: str) -> Record:
        """A task as Alyx itself has it."""
        return self._get(f"/tasks/{task_id}")


def say_once(message: str) -> None:
    """Warn of something, once in a process."""
    if message not in _said:
        _said.add(message)
        log.warning("%s", message)
