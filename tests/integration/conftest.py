"""Fixtures of the integration tests."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from ranvier.client import Database
from ranvier.database.bootstrap import bootstrap, environment
from ranvier.settings import Settings, initialise, load

_MAKE_VISITOR = """
import django
django.setup()
from rest_framework.authtoken.models import Token
from ranvier.database.people.models import User
print(Token.objects.create(user=User.objects.create_user("visitor", is_public_user=True)).key)
"""
_ALYX_ONLY = Path(__file__).with_name("alyx_only")


@dataclass(frozen=True)
class LiveAlyx:
    """A server that has what a real Alyx has, and nothing else; as an administrator of it, or another program, speaks to it."""

    url: str
    settings: Settings
    refusals: Path

    @property
    def token(self) -> str:
        """Of the user `ranvier`."""
        return self.settings.secret("token")

    def token_of_a_visitor(self) -> str:
        """Token of a public user, who may read and never write."""
        made = subprocess.run(
            [sys.executable, "-c", _MAKE_VISITOR], env=environment(self.settings), capture_output=True, text=True, check=True
        )
        return made.stdout.strip()

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Ask; it must work."""
        answer = requests.request(method, self.url + path, json=body, headers={"Authorization": f"Token {self.token}"}, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def task(self, task_id: str) -> dict[str, Any]:
        """A task's row, as Alyx has it."""
        return self.request("GET", f"/tasks/{task_id}")


@contextmanager
def serve_alyx_only(home: Path, lab: str) -> Iterator[LiveAlyx]:
    """Serve Ranvier's database as if it were a real Alyx; see ``alyx_only/alyx_only.py``."""
    settings = initialise(home, lab=lab)
    bootstrap(settings)
    with alyx_of(settings) as live:
        yield live


@contextmanager
def alyx_of(settings: Settings) -> Iterator[LiveAlyx]:
    """The same of a home whose database has its tables."""
    from ranvier.database import serving

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = settings.model_copy(update={"ports": settings.ports.model_copy(update={"database": port})})
    refusals = settings.home / "refusals"
    refusals.touch()
    variables = environment(settings) | {"PYTHONPATH": str(_ALYX_ONLY), "ALYX_ONLY_REFUSALS": str(refusals)}
    command = ["alyx_only:application" if word == "ranvier.database.wsgi:application" else word for word in serving.command(settings)]
    log = settings.home / "alyx.log"
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait(process, settings.database_url, log)
        yield LiveAlyx(settings.database_url, settings, refusals)
    finally:
        process.terminate()
        process.wait(timeout=15)


def lab_settings(home: Path, alyx: LiveAlyx, lab: str) -> Settings:
    """Settings of a lab's server whose database is an Alyx."""
    (home / "secrets").mkdir(parents=True)
    (home / "secrets" / "token").write_text(alyx.token)
    (home / "config.toml").write_text(
        f'[lab]\nname = "{lab}"\n[registration]\nunknown_subject = "create"\nsettle_s = 0.5\n[database]\nurl = "{alyx.url}"\npoll_s = 1.0\n'
    )
    settings = load(home)
    settings.lab_root.mkdir(parents=True)
    return settings


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(f"{url}/api/schema", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError(f"it does not answer: {log.read_text()}")


@pytest.fixture(scope="module")
def alyx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAlyx]:
    """An Alyx of a lab, as a lab has it that comes to Ranvier."""
    with serve_alyx_only(tmp_path_factory.mktemp("alyx"), "alyxlab") as live:
        yield live


@dataclass(frozen=True)
class LabOnAlyx:
    """A lab's server, an Alyx, and the pipeline's client of it."""

    settings: Settings
    alyx: LiveAlyx

    @property
    def database(self) -> Database:
        """A client of its own, as every process has one."""
        return Database.from_settings(self.settings)


@pytest.fixture(scope="module")
def lab_on_alyx(alyx: LiveAlyx, tmp_path_factory: pytest.TempPathFactory) -> LabOnAlyx:
    """The lab's server."""
    return LabOnAlyx(lab_settings(tmp_path_factory.mktemp("lab") / "home", alyx, "alyxlab"), alyx)


@pytest.fixture(scope="module")
def serve_alyx() -> Iterator[Any]:
    """Serves the database of a home, while the module's tests run, as if it were a real Alyx; returns its address."""
    with contextlib.ExitStack() as stack:
        yield lambda settings: stack.enter_context(alyx_of(settings)).url
