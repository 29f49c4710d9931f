"""How subjects look in REST."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as ModelError
from django.db import transaction
from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ranvier.database.actions.water import WaterHistory, histories
from ranvier.database.people.models import Lab, Project, User
from ranvier.database.rest.fields import Named, check_address
from ranvier.database.rest.reading import seen
from ranvier.database.rest.serializers import RecordSerializer
from ranvier.database.subjects.genetics import inherit
from ranvier.database.subjects.models import Allele, Line, Litter, Source, Species, Strain, Subject, Zygosity
from ranvier.database.subjects.naming import AUTOMATIC, next_name


class ZygosityListSerializer(RecordSerializer):
    """How many copies of an allele an animal has."""

    allele = Named(queryset=Allele.objects.all())

    class Meta(RecordSerializer.Meta):
        model = Zygosity
        fields = ("allele", "zygosity")


class WithWater(serializers.ListSerializer):
    """A list whose rows' weights and water are read together."""

    def to_representation(self, data: Any) -> list[Any]:
        """The rows."""
        rows = list(data.all() if hasattr(data, "all") else data)
        self.child.remember(rows)
        return super().to_representation(rows)


class WateredSerializer(RecordSerializer):
    """Base of what tells of an animal's weight and water; grams and millilitres of today, by the lab's clock."""

    reference_weight = serializers.SerializerMethodField()
    last_water_restriction = serializers.SerializerMethodField()
    expected_water = serializers.SerializerMethodField()
    remaining_water = serializers.SerializerMethodField()

    class Meta(RecordSerializer.Meta):
        list_serializer_class = WithWater

    def remember(self, subjects: list[Subject]) -> None:
        """Read the weights and water of animals."""
        self.water = histories(subjects)

    def to_representation(self, instance: Subject) -> dict[str, Any]:
        """The row."""
        if instance.pk not in getattr(self, "water", {}):
            self.remember([instance])
        return super().to_representation(instance)

    def _water(self, subject: Subject) -> WaterHistory:
        return self.water[subject.pk]

    @extend_schema_field(float)
    def get_reference_weight(self, subject: Subject) -> float:
        """The weight that today's is held against."""
        water = self._water(subject)
        return water.reference_weight(water.today)

    @extend_schema_field({"type": "string", "format": "date-time", "nullable": True})
    def get_last_water_restriction(self, subject: Subject) -> Any:
        """Since when it is under water restriction."""
        water = self._water(subject)
        restriction = water.restriction(water.today)
        return restriction.start if restriction else None

    @extend_schema_field(float)
    def get_expected_water(self, subject: Subject) -> float:
        """What it has to drink today."""
        water = self._water(subject)
        return water.expected_water(water.today)

    @extend_schema_field(float)
    def get_remaining_water(self, subject: Subject) -> float:
        """What it still has to get today."""
        water = self._water(subject)
        return water.remaining_water(water.today)


