"""Serializers that drop nothing silently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers


class RequestSerializer(serializers.Serializer):
    """What a request may hold: a key that is no field is an error, and not forgotten."""

    def to_internal_value(self, data: Any) -> Any:
        """Check the keys, then as usual."""
        if isinstance(data, Mapping) and (unknown := sorted(set(data) - set(self.fields))):
            known = ", ".join(name for name, field in self.fields.items() if not field.read_only)
            raise serializers.ValidationError({name: [f"no such field; the fields are {known}"] for name in unknown})
        return super().to_internal_value(data)


class RecordSerializer(RequestSerializer, serializers.ModelSerializer):
    """Base of the serializers of tables."""

    class Meta:
        # Uniqueness over several columns is the database's to judge: it answers 409, and cannot be raced.
        validators: list[Any] = []
