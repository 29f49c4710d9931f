"""A child process that runs a task: started, watched and ended by its attempt.

Time-outs, cancelling and crashes stay inside it; what it used is measured over all that it has started. The process that is started here
becomes the holder of the task's own (`ranvier.leash.hold`), which nothing that the task starts can get away from.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ranvier.leash import GRACE_S, STUCK_S
from ranvier.usage import MemoryWatch, Usage, reap

_ENDED_S = GRACE_S + 2 * STUCK_S  #: within which a holder that was told to stop has ended, whatever it holds

_LOOK_S = 0.5  #: between two looks at its memory, and at whether it should stop
_FIRST_LOOKS_S = 0.1  #: likewise in the first second, as many tasks take no longer

#: Threads of every library that would otherwise take all cores.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass
class Ended:
    """How a child process ended.

    Attributes
    ----------
    exit_code
        Negative for a signal.
    result
        What it handed back; None if it did not come to that.
    stopped
        Why it was ended from here; empty if it ended by itself.
    usage
        What it used.
    """

    exit_code: int
    result: dict[str, Any] | None
    stopped: str
    usage: Usage


@dataclass
class Child:
    """One child process.

    Parameters
    ----------
    interpreter
        Python interpreter; None for this one.
    spec
        What it reads from its standard input.
    log
        File to which its output is appended.
    environment
        Environment variables beside those of this process.
    """

    interpreter: str | None
    spec: dict[str, Any]
    log: Path
    environment: dict[str, str]
    progress: dict[str, Any] = field(default_factory=dict)
    memory_mb: float = 0.0
    _result: dict[str, Any] | None = None

    def run(self, timeout_s: float, should_stop: Callable[[], str]) -> Ended:
        """Start it and stay with it until it has ended.

        Parameters
        ----------
        timeout_s
            Wall time after which all of it is ended.
        should_stop
            Asked twice a second; a reason ends all of it.
        """
        started = time.monotonic()
        with self.log.open("ab", buffering=0) as log:
            process, reader = self._start(log)
        stopped, ended, memory = "", None, MemoryWatch(process.pid)
        try:
            while (ended := reap(process.pid)) is None and not (stopped := should_stop() or _late(started, timeout_s)):
                memory.look()
                self.memory_mb = memory.now / 1e6
                _wait(process.pid, _LOOK_S if time.monotonic() - started > 1 else _FIRST_LOOKS_S)
        finally:
            exit_code, usage = ended or _end(process.pid)
        process.returncode = exit_code  # reaped for its resource usage; tell Popen, which would look for it
        reader.join(timeout=GRACE_S)
        usage.wall_s, usage.peak_memory_mb = time.monotonic() - started, memory.peak / 1e6
        return Ended(exit_code, self._result, stopped, usage)

    def _start(self, log: BinaryIO | Any) -> tuple[subprocess.Popen[bytes], threading.Thread]:
        receive, send = os.pipe()
        try:
            process = subprocess.Popen(
                # -P: a folder named ranvier where this was started, such as a checkout, must not be taken for the package
                [self.interpreter or sys.executable, "-P", "-m", "ranvier.child", str(send), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(send,),
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        except BaseException:
            os.close(receive)
            raise
        finally:
            os.close(send)
        reader = threading.Thread(target=self._read, args=(receive,), daemon=True)
        reader.start()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:  # a child that died at once is told by its exit code
            process.stdin.write(json.dumps(self.spec).encode())
        return process, reader

    def _read(self, receive: int) -> None:
        with os.fdopen(receive) as pipe:
            for line in pipe:
                message = json.loads(line)
                if "result" in message:
                    self._result = message["result"]
                else:
                    self.progress = message


def thread_environment(cpu: int, gpus: Sequence[str] = ()) -> dict[str, str]:
    """Environment variables that keep a task to its share of the machine: so many threads, and the GPUs of these names only."""
    limits = dict.fromkeys(_THREAD_VARIABLES, str(max(cpu, 1)))
    return limits | {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} | {"MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1"}


def _late(started: float, timeout_s: float) -> str:
    return f"ran out of time after {timeout_s:g} s" if time.monotonic() - started > timeout_s else ""


def _wait(pid: int, longest_s: float) -> None:
    """Wait until the child has ended, but not longer than so many seconds."""
    ending = os.pidfd_open(pid)  # of a child that is not reaped, so that there is one
    try:
        poll = select.poll()
        poll.register(ending, select.POLLIN)
        poll.poll(longest_s * 1000)
    finally:
        os.close(ending)


def _end(pid: int) -> tuple[int, Usage]:
    """Have the holder end all that it holds."""
    _signal_group(pid, signal.SIGTERM)
    deadline = time.monotonic() + _ENDED_S
    while time.monotonic() < deadline:
        if (ended := reap(pid)) is not None:
            return ended
        time.sleep(0.02)
    _signal_group(pid, signal.SIGKILL)
    ended = reap(pid, wait=True)
    assert ended is not None  # it waits
    return ended


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
