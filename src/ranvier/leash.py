"""Run a command that must not outlive the process that started it: ``python -m ranvier.leash COMMAND...``.

The kernel kills the command when its parent dies, even by ``kill -9``, when the parent can no longer tidy up.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str]) -> list[str]:
    """The command that runs `command` on a leash."""
    return [sys.executable, "-m", "ranvier.leash", *command]


def tie_to_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends.

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


if __name__ == "__main__":
    tie_to_parent()
    os.execvp(sys.argv[1], sys.argv[1:])
