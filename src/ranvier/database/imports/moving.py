"""An Alyx moves in: first what labs share, then the animals with their notebook, then each session with all that belongs to it.

Some animals, and each session, are written in one transaction, so that whatever ends the import leaves nothing half-written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Q

from ranvier.database.actions.models import Session
from ranvier.database.imports.alyx import Alyx, one_of
from ranvier.database.imports.choice import Choice
from ranvier.database.imports.places import Places
from ranvier.database.imports.reading import OF_SESSIONS, Reader, django_of, some_of
from ranvier.database.imports.references import as_id
from ranvier.database.imports.tables import (
    CATALOGUE,
    CHANNELS,
    DATASETS,
    DOWNLOADS,
    FIELDS_OF_VIEW,
    LITTERS,
    NOTES,
    NOTICES,
    OF_SUBJECTS,
    PAIRS,
    SESSIONS,
    STACKS,
    SUBJECTS,
    TRAJECTORIES,
    WATER,
    Json,
    Table,
)
from ranvier.database.imports.taking import SEE_WHY, Taker
from ranvier.database.people.models import User
from ranvier.database.rest.lookups import APPS

#: Animals, and sessions, that are read at once.
ANIMALS, TOGETHER = 20, 25
Tell = Callable[[float, str], None]


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
        self.reader = Reader(alyx, taker.report)
        self.places = Places(alyx, taker.references)
        self._animals: set[str] = set()
        #: Those that were left out: one of the same name here is another.
        self._refused: set[str] = set()
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
        for number, table in enumerate(self.reader.served(CATALOGUE)):
            self.tell(0.05 * number / len(CATALOGUE), table.endpoint)
            if table.endpoint == "users":
                self.taker.take(table, _but_for_administrators(self.reader.users(table)))
                continue
            for page in self.reader.pages(table):
                self.taker.take(table, page)

    # Animals.

    def animals(self) -> None:
        """The animals, with what was done with them outside of sessions."""
        served = self.reader.served((LITTERS, PAIRS))
        if LITTERS in served:
            for page in self.reader.pages(LITTERS):
                self.taker.take(LITTERS, self._new(LITTERS, [{**row, "breeding_pair": None} for row in page]))
        if not self.choice.by_session:
            for page in self.reader.pages(SUBJECTS, *self.choice.of_subjects()):
                for some in some_of(page, ANIMALS):
                    self._take_animals(some)
        for table in reversed(served if self.choice.is_everything else []):  # pairs, then the litters that name them
            for page in self.reader.pages(table):
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
        animals = self.reader.with_genotypes(rows)
        parts = self.reader.of_animals([row["nickname"] for row in rows])
        notes = self.reader.notes([*ids, *(row["id"] for row in parts.get("surgeries", ()))])
        with transaction.atomic():
            became = self.taker.take(SUBJECTS, animals)
            keys = {row["nickname"]: self.taker.references.key(SUBJECTS.model, row["id"]) or as_id(row["id"]) for row in rows}
            gone = {name: what for name, key in keys.items() if (what := became.get(key)) in (None, "deleted")}
            self._refused.update(name for name, what in gone.items() if what is None)
            for table in (*OF_SUBJECTS, WATER, TRAJECTORIES):
                self.taker.take(table, self.places.known(self._without(gone, table, parts.get(table.endpoint, []))))
            self._take_channels(parts.get(TRAJECTORIES.endpoint, []))
            self._take_notes(notes)
            self.taker.mark_seen(keys.values())

    def _without(self, gone: dict[str, str | None], table: Table, rows: list[Json]) -> list[Json]:
        """Rows of animals that were taken; those of one that was left out are counted with it."""
        self.taker.report.count(table.endpoint, "left out", sum(gone.get(row.get("subject", ""), "here") is None for row in rows))
        return [row for row in rows if row.get("subject") not in gone]

    # Sessions.

    def sessions(self) -> None:
        """The sessions, each with all that belongs to it."""
        terms = self.choice.of_sessions()
        count = max(1, self.alyx.count("sessions", **django_of(terms)))
        done = 0
        for page in self.reader.pages(SESSIONS, *terms):
            for some in some_of(page, TOGETHER):
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
        parts = self.reader.of_sessions([row["id"] for row in rows])
        for row in rows:
            if details[row["id"]] is None:
                self.taker.report.remark(
                    "left out", SESSIONS.endpoint, f"/sessions/{row['id']}", "the Alyx does not give it", "see its log"
                )
            else:
                self._take_session(details[row["id"]], parts[row["id"]])

    def _need_animals(self, names: set[str]) -> None:
        """Take the animals of sessions that have not come yet."""
        missing = sorted(names - self._animals)
        for some in some_of(missing, ANIMALS):
            if rows := self.reader.rows(SUBJECTS, one_of("nickname", some)):
                self._take_animals(rows)
        self._animals.update(missing)

    def _take_session(self, session: Json, parts: dict[str, list[Json]]) -> None:
        key = as_id(session["id"])
        if session.get("subject") in self._refused:
            reason = f"its subject {session['subject']} is not here"
            self.taker.report.remark("left out", SESSIONS.endpoint, f"/sessions/{key}", reason, SEE_WHY)
            self._leave_out(parts)
            return
        parts[NOTES.endpoint] = [self.reader.with_image(note) for note in parts[NOTES.endpoint]]
        channels = self.reader.channels(parts[TRAJECTORIES.endpoint])
        self._bring_stacks(parts[FIELDS_OF_VIEW.endpoint])
        with transaction.atomic():
            became = self.taker.take(SESSIONS, self.places.known([session])).get(key)
            if became in (None, "deleted"):
                self._leave_out(parts if became is None else {})
                return
            for table, _ in OF_SESSIONS:
                self.taker.take(table, parts[table.endpoint])
            self._take_notes(parts[NOTES.endpoint])
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

    def _take_channels(self, trajectories: list[Json]) -> None:
        self.taker.take(CHANNELS, self.reader.channels(trajectories))

    def parents(self) -> None:
        """Sessions get their parents, once both are here."""
        for child, parent in self._parents:
            if Session.objects.filter(pk=parent).exists():
                Session.objects.filter(pk=child, parent_session=None).update(parent_session=parent)

    # The rest.

    def what_is_left(self) -> None:
        """What belongs to no session: aggregates, and notes on anything else; and what is said of datasets."""
        for table, terms in ((DATASETS, ["session__isnull,True"]), (NOTICES, []), (DOWNLOADS, [])):
            if table.endpoint in self.alyx.endpoints:
                self.tell(0.97, table.endpoint)
                for page in self.reader.pages(table, *terms):
                    self.taker.take(table, page)
        self.tell(0.98, NOTES.endpoint)
        for page in self.reader.pages(NOTES):
            seen = self.taker.seen(as_id(note["id"]) for note in page)
            self._take_notes([self.reader.with_image(note) for note in page if as_id(note["id"]) not in seen])

    def _take_notes(self, notes: list[Json]) -> None:
        """Take those notes whose row is here; it may have another id here."""
        there = [{**note, "object_id": str(key)} for note in notes if (key := self._noted(note)) is not None]
        for note in notes:
            if self._noted(note) is None:
                of = f"{note.get('content_type')} {note.get('object_id')}"
                self.taker.report.remark("left out", NOTES.endpoint, f"/notes/{note['id']}", f"it is on {of}, which is not here", SEE_WHY)
        self.taker.mark_seen(self.taker.take(NOTES, there))

    def _noted(self, note: Json) -> Any:
        """Key of the row that a note is on."""
        kind = ContentType.objects.filter(app_label__in=APPS, model=note.get("content_type")).first()
        model = kind.model_class() if kind else None
        if model is None or as_id(note.get("object_id")) is None:
            return None
        self.taker.references.load(model, [note["object_id"]])
        return self.taker.references.key(model, note["object_id"])


def _but_for_administrators(users: list[Json]) -> list[Json]:
    """Users; an account that administers or serves this database is not closed because there is one of its name there that is."""
    kept = set(User.objects.filter(Q(is_staff=True) | Q(is_superuser=True)).values_list("username", flat=True))
    kept.add(settings.RANVIER.database.username)
    own = {"is_active", "is_public_user"}
    return [{name: value for name, value in user.items() if user["username"] not in kept or name not in own} for user in users]


def ask_for_preprocessing(key: Any) -> None:
    """Write the event of a session, as registering it does; it is written once."""
    from ranvier.database.jobs.signals import tell_of_new_session

    tell_of_new_session(instance=Session.objects.get(pk=key), created=True)
