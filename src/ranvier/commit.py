"""Moving an attempt's files into the session: all of them or, after a crash, all of them later.

The files are on the session's own file system already, so that each move is a rename. What is to be moved stands in the attempt's report,
which is written into the spool first (see `ranvier.spool`); whoever comes upon such a report after a crash finishes its moves (the files
had been judged sound), so that a session never keeps half of a result.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ranvier.errors import RanvierError


class Busy(RanvierError):
    """Another attempt at the same task instance is at work on this server."""


def prepare(moves: Mapping[str, str]) -> None:
    """See that files can be moved: their content is on the disk, and the folders are there that they go into.

    Parameters
    ----------
    moves
        Final path of each staged file.

    Raises
    ------
    OSError
        If they cannot; nothing has been moved.
    """
    for source, target in moves.items():
        with open(source, "rb") as stream:
            os.fsync(stream.fileno())
        Path(target).parent.mkdir(parents=True, exist_ok=True)


def carry_out(moves: Mapping[str, str]) -> None:
    """Make moves, those that are still to be made."""
    for source, target in moves.items():
        if Path(source).exists():  # else it was moved before a crash
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            Path(source).replace(target)


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold a file lock, so that of all attempts at a task instance on a lab's file system one is at work at a time.

    Raises
    ------
    Busy
        If another holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with _locked(lock):
        try:
            yield
        finally:
            lock.unlink()


@contextmanager
def _locked(lock: Path) -> Iterator[IO[str]]:
    while True:
        with lock.open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"{lock}: another attempt at this task is at work on this server", "it will be tried again") from None
            if _is_still(lock, stream):  # else the one who held it has just removed it
                yield stream
                return


def _is_still(lock: Path, stream: IO[str]) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False
