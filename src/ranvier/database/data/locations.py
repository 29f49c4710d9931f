"""Where a registered file is: below its session, and below its repository."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import PurePosixPath

from one.alf.path import folder_parts

#: Bytes of a file's or a folder's name, as file systems have it, and characters of a collection.
LONGEST_NAME = 255
#: Characters of a path below a repository.
LONGEST_PATH = 1000


@dataclass(frozen=True)
class Location:
    """The parts of ``<subject>/<date>/<number>/<collection>/#<revision>#/<name>``."""

    subject: str
    date: datetime.date
    number: str
    collection: str
    revision: str
    name: str

    @property
    def relative_path(self) -> str:
        """Path below a repository's folder."""
        revision = f"#{self.revision}#" if self.revision else ""
        return "/".join(filter(None, (self.subject, self.date.isoformat(), self.number, self.collection, revision, self.name)))

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells the datasets of a session apart."""
        return self.collection, self.revision, self.name


def locate(path: str, filename: str) -> Location:
    """Read where a file is.

    Parameters
    ----------
    path
        ``<subject>/<date>/<number>``, perhaps with a collection, perhaps below ``<lab>/Subjects``.
    filename
        Name of the file, perhaps with folders before it.

    Raises
    ------
    ValueError
        If together they are no path inside a session.
    """
    whole = inside(f"{path}/{filename}")
    parts = folder_parts(whole.parent.as_posix(), as_dict=True, assert_valid=False)
    if not parts["number"]:
        raise ValueError(f"{path!r} is not <subject>/<yyyy-mm-dd>/<number>[/<collection>]")
    date = datetime.date.fromisoformat(parts["date"])
    found = Location(parts["subject"], date, parts["number"], parts["collection"] or "", parts["revision"] or "", whole.name)
    _refuse_long(max(whole.parts, key=len), found)
    if not f"/{whole}".endswith(f"/{found.relative_path}"):
        raise ValueError(f"{whole} holds characters that an ALF path may not: it reads as {found.relative_path}")
    return found


def _refuse_long(longest: str, found: Location) -> None:
    """What neither a file system nor the database's columns take."""
    if len(longest.encode()) > LONGEST_NAME or len(found.collection) > LONGEST_NAME or len(found.relative_path) > LONGEST_PATH:
        raise ValueError(f"{longest[:80]!r}… is too long: names and collections have {LONGEST_NAME} bytes at most, paths {LONGEST_PATH}")


def inside(path: str) -> PurePosixPath:
    """A path that stays below the folder it starts from.

    Raises
    ------
    ValueError
        If it does not.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path or not pure.name:
        raise ValueError(f"{path!r} is not a path below the repository: no leading /, no .., no \\")
    return pure


def device_of(collection: str) -> str:
    """The probe or field of view that a collection belongs to: ``alf/probe00/…`` is probe00's."""
    parts = collection.split("/")
    return parts[1] if len(parts) > 1 else ""
