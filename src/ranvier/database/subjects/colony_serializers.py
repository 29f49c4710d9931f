"""How the colony looks in REST."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as ModelError
from django.db.models import Model
from rest_framework import serializers

from ranvier.database.people.models import Lab, Project, User
from ranvier.database.rest.fields import Named
from ranvier.database.rest.serializers import NamedSerializer, RecordSerializer, RequestSerializer
from ranvier.database.subjects.models import (
    Allele,
    BreedingPair,
    Cage,
    CageStay,
    GenotypeTest,
    GrowthReference,
    HumaneEndPoint,
    Line,
    Litter,
    Sequence,
    Source,
    Species,
    Strain,
    Subject,
    SubjectRequest,
    ZygosityRule,
)
from ranvier.database.subjects.naming import AUTOMATIC, next_name


class SpeciesSerializer(NamedSerializer):
    """A species."""

    class Meta(RecordSerializer.Meta):
        model = Species
        fields = ("id", "name", "nickname", "json")


class StrainSerializer(NamedSerializer):
    """A strain."""

    class Meta(RecordSerializer.Meta):
        model = Strain
        fields = ("id", "name", "description", "json")


class SourceSerializer(NamedSerializer):
    """A supplier."""

    class Meta(RecordSerializer.Meta):
        model = Source
        fields = ("id", "name", "notes", "json")


class LineSerializer(NamedSerializer):
    """A line."""

    species = Named(required=False, allow_null=True, queryset=Species.objects.all())
    strain = Named(required=False, allow_null=True, queryset=Strain.objects.all())
    alleles = Named(many=True, required=False, queryset=Allele.objects.all())
    sequences = Named(many=True, required=False, queryset=Sequence.objects.all())

    class Meta(RecordSerializer.Meta):
        model = Line
        fields = ("id", "name", "nickname", "description", "target_phenotype", "species", "strain", "alleles", "sequences", "json")


class AlleleSerializer(NamedSerializer):
    """An allele."""

    class Meta(RecordSerializer.Meta):
        model = Allele
        fields = ("id", "name", "standard_name", "description", "json")


class SequenceSerializer(NamedSerializer):
    """A sequence that is tested for."""

    class Meta(RecordSerializer.Meta):
        model = Sequence
        fields = ("id", "name", "base_pairs", "description", "json")


class ZygosityRuleSerializer(RecordSerializer):
    """What tests say of an allele."""

    line = Named(queryset=Line.objects.all())
    allele = Named(queryset=Allele.objects.all())
    sequence0 = Named(queryset=Sequence.objects.all())
    sequence1 = Named(required=False, allow_null=True, queryset=Sequence.objects.all())

    class Meta(RecordSerializer.Meta):
        model = ZygosityRule
        fields = ("id", "line", "allele", "sequence0", "sequence0_result", "sequence1", "sequence1_result", "zygosity", "json")

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The second sequence comes with its result."""
        second = [fields.get(name, getattr(self.instance, name, None)) is None for name in ("sequence1", "sequence1_result")]
        if second[0] != second[1]:
            raise serializers.ValidationError({"sequence1": ["name the second sequence together with its result, or neither"]})
        return fields


class GenotypeTestSerializer(RecordSerializer):
    """A test of an animal."""

    subject = Named("nickname", queryset=Subject.objects.all())
    sequence = Named(queryset=Sequence.objects.all())

    class Meta(RecordSerializer.Meta):
        model = GenotypeTest
        fields = ("id", "subject", "sequence", "test_result", "date", "json")


