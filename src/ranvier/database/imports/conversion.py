"""A row as REST gives it, made the values of a table's columns: checked as the database's own forms check them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models
from rest_framework.exceptions import ValidationError as RestError

from ranvier.database.imports.references import References
from ranvier.database.imports.tables import Json, Table
from ranvier.database.rest.fields import check_address


class Refused(Exception):
    """A row cannot be taken.

    Parameters
    ----------
    reason
        What is wrong with it.
    mend
        What to do about it, where the reason does not say so.
    """

    def __init__(self, reason: str, mend: str = "correct it there and import again") -> None:
        super().__init__(reason)
        self.mend = mend


@dataclass
class Converted:
    """A row that can be taken.

    Attributes
    ----------
    raw
        As it came.
    key
        Its id here.
    values
        By column.
    links
        By many-to-many relation, the keys that it points to.
    without
        What it points to that is not here.
    """

    raw: Json
    address: str
    values: Json
    key: uuid.UUID | None = None
    links: dict[str, frozenset[Any]] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Of the values and the links."""
        return digest(self.values, self.links)


def digest(values: Mapping[str, Any], links: Mapping[str, Iterable[Any]]) -> str:
    """Of the values of a row's columns and of its links: equal for equal ones."""
    whole = [dict(values), {name: sorted(map(str, keys)) for name, keys in links.items()}]
    return hashlib.blake2b(json.dumps(whole, default=str, sort_keys=True).encode(), digest_size=16).hexdigest()


def columns(table: Table) -> list[models.Field[Any, Any]]:
    """The columns of a table that are taken."""
    return [table.model._meta.get_field(name) for name in table.fields]


def load_references(table: Table, rows: list[Json], references: References) -> None:
    """Look up all that rows point to."""
    related = [column for column in columns(table) if column.is_relation]
    for column in related:
        references.load(column.related_model, _hashable(row.get(column.name) for row in rows))
    for name in table.links:
        references.load(link_model(table, name), _hashable(raw for row in rows for raw in row.get(name) or ()))


def link_model(table: Table, name: str) -> type[models.Model]:
    """The table that a many-to-many relation leads to."""
    model: type[models.Model] = table.model._meta.get_field(name).related_model
    return model


def convert(table: Table, raw: Json, references: References) -> Converted:
    """The values of a row's columns; its links come later, when the rows of its page are known.

    Raises
    ------
    Refused
        If a value cannot be one of the column, or if what it needs is not here.
    """
    row = Converted(raw, table.address_of(raw), {})
    for column in columns(table):
        if column.name in raw and not (column.name == "created_datetime" and raw[column.name] is None):
            row.values[column.attname] = (
                _related(table, column, row, references) if column.is_relation else _plain(column, raw[column.name])
            )
    if table.named or table.endpoint == "subjects":
        _check_name(row.values.get(table.fields[0]) or "", table)
    if "lab" in table.fields and "subject" in table.fields and row.values.get("lab_id") is None:
        row.values["lab_id"] = _lab_of(row.values["subject_id"])
    return row


def convert_links(table: Table, row: Converted, references: References) -> None:
    """The keys of a row's links; what is not here is left out, and said."""
    for name in table.links:
        if name not in row.raw:
            continue
        found = {raw: references.key(link_model(table, name), raw) for raw in row.raw[name] or ()}
        row.links[name] = frozenset(key for key in found.values() if key is not None)
        row.without += [f"{name} {raw}" for raw, key in found.items() if key is None]


def _related(table: Table, column: models.Field[Any, Any], row: Converted, references: References) -> Any:
    value = row.raw[column.name]
    if value in (None, ""):
        if column.null:
            return None
        raise Refused(f"it has no {column.name}", f"name its {column.name} there and import again")
    key = references.key(column.related_model, value)
    if key is not None:
        return key
    if not column.null or column.name in table.needs:
        raise Refused(f"its {column.name} {value} is not here", "see why that was left out, or import that too")
    row.without.append(f"{column.name} {value}")
    return None


