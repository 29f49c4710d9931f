"""Endpoints of weights, water, surgeries, culls and notes."""

from __future__ import annotations

import django_filters
from django.conf import settings
from django.db.models import QuerySet
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from rest_framework.exceptions import NotFound
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request

from ranvier.database.actions import husbandry_serializers as husbandry
from ranvier.database.actions import notebook_serializers as notebook
from ranvier.database.actions.models import (
    Cull,
    Note,
    OtherAction,
    Session,
    Surgery,
    VirusInjection,
    WaterAdministration,
    WaterRestriction,
    WaterType,
    Weighing,
)
from ranvier.database.data.files import FileView, send
from ranvier.database.rest.access import access_of
from ranvier.database.rest.filters import AllOf, AnyOf, RecordFilter, StructuredFilter, days
from ranvier.database.rest.parsers import StorableJSONParser
from ranvier.database.rest.reading import visible
from ranvier.database.rest.viewsets import NamedViewSet, RecordViewSet


class AboutSubject(StructuredFilter):
    """Lists of what was done with subjects."""

    time = "start_time"
    subject = AnyOf("subject__nickname")
    nickname = django_filters.CharFilter("subject__nickname", "icontains")
    lab = AnyOf("subject__lab__name")
    date_range = django_filters.CharFilter(method="by_dates", help_text="from,to: both days included")

    def by_dates(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        """From a day to a day."""
        return rows.filter(**{f"{self.time}__date__range": days(value, name)})


class MeasurementFilter(AboutSubject):
    """Lists of what was measured or given."""

    time = "date_time"
    user = AnyOf("user__username")
    users = AnyOf("user__username")


class WeighingFilter(MeasurementFilter):
    """Filters of weights."""

    class Meta:
        model = Weighing
        fields = ("id", "name", "date_time", "weight")


class WaterAdministrationFilter(MeasurementFilter):
    """Filters of water that was given."""

    water_type = AnyOf("water_type__name")

    class Meta:
        model = WaterAdministration
        fields = ("id", "name", "date_time", "water_administered", "adlib", "session")


class ActionFilter(AboutSubject):
    """Lists of actions."""

    users = AnyOf("users__username", distinct=True)
    location = django_filters.CharFilter("location__name", "icontains")
    procedure = django_filters.CharFilter("procedures__name", "icontains", distinct=True)
    procedures = AllOf("procedures__name", "icontains")


ACTION_FIELDS = ("id", "name", "narrative", "start_time", "end_time")


class WaterRestrictionFilter(ActionFilter):
    """Filters of times under water restriction."""

    water_type = AnyOf("water_type__name")

    class Meta:
        model = WaterRestriction
        fields = (*ACTION_FIELDS, "reference_weight")


class SurgeryFilter(ActionFilter):
    """Filters of surgeries."""

    class Meta:
        model = Surgery
        fields = (*ACTION_FIELDS, "outcome_type", "implant_weight")


class VirusInjectionFilter(ActionFilter):
    """Filters of virus injections."""

    class Meta:
        model = VirusInjection
        fields = (*ACTION_FIELDS, "surgery", "virus_batch", "injection_type", "brain_region")


class OtherActionFilter(ActionFilter):
    """Filters of other actions."""

    class Meta:
        model = OtherAction
        fields = ACTION_FIELDS


class CullFilter(AboutSubject):
    """Filters of culls."""

    time = "date"
    reason = AnyOf("reason__name")
    method = AnyOf("method__name")

    class Meta:
        model = Cull
        fields = ("id", "date", "humane_end_point")

    def by_dates(self, rows: QuerySet[Cull], name: str, value: str) -> QuerySet[Cull]:
        """From a day to a day."""
        return rows.filter(date__range=days(value, name))


class NoteFilter(RecordFilter):
    """Filters of notes."""

    user = AnyOf("user__username")
    content_type = AnyOf("content_type__model")

    class Meta:
        model = Note
        fields = ("id", "object_id")


class WeighingViewSet(RecordViewSet):
    """Weights."""

    queryset = Weighing.objects.select_related("subject__lab", "user")
    serializer_class = husbandry.WeighingDetailSerializer
    filterset_class = WeighingFilter


class WaterTypeViewSet(NamedViewSet):
    """What is given to drink."""

    queryset = WaterType.objects.all()
    serializer_class = husbandry.WaterTypeDetailSerializer


class WaterAdministrationViewSet(RecordViewSet):
    """Water that was given."""

    queryset = WaterAdministration.objects.select_related("subject__lab", "user", "water_type")
    hidden = {"session": Session.objects.only("pk")}
    serializer_class = husbandry.WaterAdministrationDetailSerializer
    filterset_class = WaterAdministrationFilter


class WaterRestrictionViewSet(RecordViewSet):
    """Times under water restriction."""

    queryset = WaterRestriction.objects.select_related("subject__lab", "water_type")
    serializer_class = husbandry.WaterRestrictionListSerializer
    filterset_class = WaterRestrictionFilter


class SurgeryViewSet(RecordViewSet):
    """Surgeries."""

    queryset = Surgery.objects.select_related("subject__lab").prefetch_related("users", "procedures")
    serializer_class = notebook.SurgerySerializer
    filterset_class = SurgeryFilter


class VirusInjectionViewSet(RecordViewSet):
    """Virus injections."""

    queryset = VirusInjection.objects.select_related("subject__lab").prefetch_related("users", "procedures")
    serializer_class = notebook.VirusInjectionSerializer
    filterset_class = VirusInjectionFilter


class OtherActionViewSet(RecordViewSet):
    """Other actions."""

    queryset = OtherAction.objects.select_related("subject__lab").prefetch_related("users", "procedures")
    serializer_class = notebook.OtherActionSerializer
    filterset_class = OtherActionFilter


class CullViewSet(RecordViewSet):
    """Culls."""

    queryset = Cull.objects.select_related("subject__lab", "user", "reason", "method")
    serializer_class = notebook.CullSerializer
    filterset_class = CullFilter


class NoteViewSet(RecordViewSet):
    """Notes, as JSON or with an image as a form of several parts."""

    queryset = Note.objects.select_related("user", "content_type")
    serializer_class = notebook.NoteSerializer
    filterset_class = NoteFilter
    parser_classes = [StorableJSONParser, MultiPartParser, FormParser]


class Uploaded(FileView):
    """An image of a note."""

    def get(self, request: Request, path: str) -> HttpResponse | FileResponse | StreamingHttpResponse:
        """``GET /uploaded/<path>``."""
        access = access_of(request)
        if not access.everything and not visible(Note.objects.filter(image=path), access).exists():
            raise NotFound(f"there is no image {path[:200]}; GET /notes lists those there are")
        return send(request, settings.RANVIER.home / "uploads", path)
