"""An Alyx moves in: first what labs share, then the animals with their notebook, then each session with all that belongs to it.

Some animals, and each session, are written in one transaction, so that whatever ends the import leaves nothing half-written.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import transaction

from ranvier.database.actions.models import Session
from ranvier.database.imports.alyx import Alyx, one_of
from ranvier.database.imports.images import NoImage, with_image
from ranvier.database.imports.places import Places
from ranvier.database.imports.references import as_id
from ranvier.database.imports.tables import (
    CATALOGUE,
    CHANNELS,
    DATASETS,
    DOWNLOADS,
    FIELDS_OF_VIEW,
    INSERTIONS,
    LITTERS,
    NOTES,
    NOTICES,
    OF_SUBJECTS,
    PAIRS,
    SESSIONS,
    STACKS,
    SUBJECTS,
    TASKS,
    TRAJECTORIES,
    WATER,
    Json,
    Table,
)
from ranvier.database.imports.taking import Taker

#: Animals, and sessions, that are read at once.
ANIMALS, TOGETHER = 20, 25
#: Rows of a session, in the order in which they find what they point to; each with the path that leads from it to the session.
OF_SESSIONS = (
    (DATASETS, "session"),
    (INSERTIONS, "session"),
    (TRAJECTORIES, "probe_insertion__session"),
    (FIELDS_OF_VIEW, "session"),
    (TASKS, "session"),
    (WATER, "session"),
)
Tell = Callable[[float, str], None]
T = TypeVar("T")


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


class Move:
    """Takes what is chosen from an Alyx.

    Parameters
    ----------
    alyx
        From where.
    taker
        Takes the rows.
    choice
        What is chosen.
    tell
        Is told how far it is.
    preprocess
        Whether each session asks for its preprocessing.
    """

    def __init__(self, alyx: Alyx, taker: Taker, choice: Choice, tell: Tell, *, preprocess: bool = False) -> None:
        self.alyx, self.taker, self.choice, self.tell, self.preprocess = alyx, taker, choice, tell, preprocess
        self.places = Places(alyx, taker.references)
        self._animals: set[str] = set()
        self._parents: list[tuple[Any, Any]] = []

    def all(self) -> None:
        """Take it all."""
        self.catalogue()
        self.animals()
        self.sessions()
        self.parents()
        if self.choice.is_everything:
            self.what_is_left()

    # What labs share.

    def catalogue(self) -> None:
        """Users, labs, repositories, dataset types, ..."""
        for number, table in enumerate(self._served(CATALOGUE)):
            self.tell(0.05 * number / len(CATALOGUE), table.endpoint)
            if table.endpoint == "users":
                self.taker.take(table, self._users(table))
                continue
            for page in self._pages(table):
                self.taker.take(table, page)

    def _users(self, table: Table) -> list[Json]:
        """All users, for they name each other; which are public or gone is found by filters, as no answer says so."""
        public = {row["username"] for page in self._pages(table, is_public_user="True") for row in page}
        gone = {row["username"] for page in self._pages(table, is_active="False") for row in page}
        rows = [row for page in self._pages(table) for row in page]
        return [{**row, "is_public_user": row["username"] in public, "is_active": row["username"] not in gone} for row in rows]

    # Animals.

    def animals(self) -> None:
        """The animals, with what was done with them outside of sessions."""
        served = self._served((LITTERS, PAIRS))
        if LITTERS in served:
            for page in self._pages(LITTERS):
                self.taker.take(LITTERS, self._new(LITTERS, [{**row, "breeding_pair": None} for row in page]))
        if not self.choice.by_session:
            for page in self._pages(SUBJECTS, *self.choice.of_subjects()):
                for some in _some(page, ANIMALS):
                    self._take_animals(some)
        for table in reversed(served if self.choice.is_everything else []):  # pairs, then the litters that name them
            for page in self._pages(table):
                self.taker.take(table, page)

    def _new(self, table: Table, rows: list[Json]) -> list[Json]:
        ids = [table.id_of(row) for row in rows]
        here = set(table.model._base_manager.filter(pk__in=ids).values_list("pk", flat=True))
        return [row for row, key in zip(rows, ids, strict=True) if key not in here]

    def _take_animals(self, rows: list[Json]) -> None:
        self._animals.update(row["nickname"] for row in rows)
        ids = [as_id(row["id"]) for row in rows]
        if self.taker.seen(ids) >= set(ids):
            self.taker.report.count(SUBJECTS.endpoint, "unchanged", len(rows))
            return
        self.tell(0.05, f"subject {rows[0]['nickname']}")
        parts = self._read_of_animals([row["nickname"] for row in rows])
        notes = self._notes([*ids, *(row["id"] for row in parts.get("surgeries", ()))])
        with transaction.atomic():
            self.taker.take(SUBJECTS, rows)
            for table in (*OF_SUBJECTS, WATER, TRAJECTORIES):
                self.taker.take(table, self.places.known(parts.get(table.endpoint, [])))
            self._take_channels(parts.get(TRAJECTORIES.endpoint, []))
            self.taker.take(NOTES, notes)
            self.taker.mark_seen(ids)

    def _read_of_animals(self, names: list[str]) -> dict[str, list[Json]]:
        """Rows of animals by endpoint."""
        asked = {table: [one_of("subject__nickname", names)] for table in self._served(OF_SUBJECTS)}
        asked[WATER] = [one_of("subject__nickname", names), "session__isnull,True"]
        asked[TRAJECTORIES] = [one_of("chronic_insertion__subject__nickname", names), "probe_insertion__isnull,True"]
        return {table.endpoint: self._rows(table, *terms) for table, terms in asked.items()}

    # Sessions.

    def sessions(self) -> None:
        """The sessions, each with all that belongs to it."""
        terms = self.choice.of_sessions()
        count = max(1, self.alyx.count("sessions", **_django(terms)))
        done = 0
        for page in self._pages(SESSIONS, *terms):
            for some in _some(page, TOGETHER):
                self._take_sessions(some)
                done += len(some)
                self.tell(0.05 + 0.9 * min(1.0, done / count), f"session {done} of {count}")

    def _take_sessions(self, rows: list[Json]) -> None:
        seen = self.taker.seen(as_id(row["id"]) for row in rows)
        rows = [row for row in rows if as_id(row["id"]) not in seen]
        self.taker.report.count(SESSIONS.endpoint, "unchanged", len(seen))
        if not rows:
            return
        self._need_animals({row["subject"] for row in rows if row.get("subject")})
        details = dict(zip((row["id"] for row in rows), self.alyx.each([f"/sessions/{row['id']}" for row in rows]), strict=True))
        parts = self._read_of_sessions([row["id"] for row in rows])
        for row in rows:
            if details[row["id"]] is None:
                self.taker.report.remark("left out", SESSIONS.endpoint, f"/sessions/{row['id']}", "the Alyx fails over it", "see its log")
            else:
                self._take_session(details[row["id"]], parts[row["id"]])

    def _need_animals(self, names: set[str]) -> None:
        """Take the animals of sessions that have not come yet."""
        missing = sorted(names - self._animals)
        for some in _some(missing, ANIMALS):
            if rows := self._rows(SUBJECTS, one_of("nickname", some)):
                self._take_animals(rows)
        self._animals.update(missing)

    def _read_of_sessions(self, ids: list[str]) -> dict[str, dict[str, list[Json]]]:
        """Rows of sessions, by session and endpoint."""
        found: dict[str, dict[str, list[Json]]] = defaultdict(lambda: defaultdict(list))
        owner: dict[str, str] = {}
        for table, path in OF_SESSIONS:
            for row in self._rows(table, one_of(path, ids)):
                of = row.get("session") if table is not TRAJECTORIES else owner.get(row["probe_insertion"])
                found[str(as_id(of))][table.endpoint].append(row)
                if table in (INSERTIONS, FIELDS_OF_VIEW):
                    owner[row["id"]] = str(as_id(of))
        for row in self._notes([*ids, *owner], text_only=True):
            found[owner.get(row["object_id"], row["object_id"])][NOTES.endpoint].append(row)
        return found

    def _take_session(self, session: Json, parts: dict[str, list[Json]]) -> None:
        key = as_id(session["id"])
        parts[NOTES.endpoint] = [self._with_image(note) for note in parts[NOTES.endpoint]]
        channels = self._channels(parts[TRAJECTORIES.endpoint])
        self._bring_stacks(parts[FIELDS_OF_VIEW.endpoint])
        with transaction.atomic():
            became = self.taker.take(SESSIONS, self.places.known([session])).get(key)
            if became is None:
                self._leave_out(parts)
                return
            for table in (*(table for table, _ in OF_SESSIONS), NOTES):
                self.taker.take(table, parts[table.endpoint])
            self.taker.take(CHANNELS, channels)
            self.taker.mark_seen([key])
            if self.preprocess:
                ask_for_preprocessing(key)
        if session.get("parent_session"):
            self._parents.append((key, as_id(session["parent_session"])))

    def _leave_out(self, parts: dict[str, list[Json]]) -> None:
        """What belongs to a session that is left out is counted with it."""
        for endpoint, rows in parts.items():
            self.taker.report.count(endpoint, "left out", len(rows))

    def _bring_stacks(self, fields_of_view: list[Json]) -> None:
        ids = sorted({row["stack"] for row in fields_of_view if row.get("stack")})
        stacks = [stack for stack in self.alyx.each([f"/imaging-stack/{key}" for key in ids]) if stack]
        self.taker.take(STACKS, stacks)

    def _channels(self, trajectories: list[Json]) -> list[Json]:
        ids = [row["id"] for row in trajectories]
        return self._rows(CHANNELS, one_of("trajectory_estimate", ids)) if ids else []

    def _take_channels(self, trajectories: list[Json]) -> None:
        self.taker.take(CHANNELS, self._channels(trajectories))

    def parents(self) -> None:
        """Sessions get their parents, once both are here."""
        for child, parent in self._parents:
            if Session.objects.filter(pk=parent).exists():
                Session.objects.filter(pk=child, parent_session=None).update(parent_session=parent)

    # The rest.

    def what_is_left(self) -> None:
        """What belongs to no session: aggregates, and notes on anything else; and what is said of datasets."""
        for table, terms in ((DATASETS, ["session__isnull,True"]), (NOTES, []), (NOTICES, []), (DOWNLOADS, [])):
            if table.endpoint in self.alyx.endpoints:
                self.tell(0.97, table.endpoint)
                for page in self._pages(table, *terms):
                    self.taker.take(table, [self._with_image(row) for row in page] if table is NOTES else page)

    # Reading.

    def _served(self, tables: Iterable[Table]) -> list[Table]:
        return [table for table in tables if table.endpoint in self.alyx.endpoints]

    def _pages(self, table: Table, *terms: str, **query: str) -> Iterator[list[Json]]:
        def unreadable(path: str) -> None:
            self.taker.report.remark(
                "left out", table.endpoint, path, "the Alyx fails over this row (500)", "mend it there; its log says why"
            )

        return self.alyx.pages(table.endpoint, unreadable, **_django(terms), **query)

    def _rows(self, table: Table, *terms: str) -> list[Json]:
        return [row for page in self._pages(table, *terms) for row in page]

    def _notes(self, ids: list[Any], *, text_only: bool = False) -> list[Json]:
        """Notes on rows, with their images unless these are to come later."""
        found = [note for some in _some(ids, 100) for note in self._rows(NOTES, one_of("object_id", some))]
        return found if text_only else [self._with_image(note) for note in found]

    def _with_image(self, note: Json) -> Json:
        try:
            return with_image(self.alyx, note)
        except NoImage as reason:
            self.taker.report.remark(
                "without", NOTES.endpoint, f"/notes/{note['id']}", f"taken without its image: {reason}", "import again"
            )
            return {name: value for name, value in note.items() if name != "image"}


def ask_for_preprocessing(key: Any) -> None:
    """Write the event of a session, as registering it does; it is written once."""
    from ranvier.database.jobs.signals import tell_of_new_session

    tell_of_new_session(instance=Session.objects.get(pk=key), created=True)


def _django(terms: Iterable[str]) -> Json:
    whole = ",".join(terms)
    return {"django": whole} if whole else {}


def _some(rows: Iterable[T], number: int) -> Iterator[list[T]]:
    """Rows, so many at once."""
    left = iter(rows)
    while some := list(itertools.islice(left, number)):
        yield some
