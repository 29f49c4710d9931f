"""Content hashes of files, so that each byte is read for its hash once.

A hash is remembered with the size and modification time that the file had; a file that differs in either is read again.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger("ranvier.hashes")

_BLOCK = 1 << 22


class HashBook:
    """The md5 of files of one data repository, kept in an SQLite file beside the data.

    Parameters
    ----------
    path
        The SQLite file; made where there is none. Where it cannot be read or written, as on a full disk, nothing is remembered and files
        are read again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _open(path)
        except (sqlite3.Error, OSError) as error:
            log.warning("%s cannot be opened: %s; hashes are not remembered", path, error)
            self._connection = _open(":memory:")

    def known(self, path: Path) -> str | None:
        """The md5 of a file if it has not changed since it was noted, else None; reads no content."""
        stat = path.stat()
        row = self._ask("SELECT size, mtime_ns, md5 FROM hashes WHERE path = ?", str(path))
        return row[2] if row is not None and row[:2] == (stat.st_size, stat.st_mtime_ns) else None

    def md5(self, path: Path, advance: Callable[[int], None] | None = None) -> str:
        """The md5 of a file, read only where it is not known.

        Parameters
        ----------
        path
            The file.
        advance
            Called with the number of bytes after each block read, for a progress bar.
        """
        if (md5 := self.known(path)) is None:
            stat = path.stat()  # before reading, so that a change while reading is noticed the next time
            md5 = digest(path, advance)
            self.note(path, md5, stat.st_size, stat.st_mtime_ns)
        return md5

    def note(self, path: Path, md5: str, size: int, mtime_ns: int) -> None:
        """Remember a hash that was computed elsewhere."""
        self._ask("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", str(path), size, mtime_ns, md5)

    def _ask(self, query: str, *values: object) -> Any:
        try:
            return self._connection.execute(query, values).fetchone()
        except sqlite3.Error as error:
            log.warning("%s: %s; a hash is not remembered", self._path, error)
            return None

    def close(self) -> None:
        """Close the SQLite file."""
        self._connection.close()

    def __enter__(self) -> HashBook:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, md5 TEXT NOT NULL)"
    )
    return connection


def digest(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """The md5 of a file's content, as 32 hexadecimal digits."""
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            md5.update(block)
            if advance is not None:
                advance(len(block))
    return md5.hexdigest()
