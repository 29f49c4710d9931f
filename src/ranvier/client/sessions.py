"""What the database has of sessions, and of what they are of: subjects, insertions, labs and their servers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from ranvier.client.connection import Connection, DatabaseRefused, Record
from ranvier.session import Session
from ranvier.states import NOTHING_APPLIES

_LAST_DAY = "2100-01-01"


class Sessions(Connection):
    """Sessions, subjects, insertions, labs."""

    def session(self, eid: str) -> Record:
        """A session in full."""
        return self._get(f"/sessions/{eid}")

    def find_session(self, session: Session) -> Record | None:
        """The session of a folder, None where it is not registered."""
        day = session.date.isoformat()
        found = self._get(f"/sessions?subject={session.subject}&date_range={day},{day}&number={session.number}")
        return found[0] if found else None

    def sessions(self, limit: int = 20) -> list[Record]:
        """The latest sessions."""
        found = self._get(f"/sessions?limit={limit}")
        return [found[index] for index in range(min(limit, len(found)))]

    def create_session(self, record: Record) -> Record:
        """Create a session; see Alyx's ``POST /sessions``."""
        return self._post("/sessions", record)

    def note_nothing_applies(self, record: Record) -> None:
        """Note of a session that no task applies to it, as it has no task's row that could tell how it stands.

        Parameters
        ----------
        record
            The session in full.
        """
        known = record["json"] or {}
        if not known.get(NOTHING_APPLIES):
            self._call("patch", f"/sessions/{record['id']}", {"json": {**known, NOTHING_APPLIES: True}})

    def subject(self, nickname: str) -> Record | None:
        """A subject, None where it is not known."""
        return self._get_or_none(f"/subjects/{nickname}")

    def create_subject(self, nickname: str, lab: str) -> Record:
        """Create a subject."""
        return self._post("/subjects", {"nickname": nickname, "lab": lab, "responsible_user": self.username})

    def ensure_projects(self, names: Iterable[str]) -> None:
        """Create the projects that are not known yet."""
        for name in names:
            if self._get_or_none(f"/projects/{name}") is None:
                self._post("/projects", {"name": name, "users": [self.username]})

    def known_procedures(self) -> set[str]:
        """Names of the procedures that the database has."""
        return {item["name"] for item in self._get("/procedures?limit=1000")}

    def ensure_insertion(self, eid: str, name: str, serial: str = "", model: str | None = None) -> Record:
        """The insertion of a probe in a session, created where there is none."""
        address = f"/insertions?session={eid}&name={name}"
        if found := self._get(address):
            return found[0]
        try:
            return self._post("/insertions", {"session": eid, "name": name, "serial": serial, "model": model})
        except DatabaseRefused as refusal:
            if refusal.status == HTTPStatus.CONFLICT and (found := self._get(address)):  # of two at once
                return found[0]
            raise

    def labs(self) -> list[Record]:
        """The labs."""
        return list(self._get("/labs"))

    def lab_servers(self) -> list[Record]:
        """The labs' servers, with their last signs of life."""
        return list(self._get("/lab-servers"))

    def tokens(self) -> list[Record]:
        """The tokens with names of whoever signed in, and those that it looks after."""
        return list(self._get("/tokens"))

    def new_token(self, **fields: Any) -> Record:
        """Make a token with a name; the answer has it, under `token`, and nothing has it later."""
        return self._post("/tokens", fields)

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token with a name.

        Raises
        ------
        DatabaseRefused
            With status 404 when there is none of that id, or none that whoever signed in looks after.
        """
        try:
            self._call("delete", f"/tokens/{quote(token_id, safe='')}")
        except DatabaseRefused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            raise DatabaseRefused(404, f"the database at {self.url} has no token {token_id}", "`ranvier tokens list` shows them") from None

    def add_lab_server(self, **fields: Any) -> Record:
        """A lab with its server, made where it is not there yet; for staff."""
        return self._post("/lab-servers", fields)

    def sign_of_life(self, lab: str, **fields: Any) -> Record:
        """Note that a lab's server lives, and how it is."""
        return self._call("patch", f"/lab-servers/{lab}", fields)

    def lab_sessions(self, lab: str, since: dt.date) -> Iterator[Record]:
        """The sessions of a lab from a day on."""
        return self._pages(f"/sessions?lab={lab}&date_range={since.isoformat()},{_LAST_DAY}")
