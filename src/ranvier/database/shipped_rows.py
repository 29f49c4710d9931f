"""Rows that come with Ranvier (``fixtures/*.csv``): added where they are missing, and kept up to date unless a person has changed them.

Each row keeps, in its `json`, the values with which it was shipped. While it still has those, a newer version may change them.
"""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Model

log = logging.getLogger("ranvier.database")

#: Key of a row's `json` that holds the values it was shipped with.
SHIPPED = "shipped"

Values = dict[str, str | None]


@dataclass(frozen=True)
class Loaded:
    """Names of the rows of a fixture that were added, updated, and left as a person has changed them."""

    added: list[str]
    updated: list[str]
    left: list[str]


def load_rows(model: type[Model], path: Path) -> Loaded:
    """Bring a table up to a fixture.

    A row that was there before rows kept what they were shipped with is taken for a person's where it differs, and left alone.

    Parameters
    ----------
    model
        The table, whose rows are known by their `name`.
    path
        The fixture.

    Returns
    -------
    Loaded
        What became of the rows that were not as they are shipped.
    """
    known = {row.name: row for row in model.objects.all()}
    shipped = _read(path)
    new = [model(**values, json={SHIPPED: values}) for values in shipped if values["name"] not in known]
    model.objects.bulk_create(new, ignore_conflicts=True)
    there = [(known[name], values) for values in shipped if (name := values["name"]) in known]
    _mark([(row, values) for row, values in there if SHIPPED not in (row.json or {}) and _has(row, values)])
    other = [(row, values) for row, values in there if not _has(row, values)]
    updated = [row.name for row, values in other if _is_as_shipped(row) and _update(row, values)]
    return Loaded([row.name for row in new], updated, [row.name for row, _ in other if row.name not in updated])


def _read(path: Path) -> list[Values]:
    with path.open(newline="") as file:
        rows: list[Values] = [dict(row) for row in csv.DictReader(file)]
    for row in rows:
        if "filename_pattern" in row:
            row["filename_pattern"] = row["filename_pattern"] or None
    return rows


def _has(row: Any, values: Values) -> bool:
    return all(getattr(row, field) == value for field, value in values.items())


def _is_as_shipped(row: Any) -> bool:
    """Whether nobody has changed a row since it was shipped."""
    before = (row.json or {}).get(SHIPPED)
    return isinstance(before, dict) and all(hasattr(row, field) for field in before) and _has(row, before)


def _mark(rows: list[tuple[Any, Values]]) -> None:
    for row, values in rows:
        row.json = {**(row.json or {}), SHIPPED: values}
    if rows:
        type(rows[0][0]).objects.bulk_update([row for row, _ in rows], ["json"], batch_size=100)


def _update(row: Any, values: Values) -> bool:
    for field, value in values.items():
        setattr(row, field, value)
    row.json = {**row.json, SHIPPED: values}
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:  # a person's own row has what this one should get
        log.warning("%s %s is left as it was: %s", row._meta.verbose_name, row.name, error)
        return False
    return True
