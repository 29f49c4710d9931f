"""Everything that the pipeline says to the database, through ONE-api's `AlyxClient`.

The pipeline's part of it (plans, attempts, events) needs Ranvier's own database; sessions, files and tasks are asked for as of any Alyx.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import requests
import tenacity
from one.alf.exceptions import ALFError
from one.webclient import AlyxClient

from ranvier.errors import RanvierError
from ranvier.session import Session
from ranvier.settings import Settings

Record = dict[str, Any]

_CONNECT_S, _READ_S = 5.0, 60.0


class DatabaseUnreachable(RanvierError):
    """The database does not answer."""


class DatabaseRefused(RanvierError):
    """The database answered that it will not do what was asked.

    Attributes
    ----------
    status
        The HTTP status.
    """

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


class _Http(requests.Session):
    """Kept-alive connections with a time limit on every request; `AlyxClient` sets none."""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", (_CONNECT_S, _READ_S))
        return super().request(*args, **kwargs)


class _Alyx(AlyxClient):
    """`AlyxClient` over kept-alive connections; nothing is cached, as the pipeline asks for what is true now."""

    def __init__(self, base_url: str) -> None:
        self.http = _Http()
        super().__init__(base_url=base_url, silent=True, cache_rest=None)

    @functools.wraps(AlyxClient._generic_request)
    def _generic_request(
        self, reqfunction: Callable[..., Any], rest_query: str, data: Any = None, files: Any = None, **caching: Any
    ) -> Any:
        return super()._generic_request(getattr(self.http, reqfunction.__name__), rest_query, data=data, files=files, **caching)


def _unreachable(error: BaseException) -> bool:
    if isinstance(error, DatabaseRefused):
        return error.status in (502, 503, 504)
    return isinstance(error, DatabaseUnreachable)


class Database:
    """The database, as the pipeline sees it.

    Parameters
    ----------
    url
        Its address.
    token
        API token.
    username
        User that the token belongs to.
    patience_s
        For how many seconds a request is tried again while the database does not answer.
    """

    def __init__(self, url: str, token: str, username: str = "ranvier", patience_s: float = 30.0) -> None:
        self.url = url
        self.username = username
        self._alyx = _Alyx(url)
        self._alyx.user = username
        self._alyx._token = {"token": token}
        self._alyx._headers = {**self._alyx._base_headers, "Authorization": f"Token {token}"}
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_unreachable),
            wait=tenacity.wait_exponential(multiplier=0.2, max=5.0),
            stop=tenacity.stop_after_delay(patience_s),
            reraise=True,
        )

    @classmethod
    def from_settings(cls, settings: Settings, patience_s: float = 30.0) -> Database:
        """The database of this machine's settings, signed in as its service user.

        Raises
        ------
        SettingsError
            If this machine has no token.
        """
        return cls(settings.database_url, settings.secret("token"), settings.database.username, patience_s)

    # sessions

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
        found = self._get(f"/insertions?session={eid}&name={name}")
        return found[0] if found else self._post("/insertions", {"session": eid, "name": name, "serial": serial, "model": model})

    def labs(self) -> list[Record]:
        """The labs."""
        return list(self._get("/labs"))

    # datasets

    def check_protected(self, session: Session, paths: Sequence[str], repository: str) -> bool:
        """Whether any of a session's files is protected from being overwritten."""
        body = {"created_by": self.username, "path": session.reference, "filenames": list(paths), "name": repository}
        answer = self._call("get", "/check-protected", body)
        return answer.get("status_code") == 403

    def ensure_dataset_types(self, names: Iterable[str], brought_by: str) -> list[str]:
        """Create the dataset types of files that none is known for: ``object.attribute`` of the file name.

        Parameters
        ----------
        names
            File names.
        brought_by
            The task, for the new type's description.

        Returns
        -------
        list of str
            Names of the types that were created.

        Raises
        ------
        DatabaseRefused
            If a file name is not an ALF name, or matches several types.
        """
        from one.registration import get_dataset_type  # it brings pandas, which flow runs should not wait for

        known = list(self._get("/dataset-types?limit=1000"))
        created = []
        for name in names:
            try:
                get_dataset_type(name, known)
            except ValueError as error:
                if "multiple" in str(error):
                    raise DatabaseRefused(400, str(error), "change the file's name or the patterns of the dataset types") from None
                known.append(self._create_dataset_type(name, brought_by, known))
                created.append(known[-1]["name"])
        return created

    def register_files(self, session: Session, files: Sequence[Record], repository: str, lab: str) -> list[Record]:
        """Register files of a session in one call.

        Parameters
        ----------
        session
            The session.
        files
            ``path`` (below the session folder), ``hash`` (md5), ``size`` (bytes) and ``version`` of each.
        repository
            The data repository in which they are.
        lab
            Name of the lab.
        """
        body = {
            "created_by": self.username,
            "path": session.reference,
            "filenames": [item["path"] for item in files],
            "hashes": [item["hash"] for item in files],
            "filesizes": [item["size"] for item in files],
            "versions": [item["version"] for item in files],
            "name": repository,
            "labs": lab,
            "exists": True,
        }
        return list(self._post("/register-file", body))

    # tasks and attempts

    def tasks(self, eid: str) -> list[Record]:
        """The task rows of a session."""
        return list(self._get(f"/tasks?session={eid}&limit=1000"))

    def task(self, task_id: str) -> Record:
        """One task row."""
        return self._get(f"/tasks/{task_id}")

    def patch_task(self, task_id: str, **fields: Any) -> Record:
        """Change a task row."""
        return self._call("patch", f"/tasks/{task_id}", fields)

    def save_plan(self, eid: str, rows: list[Record]) -> list[Record]:
        """Create or update the task rows of a session in one transaction; returns them in the order given."""
        return list(self._post("/plans", {"session": eid, "tasks": rows}))

    def claim(self, **fields: Any) -> Record:
        """Claim a task; see ``POST /attempts`` in docs/architecture.md.

        Raises
        ------
        DatabaseRefused
            With status 409 when somebody else has it.
        """
        return self._post("/attempts", {"id": str(uuid.uuid4()), **fields})

    def report(self, attempt_id: str, **fields: Any) -> Record:
        """Renew an attempt's lease, or hand in its verdict; see ``PATCH /attempts`` in docs/architecture.md.

        Raises
        ------
        DatabaseRefused
            With status 409 when the attempt has been fenced off.
        """
        return self._call("patch", f"/attempts/{attempt_id}", fields)

    def attempts(self, task_id: str) -> list[Record]:
        """All attempts at a task, newest first."""
        return list(self._get(f"/attempts?task={task_id}"))

    # events

    def pending_events(self) -> list[Record]:
        """Events that have not been delivered, oldest first."""
        return list(self._get("/events?pending=true"))

    def event_delivered(self, event_id: int, flow_run: str) -> Record:
        """Mark an event as delivered to a flow run."""
        return self._call("patch", f"/events/{event_id}", {"delivered": True, "flow_run": flow_run})

    def event_failed(self, event_id: int, error: str) -> Record:
        """Note why an event could not be delivered."""
        return self._call("patch", f"/events/{event_id}", {"error": error})

    def request_run(self, eid: str, kind: str, key: str, payload: Record | None = None) -> Record:
        """Ask for a session's preprocessing; the same key twice asks once."""
        return self._post("/events", {"kind": kind, "session": eid, "key": key, "payload": payload or {}})

    def expired_leases(self) -> list[str]:
        """Give back the tasks whose lease ran out; returns their ids."""
        return list(self._post("/expired-leases", {}))

    # plumbing

    def has(self, endpoint: str) -> bool:
        """Whether the database has an endpoint, by its OpenAPI document."""
        return endpoint in self._call_alyx(lambda: self._alyx.rest_schemes.endpoints)

    def _create_dataset_type(self, name: str, brought_by: str, known: list[Record]) -> Record:
        from one.alf.path import filename_parts

        try:
            _, obj, attribute, *_ = filename_parts(name)
        except ALFError:
            raise DatabaseRefused(
                400,
                f"{name} is not an ALF file name and matches no dataset type",
                "name it object.attribute.extension, or add a dataset type",
            ) from None
        new = f"{obj}.{attribute}"
        if taken := next((item for item in known if item["name"] == new), None):
            raise DatabaseRefused(
                400,
                f"the dataset type {new} is for files like {taken['filename_pattern']!r}, which {name} is not",
                f"change the file's name, or the pattern at {self.url}/admin",
            )
        try:
            return self._post("/dataset-types", {"name": new, "description": f"Brought by the task {brought_by}", "filename_pattern": ""})
        except DatabaseRefused:
            if (there := self._get_or_none(f"/dataset-types/{new}")) is not None:  # another attempt has just brought it
                return there
            raise

    def _get(self, query: str) -> Any:
        return self._call("get", query)

    def _get_or_none(self, query: str) -> Record | None:
        try:
            return self._get(query)
        except DatabaseRefused as error:
            if error.status == 404:
                return None
            raise

    def _post(self, query: str, data: Record) -> Any:
        return self._call("post", query, data)

    def _call(self, method: str, query: str, data: Record | None = None) -> Any:
        if method == "get":
            kwargs = {} if data is None else {"data": data}
            return self._retrying(self._call_alyx, lambda: self._alyx.get(query, **kwargs))
        return self._retrying(self._call_alyx, lambda: getattr(self._alyx, method)(query, data=data))

    def _call_alyx(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except requests.HTTPError as error:
            # AlyxClient gives the status, the query and the server's words; Python makes errno, strerror and filename of three arguments
            status, query, detail = error.errno, error.strerror, error.filename
            raise DatabaseRefused(int(status or 0), f"the database at {self.url} refused ({status}) {query}: {detail}") from None
        except requests.RequestException as error:
            raise DatabaseUnreachable(
                f"the database at {self.url} does not answer ({type(error).__name__})", "is `ranvier up` running? `ranvier doctor` looks"
            ) from None
