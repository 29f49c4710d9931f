"""How insertions, and where they are, look in REST."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ranvier.database.actions.models import Session
from ranvier.database.data.locations import device_of
from ranvier.database.data.models import Dataset
from ranvier.database.experiments.models import (
    BrainRegion,
    Channel,
    ChronicInsertion,
    CoordinateSystem,
    ProbeInsertion,
    ProbeModel,
    TrajectoryEstimate,
)
from ranvier.database.people.models import Lab
from ranvier.database.rest.fields import Key, KeyOften, Named
from ranvier.database.rest.serializers import RecordSerializer, RequestSerializer
from ranvier.database.subjects.models import Subject


def session_info(session: Session) -> dict[str, Any]:
    """What a list of sessions would say of a session."""
    return {
        "subject": session.subject.nickname,
        "start_time": session.start_time.isoformat(),
        "number": session.number,
        "lab": session.lab.name,
        "id": str(session.pk),
        "projects": [project.name for project in session.projects.all()],
        "task_protocol": session.task_protocol,
    }


def own_datasets(owner: Any) -> None:
    """Give an insertion or a field of view the datasets that are in its folder already."""
    rows = Dataset.objects.filter(session=owner.session).only("collection")
    owner.datasets.add(*(dataset for dataset in rows if device_of(dataset.collection) == owner.name))


class ProbeInsertionSerializer(RecordSerializer):
    """A probe insertion."""

    model = Named(required=False, allow_null=True, queryset=ProbeModel.objects.all())
    session_info = serializers.SerializerMethodField()
    datasets = Key(many=True, required=False, queryset=Dataset.objects.all())

    class Meta(RecordSerializer.Meta):
        model = ProbeInsertion
        fields = ("id", "session", "model", "session_info", "name", "json", "serial", "auto_datetime", "chronic_insertion", "datasets")

    @extend_schema_field({"type": "object"})
    def get_session_info(self, insertion: ProbeInsertion) -> dict[str, Any]:
        """What a list of sessions would say of its session."""
        return session_info(insertion.session)

    def create(self, fields: dict[str, Any]) -> ProbeInsertion:
        """A new insertion owns the datasets that are in its folder already."""
        insertion = super().create(fields)
        own_datasets(insertion)
        return insertion


class ChronicInsertionSerializer(RecordSerializer):
    """A probe that stays in a brain."""

    subject = Named("nickname", queryset=Subject.objects.select_related("lab"))
    lab = Named(required=False, queryset=Lab.objects.all())
    model = Named(required=False, allow_null=True, queryset=ProbeModel.objects.all())
    probe_insertion = ProbeInsertionSerializer(many=True, read_only=True)

    class Meta(RecordSerializer.Meta):
        model = ChronicInsertion
        fields = ("id", "name", "subject", "lab", "model", "start_time", "serial", "json", "probe_insertion")

    def create(self, fields: dict[str, Any]) -> ChronicInsertion:
        """Where nothing else is said, in the subject's lab and by the one who asks."""
        fields.setdefault("lab", fields["subject"].lab)
        return super().create({**fields, "users": [self.context["request"].user]})


class ProvenanceField(serializers.ChoiceField):
    """How a place is known: Alyx's words in REST, a number in the database; either is taken."""

    def to_internal_value(self, data: Any) -> Any:
        """The number."""
        labels = {label.lower(): value for value, label in self.choices.items()}
        if isinstance(data, str) and data.lower() in labels:
            return labels[data.lower()]
        if (isinstance(data, int) and not isinstance(data, bool)) or (isinstance(data, str) and data.isdecimal()):
            return super().to_internal_value(data)
        raise serializers.ValidationError(f"{data!r} is no provenance; use one of {', '.join(self.choices.values())}")

    def to_representation(self, value: Any) -> str:
        """The word."""
        return str(self.choices[value])


class TrajectoryEstimateSerializer(RecordSerializer):
    """Where a probe is."""

    provenance = extend_schema_field(str)(ProvenanceField)(TrajectoryEstimate.Provenance.choices)
    coordinate_system = Named(required=False, allow_null=True, queryset=CoordinateSystem.objects.all())
    session = serializers.SerializerMethodField()
    probe_name = serializers.SerializerMethodField()

    class Meta(RecordSerializer.Meta):
        model = TrajectoryEstimate
        fields = (
            "id",
            "probe_insertion",
            "x",
            "y",
            "z",
            "depth",
            "theta",
            "phi",
            "roll",
            "provenance",
            "session",
            "probe_name",
            "coordinate_system",
            "datetime",
            "json",
            "chronic_insertion",
        )
        extra_kwargs = {name: {"required": True} for name in ("x", "y", "depth", "theta", "phi")}

    @extend_schema_field({"type": "object", "nullable": True})
    def get_session(self, trajectory: TrajectoryEstimate) -> dict[str, Any] | None:
        """What a list of sessions would say of its session."""
        return session_info(trajectory.probe_insertion.session) if trajectory.probe_insertion else None

    def get_probe_name(self, trajectory: TrajectoryEstimate) -> str:
        """Name of the insertion."""
        owner = trajectory.probe_insertion or trajectory.chronic_insertion
        return str(owner.name) if owner else ""

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """It belongs to an insertion."""
        owners = [fields.get(name, getattr(self.instance, name, None)) for name in ("probe_insertion", "chronic_insertion")]
        if not any(owners):
            raise serializers.ValidationError({"probe_insertion": ["a trajectory belongs to a probe insertion or a chronic one; name it"]})
        return fields


class ChannelListSerializer(serializers.ListSerializer):
    """Channels of a probe, written in one request."""

    def create(self, rows: list[dict[str, Any]]) -> list[Channel]:
        """Write them all."""
        return Channel.objects.bulk_create([Channel(**row) for row in rows])


class ChannelSerializer(RecordSerializer):
    """A site of a probe."""

    trajectory_estimate = KeyOften(required=False, allow_null=True, queryset=TrajectoryEstimate.objects.all())
    brain_region = KeyOften(required=False, allow_null=True, queryset=BrainRegion.objects.all())

    class Meta(RecordSerializer.Meta):
        model = Channel
        fields = ("id", "trajectory_estimate", "brain_region", "name", "json", "axial", "lateral", "x", "y", "z")
        list_serializer_class = ChannelListSerializer


class BrainRegionSerializer(RequestSerializer, serializers.ModelSerializer):
    """A brain region; only its description can be changed."""

    related_descriptions = serializers.SerializerMethodField()

    class Meta:
        model = BrainRegion
        fields = ("id", "acronym", "name", "description", "parent", "related_descriptions")
        read_only_fields = ("id", "acronym", "name", "parent")

    @extend_schema_field({"type": "array", "items": {"type": "object"}})
    def get_related_descriptions(self, region: BrainRegion) -> list[dict[str, Any]]:
        """Descriptions of the regions that it is in, and of those in it."""
        described = self.context.setdefault("described", None)
        if described is None:
            described = self.context["described"] = list(BrainRegion.objects.exclude(description=None).exclude(description=""))
        around = [r for r in described if r.pk != region.pk and (r.path.startswith(region.path) or region.path.startswith(r.path))]
        return [{"id": r.pk, "name": r.name, "description": r.description, "level": r.level} for r in around]
