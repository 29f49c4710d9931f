"""Probe insertions."""

from __future__ import annotations

from django.db import models

from ranvier.database.base import NamedRecord, Record


class ProbeModel(NamedRecord):
    """A kind of probe, such as 3B2."""

    manufacturer = models.CharField(max_length=255, blank=True)
    model = models.CharField(max_length=255, blank=True)
    description = models.CharField(max_length=255, blank=True)


class ProbeInsertion(Record):
    """A probe in a brain, for one session."""

    session = models.ForeignKey("actions.Session", models.CASCADE, related_name="probe_insertion")
    name = models.CharField(max_length=255, help_text="Folder of its data, such as probe00")
    model = models.ForeignKey(ProbeModel, models.SET_NULL, null=True, blank=True, related_name="probe_insertion")
    serial = models.CharField(max_length=255, blank=True)
    datasets = models.ManyToManyField("data.Dataset", blank=True, related_name="probe_insertion")
    auto_datetime = models.DateTimeField(auto_now=True, verbose_name="last updated")

    class Meta:
        ordering = ["-session__start_time", "name"]
        constraints = [models.UniqueConstraint(fields=["session", "name"], name="one_insertion_per_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.session}"
