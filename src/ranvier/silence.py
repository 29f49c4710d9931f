"""When a service that lives but does not answer is to be started again: not while it is merely busy, nor for the fault of another."""

from __future__ import annotations

import time

import psutil

from ranvier.health import Unknown

#: A service that uses less of a core than this while it does not answer is not busy, but hangs.
IDLE = 0.01
#: A busy service may be silent for so many times longer.
BUSY = 5


class Silence:
    """How long a service has not answered.

    Parameters
    ----------
    pid
        Its process.
    allowed_s
        Seconds for which it may be silent; `BUSY` times as many where it, or what it has started, uses the processor meanwhile.
    """

    def __init__(self, pid: int, allowed_s: float) -> None:
        self.pid = pid
        self.allowed_s = allowed_s
        self.broken()

    def broken(self) -> None:
        """It has answered just now, or cannot be blamed."""
        self.since = time.time()
        self._began = time.monotonic()  # which a suspended machine does not count
        self._used = cpu_seconds(self.pid)

    def too_long(self, problem: str) -> str:
        """Note what a look has shown.

        Parameters
        ----------
        problem
            Why the service did not answer; empty where it did.

        Returns
        -------
        str
            Why it is to be started again; empty where it is not.
        """
        lasted = time.monotonic() - self._began
        if not problem or isinstance(problem, Unknown):
            self.broken()
        elif lasted > self.allowed_s:
            busy = cpu_seconds(self.pid) - self._used > IDLE * lasted
            if not busy or lasted > BUSY * self.allowed_s:
                return f"it did not answer for {lasted:.0f} s and {'was busy' if busy else 'did nothing'}: {problem}"
        return ""


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of all that comes from it; 0 where it has ended."""
    total = 0.0
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return total
    for process in family:
        try:
            total += sum(process.cpu_times()[:4])  # its own and that of children that have ended
        except psutil.NoSuchProcess:
            continue
    return total
