"""Endpoints of sessions and procedures, and the page of a session."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import django_filters
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils import timezone
from rest_framework import mixins, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.serializers import Serializer

from ranvier.database.actions.models import ProcedureType, Session
from ranvier.database.actions.serializers import ProcedureTypeSerializer, SessionDetailSerializer, SessionListSerializer
from ranvier.database.rest.errors import Conflict
from ranvier.database.rest.filters import AllOf, AnyOf, HasDatasets, StructuredFilter, qc_level
from ranvier.database.rest.viewsets import RecordViewSet


class SessionFilter(HasDatasets, StructuredFilter):
    """Filters of sessions, with Alyx's names."""

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

    class Meta:
        model = Session
        fields = ("id", "number", "type", "start_time", "end_time", "narrative", "n_trials", "n_correct_trials", "parent_session")

    def by_dates(self, rows: QuerySet[Session], name: str, value: str) -> QuerySet[Session]:
        """Sessions from a day to a day."""
        try:
            first, last = (datetime.date.fromisoformat(day.strip()[:10]) for day in value.split(","))
        except ValueError:
            raise ValidationError({name: [f"{value!r} is not a range of days; write 2026-01-01,2026-01-31"]}) from None
        return rows.filter(date__range=(first, last))

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
        rows = Session.objects.select_related("subject", "lab")
        if self.action == "list":
            return rows.prefetch_related("projects")
        return rows.select_related("location", "parent_session").prefetch_related(
            "projects",
            "users",
            "procedures",
            "probe_insertion__model",
            "probe_insertion__datasets",
            "probe_insertion__session__projects",
            "probe_insertion__session__subject",
            "probe_insertion__session__lab",
            "data_dataset_session_related__dataset_type",
            "data_dataset_session_related__revision",
            "data_dataset_session_related__file_records__data_repository",
        )

    def get_serializer_class(self) -> type[Serializer]:
        """Short in a list, whole by itself."""
        return SessionListSerializer if self.action == "list" else SessionDetailSerializer

    def perform_create(self, serializer: SessionDetailSerializer) -> None:
        """Create, unless it exists: of several at once the table's constraint lets one through, and the others are told which."""
        try:
            with transaction.atomic():
                serializer.save()
        except IntegrityError:
            new = serializer.validated_data
            day = new.get("start_time", timezone.now()).date()
            same = Session.objects.filter(subject=new["subject"], date=day, number=new.get("number")).first()
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
