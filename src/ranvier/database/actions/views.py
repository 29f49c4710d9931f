"""Endpoints of sessions and procedures, and the page of a session."""

from __future__ import annotations

import uuid
from collections import defaultdict
from typing import Any

import django_filters
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils import timezone
from rest_framework import mixins, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from ranvier.database.actions.models import ProcedureType, Session
from ranvier.database.actions.serializers import ProcedureTypeSerializer, SessionDetailSerializer, SessionListSerializer
from ranvier.database.experiments.filters import InBrain
from ranvier.database.experiments.models import Channel, FOVLocation
from ranvier.database.rest.errors import Conflict
from ranvier.database.rest.filters import AllOf, AnyOf, HasDatasets, StructuredFilter, days, qc_level
from ranvier.database.rest.reading import seen
from ranvier.database.rest.viewsets import RecordViewSet


class SessionFilter(InBrain, HasDatasets, StructuredFilter):
    """Filters of sessions, with Alyx's names."""

    places = ((Channel, "trajectory_estimate__probe_insertion__session"), (FOVLocation, "field_of_view__session"))
    subject = AnyOf("subject__nickname")
    nickname = django_filters.CharFilter("subject__nickname", "icontains")
    lab = AnyOf("lab__name")
    users = AnyOf("users__username", distinct=True)
    location = django_filters.CharFilter("location__name", "icontains")
    project = django_filters.CharFilter("projects__name", "icontains", distinct=True)
    projects = AllOf("projects__name", "icontains")
    procedures = AllOf("procedures__name", "icontains")
    task_protocol = AllOf("task_protocol", "icontains")
    date_range = django_filters.CharFilter(method="by_dates", help_text="from,to: both days included")
    qc = django_filters.CharFilter(method="by_qc")
    extended_qc = django_filters.CharFilter(method="by_structure", help_text="key,value or key__gte,value")
    performance_gte = django_filters.NumberFilter(method="by_performance", help_text="Percent of trials that were correct, at least")
    performance_lte = django_filters.NumberFilter(method="by_performance", help_text="Percent of trials that were correct, at most")

    histology = django_filters.BooleanFilter(method="by_histology", help_text="Whether the subject has a session of histology")

    class Meta:
        model = Session
        fields = (
            "id",
            "name",
            "auto_datetime",
            "number",
            "type",
            "start_time",
            "end_time",
            "narrative",
            "n_trials",
            "n_correct_trials",
            "parent_session",
        )

    def by_dates(self, rows: QuerySet[Session], name: str, value: str) -> QuerySet[Session]:
        """Sessions from a day to a day."""
        return rows.filter(date__range=days(value, name))

    def by_histology(self, rows: QuerySet[Session], name: str, value: bool) -> QuerySet[Session]:
        """Sessions of subjects whose brain was looked at afterwards, or of others."""
        done = Exists(seen(Session.objects).filter(subject=OuterRef("subject"), procedures__name="Histology"))
        return rows.filter(done if value else ~done)

    def by_qc(self, rows: QuerySet[Session], name: str, value: str) -> QuerySet[Session]:
        """Sessions of an outcome."""
        return rows.filter(qc=qc_level(value, name))

    def by_performance(self, rows: QuerySet[Session], name: str, value: Any) -> QuerySet[Session]:
        """Sessions by their percentage of correct trials."""
        rows = rows.filter(n_trials__gt=0).alias(performance=100.0 * F("n_correct_trials") / F("n_trials"))
        return rows.filter(**{f"performance__{name.rsplit('_', 1)[1]}": float(value)})


class SessionViewSet(RecordViewSet):
    """Sessions."""

    filterset_class = SessionFilter

    def get_queryset(self) -> QuerySet[Session]:
        """What the answer needs, in a number of queries that does not depend on the number of rows."""
        if self.action == "list":
            return Session.objects.all()
        return Session.objects.select_related("subject", "lab", "location", "parent_session").prefetch_related(
            "projects",
            "users",
            "procedures",
            "probe_insertion__model",
            "probe_insertion__datasets",
            "probe_insertion__session__projects",
            "probe_insertion__session__subject",
            "probe_insertion__session__lab",
            "field_of_view__imaging_type",
            "field_of_view__datasets",
            "field_of_view__location__brain_region",
            "field_of_view__location__coordinate_system",
            "wateradmin_session_related__water_type",
            "notes__user",
            "notes__content_type",
        )

    def get_serializer_class(self) -> type[Serializer]:
        """Short in a list, whole by itself."""
        return SessionListSerializer if self.action == "list" else SessionDetailSerializer

    def list(self, request: Request) -> Response:
        """A page of them, as `SessionListSerializer` shows each, without a model for each row."""
        columns = ("pk", "subject__nickname", "start_time", "number", "lab__name", "task_protocol")
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()).values_list(*columns))
        projects: dict[uuid.UUID, list[str]] = defaultdict(list)
        links = Session.projects.through.objects.filter(session__in=[pk for pk, *_ in page]).order_by("project__name")
        for session, project in links.values_list("session_id", "project__name"):
            projects[session].append(project)
        address = request.build_absolute_uri("/sessions/")
        return self.get_paginated_response(
            [
                {
                    "id": str(pk),
                    "subject": subject,
                    "start_time": start.isoformat(),
                    "number": number,
                    "lab": lab,
                    "projects": projects[pk],
                    "url": f"{address}{pk}",
                    "task_protocol": protocol,
                }
                for pk, subject, start, number, lab, protocol in page
            ]
        )

    def perform_create(self, serializer: SessionDetailSerializer) -> None:
        """Create, unless it exists: of several at once the table's constraint lets one through, and the others are told which."""
        try:
            with transaction.atomic():
                serializer.save()
        except IntegrityError:
            new = serializer.validated_data
            day = new.get("start_time", timezone.now()).date()
            same = seen(Session.objects).filter(subject=new["subject"], date=day, number=new.get("number") or 0).first()
            if same is None:
                raise
            raise Conflict(
                f"the session {same} exists already, with the id {same.pk}; PUT or PATCH /sessions/{same.pk} to change it"
            ) from None


class ProcedureTypeViewSet(mixins.ListModelMixin, mixins.CreateModelMixin, viewsets.GenericViewSet):
    """Kinds of procedures."""

    queryset = ProcedureType.objects.all()
    serializer_class = ProcedureTypeSerializer


def session_page(request: HttpRequest, pk: uuid.UUID) -> HttpResponseRedirect:
    """``GET /session/<eid>``: the stable address of a session for people."""
    return redirect("admin:actions_session_change", pk)
