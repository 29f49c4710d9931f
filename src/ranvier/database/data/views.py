"""Endpoints of datasets, their copies and what describes them."""

from __future__ import annotations

import django_filters
from django.db.models import Exists, OuterRef, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from ranvier.database.data import serializers
from ranvier.database.data.dataset_rows import rows_of
from ranvier.database.data.guarding import refuse_protected
from ranvier.database.data.models import DataFormat, DataRepository, DataRepositoryType, Dataset, DatasetType, FileRecord, Revision, Tag
from ranvier.database.rest.filters import AnyOf, RecordFilter, qc_level
from ranvier.database.rest.viewsets import NamedViewSet, RecordViewSet


class DataRepositoryFilter(RecordFilter):
    """Filters of repositories."""

    class Meta:
        model = DataRepository
        fields = ("name", "globus_is_personal", "globus_endpoint_id")


class DataRepositoryViewSet(NamedViewSet):
    """Repositories."""

    queryset = DataRepository.objects.select_related("repository_type")
    serializer_class = serializers.DataRepositorySerializer
    filterset_class = DataRepositoryFilter


class DataRepositoryTypeViewSet(NamedViewSet):
    """Kinds of repositories."""

    queryset = DataRepositoryType.objects.all()
    serializer_class = serializers.DataRepositoryTypeSerializer


class DataFormatViewSet(NamedViewSet):
    """File formats."""

    queryset = DataFormat.objects.all()
    serializer_class = serializers.DataFormatSerializer


class DatasetTypeViewSet(NamedViewSet):
    """Dataset types."""

    queryset = DatasetType.objects.select_related("created_by")
    serializer_class = serializers.DatasetTypeSerializer


class RevisionFilter(RecordFilter):
    """Filters of revisions."""

    class Meta:
        model = Revision
        fields = ("name",)


class RevisionViewSet(NamedViewSet):
    """Revisions."""

    queryset = Revision.objects.all()
    serializer_class = serializers.RevisionSerializer
    filterset_class = RevisionFilter


class TagFilter(RecordFilter):
    """Filters of tags."""

    class Meta:
        model = Tag
        fields = ("name", "protected", "public")


class TagViewSet(NamedViewSet):
    """Tags."""

    queryset = Tag.objects.all()
    serializer_class = serializers.TagSerializer
    filterset_class = TagFilter


class DatasetFilter(RecordFilter):
    """Filters of datasets, with Alyx's names."""

    subject = AnyOf("session__subject__nickname")
    lab = AnyOf("session__lab__name")
    date = django_filters.DateFilter("session__date")
    experiment_number = django_filters.NumberFilter("session__number")
    created_date = django_filters.DateFilter("created_datetime__date")
    created_date_gte = django_filters.DateFilter("created_datetime__date", "gte")
    created_date_lte = django_filters.DateFilter("created_datetime__date", "lte")
    created_by = AnyOf("created_by__username")
    dataset_type = AnyOf("dataset_type__name")
    data_format = AnyOf("data_format__name")
    revision = AnyOf("revision__name")
    tag = django_filters.CharFilter("tags__name", distinct=True)
    exists = django_filters.BooleanFilter(method="by_existence", help_text="Whether a copy is there")
    protected = django_filters.BooleanFilter(method="by_tags")
    public = django_filters.BooleanFilter(method="by_tags")
    qc = django_filters.CharFilter(method="by_qc")
    tags = AnyOf("tags__name", distinct=True)
    md5 = django_filters.CharFilter(method="by_md5", help_text="The hash, as a UUID too")

    class Meta:
        model = Dataset
        fields = ("id", "name", "session", "collection", "hash", "file_size", "version", "default_dataset", "content_type", "object_id",
                  "probe_insertion", "auto_datetime", "created_datetime", "generating_software", "provenance_directory")  # fmt: skip

    def by_md5(self, rows: QuerySet[Dataset], name: str, value: str) -> QuerySet[Dataset]:
        """Those of a hash; Alyx writes it as a UUID in this filter."""
        return rows.filter(hash=value.replace("-", "").lower())

    def by_existence(self, rows: QuerySet[Dataset], name: str, value: bool) -> QuerySet[Dataset]:
        """Those with a copy, or those without."""
        copies = Exists(FileRecord.objects.filter(dataset=OuterRef("pk"), exists=True))
        return rows.filter(copies if value else ~copies)

    def by_tags(self, rows: QuerySet[Dataset], name: str, value: bool) -> QuerySet[Dataset]:
        """Those with a protected or public tag, or those without."""
        tags = Exists(Tag.objects.filter(datasets=OuterRef("pk"), **{name: True}))
        return rows.filter(tags if value else ~tags)

    def by_qc(self, rows: QuerySet[Dataset], name: str, value: str) -> QuerySet[Dataset]:
        """Those of an outcome."""
        return rows.filter(qc=qc_level(value, name))


class DatasetViewSet(RecordViewSet):
    """Datasets."""

    queryset = Dataset.objects.select_related("created_by", "dataset_type", "data_format", "session", "revision").prefetch_related(
        "tags", "file_records__data_repository"
    )
    serializer_class = serializers.DatasetSerializer
    filterset_class = DatasetFilter

    def list(self, request: Request) -> Response:
        """A page of them."""
        found = self.filter_queryset(self.get_queryset().select_related(None).prefetch_related(None))
        keys = self.paginate_queryset(found.values_list("pk", flat=True))
        return self.get_paginated_response(rows_of(keys, request.build_absolute_uri))


class FileRecordFilter(RecordFilter):
    """Filters of copies."""

    name = django_filters.CharFilter("dataset__name")
    data_repository = AnyOf("data_repository__name")
    lab = AnyOf("dataset__session__lab__name")
    globus_is_personal = django_filters.BooleanFilter("data_repository__globus_is_personal")

    class Meta:
        model = FileRecord
        fields = ("id", "dataset", "exists", "relative_path")


class FileRecordViewSet(RecordViewSet):
    """Copies of datasets."""

    queryset = FileRecord.objects.select_related("dataset", "data_repository")
    serializer_class = serializers.FileRecordSerializer
    filterset_class = FileRecordFilter

    def perform_update(self, serializer: BaseSerializer) -> None:
        """Change it; of a protected dataset only whether the copy is there."""
        if set(serializer.validated_data) - {"exists", "json"}:
            refuse_protected(serializer.instance.dataset)
        serializer.save()
