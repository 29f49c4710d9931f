"""Admin pages of insertions, of where they are, and of fields of view."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from ranvier.database.experiments.models import (
    FOV,
    BrainRegion,
    Channel,
    ChronicInsertion,
    CoordinateSystem,
    FOVLocation,
    ImagingStack,
    ImagingType,
    ProbeInsertion,
    ProbeModel,
    TrajectoryEstimate,
)
from ranvier.database.rest.admin_site import RoleAdmin


@admin.register(ProbeModel)
class ProbeModelAdmin(RoleAdmin):
    """Kinds of probes."""

    list_display = ("name", "manufacturer", "model")
    search_fields = ("name", "model")


class ProbeInsertionInline(admin.TabularInline):
    """Insertions of a session."""

    model = ProbeInsertion
    extra = 0
    fields = ("name", "model", "serial")
    show_change_link = True


class TrajectoryInline(admin.TabularInline):
    """Where an insertion is, by each way of knowing it."""

    model = TrajectoryEstimate
    extra = 0
    fields = ("provenance", "x", "y", "z", "depth", "theta", "phi", "roll", "coordinate_system")
    show_change_link = True


@admin.register(ProbeInsertion)
class ProbeInsertionAdmin(RoleAdmin):
    """Insertions."""

    list_display = ("name", "session", "model", "serial")
    list_filter = ("session__lab", "model")
    list_select_related = ("session__subject", "model")
    search_fields = ("name", "serial", "session__subject__nickname")
    autocomplete_fields = ("session", "model", "chronic_insertion", "datasets")
    inlines = [TrajectoryInline]


@admin.register(ChronicInsertion)
class ChronicInsertionAdmin(RoleAdmin):
    """Chronic insertions."""

    list_display = ("name", "subject", "model", "serial", "start_time", "end_time")
    list_filter = ("lab", "model")
    list_select_related = ("subject", "model")
    search_fields = ("name", "serial", "subject__nickname")
    autocomplete_fields = ("subject", "lab", "model", "users", "location", "procedures")
    inlines = [TrajectoryInline]


@admin.register(TrajectoryEstimate)
class TrajectoryEstimateAdmin(RoleAdmin):
    """Trajectories."""

    list_display = ("__str__", "provenance", "x", "y", "depth", "theta", "phi", "datetime")
    list_filter = ("provenance", "coordinate_system", "probe_insertion__session__lab")
    list_select_related = ("probe_insertion__session__subject", "chronic_insertion__subject")
    search_fields = ("probe_insertion__session__subject__nickname", "probe_insertion__name", "chronic_insertion__subject__nickname")
    autocomplete_fields = ("probe_insertion", "chronic_insertion", "coordinate_system")


@admin.register(Channel)
class ChannelAdmin(RoleAdmin):
    """Channels."""

    list_display = ("__str__", "trajectory_estimate", "brain_region", "axial", "lateral")
    list_select_related = (
        "trajectory_estimate__probe_insertion__session__subject",
        "trajectory_estimate__chronic_insertion",
        "brain_region",
    )
    search_fields = ("name", "brain_region__acronym", "trajectory_estimate__probe_insertion__session__subject__nickname")
    autocomplete_fields = ("trajectory_estimate", "brain_region")
    show_full_result_count = False


@admin.register(BrainRegion)
class BrainRegionAdmin(RoleAdmin):
    """Brain regions; only what is said of them may be changed."""

    list_display = ("acronym", "name", "parent", "id")
    list_select_related = ("parent",)
    search_fields = ("acronym", "name")
    readonly_fields = ("id", "acronym", "name", "parent")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They come with the atlas."""
        return False

    def has_delete_permission(self, request: HttpRequest, region: BrainRegion | None = None) -> bool:
        """They stay."""
        return False


@admin.register(CoordinateSystem, ImagingType, ImagingStack)
class ChoiceAdmin(RoleAdmin):
    """What may be chosen elsewhere."""

    list_display = search_fields = ("name",)


class FOVLocationInline(admin.TabularInline):
    """Where a field of view is, by each way of knowing it."""

    model = FOVLocation
    extra = 0
    fields = ("provenance", "default_provenance", "coordinate_system", "x", "y", "z", "n_xyz", "brain_region")
    autocomplete_fields = ("brain_region",)


@admin.register(FOV)
class FOVAdmin(RoleAdmin):
    """Fields of view."""

    list_display = ("name", "session", "imaging_type", "stack")
    list_filter = ("session__lab", "imaging_type")
    list_select_related = ("session__subject", "imaging_type", "stack")
    search_fields = ("name", "session__subject__nickname")
    autocomplete_fields = ("session", "imaging_type", "stack", "datasets")
    inlines = [FOVLocationInline]
