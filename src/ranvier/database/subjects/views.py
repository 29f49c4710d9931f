"""Endpoint of subjects."""

from __future__ import annotations

import django_filters
from django.db.models import QuerySet

from ranvier.database.rest.filters import AnyOf, StructuredFilter
from ranvier.database.rest.viewsets import RecordViewSet
from ranvier.database.subjects.models import Subject
from ranvier.database.subjects.serializers import SubjectSerializer


class SubjectFilter(StructuredFilter):
    """Filters of subjects."""

    lab = AnyOf("lab__name")
    project = django_filters.CharFilter("projects__name", "icontains", distinct=True)
    projects = AnyOf("projects__name", distinct=True)
    responsible_user = AnyOf("responsible_user__username")
    species = AnyOf("species__name")
    strain = AnyOf("strain__name")
    line = AnyOf("line__name")
    source = AnyOf("source__name")
    alive = django_filters.BooleanFilter(method="by_life")

    class Meta:
        model = Subject
        fields = ("id", "nickname", "sex", "birth_date", "death_date", "description")

    def by_life(self, rows: QuerySet[Subject], name: str, value: bool) -> QuerySet[Subject]:
        """Those that live, or those that do not."""
        return rows.filter(death_date__isnull=value)


class SubjectViewSet(RecordViewSet):
    """Subjects."""

    queryset = Subject.objects.select_related("lab", "responsible_user", "species", "strain", "source", "line").prefetch_related(
        "projects", "actions_sessions__projects"
    )
    serializer_class = SubjectSerializer
    filterset_class = SubjectFilter
    lookup_field = "nickname"
