"""A child process in its own process group: started, watched and ended by its attempt.

Time-outs, cancelling and crashes stay inside it; what it used is measured over the whole group.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import psutil

_GRACE_S = 5.0  #: between SIGTERM and SIGKILL
_SAMPLE_S = 0.5

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
class Usage:
    """What a process group has used.

    Attributes
    ----------
    wall_s, cpu_s
        Seconds.
    peak_memory_mb
        Largest sum over the group of the proportional set size, in megabytes (1e6 bytes), sampled twice a second.
    read_bytes, written_bytes
        Bytes passed by read and write calls, from the cache or not, likewise sampled.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_mb: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0


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
    _result: dict[str, Any] | None = None
    _io: dict[int, tuple[int, int]] = field(default_factory=dict)
    _usage: Usage = field(default_factory=Usage)

    def run(self, timeout_s: float, should_stop: Callable[[], str]) -> Ended:
        """Start it and stay with it until it has ended.

        Parameters
        ----------
        timeout_s
            Wall time after which its group is killed.
        should_stop
            Asked twice a second; a reason ends the group.
        """
        started = time.monotonic()
        with self.log.open("ab", buffering=0) as log:
            process, reader = self._start(log)
        stopped = ""
        try:
            while (ended := _reap(process.pid)) is None:
                self._sample(process.pid)
                stopped = should_stop() or (f"ran out of time after {timeout_s:g} s" if time.monotonic() - started > timeout_s else "")
                if stopped:
                    ended = _end_group(process.pid)
                    break
                time.sleep(_SAMPLE_S if time.monotonic() - started > 1 else 0.02)
        finally:
            _kill_group(process.pid)
        exit_code, self._usage.cpu_s = ended
        process.returncode = exit_code  # reaped by wait4 for its resource usage; tell Popen, which would look for it
        reader.join(timeout=_GRACE_S)
        self._usage.wall_s = time.monotonic() - started
        self._usage.read_bytes, self._usage.written_bytes = (sum(column) for column in zip((0, 0), *self._io.values(), strict=True))
        return Ended(exit_code, self._result, stopped, self._usage)

    def _start(self, log: BinaryIO | Any) -> tuple[subprocess.Popen[bytes], threading.Thread]:
        receive, send = os.pipe()
        try:
            process = subprocess.Popen(
                [self.interpreter or sys.executable, "-m", "ranvier.child", str(send), str(os.getpid())],
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

    def _sample(self, pid: int) -> None:
        total = 0
        for process in _group(pid):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
                io = process.io_counters()
                self._io[process.pid] = (io.read_chars, io.write_chars)
        self._usage.peak_memory_mb = max(self._usage.peak_memory_mb, total / 1e6)


def thread_environment(cpu: int, gpu: int) -> dict[str, str]:
    """Environment variables that keep a task to its share of the machine."""
    limits = dict.fromkeys(_THREAD_VARIABLES, str(max(cpu, 1)))
    return limits | ({} if gpu else {"CUDA_VISIBLE_DEVICES": ""}) | {"MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1"}


def _group(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    return []


def _reap(pid: int) -> tuple[int, float] | None:
    """Exit code and CPU seconds of the child if it has ended."""
    done, status, used = os.wait4(pid, os.WNOHANG)
    return (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime) if done else None


def _end_group(pid: int) -> tuple[int, float]:
    """Ask the group to end, then make it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline:
        if (ended := _reap(pid)) is not None:
            return ended
        time.sleep(0.05)
    _kill_group(pid)
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
