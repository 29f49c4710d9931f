"""What a child process has used, with all that it has started, as the kernel tells it from outside."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

#: The kernel counts the proportional set size page by page, some 35 ms a gigabyte. It is asked for when the resident size, which costs
#: nothing, has grown by this much, and else so seldom that counting takes this part of one core.
_GROWN, _SHARE = 1.05, 0.01


@dataclass
class Usage:
    """What a task's process has used, with all that it has started.

    Attributes
    ----------
    wall_s, cpu_s
        Seconds.
    peak_memory_mb
        Largest sum over them of the proportional set size that was seen, in megabytes (1e6 bytes).
    read_bytes, written_bytes
        Bytes passed by read and write calls, from the cache or not.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_mb: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0


@dataclass
class MemoryWatch:
    """Looks at the memory of a process and its descendants.

    Attributes
    ----------
    pid
        The process.
    peak
        Largest sum of their proportional set sizes so far, bytes.
    now
        What they use now, at most: the sum when it was last counted, or what is resident where that is less, bytes.
    """

    pid: int
    peak: int = 0
    now: int = 0
    _counted: int = 0
    _resident: float = 0.0
    _due: float = 0.0

    def look(self) -> None:
        """Look once."""
        processes = _family(self.pid)
        resident = sum(_resident(process) for process in processes)
        if resident > self._resident * _GROWN or time.monotonic() >= self._due:
            self._resident = max(self._resident, resident)
            self._count(processes)
        self.now = min(self._counted, resident)

    def _count(self, processes: Sequence[psutil.Process]) -> None:
        began, total = time.thread_time(), 0
        for process in processes:
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        self._counted, self.peak = total, max(self.peak, total)
        self._due = time.monotonic() + (time.thread_time() - began) / _SHARE


def reap(pid: int, *, wait: bool = False) -> tuple[int, Usage] | None:
    """Exit code of a child, negative for a signal, and what it used; None while it has not ended.

    Parameters
    ----------
    pid
        The child.
    wait
        Whether to wait for its end.

    Notes
    -----
    The kernel adds to a process what its children had used when it waited for them.
    """
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG)) is None:
        return None
    usage = Usage()
    with contextlib.suppress(psutil.Error):  # while it is a zombie, which it stays until it is waited for
        io = psutil.Process(pid).io_counters()
        usage.read_bytes, usage.written_bytes = io.read_chars, io.write_chars
    _, status, used = os.wait4(pid, 0)
    usage.cpu_s = used.ru_utime + used.ru_stime
    return os.waitstatus_to_exitcode(status), usage


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    return []


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
