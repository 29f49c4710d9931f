"""A whole system in a temporary home, for the benchmarks: sessions arrive in it, and what its services use is counted."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from ranvier import demo, runs
from ranvier.client import Database
from ranvier.running_state import written_state
from ranvier.session import READY_FLAG, Session, locate
from ranvier.settings import Settings
from ranvier.supervisor import running


@contextlib.contextmanager
def services(plugin: str = "") -> Iterator[tuple[Settings, Database]]:
    """Every service in a temporary home, with a plugin of that source installed beside Ranvier."""
    with tempfile.TemporaryDirectory(prefix="ranvier-benchmark-") as folder:
        if plugin:
            _install(Path(folder) / "plugin", plugin)
        settings = demo.prepare(Path(folder) / "home")
        with running(settings):
            yield settings, Database.from_settings(settings)


def _install(site: Path, source: str) -> None:
    information = site / "benchmark_plugin-1.dist-info"
    information.mkdir(parents=True)
    (site / "benchmark_plugin.py").write_text(source)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: benchmark-plugin\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[ranvier.tasks]\nbenchmark = benchmark_plugin\n")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))


def arrive(template: Path, settings: Settings, subject: str) -> tuple[Session, float]:
    """Have a session arrive in the lab's folder; returns it and the time at which its copy was finished."""
    session = locate(settings.lab_root, subject, dt.date(2026, 1, 15), 1)
    shutil.copytree(template, session.path, ignore=shutil.ignore_patterns(READY_FLAG))
    (session.path / READY_FLAG).touch()
    return session, time.time()


def finished(settings: Settings, database: Database, session: Session) -> list[dict[str, Any]]:
    """Wait for a session's preprocessing; returns its attempts."""
    while (record := database.find_session(session)) is None or not database.tasks(record["id"]):
        time.sleep(1)
    rows = database.tasks(record["id"])
    while runs.unsettled(rows):
        time.sleep(1)
        rows = database.tasks(record["id"])
    assert all(row["status"] == "Complete" for row in rows), [(row["name"], row["status"], row["reason"]) for row in rows]
    return [attempt for row in rows for attempt in database.attempts(row["id"])]


def when(text: str) -> float:
    """A time of the database as seconds since the epoch."""
    return dt.datetime.fromisoformat(text).timestamp()


def cpu_used(settings: Settings) -> float:
    """CPU seconds of all services so far, with everything that they have started and waited for."""
    supervisor = psutil.Process(written_state(settings).pid)
    total = 0.0
    for process in (supervisor, *supervisor.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])
    return total


def memory(settings: Settings) -> dict[str, float]:
    """Megabytes (1e6 bytes, proportional set size) of each service with its descendants."""
    return {name: _pss(service.pid) / 1e6 for name, service in written_state(settings).services.items() if service.pid}


def _pss(pid: int) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        for process in (leader, *leader.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total
