"""The life of one service: started when what it needs answers, started again when it dies or hangs, ended with all that it has started."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol

import psutil

from ranvier.leash import GRACE_S, STUCK_S, leashed
from ranvier.running_state import ServiceState, SupervisorError
from ranvier.service_logs import rotate
from ranvier.services import Service
from ranvier.silence import Silence

#: Seconds before the first and before any later restart; a service that ran for `STEADY_S` starts over with the first.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S, STEADY_S = 0.5, 30.0, 60.0
#: How often a service may die before it has answered for the first time.
FIRST_TRIES = 3
#: Seconds between two looks at whether a service answers that is starting.
CHECK_S = 0.1
#: How many looks there are in the time that a running service may be silent.
LOOKS = 12


class Surroundings(Protocol):
    """What a keeper needs of its supervisor."""

    logs: Path
    home: Path
    environment: dict[str, str]
    stopping: asyncio.Event

    @property
    def keepers(self) -> Mapping[str, Keeper]:
        """The keeper of each service, by the service's name."""

    def tell(self, kind: str, service: str, detail: str = "") -> None:
        """Pass on what has happened to a service."""


class Keeper:
    """Starts one service, waits until it answers, starts it again when it dies or does not answer any more."""

    def __init__(self, service: Service, supervisor: Surroundings) -> None:
        self.service = service
        self.supervisor = supervisor
        self.ready = asyncio.Event()
        self.stopped = asyncio.Event()
        self.stopping = supervisor.stopping
        self.process: asyncio.subprocess.Process | None = None
        self.answering = False
        self._silent = ""
        self.log = supervisor.logs / f"{service.name}.log"
        self.state = ServiceState(address=service.address, log=str(self.log))

    async def run(self) -> None:
        """Keep the service up until the supervisor stops; a step only until it has succeeded."""
        rotate(self.log)
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
            await asyncio.wait([keeping], timeout=CHECK_S)
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
            await self._watch(ended)
        self.answering = False
        return await ended

    async def _start(self) -> None:
        self.state.started, self._silent = time.time(), ""
        self.supervisor.tell("starting", self.service.name)
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *leashed(self.service.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.supervisor.home,
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
                await self._give_up(problem)
            await asyncio.wait([ended], timeout=CHECK_S)

    async def _give_up(self, problem: str) -> None:
        """End a service that does not begin to answer; it is started again where it has answered before."""
        reason = f"does not answer after {self.service.patience_s:g} s: {problem}"
        if not self.ready.is_set():
            raise SupervisorError(f"{self.service.name} {reason}", f"its log is {self.log}")
        await self._end_life(f"it {reason}")

    async def _watch(self, ended: asyncio.Task[int]) -> None:
        """Go on asking whether it answers; end it when it has been silent for too long."""
        assert self.process is not None
        silence = Silence(self.process.pid, self.service.silence_s)
        while not ended.done() and not self.stopping.is_set():
            problem = await asyncio.to_thread(self.service.answers, silence.since)
            self.answering = not problem
            if problem and not self._needs_answer():
                silence.broken()  # it may wait for one of those
            elif reason := silence.too_long(problem):
                await self._end_life(reason)
            await asyncio.wait([ended], timeout=self.service.silence_s / LOOKS)

    def _needs_answer(self) -> bool:
        needed = [self.supervisor.keepers[name] for name in self.service.needs]
        return all(keeper.answering for keeper in needed if not keeper.service.once)

    async def _end_life(self, reason: str) -> None:
        assert self.process is not None
        self._silent = reason
        await _terminate(self.process)

    def _became_ready(self, status: str) -> None:
        self.state.status, self.answering = status, True
        if self.process is not None:
            self.state.pid = _held(self.process.pid)
        self.state.healthy_s = round(time.time() - self.state.started, 2)
        self.ready.set()
        self.supervisor.tell(status, self.service.name, f"after {self.state.healthy_s:.1f} s")

    def _note_death(self, code: int) -> None:
        self.state.restarts += 1
        self.state.status, self.state.pid = "died", None
        reason = self._silent or f"exit code {code} after {time.time() - self.state.started:.1f} s"
        self.state.reason = reason
        self.supervisor.tell("died", self.service.name, reason)
        if not self.ready.is_set() and self.state.restarts >= FIRST_TRIES:
            raise SupervisorError(f"{self.service.name} died {FIRST_TRIES} times: {reason}\n{_tail(self.log)}", f"its log is {self.log}")


async def _first_of(*waits: Coroutine[Any, Any, Any], timeout: float | None = None) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _terminate(process: asyncio.subprocess.Process) -> None:
    """End a service; its leash ends all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), GRACE_S + 2 * STUCK_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _held(pid: int) -> int:
    """The process that a leash holds: its first child; later ones are orphans of that one. The leash itself, where it has none yet."""
    try:
        children = psutil.Process(pid).children()
        return min(children, key=psutil.Process.create_time).pid if children else pid
    except psutil.Error:
        return pid


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
