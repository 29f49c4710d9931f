"""Fields of view of an imaging session."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction

from ranvier.database.base import NamedRecord, Record
from ranvier.database.experiments.regions import BrainRegion, CoordinateSystem


class ImagingType(NamedRecord):
    """A kind of imaging, such as mesoscope."""


class ImagingStack(Record):
    """Fields of view above one another, imaged together."""

    name = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name or f"stack {str(self.pk)[:8]}"


class FOV(Record):
    """A field of view, for one session."""

    session = models.ForeignKey("actions.Session", models.CASCADE, related_name="field_of_view")
    name = models.CharField(max_length=255, help_text="Folder of its data, such as FOV_00")
    imaging_type = models.ForeignKey(ImagingType, models.PROTECT, null=True, blank=True, related_name="field_of_view")
    stack = models.ForeignKey(ImagingStack, models.SET_NULL, null=True, blank=True, related_name="slices")
    datasets = models.ManyToManyField("data.Dataset", blank=True, related_name="field_of_view")

    class Meta:
        ordering = ["-session__start_time", "name"]
        verbose_name = "field of view"
        verbose_name_plural = "fields of view"
        constraints = [models.UniqueConstraint(fields=["session", "name"], name="one_field_of_view_per_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.session}"


def check_corners(value: Any) -> None:
    """Corners along one axis: four numbers."""
    check_numbers(value, 4)


def check_size(value: Any) -> None:
    """Pixels along three axes."""
    check_numbers(value, 3)


def check_numbers(value: Any, count: int) -> None:
    """So many numbers.

    Raises
    ------
    ValidationError
        If it is anything else.
    """
    if not isinstance(value, list) or len(value) != count or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in value):
        raise ValidationError(f"give a list of {count} numbers")


class FOVLocation(Record):
    """Where a field of view is, by one way of knowing it."""

    class Provenance(models.TextChoices):
        """How it is known."""

        ESTIMATE = "E"
        FUNCTIONAL = "F"
        LANDMARK = "L"
        HISTOLOGY = "H"

    field_of_view = models.ForeignKey(FOV, models.CASCADE, related_name="location")
    name = models.CharField(max_length=255, blank=True, default="")
    provenance = models.CharField(max_length=1, choices=Provenance)
    default_provenance = models.BooleanField(default=False, help_text="Whether it is the one to use")
    coordinate_system = models.ForeignKey(CoordinateSystem, models.PROTECT, null=True, blank=True)
    x = models.JSONField(validators=[check_corners], help_text="Of the four corners: top left, top right, bottom left, bottom right")
    y = models.JSONField(validators=[check_corners])
    z = models.JSONField(validators=[check_corners])
    n_xyz = models.JSONField(validators=[check_size], help_text="Pixels along each axis")
    brain_region = models.ManyToManyField(BrainRegion, blank=True, related_name="fov_location")
    auto_datetime = models.DateTimeField(auto_now=True, verbose_name="last updated")

    class Meta:
        ordering = ["-auto_datetime"]
        constraints = [models.UniqueConstraint(fields=["field_of_view", "provenance"], name="one_fov_location_per_provenance")]

    def __str__(self) -> str:
        return f"{self.get_provenance_display()} of {self.field_of_view}"

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the row; a field of view has one default location, and its first is it."""
        others = FOVLocation.objects.filter(field_of_view=self.field_of_view).exclude(pk=self.pk)
        if self.default_provenance:
            others.update(default_provenance=False)
        elif not others.filter(default_provenance=True).exists():
            self.default_provenance = True
        super().save(*args, **kwargs)
