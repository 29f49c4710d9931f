"""Endpoints of reruns."""

from __future__ import annotations

import uuid

import django_filters
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from ranvier.database.reruns import asking, backfills, planning, serializers
from ranvier.database.reruns.models import Backfill, BackfillSession, Rerun, RerunSession
from ranvier.database.rest.access import require
from ranvier.database.rest.filters import RecordFilter
from ranvier.database.rest.rules import Area
from ranvier.priority import Priority


class RerunFilter(RecordFilter):
    """Filters of reruns."""

    class Meta:
        model = Rerun
        fields = ("id", "priority", "created_by")


class RerunViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Reruns: what was asked for of many sessions at once."""

    serializer_class = serializers.RerunSerializer
    filterset_class = RerunFilter

    def get_queryset(self) -> QuerySet[Rerun]:
        """With their numbers of sessions."""
        rows = Rerun.objects.select_related("created_by")
        return rows.annotate(count=Count("sessions"), open=Count("sessions", filter=Q(sessions__ended=None)))

    @extend_schema(request=serializers.RerunRequestSerializer, responses=serializers.RerunAnswerSerializer)
    @transaction.atomic
    def create(self, request: Request) -> Response:
        """``POST /reruns``: 201; 200 where it is a dry run, or the same request was heard before."""
        form = serializers.RerunRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        pk = asked.get("id") or uuid.uuid4()
        if known := Rerun.objects.filter(pk=pk).first():
            sessions = known.sessions.select_related("session__subject", "session__lab")
            require(Area.PIPELINE, {each.session.lab_id for each in sessions})
            return Response(_answer(pk, known.priority, list(sessions), 0, 0, dry=False))
        selection = form.selection()
        wanted, left_out = asking.choose(selection)
        require(Area.PIPELINE, {each.session.lab_id for each in wanted})
        priority = Priority(asked.get("priority") or Priority.of(len(wanted)))
        if asked["dry"]:
            return Response(_answer(pk, priority, wanted, left_out, 0, dry=True))
        options = {name: asked[name] for name in ("force", "downstream")}
        revived = asking.revive(selection)
        asking.ask(wanted, pk=pk, by=request.user, selection=form.asked(), priority=priority, **options)
        return Response(_answer(pk, priority, wanted, left_out, revived, dry=False), status.HTTP_201_CREATED)


def _answer(pk: uuid.UUID, priority: str, wanted: list, left_out: int, revived: int, *, dry: bool) -> dict:
    content = {"id": pk, "dry": dry, "priority": priority, "sessions": wanted, "left_out": left_out, "revived": revived}
    return serializers.RerunAnswerSerializer(content).data


class RerunSessionFilter(RecordFilter):
    """Filters of the sessions of reruns."""

    open = django_filters.BooleanFilter("ended", "isnull", help_text="Whether its flow run has still to end")
    delivered = django_filters.BooleanFilter("event__delivered", "isnull", exclude=True, help_text="Whether Prefect has heard of it")

    class Meta:
        model = RerunSession
        fields = ("id", "rerun", "session", "withdrawn")


class RerunSessionViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """The sessions of reruns, and how their flow runs ended."""

    queryset = RerunSession.objects.select_related("session__subject", "session__lab", "event")
    serializer_class = serializers.RerunSessionSerializer
    filterset_class = RerunSessionFilter

    @extend_schema(request=serializers.OutcomeSerializer, responses=serializers.RerunSessionSerializer)
    @transaction.atomic
    def partial_update(self, request: Request, pk: str) -> Response:
        """``PATCH /rerun-sessions/{id}``: how its flow run ended."""
        form = serializers.OutcomeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        row = self.get_object()
        row.outcome, row.ended = form.validated_data["outcome"], timezone.now()
        row.save(update_fields=["outcome", "ended"])
        backfills.advance(row)
        return Response(self.get_serializer(row).data)


class BackfillFilter(RecordFilter):
    """Filters of backfills."""

    class Meta:
        model = Backfill
        fields = ("id", "task", "version", "state")


class BackfillViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Backfills: planned, tried on a few sessions, carried on when told."""

    queryset = Backfill.objects.select_related("created_by")
    filterset_class = BackfillFilter

    def get_serializer_class(self) -> type[serializers.BackfillSerializer]:
        """With the report where it is one."""
        return serializers.BackfillSerializer if self.action == "list" else serializers.BackfillReportSerializer

    @extend_schema(request=serializers.BackfillRequestSerializer, responses={201: serializers.BackfillReportSerializer})
    def create(self, request: Request) -> Response:
        """``POST /backfills``: plan one, which runs nothing."""
        form = serializers.BackfillRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        wish = form.wish()
        require(Area.PIPELINE, wish.selection.find_sessions().order_by().values_list("lab", flat=True).distinct())
        made = planning.plan(wish, by=request.user, asked=form.validated_data["selection"])
        return Response(self.get_serializer(made).data, status.HTTP_201_CREATED)

    @extend_schema(request=serializers.BackfillStepSerializer, responses=serializers.BackfillReportSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """``PATCH /backfills/{id}``: start, go on or stop."""
        form = serializers.BackfillStepSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        backfill, step = self.get_object(), form.validated_data["state"]
        if step == Backfill.State.CANARY:
            changed = backfills.start(backfill.pk, request.user)
        elif step == Backfill.State.GOING:
            changed = backfills.go(backfill.pk, request.user, anyway=form.validated_data["anyway"])
        else:
            changed = backfills.stop(backfill.pk)
        return Response(self.get_serializer(changed).data)


class BackfillSessionFilter(RecordFilter):
    """Filters of the sessions of backfills."""

    class Meta:
        model = BackfillSession
        fields = ("id", "backfill", "session", "is_canary")


class BackfillSessionViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """The sessions of backfills, with what would run or has run, and why."""

    queryset = BackfillSession.objects.select_related("session__subject", "rerun_session")
    serializer_class = serializers.BackfillSessionSerializer
    filterset_class = BackfillSessionFilter
