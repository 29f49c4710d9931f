"""Space for what attempts write: beside the data, so that outputs are moved into place by a rename."""

from __future__ import annotations

import shutil
from pathlib import Path

from ranvier.errors import RanvierError
from ranvier.settings import Settings

#: Part of the free space that a worker offers to attempts; the rest is for logs, and for sessions that are being copied.
OFFERED = 0.9


class NoSpace(RanvierError):
    """The disk has less room than an attempt needs; it may have more later."""


def free_gb(folder: Path) -> float:
    """Gigabytes that are free where a folder is, or will be."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free / 1e9


def share_gb(settings: Settings) -> float:
    """Gigabytes that each worker of the lab's cluster offers: as the settings say, else its part of what is free beside the data now."""
    cluster = settings.cluster
    return cluster.scratch_gb or round(OFFERED * free_gb(settings.work_folder) / cluster.most, 1)


def require(folder: Path, needed_gb: float) -> None:
    """See that there is room before hours of work begin.

    Parameters
    ----------
    folder
        Where the attempt writes.
    needed_gb
        Gigabytes; 0 where its task does not say.

    Raises
    ------
    NoSpace
        If less is free, whatever has been reserved: Dask counts what attempts reserve, and knows nothing of what else fills the disk.
    """
    free = free_gb(folder)
    if free < needed_gb:
        raise NoSpace(
            f"{needed_gb:g} GB of scratch are needed and {free:.1f} GB are free at {folder}", "make room there; it is tried again by itself"
        )
