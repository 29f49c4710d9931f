"""Endpoints of tasks, plans, attempts, events and leases."""

from __future__ import annotations

import uuid
from typing import Any

import django_filters
from django.db import transaction
from django.db.models import F, QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ranvier.database.jobs import leases, serializers
from ranvier.database.jobs.models import Attempt, Event, Task
from ranvier.database.jobs.plans import write_plan
from ranvier.database.rest.filters import AnyOf, RecordFilter
from ranvier.database.rest.viewsets import RecordViewSet
from ranvier.states import Status


def status_filter(rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
    """Rows of any of some statuses, joined by commas."""
    try:
        return rows.filter(status__in=[Status.parse(word.strip()) for word in value.split(",")])
    except ValueError as error:
        raise ValidationError({name: [str(error)]}) from None


class TaskFilter(RecordFilter):
    """Filters of tasks, with Alyx's names."""

    status = django_filters.CharFilter(method=status_filter, help_text="Labels, joined by commas")
    lab = AnyOf("session__lab__name")
    subject = AnyOf("session__subject__nickname")
    data_repository = AnyOf("data_repository__name")
    parents = django_filters.UUIDFilter("parents")

    class Meta:
        model = Task
        fields = ("id", "session", "name", "executable", "graph", "version", "device", "level", "priority", "io_charge", "cpu", "gpu",
                  "ram", "time_out_secs", "attempt", "cancel_requested", "identity")  # fmt: skip


class TaskViewSet(RecordViewSet):
    """Tasks."""

    serializer_class = serializers.TaskSerializer
    filterset_class = TaskFilter

    def get_queryset(self) -> QuerySet[Task]:
        """A task that is to change is locked first, so that two changes follow one another."""
        rows = Task.objects.select_related("data_repository").prefetch_related("parents")
        return rows.select_for_update(of=("self",)) if self.action in ("update", "partial_update") else rows

    def perform_update(self, serializer: serializers.TaskSerializer) -> None:
        """Change it; a task that leaves Started from outside ends its attempt, whose worker then hears of it."""
        before = Status(serializer.instance.status)
        leases.set_from_outside(serializer.save(), before, self.request.user.get_username())


class Plans(APIView):
    """The tasks of a session, written together."""

    @extend_schema(request=serializers.PlanSerializer, responses=serializers.TaskSerializer(many=True), operation_id="plans_create")
    def post(self, request: Request) -> Response:
        """``POST /plans``."""
        form = serializers.PlanSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        tasks = write_plan(form.validated_data["session"], form.validated_data["tasks"])
        return Response(serializers.TaskSerializer(tasks, many=True).data)


class AttemptFilter(RecordFilter):
    """Filters of attempts."""

    status = django_filters.CharFilter(method=status_filter, help_text="Labels, joined by commas")
    session = django_filters.UUIDFilter("task__session")
    lab = AnyOf("task__session__lab__name")

    class Meta:
        model = Attempt
        fields = ("id", "task", "number", "worker", "flow_run", "fingerprint")


class AttemptViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Attempts: claimed, kept alive and ended."""

    queryset = Attempt.objects.select_related("task")
    serializer_class = serializers.AttemptSerializer
    filterset_class = AttemptFilter

    @extend_schema(request=serializers.ClaimSerializer, responses={201: serializers.AttemptSerializer})
    def create(self, request: Request) -> Response:
        """``POST /attempts``: claim a task; 200 where the very same claim was heard before."""
        form = serializers.ClaimSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        if (
            known := Attempt.objects.select_related("task")
            .filter(pk=form.validated_data.get("id"), task=form.validated_data["task"])
            .first()
        ):
            return Response(self.get_serializer(known).data)
        attempt = leases.claim(**form.validated_data)
        return Response(self.get_serializer(attempt).data, status.HTTP_201_CREATED)

    @extend_schema(request=serializers.ReportSerializer, responses=serializers.AttemptSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """``PATCH /attempts/{id}``: a heartbeat, or with a `status` the end."""
        attempt = self.get_object()
        form = serializers.ReportSerializer(data=request.data, partial=False)
        form.is_valid(raise_exception=True)
        told = form.validated_data
        if "status" in told:
            told.pop("lease_s")
            return Response(self.get_serializer(self._finish(attempt.pk, told)).data)
        told.pop("log", None), told.pop("version", None)
        return Response(self.get_serializer(leases.heartbeat(attempt.pk, **told)).data)

    def _finish(self, attempt: uuid.UUID, told: dict[str, Any]) -> Attempt:
        try:
            return leases.finish(attempt, Status(told.pop("status")), **told)
        except ValueError as error:
            raise ValidationError({"status": [str(error)]}) from None


class EventFilter(RecordFilter):
    """Filters of events."""

    pending = django_filters.BooleanFilter("delivered", "isnull", help_text="Whether it is still to be delivered")
    lab = AnyOf("lab__name")

    class Meta:
        model = Event
        fields = ("id", "kind", "key", "session")


class EventViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """The outbox, oldest first."""

    queryset = Event.objects.select_related("lab")
    serializer_class = serializers.EventSerializer
    filterset_class = EventFilter

    @transaction.atomic
    def create(self, request: Request) -> Response:
        """``POST /events``: 201, or 200 where the key is known."""
        form = self.get_serializer(data=request.data)
        form.is_valid(raise_exception=True)
        fields = form.validated_data
        if fields.get("session") and not fields.get("lab"):
            fields["lab"] = fields["session"].lab
        event, is_new = Event.objects.get_or_create(key=fields.pop("key"), defaults=fields)
        return Response(self.get_serializer(event).data, status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)

    @extend_schema(request=serializers.DeliverySerializer, responses=serializers.EventSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """``PATCH /events/{id}``: delivered, or why not."""
        form = serializers.DeliverySerializer(data=request.data)
        form.is_valid(raise_exception=True)
        event, told = self.get_object(), form.validated_data
        changes = {name: told[name] for name in ("flow_run", "error") if name in told}
        if told.get("delivered"):
            changes |= {"delivered": event.delivered or timezone.now(), "error": ""}
        elif told.get("delivered") is False:
            changes |= {"delivered": None}
        if told.get("error"):
            changes |= {"tries": F("tries") + 1}
        Event.objects.filter(pk=event.pk).update(**changes)
        return Response(self.get_serializer(get_object_or_404(self.get_queryset(), pk=event.pk)).data)


class ExpiredLeases(APIView):
    """Gives back the tasks whose worker fell silent."""

    @extend_schema(request=serializers.ReapSerializer, responses={200: OpenApiTypes.OBJECT}, operation_id="expired_leases_create")
    def post(self, request: Request) -> Response:
        """``POST /expired-leases``."""
        form = serializers.ReapSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        lab = form.validated_data.get("lab")
        return Response([str(pk) for pk in leases.reap(**({"session__lab": lab} if lab else {}))])
