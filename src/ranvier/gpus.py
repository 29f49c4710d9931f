"""Which GPUs of a machine an attempt gets: whole ones for itself, or a share of one beside others that take a share.

Dask counts how many GPUs are free, not which. Each GPU is ten slots, each slot a file that an attempt holds locked while it runs, so that
nothing is left to give back when it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ranvier.errors import RanvierError

#: The smallest share of a GPU is a tenth.
SLOTS = 10
_LOOK_S = 0.5


class GpusTaken(RanvierError):
    """The GPUs that an attempt needs did not become free: something else than Ranvier's own counting is using them."""


def visible(count: int, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` takes them.

    Parameters
    ----------
    count
        How many the machine's settings say there are; not asked where the environment, such as a cluster's job, names some.
    environment
        The environment.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    return [each.strip() for each in named.split(",") if each.strip()] if named else [str(index) for index in range(count)]


@contextlib.contextmanager
def hold(
    amount: float, names: list[str], locks: Path, *, patience_s: float = 600.0, stop: Callable[[], str] = lambda: ""
) -> Iterator[list[str]]:
    """Hold GPUs for the length of a ``with`` block, waiting until they are free.

    Parameters
    ----------
    amount
        Whole GPUs, or a share of one below 1.
    names
        Those that there are; see `visible`.
    locks
        Folder of the lock files.
    patience_s
        Seconds to wait for what Dask has counted as free already; shares may have left it in pieces.
    stop
        Asked while waiting; a reason ends it.

    Yields
    ------
    list of str
        Names of the GPUs.

    Raises
    ------
    GpusTaken
        If there are not so many, or they do not become free in time.
    """
    wanted = 1 if 0 < amount < 1 else math.ceil(amount)
    if wanted > len(names):
        raise GpusTaken(f"{wanted} GPUs are needed and this worker sees {len(names)}", "set cluster.gpu, or the task's resources")
    locks.mkdir(parents=True, exist_ok=True)
    slots = SLOTS if amount >= 1 else math.ceil(amount * SLOTS)
    until = time.monotonic() + patience_s
    while (held := _take(wanted, slots, names, locks)) is None:
        if (why := stop()) or time.monotonic() > until:
            raise GpusTaken(why or f"{amount:g} GPUs did not become free within {patience_s:g} s", f"see who holds {locks}/*")
        time.sleep(_LOOK_S)
    try:
        yield list(held)
    finally:
        _release(held)


def _take(wanted: int, slots: int, names: list[str], locks: Path) -> dict[str, list[int]] | None:
    """Lock so many slots of each of so many GPUs; all or nothing."""
    held: dict[str, list[int]] = {}
    for name in names if wanted else []:
        taken = _lock_slots(slots, name, locks)
        if len(taken) == slots:
            held[name] = taken
        else:
            _release({name: taken})
        if len(held) == wanted:
            return held
    _release(held)
    return None if wanted else {}


def _lock_slots(slots: int, name: str, locks: Path) -> list[int]:
    taken: list[int] = []
    for slot in range(SLOTS):
        # a GPU's name is that of one machine, or of one job of a batch system
        place = f"{socket.gethostname()}{os.environ.get('SLURM_JOB_ID', '')}"
        lock = os.open(locks / f"{place}.gpu{name}.{slot}".replace("/", "_"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        taken.append(lock)
        if len(taken) == slots:
            break
    return taken


def _release(held: dict[str, list[int]]) -> None:
    for locks in held.values():
        for lock in locks:
            os.close(lock)
