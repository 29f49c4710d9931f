"""Rows of an Alyx, read as they are taken: of some animals, or of some sessions, at once."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

from ranvier.database.imports.alyx import Alyx, one_of
from ranvier.database.imports.images import NoImage, with_image
from ranvier.database.imports.references import as_id
from ranvier.database.imports.report import Report
from ranvier.database.imports.tables import (
    CHANNELS,
    DATASETS,
    FIELDS_OF_VIEW,
    INSERTIONS,
    NOTES,
    OF_SUBJECTS,
    TASKS,
    TRAJECTORIES,
    WATER,
    Json,
    Table,
)

#: Rows of a session, in the order in which they find what they point to; each with the path that leads from it to the session.
OF_SESSIONS = (
    (DATASETS, "session"),
    (INSERTIONS, "session"),
    (TRAJECTORIES, "probe_insertion__session"),
    (FIELDS_OF_VIEW, "session"),
    (TASKS, "session"),
    (WATER, "session"),
)
#: Notes whose rows are asked for at once.
NOTED = 100
T = TypeVar("T")


class Reader:
    """Reads rows.

    Parameters
    ----------
    alyx
        From where.
    report
        Is told which rows the Alyx fails over.
    """

    def __init__(self, alyx: Alyx, report: Report) -> None:
        self.alyx, self.report = alyx, report

    def served(self, tables: Iterable[Table]) -> list[Table]:
        """Those tables that the Alyx has an endpoint of."""
        return [table for table in tables if table.endpoint in self.alyx.endpoints]

    def pages(self, table: Table, *terms: str, **query: str) -> Iterator[list[Json]]:
        """Rows of which the terms of a ``django=`` filter are true, page by page."""

        def unreadable(path: str) -> None:
            self.report.remark("left out", table.endpoint, path, "the Alyx fails over this row (500)", "mend it there; its log says why")

        return self.alyx.pages(table.endpoint, unreadable, **django_of(terms), **query)

    def rows(self, table: Table, *terms: str) -> list[Json]:
        """The same, whole."""
        return [row for page in self.pages(table, *terms) for row in page]

    def notes(self, ids: list[Any], *, text_only: bool = False) -> list[Json]:
        """Notes on rows, with their images unless these are to come later."""
        found = [note for some in some_of(ids, NOTED) for note in self.rows(NOTES, one_of("object_id", some))]
        return found if text_only else [self.with_image(note) for note in found]

    def with_image(self, note: Json) -> Json:
        """A note whose image has been fetched; without it, where it is not to be had, which is said."""
        try:
            return with_image(self.alyx, note)
        except NoImage as reason:
            self.report.remark("without", NOTES.endpoint, f"/notes/{note['id']}", f"taken without its image: {reason}", "import again")
            return {name: value for name, value in note.items() if name != "image"}

    def users(self, table: Table) -> list[Json]:
        """All users, for they name each other; which are public or gone is found by filters, as no answer says so."""
        public = {row["username"] for page in self.pages(table, is_public_user="True") for row in page}
        gone = {row["username"] for page in self.pages(table, is_active="False") for row in page}
        rows = [row for page in self.pages(table) for row in page]
        return [{**row, "is_public_user": row["username"] in public, "is_active": row["username"] not in gone} for row in rows]

    def with_genotypes(self, subjects: list[Json]) -> list[Json]:
        """Animals with their alleles: Alyx's list tells them as texts only, an animal by itself tells them in full."""
        brief = [row for row in subjects if any(isinstance(allele, str) for allele in row.get("genotype") or ())]
        whole = self.alyx.each([f"/subjects/{quote(row['nickname'])}" for row in brief])
        full = {row["id"]: row["genotype"] for row in whole if row}
        return [{**row, "genotype": full.get(row["id"], [])} if row in brief else row for row in subjects]

    def of_animals(self, names: list[str]) -> dict[str, list[Json]]:
        """Rows of animals by endpoint."""
        asked = {table: [one_of("subject__nickname", names)] for table in self.served(OF_SUBJECTS)}
        asked[WATER] = [one_of("subject__nickname", names), "session__isnull,True"]
        asked[TRAJECTORIES] = [one_of("chronic_insertion__subject__nickname", names), "probe_insertion__isnull,True"]
        found = self.alyx.at_once(lambda item: self.rows(item[0], *item[1]), asked.items())
        return {table.endpoint: rows for table, rows in zip(asked, found, strict=True)}

    def of_sessions(self, ids: list[str]) -> dict[str, dict[str, list[Json]]]:
        """Rows of sessions, by session and endpoint."""
        found: dict[str, dict[str, list[Json]]] = defaultdict(lambda: defaultdict(list))
        owner: dict[str, str] = {}
        read = self.alyx.at_once(lambda item: self.rows(item[0], one_of(item[1], ids)), OF_SESSIONS)
        for (table, _), rows in zip(OF_SESSIONS, read, strict=True):
            for row in self.with_places(rows) if table is FIELDS_OF_VIEW else rows:
                of = row.get("session") if table is not TRAJECTORIES else owner.get(row["probe_insertion"])
                found[str(as_id(of))][table.endpoint].append(row)
                if table in (INSERTIONS, FIELDS_OF_VIEW):
                    owner[row["id"]] = str(as_id(of))
        for row in self.notes([*ids, *owner], text_only=True):
            found[str(owner.get(row["object_id"], row["object_id"]))][NOTES.endpoint].append(row)
        return found

    def with_places(self, fields_of_view: list[Json]) -> list[Json]:
        """Fields of view with all that is known of where they are: each place by itself tells more than the list."""
        places = [place["id"] for row in fields_of_view for place in row.get("location") or ()]
        whole = dict(zip(places, self.alyx.each([f"/fov-location/{key}" for key in places]), strict=True))
        return [{**row, "location": [whole[place["id"]] or place for place in row.get("location") or ()]} for row in fields_of_view]

    def channels(self, trajectories: list[Json]) -> list[Json]:
        """Channels of trajectories."""
        ids = [row["id"] for row in trajectories]
        return self.rows(CHANNELS, one_of("trajectory_estimate", ids)) if ids else []


def django_of(terms: Iterable[str]) -> Json:
    """The ``django=`` filter of several terms."""
    whole = ",".join(terms)
    return {"django": whole} if whole else {}


def some_of(rows: Iterable[T], number: int) -> Iterator[list[T]]:
    """Rows, so many at once."""
    left = iter(rows)
    while some := list(itertools.islice(left, number)):
        yield some
