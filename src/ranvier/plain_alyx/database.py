"""A plain Alyx as the pipeline's database: what it lacks is in a ledger beside the lab's data, and guarded as well as can be from outside.

Alyx has no claims, no leases and no events. Among the lab's own workers a task is claimed in the ledger, atomically; against others that
work on the same Alyx the task's row is read right before and right after it is set Started. New sessions are found by looking for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranvier.client import DatabaseRefused, Record
from ranvier.plain_alyx.attempts import Attempts
from ranvier.plain_alyx.events import Events
from ranvier.session import Session

#: Alyx takes 0.2 s for a file, and a request may take a minute.
FILES_AT_ONCE = 50


class PlainAlyx(Attempts, Events):
    """A plain Alyx, as the pipeline sees it; `ranvier.plain_alyx.connection.Connection` has the parameters."""

    def page(self, eid: str) -> str:
        """Address of a session's page for people."""
        return f"{self.url}/admin/actions/session/{eid}/change"

    def lab_servers(self) -> list[Record]:
        """No labs' servers: a plain Alyx knows none."""
        return []

    def add_lab_server(self, **fields: Any) -> Record:
        """Refused: there is no centre here.

        Raises
        ------
        DatabaseRefused
            Always.
        """
        raise DatabaseRefused(400, f"{self.url} is a plain Alyx, which cannot be the centre of labs", f"add the lab at {self.url}/admin")

    def tokens(self) -> list[Record]:
        """Refused: an Alyx gives each user one token, without a name.

        Raises
        ------
        DatabaseRefused
            Always.
        """
        raise self._names_no_tokens()

    def new_token(self, **fields: Any) -> Record:
        """Refused, as `tokens`."""
        raise self._names_no_tokens()

    def revoke_token(self, token_id: str) -> None:
        """Refused, as `tokens`."""
        raise self._names_no_tokens()

    def _names_no_tokens(self) -> DatabaseRefused:
        hint = "POST /auth-token there gives a user's one; its admin page takes it away"
        return DatabaseRefused(400, f"{self.url} is a plain Alyx, whose tokens have no names", hint)

    def sign_of_life(self, lab: str, **fields: Any) -> Record:
        """Nothing: there is nobody to be told."""
        return {}

    def create_session(self, record: Record) -> Record:
        """Create a session, and write down that it is to be preprocessed."""
        created = super().create_session(record)
        self.outbox.add("session.registered", f"{created['id']}:created", created["id"], record["lab"])
        return created

    def check_protected(self, session: Session, paths: Sequence[str], repository: str) -> bool:
        """Whether any of a session's files is protected from being overwritten."""
        try:
            return super().check_protected(session, paths, repository)
        except DatabaseRefused as error:  # some versions say it in the answer's status
            if error.status == 403 and "protected" in error.message:
                return True
            raise

    def register_files(self, session: Session, files: Sequence[Record], repository: str, lab: str) -> list[Record]:
        """Register files of a session, a few at a time."""
        pieces = [files[start : start + FILES_AT_ONCE] for start in range(0, len(files), FILES_AT_ONCE)]
        return [dataset for piece in pieces for dataset in super(PlainAlyx, self).register_files(session, piece, repository, lab)]