class SubjectSerializer(WateredSerializer):
    """A subject."""

    url = serializers.HyperlinkedIdentityField("subjects-detail", lookup_field="nickname")
    lab = Named(queryset=Lab.objects.all())
    responsible_user = Named("username", required=False, allow_null=True, queryset=User.objects.all())
    projects = Named(many=True, required=False, queryset=Project.objects.all())
    session_projects = serializers.SerializerMethodField()
    species = Named(required=False, allow_null=True, queryset=Species.objects.all())
    strain = Named(required=False, allow_null=True, queryset=Strain.objects.all())
    source = Named(required=False, allow_null=True, queryset=Source.objects.all())
    line = Named(required=False, allow_null=True, queryset=Line.objects.all())
    litter = Named(required=False, allow_null=True, queryset=Litter.objects.all())
    genotype = ZygosityListSerializer(many=True, required=False, source="zygosities")
    cage = serializers.SerializerMethodField()
    age_weeks = serializers.IntegerField(read_only=True)
    alive = serializers.BooleanField(read_only=True)

    class Meta(WateredSerializer.Meta):
        model = Subject
        fields: tuple[str, ...] = (
            "nickname",
            "url",
            "id",
            "responsible_user",
            "birth_date",
            "age_weeks",
            "death_date",
            "species",
            "sex",
            "litter",
            "strain",
            "source",
            "line",
            "projects",
            "session_projects",
            "lab",
            "genotype",
            "description",
            "alive",
            "reference_weight",
            "last_water_restriction",
            "expected_water",
            "remaining_water",
            "json",
            "cage",
            "wean_date",
            "genotype_date",
            "reduced_date",
            "ear_mark",
            "protocol_number",
            "adverse_effects",
            "actual_severity",
            "to_be_genotyped",
            "to_be_culled",
        )

    def validate_nickname(self, nickname: str) -> str:
        """A nickname that can be a folder."""
        return check_address(nickname)

    def get_session_projects(self, subject: Subject) -> list[str]:
        """Projects of the subject's sessions."""
        return sorted({project.name for session in subject.actions_sessions.all() for project in session.projects.all()})

    def get_cage(self, subject: Subject) -> str | None:
        """Where it is."""
        return next((stay.cage.name for stay in subject.cage_stays.all() if stay.end_date is None), None)

    @transaction.atomic
    def create(self, fields: dict[str, Any]) -> Subject:
        """Make the animal: named by its line where the nickname is `-`, with the alleles that follow from its litter."""
        genotype = fields.pop("zygosities", [])
        if fields["nickname"] == AUTOMATIC:
            try:
                fields["nickname"] = next_name(Subject, fields.get("line"))
            except ModelError as error:
                raise serializers.ValidationError({"nickname": error.messages}) from None
        subject = super().create(fields)
        self._write_genotype(subject, genotype)
        inherit(subject)
        return subject

    @transaction.atomic
    def update(self, subject: Subject, fields: dict[str, Any]) -> Subject:
        """Change the animal; a genotype that is sent replaces what was known of those alleles."""
        genotype = fields.pop("zygosities", [])
        subject = super().update(subject, fields)
        self._write_genotype(subject, genotype)
        return subject

    def _write_genotype(self, subject: Subject, genotype: list[dict[str, Any]]) -> None:
        for each in genotype:
            Zygosity.objects.update_or_create(subject=subject, allele=each["allele"], defaults={"zygosity": each["zygosity"]})
        subject._prefetched_objects_cache = {}


class SubjectDetailSerializer(SubjectSerializer):
    """A subject with its weights and water."""

    weighings = serializers.SerializerMethodField()
    water_administrations = serializers.SerializerMethodField()

    class Meta(SubjectSerializer.Meta):
        fields = (*SubjectSerializer.Meta.fields, "weighings", "water_administrations")

    @extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/WeighingDetail"}})
    def get_weighings(self, subject: Subject) -> Any:
        """Its weights, the latest first."""
        from ranvier.database.actions.husbandry_serializers import WeighingDetailSerializer

        rows = seen(subject.weighings.select_related("subject", "user"))
        return WeighingDetailSerializer(rows, many=True, context=self.context).data

    @extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/WaterAdministrationDetail"}})
    def get_water_administrations(self, subject: Subject) -> Any:
        """What it was given to drink, the latest first."""
        from ranvier.database.actions.husbandry_serializers import WaterAdministrationDetailSerializer
        from ranvier.database.actions.models import Session

        rows = seen(subject.water_administrations.select_related("subject", "user", "water_type"))
        rows = rows.prefetch_related(Prefetch("session", seen(Session.objects.only("pk"))))
        return WaterAdministrationDetailSerializer(rows, many=True, context=self.context).data


class WaterRestrictedSubjectListSerializer(WateredSerializer):
    """An animal that is under water restriction."""

    url = serializers.HyperlinkedIdentityField("subjects-detail", lookup_field="nickname")
    reference_weight_pct = serializers.FloatField(source="lab.reference_weight_pct", read_only=True)
    zscore_weight_pct = serializers.FloatField(source="lab.zscore_weight_pct", read_only=True)

    class Meta(WateredSerializer.Meta):
        model = Subject
        fields = (
            "nickname",
            "url",
            "expected_water",
            "remaining_water",
            "reference_weight",
            "last_water_restriction",
            "reference_weight_pct",
            "zscore_weight_pct",
        )
