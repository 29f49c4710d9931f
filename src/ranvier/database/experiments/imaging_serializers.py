"""How fields of view look in REST."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ranvier.database.data.models import Dataset
from ranvier.database.experiments.models import FOV, BrainRegion, CoordinateSystem, FOVLocation, ImagingStack, ImagingType
from ranvier.database.experiments.serializers import own_datasets
from ranvier.database.rest.fields import Key, Named, NumberField
from ranvier.database.rest.serializers import RecordSerializer

#: Coordinates of a location, where nothing else is said.
COORDINATES = "IBL-Allen"


def _numbers(count: int) -> serializers.ListField:
    return serializers.ListField(child=NumberField(), min_length=count, max_length=count)


class FOVLocationListSerializer(RecordSerializer):
    """Where a field of view is, as the field shows it."""

    brain_region = Key(many=True, required=False, queryset=BrainRegion.objects.all())
    coordinate_system = Named(required=False, allow_null=True, queryset=CoordinateSystem.objects.all())
    x, y, z, n_xyz = _numbers(4), _numbers(4), _numbers(4), _numbers(3)

    class Meta(RecordSerializer.Meta):
        model = FOVLocation
        fields: tuple[str, ...] = (
            "id",
            "brain_region",
            "coordinate_system",
            "provenance",
            "x",
            "y",
            "z",
            "n_xyz",
            "default_provenance",
            "auto_datetime",
        )


class FOVLocationDetailSerializer(FOVLocationListSerializer):
    """The same by itself."""

    class Meta(FOVLocationListSerializer.Meta):
        fields = (*FOVLocationListSerializer.Meta.fields, "json", "field_of_view")

    def create(self, fields: dict[str, Any]) -> FOVLocation:
        """Where nothing else is said, in the usual coordinates."""
        if "coordinate_system" not in fields:
            fields["coordinate_system"] = CoordinateSystem.objects.filter(name=COORDINATES).first()
        return super().create(fields)


class FOVSerializer(RecordSerializer):
    """A field of view."""

    imaging_type = Named(required=False, allow_null=True, queryset=ImagingType.objects.all())
    location = FOVLocationListSerializer(many=True, read_only=True)
    stack = Key(required=False, allow_null=True, queryset=ImagingStack.objects.all())
    datasets = Key(many=True, required=False, queryset=Dataset.objects.all())

    class Meta(RecordSerializer.Meta):
        model = FOV
        fields = ("id", "imaging_type", "location", "name", "json", "session", "stack", "datasets")

    def create(self, fields: dict[str, Any]) -> FOV:
        """A new field of view owns the datasets that are in its folder already."""
        field_of_view = super().create(fields)
        own_datasets(field_of_view)
        return field_of_view


class ImagingStackSerializer(RecordSerializer):
    """Fields of view above one another."""

    slices = FOVSerializer(many=True, read_only=True)

    class Meta(RecordSerializer.Meta):
        model = ImagingStack
        fields = ("id", "slices", "name", "json")
