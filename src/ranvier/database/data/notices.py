"""Endpoints of data notices, and of what was downloaded."""

from __future__ import annotations

import django_filters
from django.db import transaction
from django.db.models import F
from drf_spectacular.utils import extend_schema
from markdown_it import MarkdownIt
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ranvier.database.data.models import DataNotice, Dataset, Download
from ranvier.database.people.models import Project, User
from ranvier.database.rest.fields import Key, Named
from ranvier.database.rest.filters import AnyOf, RecordFilter, StructuredFilter
from ranvier.database.rest.serializers import RecordSerializer, RequestSerializer
from ranvier.database.rest.viewsets import RecordViewSet

#: HTML in a description is shown as text, and links lead to web pages only.
MARKDOWN = MarkdownIt("commonmark", {"html": False})


class DataNoticeSerializer(RecordSerializer):
    """A notice."""

    created_by = Named("username", required=False, allow_null=True, queryset=User.objects.all())
    datasets = Key(many=True, required=False, queryset=Dataset.objects.all())
    description_html = serializers.SerializerMethodField()

    class Meta(RecordSerializer.Meta):
        model = DataNotice
        fields = (
            "id",
            "created_by",
            "datasets",
            "description_html",
            "name",
            "json",
            "description",
            "importance",
            "created_datetime",
            "version_affected",
            "affected_date_start",
            "affected_date_end",
        )

    def get_description_html(self, notice: DataNotice) -> str:
        """The description, for a web page."""
        return str(MARKDOWN.render(notice.description))

    def validate(self, fields: dict) -> dict:
        """The days are in order."""
        first, last = (fields.get(name, getattr(self.instance, name, None)) for name in ("affected_date_start", "affected_date_end"))
        if first and last and last < first:
            raise serializers.ValidationError({"affected_date_end": ["before affected_date_start; correct one of the two"]})
        return fields

    def create(self, fields: dict) -> DataNotice:
        """Where nothing else is said, by the one who asks."""
        fields.setdefault("created_by", self.context["request"].user)
        return super().create(fields)


class DataNoticeFilter(RecordFilter):
    """Filters of notices."""

    created_by = AnyOf("created_by__username")
    datasets = django_filters.UUIDFilter("datasets", distinct=True)
    dataset_tag = django_filters.CharFilter("datasets__tags__name", distinct=True, help_text="Name of a tag that one of its datasets has")

    class Meta:
        model = DataNotice
        fields = ("id", "name", "importance", "version_affected", "affected_date_start", "affected_date_end")


class DataNoticeViewSet(RecordViewSet):
    """Notices."""

    queryset = DataNotice.objects.select_related("created_by")
    nested = {"datasets": Dataset.objects.all()}
    serializer_class = DataNoticeSerializer
    filterset_class = DataNoticeFilter


class DownloadSerializer(RecordSerializer):
    """What was downloaded by whom, and how often."""

    user = Named("username", read_only=True)
    dataset = Key(read_only=True)

    class Meta(RecordSerializer.Meta):
        model = Download
        fields = ("id", "user", "dataset", "count", "json")


class DownloadFilter(StructuredFilter):
    """Filters of downloads."""

    user = AnyOf("user__username")
    dataset_type = AnyOf("dataset__dataset_type__name")

    class Meta:
        model = Download
        fields = ("id", "dataset", "count")


class DownloadViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, viewsets.GenericViewSet):
    """Downloads; `POST /new-download` adds to them."""

    queryset = Download.objects.select_related("user")
    serializer_class = DownloadSerializer
    filterset_class = DownloadFilter


class OneOrMany(serializers.ListField):
    """A list; one thing by itself is a list of one."""

    def to_internal_value(self, data: object) -> list:
        """The list."""
        return super().to_internal_value(data if isinstance(data, list) else [data])


class NewDownloadSerializer(RequestSerializer):
    """What is told of a download."""

    user = Named("username", required=False, queryset=User.objects.all())
    datasets = OneOrMany(child=Key(queryset=Dataset.objects.all()), max_length=1000)
    projects = OneOrMany(child=Named(queryset=Project.objects.all()), required=False, default=list)


class NewDownload(APIView):
    """Somebody has downloaded something."""

    @extend_schema(request=NewDownloadSerializer, responses={201: DownloadSerializer(many=True)})
    @transaction.atomic
    def post(self, request: Request) -> Response:
        """``POST /new-download``: counts each dataset, for each project."""
        form = NewDownloadSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        user = form.validated_data.get("user", request.user)
        if user != request.user and not request.user.is_staff:
            raise PermissionDenied("you may tell of your own downloads; leave user out")
        done = []
        for dataset in form.validated_data["datasets"]:
            download, _ = Download.objects.get_or_create(user=user, dataset=dataset)
            download.projects.add(*form.validated_data["projects"])
            download.count = F("count") + 1
            download.save()
            done.append(download.pk)
        return Response({"download": [str(key) for key in done]}, status.HTTP_201_CREATED)
