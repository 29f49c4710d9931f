"""Endpoints of subjects, and of what they have to drink."""

from __future__ import annotations

import datetime
from typing import Any

import django_filters
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from ranvier.database.actions.models import Session, WaterRestriction
from ranvier.database.actions.water import history
from ranvier.database.rest.access import access_of
from ranvier.database.rest.filters import AnyOf, StructuredFilter
from ranvier.database.rest.reading import seen, visible
from ranvier.database.rest.viewsets import RecordViewSet
from ranvier.database.subjects.models import CageStay, Subject, Zygosity
from ranvier.database.subjects.serializers import SubjectDetailSerializer, SubjectSerializer, WaterRestrictedSubjectListSerializer

#: Days that one answer of `/water-requirement` may tell of.
MOST_DAYS = 3660


class SubjectFilter(StructuredFilter):
    """Filters of subjects."""

    lab = AnyOf("lab__name")
    project = django_filters.CharFilter("projects__name", "icontains", distinct=True)
    projects = AnyOf("projects__name", distinct=True)
    responsible_user = AnyOf("responsible_user__username")
    species = AnyOf("species__name")
    strain = AnyOf("strain__name")
    line = AnyOf("line__name")
    litter = AnyOf("litter__name")
    source = AnyOf("source__name")
    genotype = AnyOf("genotype__name", distinct=True, help_text="Names of alleles, joined by commas: any of them")
    genotype_test = AnyOf("genotype_test__name", distinct=True, help_text="Names of sequences, joined by commas: any of them")
    cage = django_filters.CharFilter(method="by_cage", help_text="Name of the cage that it is in")
    alive = django_filters.BooleanFilter(method="by_life")
    stock = django_filters.BooleanFilter("responsible_user__is_stock_manager", help_text="Whether a stock manager is responsible for it")
    water_restricted = django_filters.BooleanFilter(method="by_restriction", help_text="Whether it is under water restriction")

    class Meta:
        model = Subject
        fields = ("id", "nickname", "sex", "birth_date", "death_date", "description", "actual_severity", "adverse_effects", "ear_mark",
                  "genotype_date", "protocol_number", "reduced_date", "request", "to_be_culled", "to_be_genotyped",
                  "wean_date")  # fmt: skip

    def by_life(self, rows: QuerySet[Subject], name: str, value: bool) -> QuerySet[Subject]:
        """Those that live, or those that do not."""
        return rows.filter(death_date__isnull=value)

    def by_cage(self, rows: QuerySet[Subject], name: str, value: str) -> QuerySet[Subject]:
        """Those in a cage."""
        return rows.filter(Exists(seen(CageStay.objects).filter(subject=OuterRef("pk"), end_date=None, cage__name__iexact=value)))

    def by_restriction(self, rows: QuerySet[Subject], name: str, value: bool) -> QuerySet[Subject]:
        """Those under water restriction, or those that are not."""
        return rows.filter(restricted() if value else ~restricted())


def restricted() -> Exists:
    """Whether a subject is under water restriction."""
    return Exists(WaterRestriction.objects.filter(subject=OuterRef("pk"), end_time=None))


class SubjectViewSet(RecordViewSet):
    """Subjects."""

    queryset = Subject.objects.select_related("lab", "responsible_user", "species", "strain", "source", "line", "litter").prefetch_related(
        "projects", Prefetch("zygosities", Zygosity.objects.select_related("allele"))
    )
    nested = {
        "actions_sessions": Session.objects.prefetch_related("projects"),
        "cage_stays": CageStay.objects.select_related("cage"),
    }
    filterset_class = SubjectFilter
    lookup_field = "nickname"

    def get_serializer_class(self) -> type[Serializer]:
        """Alone, with its weights and water."""
        return SubjectSerializer if self.action in ("list", "create") else SubjectDetailSerializer


class WaterRestrictedSubjects(mixins.ListModelMixin, viewsets.GenericViewSet):
    """Living subjects under water restriction."""

    queryset = Subject.objects.filter(Q(death_date=None) & restricted()).select_related("lab")
    serializer_class = WaterRestrictedSubjectListSerializer
    filterset_class = SubjectFilter


class WaterRequirement(APIView):
    """What a subject weighed and had to drink, day by day."""

    @extend_schema(
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("start_date", OpenApiTypes.DATE), OpenApiParameter("end_date", OpenApiTypes.DATE)],
    )
    def get(self, request: Request, nickname: str) -> Response:
        """``GET /water-requirement/<nickname>``: from the first weighing or water to today, or the days that are asked for."""
        subject = get_object_or_404(visible(Subject.objects.select_related("lab"), access_of(request)), nickname=nickname)
        water = history(subject)
        first = _day(request, "start_date") or water.first_day()
        last = _day(request, "end_date") or water.today
        if (last - first).days >= MOST_DAYS:
            raise ValidationError({"end_date": [f"more than {MOST_DAYS} days; ask for fewer with start_date and end_date"]})
        days = [first + datetime.timedelta(days=i) for i in range((last - first).days + 1)]
        records: list[dict[str, Any]] = [water.record(day) for day in days]
        return Response({"subject": subject.nickname, "implant_weight": water.implant_weight(water.today), "records": records})


def _day(request: Request, name: str) -> datetime.date | None:
    text = request.query_params.get(name)
    try:
        return datetime.date.fromisoformat(text[:10]) if text else None
    except ValueError:
        raise ValidationError({name: [f"{text!r} is not a day; write 2026-01-31"]}) from None
