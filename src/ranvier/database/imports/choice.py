"""What is imported of an Alyx, and how it is asked for."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ranvier.database.imports.alyx import one_of


@dataclass(frozen=True)
class Choice:
    """What is imported: sessions, with their animals, of which all of this is true. Nothing said is everything."""

    labs: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    since: dt.date | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out by it."""
        return self == Choice()

    @property
    def by_session(self) -> bool:
        """Whether only the sessions say which animals come."""
        return bool(self.projects or self.since)

    def of_sessions(self, path: str = "") -> list[str]:
        """Terms of a ``django=`` filter, of rows from which the path leads to a session."""
        before = f"{path}__" if path else ""
        named = ((self.labs, "lab__name"), (self.projects, "projects__name"), (self.subjects, "subject__nickname"))
        terms = [one_of(before + column, names) for names, column in named if names]
        return terms + ([f"{before}start_time__gte,{self.since}"] if self.since else [])

    def of_subjects(self, path: str = "") -> list[str]:
        """The same, of rows from which it leads to an animal."""
        before = f"{path}__" if path else ""
        if self.by_session:
            return self.of_sessions(f"{before}actions_sessions")
        return [one_of(before + column, names) for names, column in ((self.labs, "lab__name"), (self.subjects, "nickname")) if names]
