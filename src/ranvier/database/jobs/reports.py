"""What a worker tells of an attempt, in a shape that everyone who reads it later can rely on."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from one.alf.spec import QC
from rest_framework import serializers

from ranvier.database.data.locations import inside
from ranvier.database.rest.fields import ObjectField


class FilesField(serializers.ListField):
    """A list of objects that each name a file by its `path` below the session folder."""

    child = ObjectField()

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        """The list."""
        items = super().to_internal_value(data)
        for item in items:
            _check_path(item.get("path"))
        return items


def _check_path(path: Any) -> None:
    try:
        if not isinstance(path, str):
            raise ValueError(f"the path of a file is a text, not {path!r}")
        inside(path)
    except ValueError as error:
        raise serializers.ValidationError(str(error)) from None


class FiguresField(FilesField):
    """A list of figures: `name`, `caption` and `path` of each."""

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        """The list."""
        items = super().to_internal_value(data)
        if any(not isinstance(item.get("name"), str) for item in items):
            raise serializers.ValidationError("each figure has a name")
        return items


@extend_schema_field({"type": "object"})
class QualityField(ObjectField):
    """``{"outcome": "PASS", "checks": {name: {"value": number, "outcome": "PASS"}}}``."""

    def to_internal_value(self, data: Any) -> Any:
        """The object."""
        quality = super().to_internal_value(data)
        checks = quality.get("checks", {})
        if not isinstance(checks, dict) or not all(isinstance(check, dict) for check in checks.values()):
            raise serializers.ValidationError("checks is {name: {value, outcome}}")
        for holder in (quality, *checks.values()):
            if "outcome" in holder and holder["outcome"] not in QC.__members__:
                raise serializers.ValidationError(f"{holder['outcome']!r} is no outcome; use one of {', '.join(QC.__members__)}")
        return quality
