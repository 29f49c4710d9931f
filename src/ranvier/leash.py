"""Processes that must not outlive the one that started them, and how to see from elsewhere whether one lives.

``python -m ranvier.leash PARENT COMMAND...`` runs a command that the kernel kills when its parent dies, even by ``kill -9``, when the
parent can no longer tidy up.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str]) -> list[str]:
    """The command that runs `command` on a leash."""
    return [sys.executable, "-m", "ranvier.leash", str(os.getpid()), *command]


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
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


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
    tie_to_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
