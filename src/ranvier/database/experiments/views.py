"""Endpoints of insertions, of where they are, and of fields of view."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rest_framework import mixins, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from ranvier.database.experiments import filters, imaging_serializers, serializers
from ranvier.database.experiments.models import (
    FOV,
    BrainRegion,
    Channel,
    ChronicInsertion,
    FOVLocation,
    ImagingStack,
    ProbeInsertion,
    TrajectoryEstimate,
)
from ranvier.database.rest.viewsets import RecordViewSet

INSERTION = ("model", "datasets", "session__projects", "session__subject", "session__lab")


class ProbeInsertionViewSet(RecordViewSet):
    """Probe insertions."""

    queryset = ProbeInsertion.objects.select_related("session__subject", "session__lab", "model").prefetch_related(
        "datasets", "session__projects"
    )
    serializer_class = serializers.ProbeInsertionSerializer
    filterset_class = filters.ProbeInsertionFilter


class ChronicInsertionViewSet(RecordViewSet):
    """Chronic insertions."""

    queryset = ChronicInsertion.objects.select_related("subject", "lab", "model")
    nested = {"probe_insertion": ProbeInsertion.objects.prefetch_related(*INSERTION)}
    serializer_class = serializers.ChronicInsertionSerializer
    filterset_class = filters.ChronicInsertionFilter


class TrajectoryEstimateViewSet(RecordViewSet):
    """Trajectories."""

    queryset = TrajectoryEstimate.objects.select_related(
        "probe_insertion__session__subject", "probe_insertion__session__lab", "chronic_insertion", "coordinate_system"
    ).prefetch_related("probe_insertion__session__projects")
    serializer_class = serializers.TrajectoryEstimateSerializer
    filterset_class = filters.TrajectoryFilter


class ChannelViewSet(RecordViewSet):
    """Channels; a list of them is written in one request."""

    queryset = Channel.objects.all()
    serializer_class = serializers.ChannelSerializer
    filterset_class = filters.ChannelFilter

    def get_serializer(self, *args: Any, **kwargs: Any) -> BaseSerializer:
        """One for each of a list that is sent."""
        kwargs.setdefault("many", isinstance(kwargs.get("data"), list))
        return super().get_serializer(*args, **kwargs)


class BrainRegionViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, viewsets.GenericViewSet):
    """Brain regions."""

    queryset = BrainRegion.objects.all()
    serializer_class = serializers.BrainRegionSerializer
    filterset_class = filters.BrainRegionFilter
    lookup_value_regex = r"-?\d+"

    @transaction.atomic
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the description."""
        return super().update(request, *args, **kwargs)


class FOVViewSet(RecordViewSet):
    """Fields of view."""

    queryset = FOV.objects.select_related("imaging_type").prefetch_related(
        "datasets", "location__brain_region", "location__coordinate_system"
    )
    serializer_class = imaging_serializers.FOVSerializer
    filterset_class = filters.FOVFilter


class FOVLocationViewSet(RecordViewSet):
    """Where fields of view are."""

    queryset = FOVLocation.objects.select_related("coordinate_system").prefetch_related("brain_region")
    filterset_class = filters.FOVLocationFilter

    def get_serializer_class(self) -> type[BaseSerializer]:
        """Short in a list, whole by itself."""
        short = self.action == "list"
        return imaging_serializers.FOVLocationListSerializer if short else imaging_serializers.FOVLocationDetailSerializer


class ImagingStackViewSet(RecordViewSet):
    """Stacks of fields of view."""

    queryset = ImagingStack.objects.all()
    nested = {
        "slices": FOV.objects.prefetch_related("imaging_type", "datasets", "location__brain_region", "location__coordinate_system"),
    }
    serializer_class = imaging_serializers.ImagingStackSerializer
    filterset_class = filters.ImagingStackFilter
