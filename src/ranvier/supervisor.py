"""``ranvier up``: starts the services of one machine by need, says when each answers, restarts what dies, stops all of it cleanly.

Nothing outlives it: services are stopped in reverse order, and each is on a leash (`ranvier.leash`), which ends all that the service has
started, also when the supervisor itself is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from ranvier import settings as settings_module
from ranvier.database.bootstrap import create_secrets
from ranvier.errors import RanvierError
from ranvier.keeper import CHECK_S, Keeper
from ranvier.leash import leashed
from ranvier.ports import check_ports
from ranvier.running_state import State, SupervisorError, forget_state, only_one, read_state, write_state, written_state
from ranvier.service_logs import cut, rotate
from ranvier.services import Service, environment, needing_only, services
from ranvier.settings import Settings

__all__ = ["Event", "State", "Supervisor", "SupervisorError", "read_state", "running", "up"]

log = logging.getLogger("ranvier.supervisor")

#: Seconds that a supervisor has for stopping all of its services.
_STOP_S = 60.0
#: Seconds between two looks at the size of the logs.
LOGS_S = 1.0


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
    with only_one(settings):
        if settings.machine.role == "centre":
            create_secrets(settings)  # before anything starts, as Prefect's server asks for one of them
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
    command = leashed([sys.executable, "-m", "ranvier.supervisor"], grace_s=_STOP_S)
    tell = on_event or (lambda event: None)
    with subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            _follow_until_ready(process.stdout, tell)
            follower = threading.Thread(target=_follow, args=(process.stdout, tell), daemon=True)
            follower.start()
            yield written_state(settings)
        finally:
            process.terminate()
            process.wait()


class Supervisor:
    """Looks after the services of one machine; one `Keeper` for each."""

    def __init__(
        self, settings: Settings, chosen: Sequence[Service], on_event: Callable[[Event], None], on_ready: Callable[[State], None]
    ) -> None:
        self.settings = settings
        self.home = settings.home
        self.on_event = on_event
        self.on_ready = on_ready
        self.began = time.monotonic()
        self.state = State(os.getpid())
        self.stopping = asyncio.Event()
        self.logs = settings.home / "logs"
        self.environment = environment(settings)
        names = {service.name for service in chosen}
        self.keepers = {service.name: Keeper(needing_only(service, names), self) for service in chosen}
        self.state.services = {name: keeper.state for name, keeper in self.keepers.items()}

    async def run(self, stop: threading.Event) -> None:
        """Start everything, keep it up until told to stop, stop everything."""
        with _told_to_stop(stop), _logging_to(self.logs / "supervisor.log"):
            keeping = [asyncio.create_task(keeper.run(), name=name) for name, keeper in self.keepers.items()]
            cutting = asyncio.create_task(self._cut_logs())
            try:
                await self._watch(keeping, stop)
            finally:
                self.stopping.set()
                await asyncio.gather(*(self.keepers[task.get_name()].stop(task) for task in keeping))
                cutting.cancel()
                forget_state(self.settings)

    async def _watch(self, keeping: list[asyncio.Task[None]], stop: threading.Event) -> None:
        while not stop.is_set():
            for task in keeping:
                if task.done():
                    task.result()
            if not self.state.ready and all(keeper.ready.is_set() for keeper in self.keepers.values()):
                self.state.ready = True
                self.tell("ready", "", "every service answers")
                self.on_ready(self.state)
            await asyncio.sleep(CHECK_S)

    async def _cut_logs(self) -> None:
        """Keep the logs small while they are written."""
        while True:
            for path in (self.logs / "supervisor.log", *(keeper.log for keeper in self.keepers.values())):
                if await asyncio.to_thread(cut, path):
                    log.info("%s had grown too large; what was in it is in %s.1", path, path.name)
            await asyncio.sleep(LOGS_S)

    def tell(self, kind: str, service: str, detail: str = "") -> None:
        """Pass an event on, and write the state file."""
        event = Event(kind, service, detail, round(time.monotonic() - self.began, 2))
        log.info("%s %s %s", service, kind, detail)
        write_state(self.settings, self.state)
        self.on_event(event)


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    rotate(path)
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
