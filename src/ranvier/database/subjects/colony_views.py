"""Endpoints of the colony; Alyx has them in its admin pages only."""

from __future__ import annotations

import django_filters
from django.core.exceptions import ValidationError as ModelError
from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from ranvier.database.rest.filters import AnyOf, RecordFilter
from ranvier.database.rest.viewsets import NamedViewSet, RecordViewSet
from ranvier.database.subjects import colony_serializers as serializers
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
from ranvier.database.subjects.naming import wean


class SpeciesViewSet(NamedViewSet):
    """Species."""

    queryset = Species.objects.all()
    serializer_class = serializers.SpeciesSerializer


class StrainViewSet(NamedViewSet):
    """Strains."""

    queryset = Strain.objects.all()
    serializer_class = serializers.StrainSerializer


class SourceViewSet(NamedViewSet):
    """Suppliers."""

    queryset = Source.objects.all()
    serializer_class = serializers.SourceSerializer


class LineViewSet(NamedViewSet):
    """Lines."""

    queryset = Line.objects.select_related("species", "strain").prefetch_related("alleles", "sequences")
    serializer_class = serializers.LineSerializer


class AlleleViewSet(NamedViewSet):
    """Alleles."""

    queryset = Allele.objects.all()
    serializer_class = serializers.AlleleSerializer


class SequenceViewSet(NamedViewSet):
    """Sequences that are tested for."""

    queryset = Sequence.objects.all()
    serializer_class = serializers.SequenceSerializer


class OfLine(RecordFilter):
    """Lists of what belongs to a line."""

    line = AnyOf("line__name")


class ZygosityRuleFilter(OfLine):
    """Filters of rules."""

    allele = AnyOf("allele__name")

    class Meta:
        model = ZygosityRule
        fields = ("id",)


class ZygosityRuleViewSet(RecordViewSet):
    """What tests say of alleles."""

    queryset = ZygosityRule.objects.select_related("line", "allele", "sequence0", "sequence1")
    serializer_class = serializers.ZygosityRuleSerializer
    filterset_class = ZygosityRuleFilter


class OfSubject(RecordFilter):
    """Lists of what belongs to a subject."""

    subject = AnyOf("subject__nickname")
    lab = AnyOf("subject__lab__name")


class GenotypeTestFilter(OfSubject):
    """Filters of tests."""

    sequence = AnyOf("sequence__name")

    class Meta:
        model = GenotypeTest
        fields = ("id", "test_result", "date")


class GenotypeTestViewSet(RecordViewSet):
    """Tests of animals; each writes the zygosities that follow from it."""

    queryset = GenotypeTest.objects.select_related("subject", "sequence")
    serializer_class = serializers.GenotypeTestSerializer
    filterset_class = GenotypeTestFilter


class BreedingPairFilter(OfLine):
    """Filters of pairs."""

    father = AnyOf("father__nickname")
    mother = django_filters.CharFilter(method="by_mother")

    class Meta:
        model = BreedingPair
        fields = ("id", "name", "start_date", "end_date")

    def by_mother(self, rows: QuerySet[BreedingPair], name: str, value: str) -> QuerySet[BreedingPair]:
        """Pairs of a mother."""
        return rows.filter(Q(mother1__nickname__iexact=value) | Q(mother2__nickname__iexact=value))


class BreedingPairViewSet(NamedViewSet):
    """Pairs."""

    queryset = BreedingPair.objects.select_related("line", "father", "mother1", "mother2")
    serializer_class = serializers.BreedingPairSerializer
    filterset_class = BreedingPairFilter


class LitterFilter(OfLine):
    """Filters of litters."""

    breeding_pair = AnyOf("breeding_pair__name")

    class Meta:
        model = Litter
        fields = ("id", "name", "birth_date")


class LitterViewSet(NamedViewSet):
    """Litters."""

    queryset = Litter.objects.select_related("line", "breeding_pair")
    nested = {"subjects": Subject.objects.all()}
    serializer_class = serializers.LitterSerializer
    filterset_class = LitterFilter

    @extend_schema(request=serializers.WeaningSerializer, responses={201: serializers.LitterSerializer})
    @action(detail=True, methods=["post"])
    def wean(self, request: Request, name: str) -> Response:
        """``POST /litters/<name>/wean``: makes the animals, named by the line."""
        form = serializers.WeaningSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        try:
            wean(self.get_object(), asked["lab"], asked["males"], asked["females"], asked.get("date"), request.user)
        except ModelError as error:
            raise ValidationError(error.messages) from None
        return Response(self.get_serializer(self.get_object()).data, status.HTTP_201_CREATED)


class SubjectRequestFilter(OfLine):
    """Filters of requests."""

    user = AnyOf("user__username")

    class Meta:
        model = SubjectRequest
        fields = ("id", "date", "due_date")


class SubjectRequestViewSet(RecordViewSet):
    """Animals that are asked for."""

    queryset = SubjectRequest.objects.select_related("user", "line", "project")
    nested = {"subjects": Subject.objects.all()}
    serializer_class = serializers.SubjectRequestSerializer
    filterset_class = SubjectRequestFilter


class CageFilter(RecordFilter):
    """Filters of cages."""

    lab = AnyOf("lab__name")

    class Meta:
        model = Cage
        fields = ("id", "name", "cage_type")


class CageViewSet(NamedViewSet):
    """Cages."""

    queryset = Cage.objects.select_related("lab")
    serializer_class = serializers.CageSerializer
    filterset_class = CageFilter


class CageStayFilter(OfSubject):
    """Filters of times in cages."""

    cage = AnyOf("cage__name")
    now = django_filters.BooleanFilter("end_date", "isnull", help_text="Whether it is there still")

    class Meta:
        model = CageStay
        fields = ("id", "start_date", "end_date")


class CageStayViewSet(RecordViewSet):
    """Times of animals in cages."""

    queryset = CageStay.objects.select_related("subject", "cage")
    serializer_class = serializers.CageStaySerializer
    filterset_class = CageStayFilter


class HumaneEndPointFilter(OfSubject):
    """Filters of humane end points."""

    reached = django_filters.BooleanFilter("reached_on", "isnull", exclude=True)

    class Meta:
        model = HumaneEndPoint
        fields = ("id", "reached_on")


class HumaneEndPointViewSet(RecordViewSet):
    """What ends experiments."""

    queryset = HumaneEndPoint.objects.select_related("subject")
    serializer_class = serializers.HumaneEndPointSerializer
    filterset_class = HumaneEndPointFilter


class GrowthReferenceViewSet(RecordViewSet):
    """What animals weigh at an age."""

    queryset = GrowthReference.objects.all()
    serializer_class = serializers.GrowthReferenceSerializer
