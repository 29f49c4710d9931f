"""Probes and fields of view, and where in the brain they are."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from ranvier.database.actions.base import Action
from ranvier.database.base import NamedRecord, Record
from ranvier.database.experiments.imaging import FOV, FOVLocation, ImagingStack, ImagingType
from ranvier.database.experiments.regions import BrainRegion, CoordinateSystem

__all__ = [
    "FOV",
    "BrainRegion",
    "Channel",
    "ChronicInsertion",
    "CoordinateSystem",
    "FOVLocation",
    "ImagingStack",
    "ImagingType",
    "ProbeInsertion",
    "ProbeModel",
    "TrajectoryEstimate",
]


class ProbeModel(NamedRecord):
    """A kind of probe, such as 3B2."""

    manufacturer = models.CharField(max_length=255, blank=True)
    model = models.CharField(max_length=255, blank=True)
    description = models.CharField(max_length=255, blank=True)


class ChronicInsertion(Action):
    """A probe that stays in a brain, for many sessions."""

    model = models.ForeignKey(ProbeModel, models.SET_NULL, null=True, blank=True, related_name="chronic_insertion")
    serial = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["-start_time", "name"]

    def __str__(self) -> str:
        return f"{self.name} of {self.subject}"


class ProbeInsertion(Record):
    """A probe in a brain, for one session."""

    session = models.ForeignKey("actions.Session", models.CASCADE, related_name="probe_insertion")
    name = models.CharField(max_length=255, help_text="Folder of its data, such as probe00")
    model = models.ForeignKey(ProbeModel, models.SET_NULL, null=True, blank=True, related_name="probe_insertion")
    serial = models.CharField(max_length=255, blank=True)
    chronic_insertion = models.ForeignKey(ChronicInsertion, models.SET_NULL, null=True, blank=True, related_name="probe_insertion")
    datasets = models.ManyToManyField("data.Dataset", blank=True, related_name="probe_insertion")
    auto_datetime = models.DateTimeField(auto_now=True, verbose_name="last updated")

    class Meta:
        ordering = ["-session__start_time", "name"]
        constraints = [models.UniqueConstraint(fields=["session", "name"], name="one_insertion_per_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.session}"


class TrajectoryEstimate(Record):
    """Where a probe is, a straight line, by one way of knowing it."""

    class Provenance(models.IntegerChoices):
        """How it is known, the best last."""

        PLANNED = 10
        MICRO_MANIPULATOR = 30, "Micro-manipulator"
        HISTOLOGY_TRACK = 50, "Histology track"
        ALIGNED = 70, "Ephys aligned histology track"

    probe_insertion = models.ForeignKey(ProbeInsertion, models.CASCADE, null=True, blank=True, related_name="trajectory_estimate")
    chronic_insertion = models.ForeignKey(ChronicInsertion, models.CASCADE, null=True, blank=True, related_name="trajectory_estimate")
    provenance = models.IntegerField(choices=Provenance, default=Provenance.PLANNED)
    coordinate_system = models.ForeignKey(CoordinateSystem, models.PROTECT, null=True, blank=True)
    x = models.FloatField(null=True, help_text="Micrometres right of bregma, at the brain's surface")
    y = models.FloatField(null=True, help_text="Micrometres in front of bregma, at the brain's surface")
    z = models.FloatField(null=True, blank=True, help_text="Micrometres above bregma, at the brain's surface")
    depth = models.FloatField(null=True, help_text="Micrometres from the surface to the tip")
    theta = models.FloatField(
        null=True, validators=[MinValueValidator(0), MaxValueValidator(180)], help_text="Polar angle from vertical, degrees"
    )
    phi = models.FloatField(
        null=True,
        validators=[MinValueValidator(-180), MaxValueValidator(360)],
        help_text="Azimuth from right, counter-clockwise, degrees",
    )
    roll = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(360)], help_text="Degrees")
    datetime = models.DateTimeField(auto_now=True, verbose_name="last updated")

    class Meta:
        ordering = ["-datetime"]
        constraints = [
            models.UniqueConstraint(
                fields=["probe_insertion", "provenance"],
                condition=models.Q(probe_insertion__isnull=False),
                name="one_trajectory_per_provenance",
            ),
            models.UniqueConstraint(
                fields=["chronic_insertion", "provenance"],
                condition=models.Q(probe_insertion=None),
                name="one_chronic_trajectory_per_provenance",
            ),
            models.CheckConstraint(
                condition=models.Q(probe_insertion__isnull=False) | models.Q(chronic_insertion__isnull=False),
                name="trajectory_of_an_insertion",
                violation_error_message="a trajectory belongs to a probe insertion or a chronic insertion: name one",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_provenance_display()} of {self.probe_insertion or self.chronic_insertion}"


class Channel(Record):
    """A site of a probe, where a trajectory puts it in the brain."""

    trajectory_estimate = models.ForeignKey(TrajectoryEstimate, models.CASCADE, null=True, blank=True, related_name="channels")
    brain_region = models.ForeignKey(BrainRegion, models.PROTECT, null=True, blank=True, related_name="channels")
    name = models.CharField(max_length=255, blank=True, default="")
    axial = models.FloatField(null=True, blank=True, help_text="Micrometres along the probe from its tip")
    lateral = models.FloatField(null=True, blank=True, help_text="Micrometres across the probe")
    x = models.FloatField(null=True, blank=True, help_text="Micrometres right of bregma")
    y = models.FloatField(null=True, blank=True, help_text="Micrometres in front of bregma")
    z = models.FloatField(null=True, blank=True, help_text="Micrometres above bregma")

    class Meta:
        ordering = ["axial", "lateral"]
        constraints = [models.UniqueConstraint(fields=["trajectory_estimate", "axial", "lateral"], name="one_channel_per_site")]

    def __str__(self) -> str:
        return self.name or f"{self.axial} µm, {self.lateral} µm"
