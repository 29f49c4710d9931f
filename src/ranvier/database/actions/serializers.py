"""How sessions look in REST."""

from __future__ import annotations

import re
from typing import Any

from rest_framework import serializers

from ranvier.database.actions.husbandry_serializers import SessionWaterAdminSerializer
from ranvier.database.actions.models import ProcedureType, Session
from ranvier.database.actions.notebook_serializers import NoteSerializer
from ranvier.database.data.serializers import SessionDatasetsField
from ranvier.database.experiments.imaging_serializers import FOVSerializer
from ranvier.database.experiments.serializers import ProbeInsertionSerializer
from ranvier.database.people.models import Lab, LabLocation, Project, User
from ranvier.database.rest.fields import Named, QCField, SeenLink
from ranvier.database.rest.serializers import RecordSerializer
from ranvier.database.subjects.models import Subject


class ProcedureTypeSerializer(RecordSerializer):
    """A kind of procedure."""

    class Meta(RecordSerializer.Meta):
        model = ProcedureType
        fields = ("id", "name", "json", "description")


class SessionListSerializer(RecordSerializer):
    """A session in a list."""

    subject = Named("nickname", read_only=True)
    lab = Named(read_only=True)
    projects = Named(many=True, read_only=True)
    url = serializers.HyperlinkedIdentityField("sessions-detail")

    class Meta(RecordSerializer.Meta):
        model = Session
        fields = ("id", "subject", "start_time", "number", "lab", "projects", "url", "task_protocol")


class SessionDetailSerializer(RecordSerializer):
    """A session with its datasets and insertions."""

    subject = Named("nickname", queryset=Subject.objects.all())
    users = Named("username", many=True, required=False, queryset=User.objects.all())
    location = Named(required=False, allow_null=True, queryset=LabLocation.objects.all())
    procedures = Named(many=True, required=False, queryset=ProcedureType.objects.all())
    lab = Named(required=False, queryset=Lab.objects.all())
    projects = Named(many=True, required=False, queryset=Project.objects.all())
    parent_session = SeenLink("sessions-detail", required=False, allow_null=True, queryset=Session.objects.all())
    url = serializers.HyperlinkedIdentityField("sessions-detail")
    qc = QCField(required=False)
    data_dataset_session_related = SessionDatasetsField(read_only=True)
    probe_insertion = ProbeInsertionSerializer(many=True, read_only=True)
    field_of_view = FOVSerializer(many=True, read_only=True)
    wateradmin_session_related = SessionWaterAdminSerializer(many=True, read_only=True)
    notes = NoteSerializer(many=True, read_only=True)

    class Meta(RecordSerializer.Meta):
        model = Session
        fields = (
            "subject",
            "users",
            "location",
            "procedures",
            "lab",
            "projects",
            "type",
            "task_protocol",
            "number",
            "start_time",
            "end_time",
            "narrative",
            "parent_session",
            "n_correct_trials",
            "n_trials",
            "url",
            "extended_qc",
            "qc",
            "wateradmin_session_related",
            "data_dataset_session_related",
            "auto_datetime",
            "id",
            "json",
            "probe_insertion",
            "field_of_view",
            "notes",
        )
        extra_kwargs = {"number": {"max_value": 999}}

    def to_internal_value(self, data: Any) -> Any:
        """A date alone is midnight: ONE sends the day of the path where it knows no time."""
        start = data.get("start_time") if isinstance(data, dict) else None
        if isinstance(start, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", start):
            data = {**data, "start_time": f"{start}T00:00:00"}
        return super().to_internal_value(data)

    def validate_number(self, number: int | None) -> int:
        """None is 0, as ONE reads it."""
        return number or 0

    def create(self, fields: dict[str, Any]) -> Session:
        """Where nothing else is said, the lab is the subject's and the user the one who asks."""
        fields.setdefault("lab", fields["subject"].lab)
        fields.setdefault("users", [self.context["request"].user])
        return super().create(fields)
