"""How tasks, attempts and events look in REST."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ranvier.database.actions.models import Session
from ranvier.database.data.models import DataRepository
from ranvier.database.jobs.models import Attempt, Event, Pause, Task
from ranvier.database.jobs.reports import FiguresField, FilesField, QualityField
from ranvier.database.people.models import Lab
from ranvier.database.rest.errors import Conflict
from ranvier.database.rest.fields import Key, Named, NamedOften, ObjectField, StatusField
from ranvier.database.rest.serializers import RecordSerializer, RequestSerializer
from ranvier.database.rest.throttling import address_of
from ranvier.states import Status, may_follow, refusal


class TaskSerializer(RecordSerializer):
    """A task: Alyx's fields, and ours."""

    dropped = frozenset({"module"})  # the class of ibllib's pipeline, whose name is in `graph`
    parents = Key(many=True, required=False, queryset=Task.objects.all())
    session = Key(queryset=Session.objects.all())
    data_repository = Named(required=False, allow_null=True, queryset=DataRepository.objects.all())
    status = StatusField(required=False)
    leased = serializers.BooleanField(read_only=True, help_text="Whether an attempt is running that is not overdue")
    outputs = FilesField(required=False, allow_null=True, help_text="path, size and hash of each file it wrote")

    class Meta(RecordSerializer.Meta):
        model = Task
        fields = (
            "id",
            "parents",
            "session",
            "data_repository",
            "status",
            "name",
            "priority",
            "io_charge",
            "level",
            "gpu",
            "cpu",
            "ram",
            "time_out_secs",
            "time_elapsed_secs",
            "executable",
            "graph",
            "log",
            "version",
            "datetime",
            "arguments",
            "device",
            "reason",
            "identity",
            "receipt",
            "outputs",
            "qc",
            "attempt",
            "lease_until",
            "leased",
            "started_by",
            "flow_run",
            "cancel_requested",
            "cancelled_by",
            "json",
        )
        read_only_fields = ("attempt", "lease_until", "started_by", "flow_run", "cancelled_by", "qc")

    def validate_status(self, after: int) -> int:
        """What may follow what is said by `ranvier.states`; besides, a task that is Started cannot be started again by another worker.

        The same one may: each of ibllib's says so twice. Who is the same is told by user and address.
        """
        if self.instance is not None:
            before = Status(self.instance.status)
            if not may_follow(before, Status(after)):
                raise Conflict(refusal(before, Status(after)))
            if before == after == Status.STARTED and (self.instance.lease_until or self.instance.started_by != self.starter):
                by = "an attempt" if self.instance.lease_until else self.instance.started_by or "another worker"
                raise Conflict(f"the task is Started already, by {by}; leave it to that one, or set it Waiting first")
        return after

    @property
    def starter(self) -> str:
        """Whoever sends the request, and from where."""
        request = self.context["request"]
        return f"{request.user.get_username()} at {address_of(request)}"[:255]

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Parents are other tasks of the same session."""
        session = fields["session"].pk if "session" in fields else self.instance.session_id
        for parent in fields.get("parents", ()):
            if parent == self.instance:
                raise serializers.ValidationError({"parents": ["a task cannot be its own parent"]})
            if parent.session_id != session:
                raise serializers.ValidationError({"parents": [f"{parent.pk} is a task of another session"]})
        return fields


#: What a worker tells of an attempt that has ended: how it ended, what it used, what it made.
OUTCOME_FIELDS = (
    "exit_code",
    "wall_s",
    "cpu_s",
    "peak_memory_mb",
    "read_bytes",
    "written_bytes",
    "error_type",
    "error_message",
    "traceback",
    "fingerprint",
    "qc",
    "figures",
    "outputs",
)


class AttemptSerializer(RecordSerializer):
    """An attempt."""

    status = StatusField(read_only=True)
    cancel_requested = serializers.BooleanField(source="task.cancel_requested", read_only=True)
    cancelled_by = serializers.CharField(source="task.cancelled_by", read_only=True)

    class Meta(RecordSerializer.Meta):
        model = Attempt
        fields = (
            "id",
            "task",
            "number",
            "status",
            "reason",
            "worker",
            "flow_run",
            "version",
            "identity",
            "receipt",
            "log_path",
            "lease_until",
            "started",
            "finished",
            "progress",
            "message",
            *OUTCOME_FIELDS,
            "cancel_requested",
            "cancelled_by",
            "json",
        )


class ClaimSerializer(RequestSerializer):
    """A worker asks for a task."""

    id = serializers.UUIDField(required=False, help_text="The attempt's, chosen by the worker: the same claim sent again is answered again")
    task = Key(queryset=Task.objects.all())
    after = serializers.IntegerField(
        min_value=0, required=False, allow_null=True, help_text="Number of the last attempt that the worker has seen"
    )
    takes_over = serializers.BooleanField(
        required=False, help_text="The worker has found it Started with a lease that ran out; 409 where it has come to an end since"
    )
    worker = serializers.CharField(max_length=255)
    lease_s = serializers.FloatField(min_value=0.01, max_value=86400, default=60.0, help_text="Seconds for which the worker may be silent")
    identity = serializers.CharField(max_length=64, required=False, allow_blank=True)
    receipt = ObjectField(required=False, allow_null=True)
    log_path = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    flow_run = serializers.CharField(max_length=64, required=False, allow_blank=True)


class ReportSerializer(RequestSerializer, serializers.ModelSerializer):
    """A worker tells how an attempt goes: a heartbeat, or with a `status` its end."""

    status = StatusField(required=False, help_text="Complete, Incomplete, Empty or Errored: the attempt is over")
    given_back = serializers.CharField(
        required=False, max_length=1000, help_text="Why the worker is being stopped: the attempt is over, its task waits again"
    )
    lease_s = serializers.FloatField(min_value=0.01, max_value=86400, default=60.0, help_text="Seconds for which the worker may be silent")
    log = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False, help_text="End of the log, kept with the task")
    version = serializers.CharField(required=False, max_length=64, help_text="Of the task, kept with it")
    progress = serializers.FloatField(required=False, min_value=0.0, max_value=1.0)
    qc = QualityField(required=False, allow_null=True, help_text="outcome, and the checks behind it")
    receipt = ObjectField(required=False, allow_null=True)
    figures = FiguresField(required=False, allow_null=True)
    outputs = FilesField(required=False, allow_null=True)

    class Meta:
        model = Attempt
        fields = (
            "status",
            "given_back",
            "lease_s",
            "log",
            "version",
            "progress",
            "message",
            "reason",
            "identity",
            "receipt",
            "log_path",
            "flow_run",
            *OUTCOME_FIELDS,
        )


class PlannedTaskSerializer(RequestSerializer, serializers.ModelSerializer):
    """A task of a plan; parents are named, and are tasks of the plan or of the session."""

    status = StatusField(required=False, allow_null=True, help_text="null: leave it as it is; a new task is Waiting")
    parents = serializers.ListField(child=serializers.CharField(), default=list)
    data_repository = NamedOften(required=False, allow_null=True, queryset=DataRepository.objects.all())
    seen = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        help_text="Number of the last attempt that the plan was made from; 409 where there has been another since",
    )

    class Meta:
        model = Task
        validators: list[Any] = []
        fields = (
            "name",
            "executable",
            "graph",
            "version",
            "device",
            "arguments",
            "parents",
            "level",
            "priority",
            "io_charge",
            "cpu",
            "gpu",
            "ram",
            "time_out_secs",
            "data_repository",
            "status",
            "reason",
            "json",
            "seen",
        )


class PlanSerializer(RequestSerializer):
    """The tasks of a session."""

    session = Key(queryset=Session.objects.select_related("subject"))
    tasks = PlannedTaskSerializer(many=True)
    flow_run = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="The flow run that will see to them")


class CancellationSerializer(RequestSerializer):
    """Someone asks for tasks to stop, or not to start."""

    session = Key(required=False, queryset=Session.objects.all(), help_text="The session to cancel")
    tasks = serializers.ListField(
        child=serializers.CharField(),
        default=list,
        help_text="Of the session: tasks or their instances; all where there are none",
    )
    flow_run = serializers.CharField(required=False, max_length=64, help_text="Instead of a session: a flow run that was cancelled")
    by = serializers.CharField(required=False, max_length=255, help_text="Who asks, where that is not the user of the token")

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Either a session or a flow run."""
        if ("session" in fields) == ("flow_run" in fields):
            raise serializers.ValidationError("give either a session or a flow_run")
        if "flow_run" in fields and fields["tasks"]:
            raise serializers.ValidationError({"tasks": ["tasks are chosen of a session, not of a flow run"]})
        return fields


