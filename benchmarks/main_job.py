"""What Ranvier costs beside the work itself: ``python benchmarks/main_job.py [overhead] [latency] [trivial]``.

Every figure is a ratio, or two times, from one run on one machine:

overhead
    The whole pipeline of a simulated session against a bare script that calls the same functions on the same session with the same cores.
latency
    From the end of a copy to the first attempt's start, with the default services.
trivial
    Task instances that do nothing, through plan, Prefect, Dask, attempt and database, against plain Dask futures.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ranvier import demo, runs
from ranvier.client import Database
from ranvier.session import READY_FLAG, Session, locate
from ranvier.settings import Settings
from ranvier.simulate import simulate_session
from ranvier.supervisor import running

_TRIVIAL = """
import time
from ranvier import Output, task

@task(version="1", per="protocol", outputs=[Output("alf/{protocol}/nothing.table.csv", register=False)])
def nothing(job):
    '''Does nothing but write one line.'''
    job.output("alf/{protocol}/nothing.table.csv").write_text("a\\n1\\n")
"""


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
        time.sleep(0.1)
    rows = database.tasks(record["id"])
    while runs.unsettled(rows):
        time.sleep(0.2)
        rows = database.tasks(record["id"])
    assert all(row["status"] == "Complete" for row in rows), [(row["name"], row["status"], row["reason"]) for row in rows]
    return [attempt for row in rows for attempt in database.attempts(row["id"])]


def _when(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def overhead(repeats: int) -> None:
    """Print the ratio of the pipeline's wall and CPU time to the bare script's."""
    with tempfile.TemporaryDirectory(prefix="ranvier-template-") as folder, services() as (settings, database):
        template = simulate_session(Path(folder) / "lab" / "Subjects", "mouse", "2026-01-15", ready=False, **demo.RECORDING).path
        wall, cpu = [], []
        for number in range(repeats + 1):
            bare_wall, bare_cpu = _bare(template, Path(folder), settings)
            session, arrived = arrive(template, settings, f"mouse_{number}")
            attempts = finished(settings, database, session)
            first, last = min(_when(each["started"]) for each in attempts), max(_when(each["finished"]) for each in attempts)
            if number:  # the first of both compiles for those that follow
                wall.append((last - first) / bare_wall)
                cpu.append(sum(each["cpu_s"] for each in attempts) / bare_cpu)
                print(f"  bare {bare_wall:.0f} s, {bare_cpu:.0f} CPU-s; pipeline {last - first:.0f} s, copy to end {last - arrived:.0f} s")
    print(f"overhead: pipeline / bare script: wall {statistics.median(wall):.3f}, CPU {statistics.median(cpu):.3f} (median of {repeats})")


def _bare(template: Path, folder: Path, settings: Settings) -> tuple[float, float]:
    """Wall and CPU seconds of a bare script on a copy of the session."""
    session = folder / "bare" / "lab" / "Subjects" / "mouse" / "2026-01-15" / "001"
    shutil.rmtree(session, ignore_errors=True)
    shutil.copytree(template, session)
    environment = {**os.environ, "RANVIER_HOME": str(settings.home), "NUMBA_CACHE_DIR": str(settings.work_folder / "numba")}
    started, used = time.monotonic(), os.times()
    subprocess.run([sys.executable, Path(__file__).with_name("bare_script.py"), session], env=environment, check=True, capture_output=True)
    after = os.times()
    return time.monotonic() - started, after.children_user + after.children_system - used.children_user - used.children_system


def latency(repeats: int) -> None:
    """Print the seconds from a copy's end to the first attempt's start."""
    with tempfile.TemporaryDirectory(prefix="ranvier-template-") as folder, services(_TRIVIAL) as (settings, database):
        template = _protocols(Path(folder), 1)
        waits = []
        for number in range(repeats):
            session, arrived = arrive(template, settings, f"mouse_{number}")
            waits.append(min(_when(each["started"]) for each in finished(settings, database, session)) - arrived)
    middle, spread = statistics.median(waits), f"{min(waits):.1f} to {max(waits):.1f}"
    print(f"latency: copy finished to first attempt: median {middle:.1f} s, {spread} ({repeats} sessions)")


def trivial(count: int) -> None:
    """Print the ratio and the seconds a task instance beside plain Dask futures."""
    import distributed

    with tempfile.TemporaryDirectory(prefix="ranvier-template-") as folder, services(_TRIVIAL) as (settings, database):
        with distributed.Client(settings.cluster_address) as client:
            started = time.monotonic()
            client.gather([client.submit(_write, str(Path(folder) / f"{number}.csv"), pure=False) for number in range(count)])
            plain = time.monotonic() - started
        session, _ = arrive(_protocols(Path(folder), count), settings, "mouse")
        attempts = finished(settings, database, session)
        ours = max(_when(each["finished"]) for each in attempts) - min(_when(each["started"]) for each in attempts)
    print(f"trivial: {count} instances: {ours / count:.3f} s each, plain Dask futures {plain / count:.4f} s each, ratio {ours / plain:.0f}")


def _write(path: str) -> None:
    Path(path).write_text("a\n1\n")


def _protocols(folder: Path, count: int) -> Path:
    session = folder / "lab" / "Subjects" / "mouse" / "2026-01-15" / "001"
    session.mkdir(parents=True)
    protocols = [{"nothing": {"collection": f"raw_task_data_{number:02d}"}} for number in range(count)]
    (session / "_ibl_experiment.description.yaml").write_text(yaml.safe_dump({"version": "1.0.0", "tasks": protocols}))
    return session


def main() -> None:
    """Run what is named on the command line, all of it by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["latency", "trivial", "overhead"], choices=["latency", "trivial", "overhead"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--count", type=int, default=50, help="task instances of `trivial`")
    chosen = parser.parse_args()
    for what in chosen.what:
        {"latency": latency, "overhead": overhead}[what](chosen.repeats) if what != "trivial" else trivial(chosen.count)


if __name__ == "__main__":
    main()
