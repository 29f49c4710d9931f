"""Moving an attempt's files into the session: all of them or, after a crash, all of them later.

The files are on the session's own file system already, so that each move is a rename. What is to be moved is written down first; whoever
comes upon such a journal after a crash finishes it (the files in it had been judged sound), so that a session never keeps half of a result.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranvier.errors import RanvierError

JOURNAL = "commit.json"


class Busy(RanvierError):
    """Another process is committing the same task instance."""


def write_journal(scratch: Path, moves: dict[Path, Path]) -> Path:
    """Write down which files are to be moved where; durable when it returns.

    Parameters
    ----------
    scratch
        The attempt's scratch folder.
    moves
        Final path of each staged file.
    """
    journal = scratch / JOURNAL
    written = journal.with_suffix(".new")
    with written.open("w") as stream:
        json.dump({str(source): str(target) for source, target in moves.items()}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    written.replace(journal)
    return journal


def carry_out(journal: Path) -> None:
    """Make the moves of a journal, those that are still to be made, and remove it."""
    moves = {Path(source): Path(target) for source, target in json.loads(journal.read_text()).items()}
    for target in moves.values():
        target.parent.mkdir(parents=True, exist_ok=True)
    for source, target in moves.items():
        if source.exists():  # else it was moved before a crash
            source.replace(target)
    journal.unlink()


def recover(scratch_root: Path, name: str) -> list[Path]:
    """Finish what crashed attempts at a task instance had begun to move.

    Parameters
    ----------
    scratch_root
        Folder of the session's scratch folders.
    name
        Beginning of the scratch folders' names, up to the attempt's number.

    Returns
    -------
    list of pathlib.Path
        The scratch folders whose journals were finished.
    """
    journals = [path / JOURNAL for path in scratch_root.glob(f"{name}.*") if (path / JOURNAL).exists()]
    for journal in journals:
        carry_out(journal)
    return [journal.parent for journal in journals]


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold a file lock, so that of two attempts at the same task instance only one moves files at a time.

    Raises
    ------
    Busy
        If another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{lock}: another attempt at this task is moving its files", "it will be tried again") from None
        yield
