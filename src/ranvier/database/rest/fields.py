"""Serializer fields that speak as Alyx does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.core.exceptions import ValidationError as ModelError
from django.db.models import Model, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from one.alf.spec import QC
from rest_framework import serializers

from ranvier.database.rest.access import acting
from ranvier.database.rest.parsers import storable, texts
from ranvier.database.rest.reading import may_read, seen
from ranvier.states import Status


def parse_qc(value: Any) -> QC:
    """Read a QC outcome from its name in any case, or from its number.

    Raises
    ------
    ValueError
        If there is no such outcome; the message lists those there are.
    """
    try:
        return QC[value.upper()] if isinstance(value, str) and not value.isdigit() else QC(int(value))
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"{value!r} is not a QC outcome; use one of {', '.join(level.name for level in sorted(QC))}") from None


class _LabelField(serializers.Field):
    """A number in the database, a word in REST."""

    parse: Callable[[Any], IntEnum]

    def to_internal_value(self, data: Any) -> int:
        """The number; the word may also be given as the number."""
        try:
            return int(type(self).parse(data))
        except (ValueError, TypeError) as error:
            raise serializers.ValidationError(str(error)) from None


@extend_schema_field(OpenApiTypes.STR)
class QCField(_LabelField):
    """QC outcome: NOT_SET, PASS, WARNING, FAIL or CRITICAL."""

    parse = staticmethod(parse_qc)

    def to_representation(self, value: int) -> str:
        """The outcome's name."""
        return QC(value).name


@extend_schema_field(OpenApiTypes.STR)
class StatusField(_LabelField):
    """Status of a task, by Alyx's label."""

    parse = Status.parse

    def to_representation(self, value: int) -> str:
        """The status's label."""
        return Status(value).label


class NumberField(serializers.FloatField):
    """A number; what is none, or is infinite, no JSON can hold."""

    def to_internal_value(self, data: Any) -> float:
        """The number."""
        number = float(super().to_internal_value(data))
        if isinstance(data, bool) or not math.isfinite(number):
            self.fail("invalid")
        return number


class Readable(serializers.RelatedField):
    """Base of related rows: a request names those only that whoever asks may read, for the answer and filters then tell of them."""

    def get_queryset(self) -> QuerySet[Any]:
        """Those rows; of machines, which write in their lab only, all, as their requests are many."""
        rows: QuerySet[Any] = super().get_queryset()
        access = acting()
        return rows if rows is None or access is None or access.is_machine else seen(rows)


class Key(Readable, serializers.PrimaryKeyRelatedField):
    """A related row, by its key."""


class SeenKey(Key):
    """The same where the row may be kept from who reads this one, who then finds null; `RecordViewSet.hidden` fetches it."""

    def use_pk_only_optimization(self) -> bool:
        """Whether the key is enough: where nothing is kept from who asks."""
        access = acting()
        return access is None or access.everything


class KeyOften(Key):
    """A related row by its key, in a list whose rows name the same few: each is looked up once a request."""

    def to_internal_value(self, data: Any) -> Model:
        """The row."""
        known: dict[str, Model] = self.context.setdefault(f"keys of {self.field_name}", {})
        key = f"{type(data).__name__} {data}"
        if key not in known:
            known[key] = super().to_internal_value(data)
        return known[key]


class ObjectField(serializers.JSONField):
    """Structured data: a JSON object, or null."""

    def to_internal_value(self, data: Any) -> Any:
        """The object; in a form, as an image is sent with, it is JSON in a text."""
        if getattr(data, "is_json_string", False):
            data = self._parsed(data)
        if data is None:
            return None
        if not isinstance(data, dict):
            raise serializers.ValidationError(f"this is a JSON object, {{key: value, …}}, or null; {_kind(data)} was sent")
        if any("\0" in text for text in texts(data)):
            raise serializers.ValidationError("it holds a null character, which PostgreSQL does not store")
        return super().to_internal_value(data)

    def _parsed(self, text: str) -> Any:
        try:
            return storable(partial(json.loads, text), self.field_name)
        except ValueError:
            self.fail("invalid")


def _kind(data: Any) -> str:
    return {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list"}.get(type(data), type(data).__name__)


def check_address(name: str) -> str:
    """A name, where it can stand in an address and in a path.

    Raises
    ------
    ValidationError
        If it cannot.
    """
    if name in (".", "..") or "/" in name or not name.isprintable():
        raise serializers.ValidationError("a name stands in addresses and paths: no '/', no control characters, and not '.' or '..'")
    return name


class Named(Readable, serializers.SlugRelatedField):
    """A related row, by its name."""

    default_error_messages = {"does_not_exist": "{value!r} is not in the database; create it first, or correct its {slug_name}"}

    def __init__(self, slug_field: str = "name", **kwargs: Any) -> None:
        super().__init__(slug_field=slug_field, **kwargs)


class NamedOften(Named):
    """The same in a list whose rows name the same few: each is looked up once a request."""

    def to_internal_value(self, data: Any) -> Model:
        """The row."""
        known: dict[Any, Model] = self.context.setdefault(f"named {self.field_name}", {})
        if not isinstance(data, str) or data not in known:
            known[data] = super().to_internal_value(data)
        return known[data]


class Linked(Readable, serializers.HyperlinkedRelatedField):
    """A related row, by its address; a UUID is taken too."""

    default_error_messages = {"does_not_exist": "no such row; give its UUID, or the url that the database gave"}

    def to_internal_value(self, data: Any) -> Model:
        """The row."""
        try:
            rows: QuerySet[Model] = self.get_queryset()
            return rows.get(pk=str(data).rstrip("/").rsplit("/", 1)[-1])
        except (ObjectDoesNotExist, ModelError, ValueError):
            self.fail("does_not_exist")


class SeenLink(Linked):
    """The same where the row may be kept from who reads this one, who then finds null; for rows that are answered alone."""

    def get_attribute(self, instance: Model) -> Any:
        """The row."""
        row = getattr(instance, str(self.source))
        return row if row is None or may_read(row) else None
