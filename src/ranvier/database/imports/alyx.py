"""An Alyx, read page by page through ONE-api's `AlyxClient`; nothing is ever written there."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import requests
import tenacity
from one.webclient import AlyxClient

from ranvier.errors import RanvierError

Json = dict[str, Any]
#: Rows that are asked for at once; Alyx gives no more than 1000.
PAGE = 500
#: Requests that are under way at once.
CONNECTIONS = 4
CONNECT_S, READ_S = 10.0, 300.0
#: For how long a request is tried again while the Alyx does not answer.
PATIENCE_S = 120.0
#: HTTP statuses of a server that is there and cannot answer just now.
UNAVAILABLE = (502, 503, 504)


class AlyxError(RanvierError):
    """The Alyx does not answer, does not let in, or refuses; the message says which."""


class Unanswerable(AlyxError):
    """The Alyx makes a mistake over this request, each time."""


class _Http(requests.Session):
    """Kept-alive connections with a time limit on every request; `AlyxClient` sets none."""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", (CONNECT_S, READ_S))
        return super().request(*args, **kwargs)


class _Client(AlyxClient):
    """`AlyxClient` over kept-alive connections, one a thread; nothing is cached, and no token is left behind."""

    def __init__(self, url: str) -> None:
        self._local = threading.local()
        super().__init__(base_url=url, silent=True, cache_rest=None)

    @property
    def http(self) -> requests.Session:
        """The connections of this thread."""
        if not hasattr(self._local, "http"):
            self._local.http = _Http()
        return self._local.http

    @functools.wraps(AlyxClient._generic_request)
    def _generic_request(
        self, reqfunction: Callable[..., Any], rest_query: str, data: Any = None, files: Any = None, **caching: Any
    ) -> Any:
        return super()._generic_request(getattr(self.http, reqfunction.__name__), rest_query, data=data, files=files, **caching)


class Alyx:
    """An Alyx that is read.

    Parameters
    ----------
    url
        Its address.
    username
        Who signs in; not needed with a token.
    password
        That user's password.
    token
        A token in place of it.

    Raises
    ------
    AlyxError
        If it does not answer, or does not let the user in.
    """

    def __init__(self, url: str, username: str = "", *, password: str | None = None, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._client = _Client(self.url)
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        try:
            self._sign_in(username, password, token)
        except (requests.RequestException, ConnectionError, ValueError) as error:
            reason = error.filename if isinstance(error, requests.HTTPError) else error
            raise AlyxError(
                f"{self.url} does not let {username or 'the token'} in: {reason}", "check the address, the user and the password"
            ) from None
        self._client.authenticate = self._signed_out

    def _sign_in(self, username: str, password: str | None, token: str | None) -> None:
        sign_in = functools.partial(self._client.authenticate, password=password, cache_token=False, force=True, token=token)
        try:
            sign_in(username or None)
        except ValueError:  # an Alyx without /me cannot tell whose a token is, and AlyxClient wants to know
            if token is None or username:
                raise
            sign_in("token")

    def _signed_out(self, *_: Any, **__: Any) -> None:
        raise AlyxError(f"{self.url} does not take the token any longer", "start the import again: it goes on where it was")

    @functools.cached_property
    def endpoints(self) -> frozenset[str]:
        """What can be asked for."""
        return frozenset(self._client.rest_schemes.endpoints)

    def get(self, path: str) -> Any:
        """The answer to a request, patiently.

        Raises
        ------
        Unanswerable
            If the Alyx makes a mistake over it (500).
        AlyxError
            If it refuses, or does not answer for long.
        """
        patiently = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(ConnectionError),
            stop=tenacity.stop_after_delay(PATIENCE_S),
            wait=tenacity.wait_exponential(0.5, max=20),
            reraise=True,
        )
        try:
            return patiently(self._get, path)
        except ConnectionError as error:
            raise AlyxError(
                f"{self.url} does not answer: {error}", "start the import again when it does: it goes on where it was"
            ) from None

    def _get(self, path: str) -> Any:
        try:
            ask: Any = self._client._generic_request  # `get` would hide how many rows a list has
            return ask(requests.get, path)
        except requests.HTTPError as error:
            status, detail = int(error.errno or 0), str(error.filename)[:300]
            if status in UNAVAILABLE:
                raise ConnectionError(f"{status} {detail}") from None
            kind = Unanswerable if status >= 500 else AlyxError
            raise kind(f"{self.url}{path[:200]} was answered with {status}: {detail}") from None
        except requests.RequestException as error:
            raise ConnectionError(type(error).__name__) from None

    def each(self, paths: Sequence[str]) -> list[Any]:
        """Answers to many requests, of which several are under way at once; None where there is no such row, or the Alyx fails over it."""
        return self.at_once(self._get_or_none, paths)

    def at_once(self, ask: Callable[[Any], Any], what: Iterable[Any]) -> list[Any]:
        """What a function answers to each of several things, several at once."""
        return list(self._pool.map(ask, what))

    def _get_or_none(self, path: str) -> Any:
        try:
            return self.get(path)
        except AlyxError as error:
            if isinstance(error, Unanswerable) or " 404" in error.message:
                return None
            raise

    def count(self, endpoint: str, **query: str) -> int:
        """How many rows a list has."""
        answer = self.get(address(endpoint, {**query, "limit": "1"}))
        return int(answer["count"]) if isinstance(answer, dict) else len(answer)

    def pages(self, endpoint: str, unreadable: Callable[[str], None], **query: str) -> Iterator[list[Json]]:
        """A list, page by page.

        Parameters
        ----------
        endpoint
            Its name.
        unreadable
            Called with the place of each row over which the Alyx fails; the rest of the page is read all the same.
        **query
            What is asked for.
        """
        offset, count = 0, 1
        while offset < count:
            rows, now = self._page(endpoint, query, offset, PAGE, unreadable)
            count = max(count, now)
            if rows:
                yield rows
            offset += PAGE

    def rows(self, endpoint: str, unreadable: Callable[[str], None], **query: str) -> list[Json]:
        """A list, whole."""
        return [row for page in self.pages(endpoint, unreadable, **query) for row in page]

    def _page(self, endpoint: str, query: Json, offset: int, limit: int, unreadable: Callable[[str], None]) -> tuple[list[Json], int]:
        path = address(endpoint, {**query, "limit": str(limit), **({"offset": str(offset)} if offset else {})})
        try:
            answer = self.get(path)
        except Unanswerable:
            if limit == 1:
                unreadable(path)
                return [], 0
            half = limit // 2
            rows, count = self._page(endpoint, query, offset, half, unreadable)
            if not count or count > offset + half:
                more, counted = self._page(endpoint, query, offset + half, limit - half, unreadable)
                rows, count = rows + more, max(count, counted)
            return rows, count
        if isinstance(answer, list):
            return answer[offset:], len(answer)
        return answer["results"], int(answer["count"])

    def file(self, url: str) -> bytes:
        """A file that a row names; the token goes to the Alyx itself only.

        Raises
        ------
        AlyxError
            If it is not to be had.
        """
        own = urlsplit(url).netloc == urlsplit(self.url).netloc
        headers = {"Authorization": self._client._headers["Authorization"]} if own else {}
        try:
            answer = self._client.http.get(url, headers=headers, timeout=(CONNECT_S, READ_S))
            answer.raise_for_status()
        except requests.RequestException as error:
            raise AlyxError(f"{url} cannot be read: {error}") from None
        return answer.content

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown()


def address(endpoint: str, query: Json) -> str:
    """Path and query of a list."""
    return f"/{endpoint}?{urlencode(query, quote_via=quote, safe=',')}" if query else f"/{endpoint}"


def one_of(path: str, values: Sequence[object]) -> str:
    """The term of a ``django=`` filter that a column is one of these values, as ONE writes it."""
    return f"{path}__in,[{','.join(repr(str(value)) for value in values)}]"
