"""Endpoints of tasks, plans, attempts, events and leases."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import django_filters
from django.db import transaction
from django.db.models import Count, F, QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status, viewsets
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ranvier.database.jobs import breaker, cancellations, failures, leases, serializers
from ranvier.database.jobs.models import Attempt, Event, Pause, Task, parent_ids
from ranvier.database.jobs.plans import write_plan
from ranvier.database.rest.access import access_of, acting, require
from ranvier.database.rest.errors import Conflict
from ranvier.database.rest.filters import AnyOf, RecordFilter
from ranvier.database.rest.reading import may_read, visible
from ranvier.database.rest.rules import Area
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
                  "ram", "time_out_secs", "time_elapsed_secs", "datetime", "log", "attempt", "flow_run",
                  "cancel_requested", "identity")  # fmt: skip


class TaskViewSet(RecordViewSet):
    """Tasks."""

    serializer_class = serializers.TaskSerializer
    filterset_class = TaskFilter

    def get_queryset(self) -> QuerySet[Task]:
        """A task that is to change is locked first, so that two changes follow one another.

        ``PATCH /tasks/{id}?status=Waiting`` changes it only where it stands there and was not cancelled; elsewhere the answer is 404.
        """
        rows = Task.objects.select_related("data_repository").prefetch_related(parent_ids())
        if self.action not in ("update", "partial_update"):
            return rows
        if expected := self.request.query_params.get("status"):
            rows = status_filter(rows, "status", expected).filter(cancel_requested=False)
        return rows.select_for_update(of=("self",))

    def retrieve(self, request: Request, pk: str) -> Response:
        """One task."""
        return Response(serializers.TaskSerializer.show(self.get_object()))

    def perform_update(self, serializer: serializers.TaskSerializer) -> None:
        """Change it; a task that leaves Started from outside ends its attempt, whose worker then hears of it."""
        before = Status(serializer.instance.status)
        after = serializer.validated_data.get("status", before)
        also = {} if after == before else {"reason": serializer.validated_data.get("reason", "")}  # not that of the status before
        if after == Status.STARTED != before:
            also["started_by"] = serializer.starter
        task = serializer.save(**also)
        leases.set_from_outside(task, before, self.request.user.get_username())


class TaskCounts(APIView):
    """How the tasks of all labs stand, in numbers."""

    @extend_schema(responses=serializers.TaskCountSerializer(many=True), operation_id="task_counts_list")
    def get(self, request: Request) -> Response:
        """``GET /task-counts``."""
        rows = (
            visible(Task.objects.order_by(), access_of(request))
            .values("status", lab=F("session__lab__name"), task=F("executable"))
            .annotate(count=Count("pk"))
        )
        return Response([{**row, "status": Status(row["status"]).label} for row in rows.order_by("lab", "task", "status")])


class Plans(APIView):
    """The tasks of a session, written together."""

    @extend_schema(request=serializers.PlanSerializer, responses=serializers.TaskSerializer(many=True), operation_id="plans_create")
    def post(self, request: Request) -> Response:
        """``POST /plans``."""
        form = serializers.PlanSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        require(Area.PIPELINE, {asked["session"].lab_id})
        tasks = write_plan(asked["session"], asked["tasks"], asked["flow_run"])
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
        asked = serializers.ClaimSerializer.read(request.data)
        _require_tasks(Task.objects.filter(pk=asked["task"].pk))
        if known := Attempt.objects.select_related("task").filter(pk=asked.get("id"), task=asked["task"]).first():
            return Response(serializers.AttemptSerializer.show(known))
        try:
            attempt = leases.claim(**asked)
        except breaker.Paused as refusal:
            breaker.hold(asked["task"], str(refusal.detail))
            raise
        return Response(serializers.AttemptSerializer.show(attempt), status.HTTP_201_CREATED)

    @extend_schema(request=serializers.ReportSerializer, responses=serializers.AttemptSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """``PATCH /attempts/{id}``: a heartbeat, or with a `status` the end, or with `given_back` the end without a verdict."""
        told = serializers.ReportSerializer.read(request.data)
        _require_tasks(Task.objects.filter(attempts=_uuid(pk)))
        try:
            attempt = self._heard(_uuid(pk), told)
        except Task.DoesNotExist:
            raise NotFound(f"there is no attempt {pk}") from None
        return Response(serializers.AttemptSerializer.show(attempt))

    def _heard(self, attempt: uuid.UUID, told: dict[str, Any]) -> Attempt:
        if "given_back" in told:
            if "status" in told:
                raise ValidationError({"given_back": ["an attempt that is given back has no status; leave one of them out"]})
            return leases.give_back(attempt, told["given_back"])
        return self._finish(attempt, told) if "status" in told else self._keep(attempt, told)

    def _keep(self, attempt: uuid.UUID, told: dict[str, Any]) -> Attempt:
        told.pop("log", None), told.pop("version", None)
        return leases.heartbeat(attempt, **told)

    def _finish(self, attempt: uuid.UUID, told: dict[str, Any]) -> Attempt:
        told.pop("lease_s")
        try:
            return leases.finish(attempt, Status(told.pop("status")), **told)
        except ValueError as error:
            raise ValidationError({"status": [str(error)]}) from None


def _require_tasks(tasks: QuerySet[Task]) -> None:
    """Refuse where one of the tasks is of a lab for which whoever is at work may not write; for the services no query is made."""
    access = acting()
    if access is not None and access.is_bounded:
        require(Area.PIPELINE, tasks.order_by().values_list("session__lab", flat=True).distinct())


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound(f"{text} is not the id of an attempt") from None


class Cancellations(APIView):
    """Stops tasks."""

    @extend_schema(
        request=serializers.CancellationSerializer, responses=serializers.TaskSerializer(many=True), operation_id="cancellations_create"
    )
    def post(self, request: Request) -> Response:
        """``POST /cancellations``: the tasks that were open."""
        form = serializers.CancellationSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        by = asked.get("by") or request.user.get_username()
        if "flow_run" in asked:
            _require_tasks(Task.objects.filter(flow_run=asked["flow_run"]))
            tasks = cancellations.cancel_flow_run(asked["flow_run"], by)
        else:
            require(Area.PIPELINE, {asked["session"].lab_id})
            tasks = cancellations.cancel_session(asked["session"], by, asked["tasks"])
        return Response(serializers.TaskSerializer(tasks, many=True).data)


class EventFilter(RecordFilter):
    """Filters of events; with `after` they are a stream that is read on from where one was."""

    after = django_filters.NumberFilter(
        method="by_position", help_text="Id of the last event that was read: those that followed, all of them"
    )
    pending = django_filters.BooleanFilter("delivered", "isnull", help_text="Whether it is still to be delivered")
    lab = AnyOf("lab__name")
    kind = AnyOf("kind")

    class Meta:
        model = Event
        fields = ("id", "key", "session")

    def by_position(self, rows: QuerySet[Event], name: str, value: Decimal) -> QuerySet[Event]:
        """Events after one, as far as no earlier one can come any more."""
        return rows.filter(pk__gt=int(value), pk__lte=Event.last_in_order(int(value)))


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
        require(Area.PIPELINE, {lab.pk for lab in (fields.get("lab"), fields.get("session") and fields["session"].lab) if lab})
        event, is_new = Event.objects.get_or_create(key=fields.pop("key"), defaults=fields)
        if not (is_new or may_read(event)):
            raise Conflict("another event has this key; choose one of your own")
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


class Failures(APIView):
    """Equal failures, over sessions and labs."""

    @extend_schema(parameters=[serializers.FailureQuery], responses=serializers.FailureSerializer(many=True), operation_id="failures_list")
    def get(self, request: Request) -> Response:
        """``GET /failures?lab=&task=&since=&fingerprint=&limit=``: the latest first."""
        query = serializers.FailureQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        return Response(
            serializers.FailureSerializer(
                failures.groups(visible(Attempt.objects.all(), access_of(request)), **query.validated_data), many=True
            ).data
        )


class PauseFilter(RecordFilter):
    """Filters of pauses."""

    active = django_filters.BooleanFilter("lifted", "isnull", help_text="Whether it is still to be lifted")
    lab = AnyOf("lab__name")

    class Meta:
        model = Pause
        fields = ("id", "task", "version", "fingerprint")


class PauseViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Task versions that may not run in a lab."""

    queryset = Pause.objects.select_related("lab")
    serializer_class = serializers.PauseSerializer
    filterset_class = PauseFilter

    @extend_schema(request=serializers.LiftSerializer, responses=serializers.PauseSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """``PATCH /pauses/{id} {"lifted": true}``: it may run again, and the sessions that it was held in are asked for."""
        form = serializers.LiftSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        pause = self.get_object()
        sessions = breaker.lift(pause, request.user.get_username())
        pause.refresh_from_db()
        return Response({**self.get_serializer(pause).data, "sessions": sessions})


class ExpiredLeases(APIView):
    """Gives back the tasks whose worker fell silent."""

    @extend_schema(request=serializers.ReapSerializer, responses={200: OpenApiTypes.OBJECT}, operation_id="expired_leases_create")
    def post(self, request: Request) -> Response:
        """``POST /expired-leases``: of the lab that is named, else of all that whoever asks works in."""
        form = serializers.ReapSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        lab = form.validated_data.get("lab")
        access = access_of(request)
        if lab:
            require(Area.PIPELINE, {lab.pk})
        of_labs = {"session__lab": lab} if lab else {} if access.everything else {"session__lab__in": access.labs}
        return Response([str(pk) for pk in leases.reap(**of_labs)])
