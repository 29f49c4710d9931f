"""Serves the database of a machine: what a supervisor runs, and a context manager for tests and scripts."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from ranvier.database.bootstrap import bootstrap, environment
from ranvier.errors import RanvierError
from ranvier.settings import Settings

WORKERS = 2
THREADS = 8
#: ONE asks for a hundred datasets by their UUIDs in one address; gunicorn's own limit is shorter than that.
LONGEST_ADDRESS = 0


class ServingError(RanvierError):
    """The database did not start to answer; the message says where its log is."""


def command(settings: Settings) -> list[str]:
    """The command that serves the database, to be run with `bootstrap.environment`."""
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "ranvier.database.wsgi:application",
        *("--bind", f"{settings.ports.host}:{settings.ports.database}"),
        *("--preload", "--worker-class", "gthread", "--workers", str(WORKERS), "--threads", str(THREADS), "--no-control-socket"),
        *("--limit-request-line", str(LONGEST_ADDRESS)),
        *("--timeout", "120", "--graceful-timeout", "5"),
    ]


@contextmanager
def serve(settings: Settings, port: int | None = None, *, wait_s: float = 30.0) -> Iterator[str]:
    """Make a machine's database ready and serve it while the context lasts.

    Parameters
    ----------
    settings
        Settings of the machine.
    port
        TCP port, where it is not the one of the settings.
    wait_s
        Seconds to wait for the first answer.

    Yields
    ------
    str
        Address of the database.

    Raises
    ------
    ServingError
        If it does not answer in time; its log is ``logs/database.log`` of the home.
    """
    if port is not None:
        settings = settings.model_copy(update={"ports": settings.ports.model_copy(update={"database": port})})
    bootstrap(settings)
    log = settings.home / "logs" / "database.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(command(settings), env=environment(settings), stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait(process, f"http://{settings.near}:{settings.ports.database}", wait_s, f"its log is {log}")
        yield settings.database_url
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:  # its workers end when they see that it is gone
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, wait_s: float, hint: str) -> None:
    deadline = time.monotonic() + wait_s
    while process.poll() is None and time.monotonic() < deadline:
        if answers(url):
            return
        time.sleep(0.05)
    if process.poll() is None:
        process.terminate()
        raise ServingError(f"the database at {url} did not answer within {wait_s:.0f} s", hint)
    raise ServingError(f"the database at {url} ended with code {process.returncode} before it answered", hint)


def answers(url: str) -> bool:
    """Whether a database answers at an address."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
