"""Endpoint of insertions."""

from __future__ import annotations

import django_filters

from ranvier.database.experiments.models import ProbeInsertion
from ranvier.database.experiments.serializers import ProbeInsertionSerializer
from ranvier.database.rest.filters import AnyOf, HasDatasets
from ranvier.database.rest.viewsets import RecordViewSet


class ProbeInsertionFilter(HasDatasets):
    """Filters of insertions."""

    owner = "probe_insertion"
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
        fields = ("id", "session", "serial")


class ProbeInsertionViewSet(RecordViewSet):
    """Probe insertions."""

    queryset = ProbeInsertion.objects.select_related("session__subject", "session__lab", "model").prefetch_related(
        "datasets", "session__projects"
    )
    serializer_class = ProbeInsertionSerializer
    filterset_class = ProbeInsertionFilter
