"""Filters see no more than the person: a condition on another table is held against the rows of it that whoever asks may read.

A condition such as ``subjects?django=actions_sessions__narrative__contains,word`` would otherwise tell what a session holds that is kept
from the one who asks. It becomes: subjects of those sessions which may be read, and fulfil the rest.
"""

from __future__ import annotations

import copy
from typing import Any

import django_filters
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model, QuerySet
from django_filters.constants import EMPTY_VALUES

from ranvier.database.rest.access import acting
from ranvier.database.rest.reading import all_readable, seen
from ranvier.database.rest.rules import rule_of


def narrow(rows: QuerySet[Any], lookup: str, value: Any, *, exclude: bool = False) -> QuerySet[Any]:
    """Rows that fulfil a condition, or do not, as if what may not be read were not there.

    Parameters
    ----------
    rows
        The rows.
    lookup
        Path and lookup, as Django writes them.
    value
        What is compared.
    exclude
        Whether it is the rows that do not fulfil it.
    """
    way = _first_hidden(rows.model, lookup)
    if way is None:
        return rows.exclude(**{lookup: value}) if exclude else rows.filter(**{lookup: value})
    path, target, rest = way
    there = seen(target._base_manager.all())
    if rest == "isnull":  # nothing is there where nothing may be read
        exclude = exclude != bool(value)
    else:
        there = narrow(there, rest, value)
    condition = {f"{path}__in": there.values("pk")}
    return rows.exclude(**condition) if exclude else rows.filter(**condition)


def filtered(rows: QuerySet[Any], asked: django_filters.Filter, value: Any) -> QuerySet[Any]:
    """The same for a filter with a name of its own."""
    given = asked.method is None and value not in EMPTY_VALUES
    way = _first_hidden(rows.model, asked.field_name) if given else None
    if way is None:
        return asked.filter(rows, value)
    path, target, rest = way
    inner = copy.copy(asked)
    inner.field_name, inner.exclude = rest, False
    if asked.lookup_expr == "isnull":
        return narrow(rows, f"{asked.field_name}__isnull", value, exclude=asked.exclude)
    if rest == "pk" and isinstance(value, Model):
        value = value.pk
    condition = {f"{path}__in": filtered(seen(target._base_manager.all()), inner, value).values("pk")}
    return rows.exclude(**condition) if asked.exclude else rows.filter(**condition)


def _first_hidden(model: type[Model], lookup: str) -> tuple[str, type[Model], str] | None:
    """The first table on a path of which not all rows may be read: the path to it, the table, and the rest of the path.

    The rest is ``isnull``, or leads on from the table, where need be from its key.
    """
    access = acting()
    if access is None or access.everything:
        return None
    parts, current = lookup.split("__"), model
    for i, name in enumerate(parts):
        try:
            field = current._meta.get_field(current._meta.pk.name if name == "pk" else name)
        except FieldDoesNotExist:
            return None
        target = field.related_model
        if target is None:
            return None
        if not all_readable(target, access) and not _shown_with(model, parts[: i + 1], field):
            return "__".join(parts[: i + 1]), target, _rest(target, parts[i + 1 :])
        current = target
    return None


def _shown_with(model: type[Model], path: list[str], field: Any) -> bool:
    """Whether who reads a row reads this of it, too: its notes, the session that it is read by, the animal that it was done with."""
    if field.related_model._meta.label == "actions.Note":
        return True
    if field.many_to_many or field.one_to_many:
        return False
    own = rule_of(model).session.removesuffix("_id").split("__")
    return own[: len(path)] == path or field.name == "subject"


def _rest(target: type[Model], parts: list[str]) -> str:
    if parts == ["isnull"]:
        return "isnull"
    names = {field.name for field in target._meta.get_fields()} | {"pk"}
    names |= {getattr(field, "attname", field.name) for field in target._meta.get_fields()}
    return "__".join(parts if parts and parts[0] in names else ["pk", *parts])