class EventSerializer(RecordSerializer):
    """An event of the outbox."""

    session = Key(required=False, allow_null=True, queryset=Session.objects.all())
    lab = Named(required=False, allow_null=True, queryset=Lab.objects.all())

    class Meta(RecordSerializer.Meta):
        model = Event
        fields = ("id", "kind", "key", "session", "lab", "payload", "created", "delivered", "flow_run", "error", "tries")
        read_only_fields = ("created", "delivered", "flow_run", "error", "tries")
        # The same key again is the same event, and no error.
        extra_kwargs: dict[str, Any] = {"key": {"validators": []}}


class DeliverySerializer(RequestSerializer):
    """The dispatcher tells what became of an event."""

    delivered = serializers.BooleanField(required=False)
    flow_run = serializers.CharField(max_length=64, required=False, allow_blank=True)
    error = serializers.CharField(required=False, allow_blank=True)


class ReapSerializer(RequestSerializer):
    """Which expired leases to look for."""

    lab = Named(required=False, allow_null=True, queryset=Lab.objects.all(), help_text="Those of one lab only")


class TaskCountSerializer(serializers.Serializer):
    """How many task instances of a lab have a status."""

    lab = serializers.CharField(allow_null=True)
    task = serializers.CharField()
    status = serializers.CharField()
    count = serializers.IntegerField()


