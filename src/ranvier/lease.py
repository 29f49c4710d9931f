"""The right to run a task: claimed in the database, renewed while an attempt goes on, lost when the worker falls silent."""

from __future__ import annotations

import threading
from typing import Any

from ranvier import closing
from ranvier.client import Database, DatabaseRefused, DatabaseUnreachable
from ranvier.errors import RanvierError
from ranvier.process import Child
from ranvier.report import storable
from ranvier.settings import Settings

_STOP_S = 2.0  #: seconds that its end waits for a heartbeat that is under way


class Fenced(RanvierError):
    """The attempt has lost its lease: another may have been made since, so this one's result must not be written."""


class Cancelled(RanvierError):
    """Somebody has asked for the attempt to stop."""


class Returned(RanvierError):
    """The worker is being stopped: its task is for another, and nothing is wrong with it."""


class Lease:
    """The right to run a task: renewed by a thread while the attempt goes on, lost when the database gives it to another."""

    def __init__(self, database: Database, claimed: dict[str, Any], settings: Settings) -> None:
        self.attempt_id: str = claimed["id"]
        self.number: int = claimed["number"]
        self.child: Child | None = None
        self.lost = ""
        self.cancelled = ""
        self._database = database
        self._hasty = database.with_patience(0.0)
        self._settings = settings.attempts
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{self.attempt_id}", daemon=True)

    def start(self) -> None:
        """Begin to renew it."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing it."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_STOP_S)  # a last heartbeat may hang on a network that is cut; it does no harm

    def why_stop(self) -> str:
        """Why the child must end now; empty while it may go on."""
        return self.lost or self.cancelled or closing.reason()

    def confirm(self) -> None:
        """Make sure that the lease is still held, and that nobody wants the attempt to stop.

        Raises
        ------
        Fenced
            If it is not held.
        Cancelled
            If the attempt is to stop.
        DatabaseUnreachable
            If that cannot be known now.
        """
        self._renew(self._database)
        if self.lost:
            raise Fenced(self.lost)
        if self.cancelled:
            raise Cancelled(self.cancelled)

    def _keep(self) -> None:
        while not self._done.wait(self._settings.heartbeat_s):
            try:
                self._renew(self._hasty)
            except (DatabaseUnreachable, DatabaseRefused):
                continue  # the next beat tries again; when another attempt has been made meanwhile, the database will say so

    def _renew(self, database: Database) -> None:
        progress = self.child.progress if self.child is not None else {}
        try:
            answer = database.report(self.attempt_id, lease_s=self._settings.lease_s, **storable(progress))
        except DatabaseRefused as error:
            if error.status == 409:
                self.lost = f"the lease of attempt {self.number} was lost: {error.message}"
                return
            raise
        if answer.get("cancel_requested"):
            self.cancelled = f"cancelled by {answer['cancelled_by']}" if answer.get("cancelled_by") else "cancelled on request"