class AutomaticNameSerializer(NamedSerializer):
    """Base of what its line names where the name is `-`, or missing."""

    name = serializers.CharField(required=False, default=AUTOMATIC, max_length=255)

    def create(self, fields: dict[str, Any]) -> Model:
        """Make it, and name it."""
        model = getattr(self.Meta, "model")  # noqa: B009  of the serializer that this is the base of
        try:
            if fields["name"] == AUTOMATIC:
                fields["name"] = next_name(model, fields.get("line"))
            elif model.objects.filter(name=fields["name"]).exists():
                raise ModelError(f"{fields['name']} already exists; choose another name, or - to have it named by its line")
        except ModelError as error:
            raise serializers.ValidationError({"name": error.messages}) from None
        return super().create(fields)


class BreedingPairSerializer(AutomaticNameSerializer):
    """A pair."""

    line = Named(required=False, allow_null=True, queryset=Line.objects.all())
    father = Named("nickname", required=False, allow_null=True, queryset=Subject.objects.filter(sex="M"))
    mother1 = Named("nickname", required=False, allow_null=True, queryset=Subject.objects.filter(sex="F"))
    mother2 = Named("nickname", required=False, allow_null=True, queryset=Subject.objects.filter(sex="F"))

    class Meta(RecordSerializer.Meta):
        model = BreedingPair
        fields = ("id", "name", "line", "father", "mother1", "mother2", "start_date", "end_date", "description", "json")


class LitterSerializer(AutomaticNameSerializer):
    """A litter."""

    line = Named(required=False, allow_null=True, queryset=Line.objects.all())
    breeding_pair = Named(required=False, allow_null=True, queryset=BreedingPair.objects.all())
    subjects = serializers.SlugRelatedField("nickname", many=True, read_only=True)

    class Meta(RecordSerializer.Meta):
        model = Litter
        fields = ("id", "name", "line", "breeding_pair", "birth_date", "description", "subjects", "json")


class WeaningSerializer(RequestSerializer):
    """How many animals a litter is of when it is weaned."""

    lab = Named(queryset=Lab.objects.all())
    males = serializers.IntegerField(default=0, min_value=0)
    females = serializers.IntegerField(default=0, min_value=0)
    date = serializers.DateField(required=False)


class SubjectRequestSerializer(RecordSerializer):
    """Animals that somebody asks for; where nothing else is said the one who asks."""

    user = Named("username", required=False, queryset=User.objects.all())
    line = Named(queryset=Line.objects.all())
    project = Named(required=False, allow_null=True, queryset=Project.objects.all())
    subjects = serializers.SlugRelatedField("nickname", many=True, read_only=True)

    class Meta(RecordSerializer.Meta):
        model = SubjectRequest
        fields = ("id", "user", "line", "count", "project", "date", "due_date", "description", "subjects", "json")

    def create(self, fields: dict[str, Any]) -> SubjectRequest:
        """Write it down."""
        fields.setdefault("user", self.context["request"].user)
        return super().create(fields)


class CageSerializer(NamedSerializer):
    """A cage."""

    lab = Named(queryset=Lab.objects.all())

    class Meta(RecordSerializer.Meta):
        model = Cage
        fields = ("id", "name", "lab", "cage_type", "enrichment", "food", "light_cycle", "cage_cleaning_frequency_days", "json")


class CageStaySerializer(RecordSerializer):
    """An animal's time in a cage."""

    subject = Named("nickname", queryset=Subject.objects.all())
    cage = Named(queryset=Cage.objects.all())

    class Meta(RecordSerializer.Meta):
        model = CageStay
        fields = ("id", "subject", "cage", "start_date", "end_date", "json")


class HumaneEndPointSerializer(RecordSerializer):
    """What ends an experiment."""

    subject = Named("nickname", queryset=Subject.objects.all())

    class Meta(RecordSerializer.Meta):
        model = HumaneEndPoint
        fields = ("id", "subject", "criterion", "min_weight_pct", "reached_on", "action_taken", "json")


class GrowthReferenceSerializer(RecordSerializer):
    """What animals weigh at an age."""

    class Meta(RecordSerializer.Meta):
        model = GrowthReference
        fields = ("id", "sex", "age_weeks", "mean", "sd", "json")
