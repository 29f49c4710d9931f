"""What a Dask worker offers to attempts."""

from __future__ import annotations

import os

import psutil

#: Threads of a worker: they only wait for attempts, whose number the declared resources limit.
THREADS = 128


def offer(cpu: int = 0, gpu: int = 0, memory_gb: float = 0.0, scratch_gb: float = 0.0) -> dict[str, float]:
    """What a worker on this machine offers: ``CPU`` cores, ``GPU``, ``MEMORY`` and ``SCRATCH`` in gigabytes.

    0 cores or gigabytes of memory stand for all that the machine has.
    """
    return {
        "CPU": cpu or len(os.sched_getaffinity(0)),
        "GPU": gpu,
        "MEMORY": memory_gb or round(psutil.virtual_memory().total / 1e9, 1),
        "SCRATCH": scratch_gb,
    }


def written(offered: dict[str, float]) -> str:
    """The same as Dask's command line takes it, such as ``CPU=8 GPU=0 MEMORY=32``."""
    return " ".join(f"{name}={amount:g}" for name, amount in offered.items())
