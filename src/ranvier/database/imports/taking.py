"""Rows are taken: added, or where they are here already brought up to date, unless somebody has changed them here.

Each row that was taken is noted with a digest of its values. When it comes again with the same digest there is nothing to do; with
another, what is here is held against the digest first. Rows are written many at once, without signals: no history, no events.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any

from django.db import DataError, IntegrityError, transaction
from django.db.models import BooleanField
from django.utils import timezone

from ranvier.database.imports.conversion import (
    Converted,
    Refused,
    auto_now,
    convert,
    convert_links,
    digest,
    link_columns,
    link_model,
    load_references,
    snapshot,
)
from ranvier.database.imports.models import ImportedRow
from ranvier.database.imports.reasons import why
from ranvier.database.imports.references import References, called
from ranvier.database.imports.report import Report
from ranvier.database.imports.tables import HOLDER, PARTS, Json, Table

#: What the database says of a row that it does not take; a text with a NUL in it is a `ValueError`.
UNFIT = (IntegrityError, DataError, ValueError)
SEE_WHY = "see why that was left out, or import that too"
#: Rows of one statement.
BATCH = 500
#: Before any import: a row that was noted and is not marked as seen.
EARLIER = dt.datetime(2000, 1, 1)


class Taker:
    """Takes rows.

    Parameters
    ----------
    report
        Where it says what became of them.
    started
        When the import began, by which rows that it has come upon are known.
    overwrite
        Whether rows that were changed here are replaced.
    """

    def __init__(self, report: Report, started: dt.datetime, *, overwrite: bool = False) -> None:
        self.report = report
        self.started = started
        self.overwrite = overwrite
        self.references = References()

    @transaction.atomic
    def take(self, table: Table, rows: Iterable[Json]) -> dict[Any, str]:
        """Take rows of one table, and the rows that they hold.

        Returns
        -------
        dict
            What became of each row that was not left out, by its key: ``added``, ``updated``, ``completed``, ``unchanged``, ``own``,
            ``kept``, or ``deleted`` where somebody has deleted it here.
        """
        self.references.trim()
        mended = [table.mend(row) for row in rows]
        for raw in mended:
            self.report.strange[table.endpoint].update(table.strange(raw))
        load_references(table, mended, self.references)
        converted = self._with_keys(table, [row for raw in mended if (row := self._converted(table, raw))])
        for one in converted:
            self._remember(table, one)
        for one in converted:
            convert_links(table, one, self.references)
        became = self._decide(table, converted)
        here = [one for one in converted if became.get(one.key, "deleted") != "deleted"]
        for one in here:
            for lost in one.without:
                self.report.remark("without", table.endpoint, one.address, f"taken without {lost}, which is not here", SEE_WHY)
        self._take_parts(table, here)
        return became

    def seen(self, keys: Iterable[Any]) -> set[Any]:
        """Those of some rows that this import has come upon already, perhaps before it was interrupted."""
        return set(ImportedRow.objects.filter(row__in=list(keys), seen__gte=self.started).values_list("row", flat=True))

    def mark_seen(self, keys: Iterable[Any]) -> None:
        """Note that this import has come upon rows, with all that belongs to them."""
        ImportedRow.objects.filter(row__in=list(keys)).update(seen=self.started)

    def _converted(self, table: Table, raw: Json) -> Converted | None:
        try:
            return convert(table, raw, self.references)
        except Refused as refused:
            self._leave_out(table, table.address_of(raw), str(refused), refused.mend)
            return None

    def _leave_out(self, table: Table, address: str, reason: str, mend: str = "correct it there and import again") -> None:
        self.report.remark("left out", table.endpoint, address, reason, mend)

    def _with_keys(self, table: Table, rows: list[Converted]) -> list[Converted]:
        """Give each row its key here: a named one that is here has its own; a row that comes twice is taken once."""
        by_name = self._named_here(table, rows)
        found: dict[Any, Converted] = {}
        for row in rows:
            theirs = table.id_of(row.raw)
            row.key = by_name.get(theirs) or by_name.get(row.values.get(called(table.model))) or theirs or uuid.uuid4()
            if theirs and theirs != row.key:
                self.references.remember_elsewhere(table.model, theirs, row.key)
            found[row.key] = row
        return list(found.values())

    def _named_here(self, table: Table, rows: list[Converted]) -> dict[Any, Any]:
        """Keys of named rows that are here, by name, and by their id where that is the same; formats also by their extension."""
        if table.endpoint == "subjects":
            return self._animals_here(table, rows)
        if not table.named:
            return {}
        model, column = table.model, called(table.model)
        here = dict(model._base_manager.filter(**{f"{column}__in": [row.values[column] for row in rows]}).values_list(column, "pk"))
        ids = {theirs for row in rows if (theirs := table.id_of(row.raw))}
        here.update({key: key for key in model._base_manager.filter(pk__in=ids).values_list("pk", flat=True)})
        if table.endpoint == "data-formats":
            by_extension = dict(model._base_manager.values_list("file_extension", "pk"))
            named = {row.values["name"]: by_extension.get(row.values["file_extension"]) for row in rows}
            here = {**{name: key for name, key in named.items() if key}, **here}
        return here

    def _animals_here(self, table: Table, rows: list[Converted]) -> dict[Any, Any]:
        """Animals that were registered here before: of the same nickname, in the same lab."""
        asked = {row.values["nickname"]: row.values["lab_id"] for row in rows}
        found = table.model._base_manager.filter(nickname__in=asked).values_list("nickname", "lab_id", "pk")
        return {nickname: key for nickname, lab, key in found if asked[nickname] == lab}

    def _remember(self, table: Table, row: Converted) -> None:
        self.references.remember(table.model, row.values.get(called(table.model)) or str(row.key), row.key)
        self.references.remember(table.model, str(row.key), row.key)

    def _decide(self, table: Table, rows: list[Converted]) -> dict[Any, str]:
        keys = [row.key for row in rows]
        here = set(table.model._base_manager.filter(pk__in=keys).values_list("pk", flat=True))
        noted = dict(ImportedRow.objects.filter(row__in=keys).values_list("row", "digest"))
        new, changed, deleted = [], [], []
        became: dict[Any, str] = {}
        for row in rows:
            if row.key not in here and row.key in noted and not self.overwrite:
                self._keep(table, row, "it was deleted here since it was imported")
                self.references.forget(table.model, row.key)
                deleted.append(row.key)
            elif row.key not in here:
                new.append(row)
            elif noted.get(row.key) == row.digest:
                became[row.key] = "unchanged"
            else:
                changed.append(row)
        self.report.count(table.endpoint, "unchanged", len(became))
        became.update(dict.fromkeys(deleted, "deleted"))
        became.update(dict.fromkeys(self._add(table, new), "added"))
        became.update(self._change(table, changed, noted))
        return became

    def _keep(self, table: Table, row: Converted, reason: str) -> None:
        self.report.remark("kept", table.endpoint, row.address, reason, "--overwrite takes what is there in place of it")

    # Adding.

    def _add(self, table: Table, rows: list[Converted]) -> list[Any]:
        """Add rows; one by one where the database does not take them together."""
        if not rows:
            return []
        try:
            self._insert(table, rows)
            added = rows
        except UNFIT:
            added = [row for row in rows if self._insert_alone(table, row)]
        self._link(table, added)
        self.report.count(table.endpoint, "added", len(added))
        return [row.key for row in added]

    def _insert(self, table: Table, rows: list[Converted]) -> None:
        fresh = table.new()
        with transaction.atomic():
            table.model._base_manager.bulk_create([table.model(pk=row.key, **fresh, **row.values) for row in rows], batch_size=BATCH)
            self._note(table, rows)

    def _insert_alone(self, table: Table, row: Converted) -> bool:
        try:
            self._insert(table, [row])
        except UNFIT as error:
            self.references.forget(table.model, row.key)
            self._leave_out(table, row.address, why(table, row, error))
            return False
        return True

    def _link(self, table: Table, rows: list[Converted]) -> None:
        for name in table.links:
            through, holder, target = link_columns(table, name)
            pairs = [(row.key, other) for row in rows for other in row.links.get(name, ())]
            if table.model is link_model(table, name):  # another of these rows, which may not have been taken
                here = set(table.model._base_manager.filter(pk__in={other for _, other in pairs}).values_list("pk", flat=True))
                pairs = [pair for pair in pairs if pair[1] in here]
            through._base_manager.bulk_create(
                [through(**{holder: key, target: other}) for key, other in pairs], batch_size=BATCH, ignore_conflicts=True
            )

    def _note(self, table: Table, rows: list[Converted]) -> None:
        notes = [ImportedRow(row=row.key, model=table.label.lower(), digest=row.digest, seen=EARLIER) for row in rows]
        ImportedRow.objects.bulk_create(
            notes, batch_size=BATCH, update_conflicts=True, unique_fields=["row"], update_fields=["digest", "model"]
        )

    # Changing.

    def _change(self, table: Table, rows: list[Converted], noted: dict[Any, str]) -> dict[Any, str]:
        """Bring rows that are here up to date, unless they were changed here; complete those that did not come by an import."""
        became: dict[Any, str] = {}
        for row in rows:
            values, links = snapshot(table, [row.key], row.values, row.links)[row.key]
            if digest(values, links) == row.digest:
                self._note(table, [row])
                became[row.key] = "unchanged"
            elif self.overwrite or digest(values, links) == noted.get(row.key):
                became[row.key] = self._write(table, row, "updated")
            elif row.key in noted:
                self._keep(table, row, "it was changed there and here since it was imported")
                became[row.key] = "kept"
            else:
                became[row.key] = self._complete(table, row, values, links)
        for what in ("unchanged", "updated", "completed", "own"):
            self.report.count(table.endpoint, what, list(became.values()).count(what))
        return became

    def _write(self, table: Table, row: Converted, what: str) -> str:
        now = dict.fromkeys(auto_now(table), timezone.now())
        try:
            with transaction.atomic():
                table.model._base_manager.filter(pk=row.key).update(**row.values, **now)
                for name, keys in row.links.items():
                    through, holder, target = link_columns(table, name)
                    through._base_manager.filter(**{holder: row.key}).exclude(**{f"{target}__in": list(keys)}).delete()
                self._link(table, [row])
                self._note(table, [row])
        except UNFIT as error:
            self.report.remark(
                "left out", table.endpoint, row.address, f"its change was refused: {why(table, row, error)}", "correct it there"
            )
            return "kept"
        return what

    def _complete(self, table: Table, row: Converted, values: Json, links: dict[str, set[Any]]) -> str:
        """A row that was here by itself gets what it lacks, and keeps what it has."""
        other = {name: value for name, value in row.values.items() if value not in (None, "", values[name])}
        lacking = {name: value for name, value in other.items() if _is_empty(table, name, values[name])}
        row.values = lacking
        row.links = {name: keys | frozenset(links[name]) for name, keys in row.links.items()}
        if not lacking and all(keys == links[name] for name, keys in row.links.items()):
            return "own" if len(other) > len(lacking) else "unchanged"
        now = dict.fromkeys(auto_now(table), timezone.now())
        try:
            with transaction.atomic():
                table.model._base_manager.filter(pk=row.key).update(**lacking, **now)
                self._link(table, [row])
        except UNFIT as error:
            self._leave_out(table, row.address, f"what it lacks here was refused: {why(table, row, error)}")
            return "kept"
        return "completed"

    def _take_parts(self, table: Table, rows: list[Converted]) -> None:
        for field, name in table.parts.items():
            if name:
                held = [{**part, HOLDER[name]: str(row.key)} for row in rows for part in row.raw.get(field) or ()]
                self.take(PARTS[name], held)


def _is_empty(table: Table, attname: str, value: Any) -> bool:
    column = next(column for column in table.model._meta.concrete_fields if column.attname == attname)
    if isinstance(column, BooleanField):  # false is said as well as true: who may do what, and what is public, is not completed
        return False
    return value in (None, "", {}) or (column.has_default() and column.default == value)
