"""``ranvier up``: starts the services of one machine by need, says when each answers, restarts what dies, stops all of it cleanly.

Nothing outlives it: services are stopped in reverse order, whatever they left is killed, and `ranvier.leash` has the kernel kill them
when the supervisor itself is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from ranvier import settings as settings_module
from ranvier.errors import RanvierError
from ranvier.leash import leashed
from ranvier.services import Service, environment, services
from ranvier.settings import Settings

log = logging.getLogger("ranvier.supervisor")

#: Old logs that are kept of each service.
KEPT_LOGS = 5
#: Seconds that a service has between SIGTERM and SIGKILL.
GRACE_S = 5.0
#: Seconds before the first and before any later restart; a service that ran for `STEADY_S` starts over with the first.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S, STEADY_S = 0.5, 30.0, 60.0
#: How often a service may die before it has answered for the first time.
FIRST_TRIES = 3
_CHECK_S = 0.1


class SupervisorError(RanvierError):
    """The services cannot be started; the message names the service, the reason and the mend."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a service.

    Attributes
    ----------
    kind
        ``starting``, ``healthy``, ``done`` (a step ran to its end), ``died``, ``stopped``; without a service ``ready`` (each answers)
        and ``failed`` (they cannot be started).
    service
        Its name.
    detail
        Words for people.
    elapsed_s
        Seconds since the supervisor began.
    """

    kind: str
    service: str
    detail: str
    elapsed_s: float


@dataclass
class ServiceState:
    """What the state file says of one service."""

    pid: int | None = None
    status: str = "waiting"
    restarts: int = 0
    started: float = 0.0
    healthy_s: float = 0.0  #: seconds from its start to its first answer
    address: str = ""
    log: str = ""


@dataclass
class State:
    """What ``run/state.json`` says of a running supervisor."""

    pid: int
    ready: bool = False
    services: dict[str, ServiceState] = field(default_factory=dict)


def up(
    settings: Settings,
    chosen: Sequence[Service] | None = None,
    *,
    on_event: Callable[[Event], None] | None = None,
    on_ready: Callable[[State], None] | None = None,
    stop_event: threading.Event | None = None,
) -> None:
    """Run every service of this machine until SIGINT, SIGTERM or `stop_event`.

    Parameters
    ----------
    settings
        The machine's settings.
    chosen
        The services to run, each after what it needs; those that the settings ask for by default.
    on_event
        Called with each event.
    on_ready
        Called once, when every service answers.
    stop_event
        Another way to end it, for callers that are not in the main thread.

    Raises
    ------
    SupervisorError
        If another supervisor runs in this home, if a port is in use, or if a service cannot be started. Nothing is left running.
    """
    chosen = services(settings) if chosen is None else chosen
    with _only_one(settings):
        check_ports(settings, chosen)
        supervisor = Supervisor(settings, chosen, on_event or (lambda event: None), on_ready or (lambda state: None))
        asyncio.run(supervisor.run(stop_event or threading.Event()))


@contextlib.contextmanager
def running(settings: Settings, on_event: Callable[[Event], None] | None = None) -> Iterator[State]:
    """Every service of this machine, in a supervisor process of its own, for the length of a ``with`` block.

    Parameters
    ----------
    settings
        The machine's settings; read again from its home by the supervisor.
    on_event
        Called with each event, from another thread once all is ready.

    Yields
    ------
    State
        Process ids and addresses, once every service answers.

    Raises
    ------
    SupervisorError
        As for `up`.
    """
    command = leashed([sys.executable, "-m", "ranvier.supervisor"])
    tell = on_event or (lambda event: None)
    with subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            _follow_until_ready(process.stdout, tell)
            follower = threading.Thread(target=_follow, args=(process.stdout, tell), daemon=True)
            follower.start()
            yield _read_state(settings)
        finally:
            process.terminate()
            process.wait()


def read_state(settings: Settings) -> State | None:
    """The state of the supervisor that runs in this home; None where none does."""
    try:
        with _only_one(settings):
            return None
    except SupervisorError:
        return _read_state(settings)


def check_ports(settings: Settings, chosen: Sequence[Service]) -> None:
    """Make sure that every port is free.

    Raises
    ------
    SupervisorError
        Naming each port that is not: its service, its holder where that can be found, and the setting to change.
    """
    taken: list[str] = []
    owners: dict[int, str] = {}
    for service in chosen:
        for port in service.ports:
            if port.number in owners:
                taken.append(f"{port.setting} is {port.number}, which {owners[port.number]} has too")
            elif not _free(settings.ports.host, port.number):
                taken.append(f"port {port.number} ({port.setting}), for the service {service.name}, is in use by {_holder(port.number)}")
            owners[port.number] = port.setting
    if taken:
        raise SupervisorError("; ".join(taken), f"stop what holds it, or choose another port in {settings.home / 'config.toml'}")


class Supervisor:
    """Looks after the services of one machine; one `_Keeper` for each."""

    def __init__(
        self, settings: Settings, chosen: Sequence[Service], on_event: Callable[[Event], None], on_ready: Callable[[State], None]
    ) -> None:
        self.settings = settings
        self.on_event = on_event
        self.on_ready = on_ready
        self.began = time.monotonic()
        self.state = State(os.getpid())
        self.stopping = asyncio.Event()
        self.logs = settings.home / "logs"
        self.environment = environment(settings)
        self.keepers = {service.name: _Keeper(service, self) for service in chosen}

    async def run(self, stop: threading.Event) -> None:
        """Start everything, keep it up until told to stop, stop everything."""
        with _told_to_stop(stop), _logging_to(self.logs / "supervisor.log"):
            keeping = [asyncio.create_task(keeper.run(), name=name) for name, keeper in self.keepers.items()]
            try:
                await self._watch(keeping, stop)
            finally:
                self.stopping.set()
                await asyncio.gather(*(self.keepers[task.get_name()].stop(task) for task in keeping))
                _state_path(self.settings).unlink(missing_ok=True)

    async def _watch(self, keeping: list[asyncio.Task[None]], stop: threading.Event) -> None:
        while not stop.is_set():
            for task in keeping:
                if task.done():
                    task.result()
            if not self.state.ready and all(keeper.ready.is_set() for keeper in self.keepers.values()):
                self.state.ready = True
                self.tell("ready", "", "every service answers")
                self.on_ready(self.state)
            await asyncio.sleep(_CHECK_S)

    def tell(self, kind: str, service: str, detail: str = "") -> None:
        """Pass an event on, and write the state file."""
        event = Event(kind, service, detail, round(time.monotonic() - self.began, 2))
        log.info("%s %s %s", service, kind, detail)
        _write_state(self.settings, self.state)
        self.on_event(event)


class _Keeper:
    """Starts one service, waits until it answers, starts it again when it dies."""

    def __init__(self, service: Service, supervisor: Supervisor) -> None:
        self.service = service
        self.supervisor = supervisor
        self.ready = asyncio.Event()
        self.stopped = asyncio.Event()
        self.stopping = supervisor.stopping
        self.process: asyncio.subprocess.Process | None = None
        self.log = supervisor.logs / f"{service.name}.log"
        self.state = ServiceState(address=service.address, log=str(self.log))
        supervisor.state.services[service.name] = self.state

    async def run(self) -> None:
        """Keep the service up until the supervisor stops; a step only until it has succeeded."""
        _rotate(self.log)
        for name in self.service.needs:
            await _first_of(self.supervisor.keepers[name].ready.wait(), self.stopping.wait())
        backoff = FIRST_BACKOFF_S
        while not self.stopping.is_set():
            code = await self._live()
            if self.service.once and code == 0:
                return self._became_ready("done")
            if self.stopping.is_set():
                return None
            self._note_death(code)
            if time.time() - self.state.started > STEADY_S:
                backoff = FIRST_BACKOFF_S
            await _first_of(self.stopping.wait(), timeout=backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_S)
        return None

    async def stop(self, keeping: asyncio.Task[None]) -> None:
        """End the service once all that need it have ended; `keeping` is the task of `run`."""
        dependents = [keeper for keeper in self.supervisor.keepers.values() if self.service.name in keeper.service.needs]
        await asyncio.gather(*(keeper.stopped.wait() for keeper in dependents))
        while not keeping.done() or self._alive():
            if self.process is not None and self._alive():
                await _terminate(self.process)
                self.state.status, self.state.pid = "stopped", None
                self.supervisor.tell("stopped", self.service.name)
            await asyncio.wait([keeping], timeout=_CHECK_S)
        self.stopped.set()

    def _alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def _live(self) -> int:
        """One life of the process, from its start to its exit code."""
        await self._start()
        assert self.process is not None
        ended = asyncio.create_task(self.process.wait())
        if not self.service.once:
            await self._wait_for_answer(ended)
        return await ended

    async def _start(self) -> None:
        self.state.started = time.time()
        self.supervisor.tell("starting", self.service.name)
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *leashed(self.service.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.supervisor.settings.home,
                env={**self.supervisor.environment, **self.service.environment},
                start_new_session=True,
            )
        self.state.pid, self.state.status = self.process.pid, "starting"

    async def _wait_for_answer(self, ended: asyncio.Task[int]) -> None:
        problem = "it has not been asked yet"
        while not ended.done() and not self.stopping.is_set():
            problem = await asyncio.to_thread(self.service.answers, self.state.started)
            if not problem:
                self._became_ready("healthy")
                return
            if time.time() - self.state.started > self.service.patience_s:
                raise SupervisorError(
                    f"{self.service.name} does not answer after {self.service.patience_s:g} s: {problem}", f"its log is {self.log}"
                )
            await asyncio.wait([ended], timeout=_CHECK_S)

    def _became_ready(self, status: str) -> None:
        self.state.status = status
        self.state.healthy_s = round(time.time() - self.state.started, 2)
        self.ready.set()
        self.supervisor.tell(status, self.service.name, f"after {self.state.healthy_s:.1f} s")

    def _note_death(self, code: int) -> None:
        self.state.restarts += 1
        self.state.status, self.state.pid = "died", None
        reason = f"exit code {code} after {time.time() - self.state.started:.1f} s"
        self.supervisor.tell("died", self.service.name, reason)
        if not self.ready.is_set() and self.state.restarts >= FIRST_TRIES:
            raise SupervisorError(f"{self.service.name} died {FIRST_TRIES} times: {reason}\n{_tail(self.log)}", f"its log is {self.log}")


async def _first_of(*waits: Coroutine[Any, Any, Any], timeout: float | None = None) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _terminate(process: asyncio.subprocess.Process) -> None:
    """End a service with all that it has started, in whatever process groups."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
    except (psutil.NoSuchProcess, ProcessLookupError):
        return
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(process.wait(), GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for survivor in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            survivor.kill()
    await process.wait()


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    path = settings.home / "run" / "up.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise SupervisorError(
                f"`ranvier up` runs already in {settings.home} (process {holder})", "stop it first, or use another RANVIER_HOME"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _rotate(path)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def _told_to_stop(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`; only the main thread can have signal handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _follow_until_ready(events: IO[str], on_event: Callable[[Event], None]) -> None:
    for line in events:
        event = Event(**json.loads(line))
        on_event(event)
        if event.kind == "failed":
            raise SupervisorError(event.detail)
        if event.kind == "ready":
            return
    raise SupervisorError("the supervisor ended before its services were ready", "what it wrote to the terminal says why")


def _follow(events: IO[str], on_event: Callable[[Event], None]) -> None:
    for line in events:
        on_event(Event(**json.loads(line)))


def _state_path(settings: Settings) -> Path:
    return settings.home / "run" / "state.json"


def _read_state(settings: Settings) -> State:
    content = json.loads(_state_path(settings).read_text())
    return State(content["pid"], content["ready"], {name: ServiceState(**each) for name, each in content["services"].items()})


def _write_state(settings: Settings, state: State) -> None:
    path = _state_path(settings)
    written = path.with_suffix(".new")
    written.write_text(json.dumps(asdict(state), indent=1))
    written.replace(path)


def _rotate(path: Path) -> None:
    """Start a new log, keeping the last `KEPT_LOGS` as ``name.log.1`` and so on."""
    for age in range(KEPT_LOGS - 1, -1, -1):
        older = path.with_name(f"{path.name}.{age}") if age else path
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{age + 1}"))


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _holder(port: int) -> str:
    try:
        pids = [each.pid for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr and each.laddr.port == port]
        process = psutil.Process(next(pid for pid in pids if pid))
        return f"process {process.pid} ({' '.join(process.cmdline())[:80]})"
    except (psutil.Error, StopIteration):
        return "another process"


def _print_event(event: Event) -> None:
    print(json.dumps(asdict(event)), flush=True)


def main() -> int:
    """Run the supervisor of the home in the environment, telling its events as JSON lines."""
    try:
        up(settings_module.load(), on_event=_print_event)
    except RanvierError as error:
        _print_event(Event("failed", "", str(error), 0.0))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
