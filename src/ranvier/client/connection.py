"""How the database is asked: through ONE-api's `AlyxClient`, over kept-alive connections, with patience while it does not answer."""

from __future__ import annotations

import copy
import functools
import logging
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Self

import requests
import tenacity
from one.webclient import AlyxClient

from ranvier.errors import RanvierError
from ranvier.outages import Outages

Record = dict[str, Any]

_CONNECT_S, _READ_S = 5.0, 60.0
#: Rows of a page; Alyx gives no more at once.
_PAGE = 1000


class DatabaseUnreachable(RanvierError):
    """The database does not answer."""


class DatabaseRefused(RanvierError):
    """The database answered that it will not do what was asked.

    Attributes
    ----------
    status
        The HTTP status.
    detail
        The database's own words.
    """

    def __init__(self, status: int, message: str, hint: str = "", detail: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.detail = detail or message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.message, self.hint, self.detail)  # it travels from Dask's workers to flow runs


class _Http(requests.Session):
    """Kept-alive connections with a time limit on every request; `AlyxClient` sets none."""

    time_limits = (_CONNECT_S, _READ_S)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", self.time_limits)
        return super().request(*args, **kwargs)


class _Alyx(AlyxClient):
    """`AlyxClient` over kept-alive connections; nothing is cached, as the pipeline asks for what is true now."""

    def __init__(self, base_url: str, token_from: str) -> None:
        self.http = _Http()
        self.token_from = token_from
        super().__init__(base_url=base_url, silent=True, cache_rest=None)

    def authenticate(self, *args: Any, **kwargs: Any) -> None:
        """What `AlyxClient` does when the database does not know the token; there is no password to get another with.

        Raises
        ------
        DatabaseRefused
            Always.
        """
        mend = "take it out" if self.token_from.startswith("RANVIER_") else f"remove {self.token_from}"
        raise DatabaseRefused(
            403,
            f"the database at {self.base_url} does not know the token of {self.token_from}",
            f"put a token of that database there: on its own machine {mend} and start `ranvier up` again, which makes one; "
            "on another machine copy secrets/token of that one's home; an Alyx of yours gives one for POST /auth-token",
        )

    @functools.wraps(AlyxClient._generic_request)
    def _generic_request(
        self, reqfunction: Callable[..., Any], rest_query: str, data: Any = None, files: Any = None, **caching: Any
    ) -> Any:
        return super()._generic_request(getattr(self.http, reqfunction.__name__), rest_query, data=data, files=files, **caching)


#: HTTP statuses of a database that is there and cannot answer just now.
_UNAVAILABLE = (502, 503, 504)


class Connection:
    """A database of Alyx's protocol, asked through `AlyxClient`.

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
    token_from
        Where the token comes from, for messages.
    """

    def __init__(self, url: str, token: str, username: str = "ranvier", patience_s: float = 30.0, token_from: str = "its user") -> None:
        self.url = url
        self.username = username
        self._alyx = _Alyx(url, token_from)
        self._alyx.user = username
        self._alyx._token = {"token": token}
        self._alyx._headers = {**self._alyx._base_headers, "Authorization": f"Token {token}"}
        self._outages: Outages | None = None
        self._be_patient(patience_s)

    def _be_patient(self, patience_s: float) -> None:
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(DatabaseUnreachable),
            wait=tenacity.wait_exponential(multiplier=0.2, max=5.0),
            stop=tenacity.stop_after_delay(patience_s),
            before_sleep=self._tell_of_outage,
            reraise=True,
        )

    def with_patience(self, patience_s: float, log: logging.Logger | logging.LoggerAdapter[Any] | None = None) -> Self:
        """The same database with another patience, over the same connections.

        Parameters
        ----------
        patience_s
            For how many seconds a request is tried again while the database does not answer; ``math.inf``: until it does.
        log
            Is told once when the database does not answer, and once when it answers again.
        """
        other = copy.copy(self)
        other._outages = Outages(log) if log else None
        other._be_patient(patience_s)
        return other

    def _tell_of_outage(self, retrying: tenacity.RetryCallState) -> None:
        if self._outages and retrying.outcome:
            self._outages.begin("the database", str(retrying.outcome.exception()))

    def be_brief(self, time_limits: tuple[float, float]) -> None:
        """Ask once, and for no longer than this.

        Parameters
        ----------
        time_limits
            Seconds for connecting, and for each answer.
        """
        self._alyx.http.time_limits = time_limits
        self._alyx.max_retry_attempts = 0

    def has(self, endpoint: str) -> bool:
        """Whether the database has an endpoint, by its OpenAPI document."""
        return endpoint in self._retrying(self._call_alyx, lambda: self._alyx.rest_schemes.endpoints)

    def clock_ahead_s(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the database's, to a second; None where it does not tell its time."""
        asked = time.time()
        answer = self._retrying(self._call_alyx, lambda: self._alyx.http.get(f"{self.url}/labs", headers=self._alyx._headers))
        if "Date" not in answer.headers:
            return None
        return (asked + time.time()) / 2 - parsedate_to_datetime(answer.headers["Date"]).timestamp()

    def knows(self, address: str) -> bool:
        """Whether there is something at an address below the database's, such as ``labs/cortexlab``."""
        return self._get_or_none(f"/{address}") is not None

    def _pages(self, query: str) -> Iterator[Record]:
        """Every row of a list, of which ONE's client fetches page after page; what changes meanwhile may be seen twice or not at all."""
        found, index = self._get(f"{query}&limit={_PAGE}"), 0
        while index < len(found):
            yield self._retrying(self._call_alyx, functools.partial(found.__getitem__, index))
            index += 1

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
        if method == "delete":
            return self._retrying(self._call_alyx, lambda: self._alyx.delete(query))
        return self._retrying(self._call_alyx, lambda: getattr(self._alyx, method)(query, data=data))

    def _call_alyx(self, call: Callable[[], Any]) -> Any:
        try:
            answer = call()
        except requests.HTTPError as error:
            # AlyxClient gives the status, the query and the server's words; Python makes errno, strerror and filename of three arguments
            status, query, detail = int(error.errno or 0), error.strerror, error.filename
            if status in _UNAVAILABLE:
                raise DatabaseUnreachable(f"the database at {self.url} cannot answer just now ({status}): {detail}") from None
            message = f"the database at {self.url} refused ({status}) {query}: {detail}"
            raise DatabaseRefused(status, message, detail=str(detail)) from None
        except requests.RequestException as error:
            raise DatabaseUnreachable(
                f"the database at {self.url} does not answer ({type(error).__name__})", "is `ranvier up` running? `ranvier doctor` looks"
            ) from None
        if self._outages:
            self._outages.end("the database")
        return answer


def sign_in(url: str, username: str, password: str) -> str:
    """A user's token.

    Raises
    ------
    DatabaseUnreachable
        If the database does not answer.
    DatabaseRefused
        If the password is not right.
    """
    try:
        answer = _Http().post(f"{url}/auth-token", data={"username": username, "password": password})
    except requests.RequestException as error:
        raise DatabaseUnreachable(
            f"the database at {url} does not answer ({type(error).__name__})", "is `ranvier up` running there?"
        ) from None
    if not answer.ok:
        reason = f"the database at {url} does not let {username} in ({answer.status_code})"
        raise DatabaseRefused(answer.status_code, reason, "was the password changed? give an administrator's token in RANVIER_TOKEN")
    return str(answer.json()["token"])
