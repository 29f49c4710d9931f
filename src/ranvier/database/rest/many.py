"""The history of what people write many rows at a time: an entry for each row, in as many statements as the rows themselves take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db.models import Model, QuerySet

from ranvier.database.rest.access import Access
from ranvier.database.rest.history import change, differences, kept_of, values_of
from ranvier.database.rest.models import Change

#: Counters of names, which tell of nothing that anybody did.
SILENT = frozenset({"named_subjects", "named_litters", "named_pairs"})
#: Entries in one statement.
BATCH = 500


def update(rows: QuerySet[Any], write: Callable[..., int], values: dict[str, Any]) -> int:
    """Change rows, and keep what each was before; returns how many they are.

    Parameters
    ----------
    rows
        The rows.
    write
        What changes them.
    values
        By field, as for a queryset's `update`.
    """
    access = kept_of(rows.model)
    if access is None or SILENT.issuperset(values):
        return write(**values)
    names = [rows.model._meta.get_field(name).attname for name in values]
    before = {row["pk"]: row for row in rows.order_by().values("pk", *names)}
    done = write(**values)
    entries = []
    for row in _found(rows.model, list(before)):
        changed = differences({name: before[row.pk][name] for name in names}, {name: getattr(row, name) for name in names})
        entries += [_entry(access, row, Change.Kind.CHANGED, changed)] if changed else []
    Change.objects.bulk_create(entries, BATCH)
    return done


def keep_added(model: type[Model], rows: Sequence[Any]) -> None:
    """Keep that rows were added; those that were there already, and were left alone, are not among them."""
    access = kept_of(model)
    if access is not None:
        found = _found(model, [row.pk for row in rows])
        entries = [_entry(access, row, Change.Kind.ADDED, differences({}, values_of(row))) for row in found]
        Change.objects.bulk_create(entries, BATCH)


def _found(model: type[Model], keys: Sequence[Any]) -> Iterator[Any]:
    """The rows of some keys, so many at a time as a statement may have values."""
    for start in range(0, len(keys), BATCH):
        yield from model._base_manager.filter(pk__in=keys[start : start + BATCH])


def _entry(access: Access, row: Any, kind: str, fields: dict[str, list[Any]]) -> Change:
    """An entry, whose name is the row's own: to make it of other rows would take a query for each."""
    return change(access, row, kind, fields, str(getattr(row, "name", "") or getattr(row, "relative_path", "") or row.pk))
