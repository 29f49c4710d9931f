"""The supervisor with light services of its own: real processes, ports and signals."""

from __future__ import annotations

import functools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from support import waiter

from ranvier import settings as settings_module
from ranvier import supervisor as supervisor_module
from ranvier.health import Unknown
from ranvier.service_logs import cut
from ranvier.services import Port, Service, environment
from ranvier.settings import Settings
from ranvier.supervisor import Event, SupervisorError, read_state, up

until = waiter(20)


#: Stays up, with a daemon that has left its session and lost its parent.
SERVE = """
import pathlib, subprocess, sys, time
daemon = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); time.sleep(600)"
subprocess.run([sys.executable, "-c", daemon], check=True)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_module.initialise(tmp_path / "home")


def serving(settings: Settings, name: str, **fields: object) -> Service:
    """A service that answers once it has touched its file since it was started."""
    path = settings.home / f"{name}.up"

    def answers(since: float) -> str:
        return "" if path.exists() and path.stat().st_mtime >= since else f"{path} is not there"

    return replace(Service(name, (sys.executable, "-c", SERVE, str(path)), answers=answers), **fields)  # type: ignore[arg-type]


class Running:
    """`up` in a thread, with its events."""

    def __init__(self, settings: Settings, chosen: list[Service]) -> None:
        self.events: list[Event] = []
        self.stop = threading.Event()
        self.ready = threading.Event()
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._up, args=(settings, chosen))
        self.thread.start()

    def _up(self, settings: Settings, chosen: list[Service]) -> None:
        try:
            up(settings, chosen, on_event=self.events.append, on_ready=lambda state: self.ready.set(), stop_event=self.stop)
        except SupervisorError as error:
            self.failure = error

    def end(self) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def told(self) -> list[tuple[str, str]]:
        return [(event.service, event.kind) for event in self.events]


@pytest.fixture
def run(settings: Settings):
    started: list[Running] = []

    def start(chosen: list[Service]) -> Running:
        started.append(Running(settings, chosen))
        return started[-1]

    yield start
    for each in started:
        each.end()


def of_this_home(settings: Settings) -> list[psutil.Process]:
    """Processes that were started for this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("RANVIER_HOME") == str(settings.home):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_services_start_by_need_and_stop_in_reverse(settings, run) -> None:
    chosen = [serving(settings, "base"), serving(settings, "top", needs=("base",))]
    running = run(chosen)
    assert running.ready.wait(20)
    assert read_state(settings).ready
    running.end()
    told = running.told()
    assert told.index(("base", "healthy")) < told.index(("top", "starting"))
    assert told.index(("top", "stopped")) < told.index(("base", "stopped"))
    assert read_state(settings) is None
    assert of_this_home(settings) == []


def test_a_service_that_dies_is_started_again(settings, run) -> None:
    running = run([serving(settings, "base")])
    assert running.ready.wait(20)
    first = read_state(settings).services["base"].pid
    os.kill(first, signal.SIGKILL)
    until(lambda: running.told().count(("base", "healthy")) == 2)
    state = read_state(settings).services["base"]
    assert state.restarts == 1
    assert state.pid != first
    assert ("base", "died") in running.told()


#: Shows every 0.1 s that it lives; given a second word, only once, and uses a core from then on.
BEAT = """
import pathlib, sys, time
while True:
    pathlib.Path(sys.argv[1]).touch()
    while sys.argv[2:]: pass
    time.sleep(0.1)
"""


def beating(settings: Settings, *words: str, **fields: object) -> Service:
    """A service that must show its life every second."""
    path = settings.home / "base.up"
    service = serving(settings, "base", silence_s=1.0, **fields)
    return replace(service, command=(sys.executable, "-c", BEAT, str(path), *words))


def test_a_service_that_hangs_is_started_again(settings, run) -> None:
    running = run([beating(settings)])
    assert running.ready.wait(20)
    first = read_state(settings).services["base"].pid
    os.kill(first, signal.SIGSTOP)
    until(lambda: running.told().count(("base", "healthy")) == 2, 40)
    state = read_state(settings).services["base"]
    assert state.pid != first
    assert state.restarts == 1
    assert re.match(r"it did not answer for \d+ s and did nothing: .*base.up is not there", state.reason)
    assert f"base died {state.reason}" in (settings.home / "logs" / "supervisor.log").read_text()
    assert not psutil.pid_exists(first)


def test_a_service_that_is_busy_has_more_time(settings, run) -> None:
    running = run([beating(settings, "busy")])
    assert running.ready.wait(20)
    until(lambda: ("base", "died") in running.told(), 40)
    silent_s = re.match(r"it did not answer for (\d+) s and was busy", read_state(settings).services["base"].reason)[1]
    assert int(silent_s) >= 5


def test_a_service_is_not_to_blame_for_another(settings, run) -> None:
    """The one that is needed hangs; the other, which is asked about through it, lives on."""

    def asked_through_the_first(since: float) -> str:
        return Unknown("it does not answer") if first.answers(since) else ""

    first = beating(settings)
    second = serving(settings, "top", needs=("base",), silence_s=1.0)
    through = serving(settings, "far", silence_s=1.0)
    running = run([first, replace(second, answers=first.answers), replace(through, answers=asked_through_the_first)])
    assert running.ready.wait(20)
    os.kill(read_state(settings).services["base"].pid, signal.SIGSTOP)
    until(lambda: running.told().count(("base", "healthy")) == 2, 40)
    time.sleep(2.0)
    assert {service for service, kind in running.told() if kind == "died"} == {"base"}


