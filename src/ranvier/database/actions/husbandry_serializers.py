"""How weights and water look in REST."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ranvier.database.actions.models import Session, WaterAdministration, WaterRestriction, WaterType, Weighing
from ranvier.database.people.models import User
from ranvier.database.rest.fields import Named, SeenKey
from ranvier.database.rest.serializers import NamedSerializer, RecordSerializer
from ranvier.database.subjects.models import Subject


class MeasurementSerializer(RecordSerializer):
    """Base of what is measured on, or given to, an animal; where nothing else is said, by the one who asks, now."""

    subject = Named("nickname", queryset=Subject.objects.select_related("lab"))
    user = Named("username", required=False, allow_null=True, queryset=User.objects.all())
    date_time = serializers.DateTimeField(required=False, allow_null=True)

    def create(self, fields: dict[str, Any]) -> Any:
        """Write it down."""
        fields.setdefault("user", self.context["request"].user)
        return super().create(fields)


class WeighingDetailSerializer(MeasurementSerializer):
    """A weight."""

    url = serializers.HyperlinkedIdentityField("weighings-detail")

    class Meta(RecordSerializer.Meta):
        model = Weighing
        fields = ("subject", "date_time", "weight", "user", "url", "id", "json")


class WaterTypeDetailSerializer(NamedSerializer):
    """What is given to drink."""

    url = serializers.HyperlinkedIdentityField("water-type-detail", lookup_field="name")

    class Meta(RecordSerializer.Meta):
        model = WaterType
        fields = ("url", "json", "name")


class WaterAdministrationDetailSerializer(MeasurementSerializer):
    """Water that was given."""

    url = serializers.HyperlinkedIdentityField("water-administrations-detail")
    water_type = Named(required=False, allow_null=True, queryset=WaterType.objects.all())
    session = SeenKey(required=False, allow_null=True, queryset=Session.objects.all())

    class Meta(RecordSerializer.Meta):
        model = WaterAdministration
        fields = ("subject", "date_time", "water_administered", "water_type", "user", "url", "session", "adlib", "id", "json")

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A session is one of the animal that drinks."""
        session, subject = (fields.get(name) or getattr(self.instance, name, None) for name in ("session", "subject"))
        if session and subject and session.subject_id != subject.pk:
            raise serializers.ValidationError({"session": [f"{session} is a session of another subject than {subject}"]})
        return fields


class SessionWaterAdminSerializer(RecordSerializer):
    """Water that was given, as its session shows it."""

    water_type = Named(read_only=True)

    class Meta(RecordSerializer.Meta):
        model = WaterAdministration
        fields = ("id", "name", "water_type", "water_administered")


class WaterRestrictionListSerializer(RecordSerializer):
    """A time under water restriction."""

    subject = Named("nickname", queryset=Subject.objects.select_related("lab"))
    water_type = Named(required=False, allow_null=True, queryset=WaterType.objects.all())

    class Meta(RecordSerializer.Meta):
        model = WaterRestriction
        fields = ("subject", "start_time", "end_time", "water_type", "reference_weight", "id", "narrative", "json")

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """It ends after it has begun."""
        start, end = (fields.get(name, getattr(self.instance, name, None)) for name in ("start_time", "end_time"))
        if start and end and end < start:
            raise serializers.ValidationError({"end_time": ["before start_time; correct one of the two"]})
        return fields

    def create(self, fields: dict[str, Any]) -> WaterRestriction:
        """The lab is the subject's."""
        return super().create({**fields, "lab": fields["subject"].lab})
