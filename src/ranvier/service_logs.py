"""Logs of the services: a new one at each start, cut when it grows too large, and only so many kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: Old logs that are kept of each service: of earlier starts, or cut off.
KEPT_LOGS = 5
#: Bytes at which a log is cut; of what is in it then, the last so many are kept.
LARGEST_LOG = 20_000_000


def rotate(path: Path) -> None:
    """Start a new log, keeping the last `KEPT_LOGS` as ``name.log.1`` and so on."""
    _make_room(path)
    if path.exists():
        path.replace(_older(path, 1))


def cut(path: Path, largest: int = LARGEST_LOG) -> bool:
    """Move the content of a log that has grown too large into ``name.log.1``; its writers go on with the emptied file.

    They must have opened it for appending. What is written in the instant between the copy and the emptying is lost.

    Parameters
    ----------
    path
        The log.
    largest
        Bytes that it may have; of a log with more, its last so many bytes are kept.

    Returns
    -------
    bool
        Whether it was too large.
    """
    if not path.exists() or (size := path.stat().st_size) <= largest:
        return False
    copied = path.with_name(f"{path.name}.new")
    with path.open("rb") as source, copied.open("wb") as target:
        source.seek(size - largest)
        shutil.copyfileobj(source, target)
    os.truncate(path, 0)
    _make_room(path)
    copied.replace(_older(path, 1))
    return True


def _make_room(path: Path) -> None:
    for age in range(KEPT_LOGS - 1, 0, -1):
        if (older := _older(path, age)).exists():
            older.replace(_older(path, age + 1))


def _older(path: Path, age: int) -> Path:
    return path.with_name(f"{path.name}.{age}")
