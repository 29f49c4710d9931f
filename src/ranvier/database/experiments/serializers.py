"""How insertions look in REST."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ranvier.database.data.locations import device_of
from ranvier.database.data.models import Dataset
from ranvier.database.experiments.models import ProbeInsertion, ProbeModel
from ranvier.database.rest.fields import Named
from ranvier.database.rest.serializers import RecordSerializer


class ProbeInsertionSerializer(RecordSerializer):
    """A probe insertion."""

    model = Named(required=False, allow_null=True, queryset=ProbeModel.objects.all())
    session_info = serializers.SerializerMethodField()
    datasets = serializers.PrimaryKeyRelatedField(many=True, required=False, queryset=Dataset.objects.all())

    class Meta(RecordSerializer.Meta):
        model = ProbeInsertion
        fields = ("id", "session", "model", "session_info", "name", "json", "serial", "auto_datetime", "datasets")

    @extend_schema_field({"type": "object"})
    def get_session_info(self, insertion: ProbeInsertion) -> dict[str, Any]:
        """What a list of sessions would say of its session."""
        session = insertion.session
        return {
            "subject": session.subject.nickname,
            "start_time": session.start_time.isoformat(),
            "number": session.number,
            "lab": session.lab.name,
            "id": str(session.pk),
            "projects": [project.name for project in session.projects.all()],
            "task_protocol": session.task_protocol,
        }

    def create(self, fields: dict[str, Any]) -> ProbeInsertion:
        """A new insertion owns the datasets that are in its folder already."""
        insertion = super().create(fields)
        for dataset in Dataset.objects.filter(session=insertion.session).only("collection"):
            if device_of(dataset.collection) == insertion.name:
                insertion.datasets.add(dataset)
        return insertion
