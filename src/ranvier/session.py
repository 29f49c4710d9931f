"""A session: where it is on disk, and how its files are found.

The path is ``<lab>/Subjects/<subject>/<yyyy-mm-dd>/<nnn>``; it is parsed by ONE-api's own rules.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranvier.errors import RanvierError

#: Touched by the copy step when everything that a session's devices recorded has arrived.
READY_FLAG = "raw_session.flag"


class SessionPathError(RanvierError):
    """A path is not that of a session folder."""


@dataclass(frozen=True)
class Session:
    """A session folder and what its path says.

    Attributes
    ----------
    path
        The folder.
    lab
        Name of the lab; empty where the path does not say.
    subject, date, number
        What identifies the session.
    """

    path: Path
    lab: str
    subject: str
    date: dt.date
    number: int

    @classmethod
    def parse(cls, path: Path | str) -> Session:
        """Read a session from its folder's path; the folder need not exist.

        Raises
        ------
        SessionPathError
            If the path is not that of a session folder.
        """
        from one.alf.path import get_session_path, session_path_parts

        folder = Path(path).expanduser().absolute()
        parts = session_path_parts(folder.as_posix(), assert_valid=False)
        if get_session_path(folder) != folder or tuple(parts[1:]) != folder.parts[-3:] or parts[1] in (".", ".."):
            raise SessionPathError(
                f"{folder} is not a session path",
                "it must end in <subject>/<yyyy-mm-dd>/<number>, such as Subjects/mouse_01/2026-11-22/001",
            )
        lab, subject, date, number = parts
        return cls(folder, lab or "", subject, dt.date.fromisoformat(date), int(number))

    @property
    def reference(self) -> str:
        """``<subject>/<yyyy-mm-dd>/<nnn>``, as in paths relative to a data repository."""
        return f"{self.subject}/{self.date}/{self.number:03d}"

    def relative(self, path: Path) -> str:
        """Path of a file below the session folder, with forward slashes."""
        return path.relative_to(self.path).as_posix()

    def find(self, pattern: str) -> list[Path]:
        """Files that match a pattern of the session, the newest ALF revision of each.

        Parameters
        ----------
        pattern
            Path below the session folder, with ``*`` and ``?`` inside one segment.

        Returns
        -------
        list of pathlib.Path
            Sorted; of files that differ in their ``#revision#`` folder only, the lexically last one.
        """
        folder, _, name = pattern.rpartition("/")
        newest: dict[tuple[Path, str], Path] = {}
        for directory in [self.path] if not folder else sorted(self.path.glob(folder)):
            revised = sorted(directory.glob(f"#*#/{name}"))
            for path in [*sorted(directory.glob(name)), *revised]:
                if path.is_file():
                    newest[(directory, path.name)] = path
        return sorted(newest.values())


def locate(root: Path, subject: str, date: dt.date, number: int) -> Session:
    """The session of a subject, date and number below a lab's ``Subjects`` folder."""
    return Session.parse(root / subject / date.isoformat() / f"{number:03d}")


def reference_of(record: Mapping[str, Any]) -> str:
    """``<subject>/<yyyy-mm-dd>/<nnn>`` of a session as the database gives it."""
    return f"{record['subject']}/{record['start_time'][:10]}/{int(record['number'] or 0):03d}"