def test_a_step_that_fails_is_named_with_the_end_of_its_log(settings) -> None:
    broken = Service("setup", (sys.executable, "-c", "raise SystemExit('no such table: sessions')"), once=True)
    with pytest.raises(SupervisorError, match=r"setup died 3 times.*\n.*no such table: sessions(.|\n)*setup\.log"):
        up(settings, [broken, serving(settings, "top", needs=("setup",))])
    assert of_this_home(settings) == []


def test_a_service_that_does_not_answer_is_named_with_the_reason(settings) -> None:
    silent = serving(settings, "silent", patience_s=0.5, answers=lambda since: "GET http://here: refused")
    with pytest.raises(SupervisorError, match=r"silent does not answer after 0.5 s: GET http://here: refused"):
        up(settings, [silent])
    assert of_this_home(settings) == []


def test_ports_in_use_are_named_before_anything_starts(settings, run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        chosen = [serving(settings, "base", ports=(Port(taken, "ports.database"),))]
        with pytest.raises(SupervisorError) as caught:
            up(settings, chosen)
    message = str(caught.value)
    assert f"port {taken} (ports.database), for the service base, is in use by process {os.getpid()}" in message
    assert str(settings.home / "config.toml") in message
    assert not (settings.home / "logs" / "base.log").exists()


def test_one_port_given_twice_is_named(settings, free_port) -> None:
    chosen = [
        serving(settings, "base", ports=(Port(free_port, "ports.database"),)),
        serving(settings, "top", ports=(Port(free_port, "ports.prefect"),)),
    ]
    with pytest.raises(SupervisorError, match=f"ports.prefect is {free_port}, which ports.database has too"):
        up(settings, chosen)


def test_a_second_up_on_one_home_is_refused(settings, run) -> None:
    running = run([serving(settings, "base")])
    assert running.ready.wait(20)
    with pytest.raises(SupervisorError, match=rf"runs already in {settings.home} \(process {os.getpid()}\)"):
        up(settings, [serving(settings, "base")])
    assert running.told().count(("base", "starting")) == 1


def test_logs_of_earlier_runs_are_kept(settings) -> None:
    for turn in range(2):
        up(settings, [Service("setup", (sys.executable, "-c", f"print('turn {turn}')"), once=True)], stop_event=_stop_when_ready(settings))
    logs = settings.home / "logs"
    assert (logs / "setup.log").read_text() == "turn 1\n"
    assert (logs / "setup.log.1").read_text() == "turn 0\n"


def test_the_log_of_a_running_service_is_cut(settings, run, monkeypatch) -> None:
    monkeypatch.setattr(supervisor_module, "cut", functools.partial(cut, largest=10_000))
    monkeypatch.setattr(supervisor_module, "LOGS_S", 0.05)
    talk = "import itertools, time\nfor line in itertools.count(): print('line', line, flush=True); time.sleep(0.00002)"
    running = run([Service("talker", (sys.executable, "-c", talk))])
    log = settings.home / "logs" / "talker.log"
    until(lambda: log.with_name("talker.log.5").exists())
    time.sleep(1)
    running.end()
    assert sorted(path.name for path in log.parent.glob("talker*")) == ["talker.log", *(f"talker.log.{age}" for age in range(1, 6))]
    assert all(path.stat().st_size < 20_000 for path in log.parent.glob("talker.log.*"))
    whole = log.with_name("talker.log.1").read_text().splitlines()[1:-1]
    numbers = [int(line.removeprefix("line ")) for line in whole]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _stop_when_ready(settings: Settings) -> threading.Event:
    stop = threading.Event()
    log = settings.home / "logs" / "supervisor.log"

    def watch() -> None:
        until(lambda: log.exists() and "ready" in log.read_text())
        stop.set()

    if log.exists():
        log.unlink()
    threading.Thread(target=watch).start()
    return stop


SUPERVISE = """
import sys
from ranvier import settings
from ranvier.services import Service
from ranvier.supervisor import up
home = settings.load()
service = Service("base", (sys.executable, "-c", sys.argv[1], str(home.home / "base.up")))
up(home, [service], on_ready=lambda state: print("ready", flush=True))
"""


@pytest.fixture
def supervisor(settings):
    """A supervisor process with one service."""
    command = [sys.executable, "-c", SUPERVISE, SERVE]
    with subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        until((settings.home / "base.up").exists)
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_everything_within_seconds(settings, supervisor, number) -> None:
    until(lambda: len(of_this_home(settings)) == 4)  # the supervisor, the service, its leash and its daemon
    began = time.monotonic()
    supervisor.send_signal(number)
    assert supervisor.wait(10) == 0
    assert time.monotonic() - began < 5
    assert of_this_home(settings) == []


def test_a_killed_supervisor_leaves_nothing_behind(settings, supervisor) -> None:
    until(lambda: len(of_this_home(settings)) == 4)
    supervisor.kill()
    supervisor.wait()
    until(lambda: of_this_home(settings) == [])
    assert read_state(settings) is None


def test_what_a_killed_supervisor_left_does_not_hinder_the_next(settings, supervisor) -> None:
    supervisor.kill()
    supervisor.wait()
    until(lambda: of_this_home(settings) == [])
    up(settings, [Service("setup", (sys.executable, "-c", ""), once=True)], stop_event=_stop_when_ready(settings))
    assert "every service answers" in (settings.home / "logs" / "supervisor.log").read_text()
