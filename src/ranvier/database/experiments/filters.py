"""Filters of insertions, places and fields of view, with Alyx's names."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Exists, OuterRef, Q, QuerySet
from rest_framework.exceptions import ValidationError

from ranvier.database.actions.notebook_views import ACTION_FIELDS, ActionFilter
from ranvier.database.experiments.models import FOV, BrainRegion, Channel, ChronicInsertion, FOVLocation, ImagingStack, ProbeInsertion
from ranvier.database.experiments.models import TrajectoryEstimate as Trajectory
from ranvier.database.experiments.regions import within
from ranvier.database.rest.filters import AnyOf, HasDatasets, RecordFilter
from ranvier.database.rest.reading import seen


class InBrain(RecordFilter):
    """Lists of what has channels, or places, in a region or in one within it."""

    atlas_id = django_filters.NumberFilter(method="by_region", help_text="Allen's number")
    atlas_acronym = django_filters.CharFilter(method="by_region")
    atlas_name = django_filters.CharFilter(method="by_region", help_text="Part of a name")
    #: For each table with regions, the way from it to the rows of the list.
    places: tuple[tuple[Any, str], ...] = ()
    _LOOKUPS = {"atlas_id": "pk", "atlas_acronym": "acronym__iexact", "atlas_name": "name__icontains"}

    def by_region(self, rows: QuerySet, name: str, value: Any) -> QuerySet:
        """What is in a region."""
        regions = within(BrainRegion.objects.filter(**{self._LOOKUPS[name]: value})).values("pk")
        condition = Q()
        for model, way in self.places:
            condition |= Q(Exists(seen(model.objects).filter(brain_region__in=regions, **{way: OuterRef("pk")})))
        return rows.filter(condition)


class ProbeInsertionFilter(InBrain, HasDatasets):
    """Filters of insertions."""

    owner = "probe_insertion"
    places = ((Channel, "trajectory_estimate__probe_insertion"),)
    subject = AnyOf("session__subject__nickname")
    lab = AnyOf("session__lab__name")
    project = django_filters.CharFilter("session__projects__name", "icontains", distinct=True)
    task_protocol = django_filters.CharFilter("session__task_protocol", "icontains")
    date = django_filters.DateFilter("session__date")
    experiment_number = django_filters.NumberFilter("session__number")
    model = AnyOf("model__name")
    name = django_filters.CharFilter("name", "iexact")

    class Meta:
        model = ProbeInsertion
        fields = ("id", "session", "serial", "auto_datetime", "chronic_insertion")


class ChronicInsertionFilter(ActionFilter, InBrain):
    """Filters of chronic insertions."""

    places = ((Channel, "trajectory_estimate__chronic_insertion"), (Channel, "trajectory_estimate__probe_insertion__chronic_insertion"))
    model = AnyOf("model__name")
    session = django_filters.UUIDFilter("probe_insertion__session", distinct=True)
    probe = django_filters.UUIDFilter("probe_insertion", distinct=True)

    class Meta:
        model = ChronicInsertion
        fields = (*ACTION_FIELDS, "serial")


class TrajectoryFilter(RecordFilter):
    """Filters of trajectories."""

    subject = AnyOf("probe_insertion__session__subject__nickname")
    session = django_filters.UUIDFilter("probe_insertion__session")
    project = django_filters.CharFilter("probe_insertion__session__projects__name", "icontains", distinct=True)
    date = django_filters.DateFilter("probe_insertion__session__date")
    experiment_number = django_filters.NumberFilter("probe_insertion__session__number")
    probe = django_filters.UUIDFilter("probe_insertion")
    coordinate_system = AnyOf("coordinate_system__name")
    provenance = django_filters.CharFilter(method="by_provenance", help_text="By its words, in any case, or its number")

    class Meta:
        model = Trajectory
        fields = ("id", "probe_insertion", "chronic_insertion", "datetime", "x", "y", "z", "depth", "theta", "phi", "roll")

    def by_provenance(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        """Known in one way."""
        known = {label.lower(): number for number, label in Trajectory.Provenance.choices}
        number = int(value) if value.isdecimal() else known.get(value.lower())
        if number not in known.values():
            raise ValidationError({name: [f"{value!r} is no provenance; use one of {', '.join(Trajectory.Provenance.labels)}"]})
        return rows.filter(provenance=number)


class ChannelFilter(RecordFilter):
    """Filters of channels."""

    subject = AnyOf("trajectory_estimate__probe_insertion__session__subject__nickname")
    lab = AnyOf("trajectory_estimate__probe_insertion__session__lab__name")
    session = django_filters.UUIDFilter("trajectory_estimate__probe_insertion__session")
    probe_insertion = django_filters.UUIDFilter("trajectory_estimate__probe_insertion")

    class Meta:
        model = Channel
        fields = ("id", "trajectory_estimate", "brain_region", "name", "axial", "lateral", "x", "y", "z")


class BrainRegionFilter(RecordFilter):
    """Filters of brain regions."""

    acronym = django_filters.CharFilter("acronym", "iexact")
    name = django_filters.CharFilter("name", "icontains")
    description = django_filters.CharFilter("description", "icontains")
    ancestors = django_filters.CharFilter(method="by_lineage", help_text="Number or acronym: the regions that it is in, and itself")
    descendants = django_filters.CharFilter(method="by_lineage", help_text="Number or acronym: the regions in it, and itself")

    class Meta:
        model = BrainRegion
        fields = ("id", "parent")

    def by_lineage(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        """Up or down the tree."""
        key = {"pk": int(value)} if value.lstrip("-").isdecimal() else {"acronym__iexact": value}
        region = BrainRegion.objects.filter(**key).first()
        if region is None:
            raise ValidationError({name: [f"there is no region {value!r}; give Allen's number or acronym of one"]})
        return rows.filter(pk__in=region.lineage) if name == "ancestors" else rows.filter(path__startswith=region.path)


class FOVFilter(InBrain, HasDatasets):
    """Filters of fields of view."""

    owner = "field_of_view"
    places = ((FOVLocation, "field_of_view"),)
    subject = AnyOf("session__subject__nickname")
    lab = AnyOf("session__lab__name")
    project = django_filters.CharFilter("session__projects__name", "icontains", distinct=True)
    date = django_filters.DateFilter("session__date")
    experiment_number = django_filters.NumberFilter("session__number")
    imaging_type = AnyOf("imaging_type__name")
    name = django_filters.CharFilter("name", "iexact")

    class Meta:
        model = FOV
        fields = ("id", "session", "stack")


class FOVLocationFilter(RecordFilter):
    """Filters of places of fields of view."""

    provenance = django_filters.CharFilter(method="by_provenance", help_text="By its word or its first letter, in any case")
    coordinate_system = AnyOf("coordinate_system__name")
    brain_region = django_filters.NumberFilter("brain_region", distinct=True)

    class Meta:
        model = FOVLocation
        fields = ("id", "name", "field_of_view", "default_provenance", "auto_datetime")

    def by_provenance(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        """Known in one way."""
        known = {word.lower(): letter for letter, label in FOVLocation.Provenance.choices for word in (letter, label)}
        if value.lower() not in known:
            raise ValidationError({name: [f"{value!r} is no provenance; use one of {', '.join(FOVLocation.Provenance.labels)}"]})
        return rows.filter(provenance=known[value.lower()])


class ImagingStackFilter(InBrain):
    """Filters of stacks."""

    places = ((FOVLocation, "field_of_view__stack"),)
    name = django_filters.CharFilter("name", "iexact")

    class Meta:
        model = ImagingStack
        fields = ("id",)
