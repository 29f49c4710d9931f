"""Serializers that drop nothing silently."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from django.db import models
from rest_framework import serializers

from ranvier.database.rest.fields import Key, NumberField, ObjectField, check_address


class RequestSerializer(serializers.Serializer):
    """What a request may hold: a key that is no field is an error, and not forgotten."""

    #: Keys that ibllib sends and Alyx drops: taken, and dropped here too.
    dropped: ClassVar[frozenset[str]] = frozenset()

    def to_internal_value(self, data: Any) -> Any:
        """Check the keys, then as usual."""
        if isinstance(data, Mapping) and (unknown := sorted(set(data) - set(self.fields) - self.dropped)):
            known = ", ".join(name for name, field in self.fields.items() if not field.read_only)
            raise serializers.ValidationError({name: [f"no such field; the fields are {known}"] for name in unknown})
        return super().to_internal_value(data)

    @classmethod
    @functools.cache
    def shared(cls) -> Self:
        """One for all requests, as to make its fields from the model takes longer than to read or write a row with them.

        It is for what workers ask many times a second: it keeps nothing of a request, and knows nothing of one (no instance, no context).
        """
        return cls()

    @classmethod
    def read(cls, data: Any) -> dict[str, Any]:
        """What a request holds, checked.

        Raises
        ------
        ValidationError
            If it is not what the fields say.
        """
        found: dict[str, Any] = cls.shared().run_validation(data)
        return found

    @classmethod
    def show(cls, row: models.Model) -> dict[str, Any]:
        """A row, as it is answered."""
        shown: dict[str, Any] = cls.shared().to_representation(row)
        return shown


class RecordSerializer(RequestSerializer, serializers.ModelSerializer):
    """Base of the serializers of tables; structured data is an object, as whoever reads it expects."""

    serializer_related_field = Key
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.JSONField: ObjectField,
        models.FloatField: NumberField,
    }

    class Meta:
        # Uniqueness over several columns is the database's to judge: it answers 409, and cannot be raced.
        validators: list[Any] = []


class NamedSerializer(RecordSerializer):
    """Base of the serializers of tables whose rows are asked for by name, as ``/labs/<name>``."""

    def validate_name(self, name: str) -> str:
        """A name that can stand in an address."""
        return check_address(name)
