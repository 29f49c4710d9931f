"""Fixtures that every test may use, and what keeps a test away from the real home folder."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
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


@pytest.fixture
def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with serve(settings, port) as url:
        yield LiveDatabase(settings, url)