class FailureQuery(RequestSerializer):
    """Which failures to look for."""

    lab = Named(required=False, queryset=Lab.objects.all(), help_text="Name of a lab")
    task = serializers.CharField(required=False, help_text="Name of a task")
    since = serializers.DateTimeField(required=False, help_text="Only those that ended later, UTC")
    fingerprint = serializers.CharField(required=False)
    limit = serializers.IntegerField(min_value=1, max_value=1000, required=False, default=100)

    def validate_lab(self, lab: Lab) -> str:
        """Its name, by which they are looked for."""
        return lab.name


class FailureSerializer(serializers.Serializer):
    """Equal failures: what they are, how many, where, and an example."""

    fingerprint = serializers.CharField()
    task = serializers.CharField()
    version = serializers.CharField()
    error_type = serializers.CharField()
    place = serializers.CharField(help_text="file.py:function, where it was an exception")
    message = serializers.CharField(help_text="Of the latest")
    sessions = serializers.IntegerField()
    tasks = serializers.IntegerField(help_text="Task instances that failed so")
    attempts = serializers.IntegerField()
    put_right = serializers.IntegerField(help_text="Task instances among them whose result is good by now")
    labs = serializers.ListField(child=serializers.CharField())
    paused = serializers.ListField(child=serializers.CharField(), help_text="Labs in which the task is paused for it")
    first_seen = serializers.DateTimeField()
    last_seen = serializers.DateTimeField()
    attempt = serializers.UUIDField(help_text="The latest")
    session = serializers.UUIDField(help_text="Of the latest")
    session_path = serializers.CharField(help_text="Of the latest")


class PauseSerializer(RecordSerializer):
    """A task version that may not run in a lab."""

    lab = Named(read_only=True)

    class Meta(RecordSerializer.Meta):
        model = Pause
        fields = ("id", "lab", "task", "version", "fingerprint", "failures", "reason", "created", "lifted", "lifted_by", "json")


class LiftSerializer(RequestSerializer):
    """A person says that a task may run again."""

    lifted = serializers.BooleanField(help_text="true")

    def validate_lifted(self, lifted: bool) -> bool:
        """A pause is made by failures only."""
        if not lifted:
            raise serializers.ValidationError("a pause can only be lifted; disable the task in the lab's settings to keep it from running")
        return lifted
