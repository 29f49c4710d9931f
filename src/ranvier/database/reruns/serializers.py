"""How selections and reruns look in REST."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ranvier.database.people.models import Lab, Project
from ranvier.database.reruns import reports
from ranvier.database.reruns.models import Backfill, BackfillSession, Rerun, RerunSession
from ranvier.database.reruns.planning import Wish
from ranvier.database.reruns.selection import Selection
from ranvier.database.rest.fields import Named, StatusField
from ranvier.database.rest.serializers import RecordSerializer, RequestSerializer
from ranvier.priority import Priority
from ranvier.states import Status


def _texts(help_text: str) -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(max_length=255), required=False, default=list, help_text=help_text)


class SelectionSerializer(RequestSerializer):
    """Which sessions and tasks; what is given must all agree."""

    sessions = _texts("Ids, or subject/yyyy-mm-dd/number")
    labs = Named(many=True, required=False, queryset=Lab.objects.all())
    projects = Named(many=True, required=False, queryset=Project.objects.all())
    subjects = _texts("Nicknames")
    since = serializers.DateField(required=False, allow_null=True, help_text="First day of the sessions")
    until = serializers.DateField(required=False, allow_null=True, help_text="Last day of the sessions")
    tasks = _texts("Names of tasks or of instances, such as spike_sorting or spike_sorting[probe00]")
    statuses = serializers.ListField(child=StatusField(), required=False, default=list, help_text="Where the tasks stand")
    failures = _texts("Fingerprints of failures, or their beginnings")

    def selection(self) -> Selection:
        """The selection that was asked for.

        Raises
        ------
        ValidationError
            If it names no sessions by any criterion, or one that is not there.
        """
        given = {name: self.validated_data.get(name) for name in SelectionSerializer().fields}
        for name in ("labs", "projects"):
            given[name] = [row.name for row in given[name] or ()]
        given["statuses"] = [Status(value) for value in given["statuses"] or ()]
        return Selection(**given)

    def asked(self) -> dict[str, Any]:
        """What of it was given, as it was given."""
        fields = SelectionSerializer().fields
        return {name: value for name, value in self.initial_data.items() if name in fields and value not in (None, "", [])}


class RerunRequestSerializer(SelectionSerializer):
    """A request for reruns."""

    id = serializers.UUIDField(required=False, help_text="Chosen by whoever asks: the same request sent again asks once")
    force = serializers.BooleanField(default=False, help_text="Also what is done and unchanged")
    downstream = serializers.BooleanField(default=True, help_text="Also what comes after these tasks, where it is changed by them")
    priority = serializers.ChoiceField(
        [each.value for each in Priority], required=False, allow_null=True, help_text="Left out: now for one session, backfill for more"
    )
    dry = serializers.BooleanField(default=False, help_text="Say what would be asked for, and ask for nothing")


class WantedSerializer(serializers.Serializer):
    """A session of which runs are asked for."""

    session = serializers.UUIDField(source="session.pk")
    reference = serializers.CharField(source="session.path")
    lab = serializers.CharField(source="session.lab.name")
    tasks = serializers.JSONField()
    reason = serializers.CharField()


class RerunSessionSerializer(WantedSerializer):
    """A session of a rerun, and what became of its request."""

    id = serializers.UUIDField()
    rerun = serializers.UUIDField(source="rerun_id")
    event = serializers.IntegerField(source="event_id", allow_null=True)
    flow_run = serializers.CharField(source="event.flow_run", default="")
    error = serializers.CharField(source="event.error", default="")
    withdrawn = serializers.BooleanField()
    outcome = serializers.CharField()
    ended = serializers.DateTimeField()


class OutcomeSerializer(RequestSerializer, serializers.ModelSerializer):
    """The dispatcher tells how a flow run ended."""

    outcome = serializers.CharField()

    class Meta:
        model = RerunSession
        fields = ("outcome",)


class RerunSerializer(RecordSerializer):
    """A rerun."""

    created_by = serializers.CharField(source="created_by.username", default=None)
    count = serializers.IntegerField(read_only=True, help_text="Number of sessions")
    open = serializers.IntegerField(read_only=True, help_text="Sessions whose flow run has not ended")

    class Meta(RecordSerializer.Meta):
        model = Rerun
        fields = ("id", "created", "created_by", "selection", "force", "downstream", "priority", "tag", "count", "open")


class RerunAnswerSerializer(serializers.Serializer):
    """What was asked for, or in a dry run would be."""

    id = serializers.UUIDField()
    dry = serializers.BooleanField()
    priority = serializers.CharField()
    sessions = WantedSerializer(many=True)
    left_out = serializers.IntegerField(help_text="Sessions of the selection that have no such task")
    revived = serializers.IntegerField(help_text="Tasks that were given up and are Waiting again")


class BackfillRequestSerializer(RequestSerializer):
    """A request for the plan of a backfill."""

    task = serializers.CharField(max_length=128, help_text="Name of the task")
    version = serializers.CharField(max_length=64, help_text="That it shall have run everywhere")
    packages = serializers.DictField(
        required=False, allow_null=True, default=None, help_text="Versions of the packages that the task names"
    )
    selection = serializers.DictField(help_text="Which sessions: sessions, labs, projects, subjects, since, until")
    canary = serializers.IntegerField(min_value=0, max_value=1000, default=5, help_text="Sessions that go first")
    unplanned = serializers.BooleanField(default=False, help_text="Also sessions where it was never planned")
    at_once = serializers.IntegerField(
        min_value=1, required=False, allow_null=True, default=None, help_text="Attempts that a lab runs at once; left out: the most so far"
    )

    def wish(self) -> Wish:
        """What is asked for.

        Raises
        ------
        ValidationError
            If the selection cannot be meant.
        """
        given = dict(self.validated_data)
        form = SelectionSerializer(data={**given.pop("selection"), "tasks": [given["task"]]})
        form.is_valid(raise_exception=True)
        return Wish(selection=form.selection(), **given)


class BackfillStepSerializer(RequestSerializer):
    """A step of a backfill."""

    state = serializers.ChoiceField(
        [Backfill.State.CANARY, Backfill.State.GOING, Backfill.State.STOPPED], help_text="Start, go on, or stop"
    )
    anyway = serializers.BooleanField(default=False, help_text="Go on although the canary has not shown that the version runs")


class BackfillSerializer(RecordSerializer):
    """A backfill."""

    created_by = serializers.CharField(source="created_by.username", default=None)

    class Meta(RecordSerializer.Meta):
        model = Backfill
        fields: tuple[str, ...] = ("id", "created", "created_by", "task", "version", "selection", "canary", "state", "tag", "estimate")


class BackfillReportSerializer(BackfillSerializer):
    """A backfill, and how it goes."""

    report = serializers.SerializerMethodField()

    class Meta(BackfillSerializer.Meta):
        fields = (*BackfillSerializer.Meta.fields, "report")

    def get_report(self, backfill: Backfill) -> dict[str, Any]:
        """Verdicts, cost and quality so far."""
        return reports.report(backfill)


class BackfillSessionSerializer(RecordSerializer):
    """A session of a backfill."""

    reference = serializers.CharField(source="session.path")
    outcome = serializers.CharField(source="rerun_session.outcome", default=None, help_text="null: not asked for yet; empty: not ended")

    class Meta(RecordSerializer.Meta):
        model = BackfillSession
        fields = ("id", "backfill", "session", "reference", "tasks", "reason", "is_canary", "before", "outcome")