def _plain(column: models.Field[Any, Any], value: Any) -> Any:
    """A value of a column without relation."""
    if value is None and column.null:
        return None
    if value is None:
        value = None if callable(column.default) else column.get_default()
        if value is None:
            raise Refused(f"it has no {column.name}", f"give it a {column.name} there and import again")
    if column.choices:
        value = _by_label(column, value)
    if isinstance(column, models.JSONField) and column.name not in ("x", "y", "z", "n_xyz", "outputs"):
        value = _object(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused(f"its {column.name} is {value}, which is no number")
    try:
        if isinstance(column, models.URLField):  # Django's own check knows no machine by a name without dots
            return column.to_python(value)
        if value == "" and column.blank:
            return value
        return _local(column.clean(value, None))
    except ValidationError as error:
        raise Refused(f"its {column.name} {value!r:.100} is refused: {' '.join(error.messages)}") from None


def _local(value: Any) -> Any:
    """Times are without time zone here; one that has it is put in UTC."""
    return value.astimezone(dt.UTC).replace(tzinfo=None) if isinstance(value, dt.datetime) and value.tzinfo else value


def _by_label(column: models.Field[Any, Any], value: Any) -> Any:
    """A choice may be named by its label, as REST does."""
    labels = {str(label).lower(): choice for choice, label in column.flatchoices}
    choices = {choice for choice, _ in column.flatchoices}
    if value in choices or value == "":
        return value
    if str(value).lower() in labels:
        return labels[str(value).lower()]
    raise Refused(f"its {column.name} is {value!r}, and can only be one of {', '.join(str(label) for _, label in column.flatchoices)}")


def _object(value: Any) -> Any:
    """Structured data is an object here; a text that holds one is read, and anything else stands in one under the name `value`."""
    if isinstance(value, str):
        try:
            read = json.loads(value)
        except ValueError:
            read = value
        value = read if isinstance(read, dict) else value
    return value if isinstance(value, dict) else {"value": value}


def _check_name(name: str, table: Table) -> None:
    try:
        if table.label not in IN_NO_ADDRESS:
            check_address(name)
    except RestError as error:
        raise Refused(f"the name {name!r} cannot be used: {' '.join(map(str, error.detail))}", "rename it there and import again") from None


#: Tables whose rows' names stand in no path, and in no address that programs make: the strain C57BL/6J, the procedure Training/tasks.
IN_NO_ADDRESS = frozenset(
    {"subjects.Species", "subjects.Strain", "subjects.Source", "subjects.Line", "subjects.Allele", "subjects.Sequence"}
    | {"actions.ProcedureType"}
)


def _lab_of(subject: Any) -> Any:
    from ranvier.database.subjects.models import Subject

    return Subject.objects.values_list("lab_id", flat=True).get(pk=subject)


def _hashable(raws: Iterable[Any]) -> list[Any]:
    return [raw for raw in raws if isinstance(raw, (str, int, uuid.UUID))]


def snapshot(table: Table, keys: list[Any], names: Iterable[str], links: Iterable[str]) -> dict[Any, tuple[Json, dict[str, set[Any]]]]:
    """Rows as they are here: the values of columns and the links, by key."""
    model = table.model
    rows = model._base_manager.filter(pk__in=keys).values("pk", *names)
    found: dict[Any, tuple[Json, dict[str, set[Any]]]] = {
        row["pk"]: ({name: row[name] for name in names}, {link: set() for link in links}) for row in rows
    }
    for link in links:
        through, holder, target = link_columns(table, link)
        for key, other in through._base_manager.filter(**{f"{holder}__in": list(found)}).values_list(holder, target):
            found[key][1][link].add(other)
    return found


def link_columns(table: Table, name: str) -> tuple[type[models.Model], str, str]:
    """The table of a many-to-many relation, and its two columns."""
    relation: Any = table.model._meta.get_field(name)
    through = relation.remote_field.through
    return through, f"{relation.m2m_field_name()}_id", f"{relation.m2m_reverse_field_name()}_id"


def auto_now(table: Table) -> list[str]:
    """Columns that say when a row was written last."""
    return [column.name for column in table.model._meta.concrete_fields if getattr(column, "auto_now", False)]


def has_column(table: Table, name: str) -> bool:
    """Whether a table has a column."""
    try:
        table.model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True
