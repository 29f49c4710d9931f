"""Processes that must not outlive the one that started them, and how to see from elsewhere whether one lives.

`hold` splits a process in two: the caller goes on in a child, and what was there before stays as its *holder*. Whatever the child starts,
in whatever process group or session, becomes the holder's child when its own parent ends (the holder is a "child subreaper"), so nothing
can get away; when the child has ended, when the holder's own parent is gone or when the holder is told to stop, it ends all of them.

``python -m ranvier.leash PARENT GRACE COMMAND...`` does so for a command. Only the standard library is used, as tasks may run in a Python
environment that has nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import select
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

#: Seconds between SIGTERM and SIGKILL.
GRACE_S = 5.0
#: Seconds after SIGKILL in which the kernel must have let a process die; one that hangs in a dead file system is then left to it.
STUCK_S = 3.0

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def leashed(command: Sequence[str], grace_s: float = GRACE_S) -> list[str]:
    """The command that runs `command` with a holder, which ends with the process that calls this.

    Parameters
    ----------
    command
        Program and arguments.
    grace_s
        Seconds that it has between SIGTERM and SIGKILL.
    """
    return [sys.executable, "-m", "ranvier.leash", str(os.getpid()), f"{grace_s:g}", *command]


def hold(parent: int, grace_s: float = GRACE_S) -> None:
    """Go on in a child process, leaving this one as its holder; call it before anything is opened or any thread started.

    It returns in the child only. The holder ends with the child's exit code or signal, once nothing is left of what the child has started.
    SIGTERM and SIGINT to the holder end the child.

    Parameters
    ----------
    parent
        Process id of the process with which the child must end.
    grace_s
        Seconds between SIGTERM and SIGKILL.

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    holder = os.getpid()
    if held := os.fork():
        _Holder(held).stay(parent, grace_s)
    os.setsid()
    tie_to_parent(holder)


def tie_to_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    Parameters
    ----------
    parent
        Process id of the one that started it, where that is known: it may have died before this was called.

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


class _Holder:
    """Stays beside a process that it has forked, and ends all that comes of it.

    Parameters
    ----------
    held
        The forked process.
    """

    def __init__(self, held: int) -> None:
        self.held = held
        self.status: int | None = None

    def stay(self, parent: int, grace_s: float) -> NoReturn:
        """Wait for a reason to end it all, do so, and end as the held process has."""
        _let_go_of_files()
        self._wait(parent, _signals())
        self._end_all(grace_s)
        _end_like(self.status)

    def _wait(self, parent: int, told: int) -> None:
        """Until the held process has ended, the parent is gone, or somebody says so."""
        ends = select.poll()
        ends.register(told, select.POLLIN)
        ends.register(os.pidfd_open(self.held), select.POLLIN)  # it exists: nobody but this process takes note of its end
        try:
            ends.register(os.pidfd_open(parent), select.POLLIN)
        except ProcessLookupError:
            return
        while not ends.poll(1000):
            self._reap()

    def _end_all(self, grace_s: float) -> None:
        """SIGTERM to the held process, then to all that it leaves, then SIGKILL; again and again, as they may fork meanwhile."""
        began = time.monotonic()
        asked = {self.held}
        if self._reap() and self.status is None:
            os.kill(self.held, signal.SIGTERM)
        while self._reap() and (late := time.monotonic() - began - grace_s) < STUCK_S:
            if late > 0:
                _signal(_descendants(os.getpid()), signal.SIGKILL)
            elif self.status is not None:
                new = _descendants(os.getpid()) - asked
                _signal(new, signal.SIGTERM)
                asked |= new
            time.sleep(min(0.01 + (time.monotonic() - began) / 10, 0.2))

    def _reap(self) -> bool:
        """Take note of what has ended; returns whether anything is left. Whoever descends from here descends from a child of ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == self.held:
                self.status = status
            if pid == 0:
                return True


def _let_go_of_files() -> None:
    """Close what the held process goes on with: of a pipe that is kept open here nobody would see the end. Only output stays."""
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _signals() -> int:
    """Have SIGTERM and SIGINT written into a pipe instead of ending this process; returns the end to read."""
    receive, send = os.pipe()
    os.set_blocking(send, False)
    signal.set_wakeup_fd(send)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return receive


def _descendants(root: int) -> set[int]:
    """Every living process that comes from `root`."""
    children = defaultdict(list)
    for pid, parent in _parents():
        children[parent].append(pid)
    found: set[int] = set()
    new = {root}
    while new := {child for pid in new for child in children[pid]} - found:
        found |= new
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Each process with its parent; those that have ended and wait for their parent to notice are left out."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                state, parent, *_ = Path("/proc", entry, "stat").read_bytes().rpartition(b")")[2].split()
                if state != b"Z":
                    yield int(entry), int(parent)


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or has become another user's
            os.kill(pid, number)


def _end_like(status: int | None) -> NoReturn:
    """End this process as another one has; by SIGKILL where it has not ended at all."""
    code = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core dump is enough
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


def show_life(path: Path) -> int:
    """Hold a lock on a file for as long as this process, or what it becomes by ``exec``, lives; returns the lock's file descriptor.

    It waits while another process holds the lock, such as the run before this one, which is just coming to its end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    return lock


def shows_life(path: Path) -> bool:
    """Whether a process holds the lock on a file."""
    try:
        lock = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


if __name__ == "__main__":
    hold(int(sys.argv[1]), float(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])
