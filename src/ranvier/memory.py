"""The machine's memory: whether an attempt takes more of it than it declared while others need it, and whether the kernel had to kill."""

from __future__ import annotations

from pathlib import Path

import psutil

from ranvier.retries import Cause
from ranvier.settings import AttemptSettings

_VMSTAT = Path("/proc/vmstat")


def oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since the machine was started; None where it does not say."""
    try:
        lines = _VMSTAT.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


class Share:
    """What an attempt may use of the machine's memory.

    Dask hands out memory by what the tasks declare. A task that takes far more brings the machine to where the kernel kills something,
    and that may be another's attempt; so it is the one that is ended, but only when memory runs short, as it harms nobody before.

    Parameters
    ----------
    declared_gb
        What its task declares, gigabytes.
    settings
        Of attempts.
    """

    def __init__(self, declared_gb: float, settings: AttemptSettings) -> None:
        self.declared_gb = declared_gb
        self._settings = settings
        self._kills = oom_kills()

    def why_stop(self, used_mb: float) -> str:
        """Why an attempt that uses so many megabytes must end now; empty while it may go on."""
        used_gb = used_mb / 1000
        if used_gb <= self.declared_gb * self._settings.memory_factor:
            return ""
        memory = psutil.virtual_memory()
        if memory.available >= memory.total * self._settings.memory_spare:
            return ""
        left = f"while the machine had {memory.available / 1e9:.2f} of its {memory.total / 1e9:.1f} GB left"
        return f"used {used_gb:.2f} GB of memory {left}; the task declares {self.declared_gb:g} GB"

    def cause_of_kill(self, peak_mb: float) -> Cause:
        """Why a process was killed by SIGKILL that nobody here has sent: for memory, by the kernel's own count, or for no reason known."""
        kills = oom_kills()
        if kills is not None and kills == self._kills:
            return Cause.NONE
        return Cause.MEMORY if peak_mb / 1000 > self.declared_gb else Cause.CROWDED
