"""How datasets, their copies and what describes them look in REST."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ranvier.database.actions.models import Session
from ranvier.database.data.dataset_rows import rows_of_session
from ranvier.database.data.locations import inside
from ranvier.database.data.models import (
    DataFormat,
    DataRepository,
    DataRepositoryType,
    Dataset,
    DatasetType,
    FileRecord,
    Revision,
    Tag,
)
from ranvier.database.people.models import User
from ranvier.database.rest.fields import Linked, Named, QCField
from ranvier.database.rest.reading import seen
from ranvier.database.rest.serializers import NamedSerializer, RecordSerializer


class DataRepositorySerializer(NamedSerializer):
    """A repository."""

    repository_type = Named(required=False, allow_null=True, queryset=DataRepositoryType.objects.all())

    class Meta(RecordSerializer.Meta):
        model = DataRepository
        fields = (
            "name",
            "timezone",
            "globus_path",
            "hostname",
            "data_url",
            "repository_type",
            "globus_endpoint_id",
            "globus_is_personal",
            "json",
        )


class DataRepositoryTypeSerializer(NamedSerializer):
    """A kind of repository."""

    url = serializers.HyperlinkedIdentityField("data-repository-type-detail", lookup_field="name")

    class Meta(RecordSerializer.Meta):
        model = DataRepositoryType
        fields = ("url", "json", "name")


class DataFormatSerializer(NamedSerializer):
    """A file format."""

    class Meta(RecordSerializer.Meta):
        model = DataFormat
        fields = ("id", "json", "name", "description", "file_extension", "matlab_loader_function", "python_loader_function")


class DatasetTypeSerializer(NamedSerializer):
    """A dataset type."""

    created_by = Named("username", required=False, allow_null=True, queryset=User.objects.all())

    class Meta(RecordSerializer.Meta):
        model = DatasetType
        fields = ("id", "name", "created_by", "description", "filename_pattern", "json")
        extra_kwargs = {"filename_pattern": {"allow_blank": True}}

    def validate_filename_pattern(self, pattern: str | None) -> str | None:
        """Patterns are kept in small letters."""
        return (pattern or "").strip().lower() or None

    def to_representation(self, instance: DatasetType) -> dict[str, Any]:
        """As Alyx: ONE strips the pattern, so it must be a text."""
        row = super().to_representation(instance)
        return {**row, "filename_pattern": row["filename_pattern"] or ""}


class RevisionSerializer(NamedSerializer):
    """A revision."""

    class Meta(RecordSerializer.Meta):
        model = Revision
        fields = ("id", "json", "name", "description", "created_datetime")


class TagSerializer(NamedSerializer):
    """A tag."""

    class Meta(RecordSerializer.Meta):
        model = Tag
        fields = ("id", "json", "name", "description", "protected", "public", "hash")


class DatasetFileRecordsSerializer(RecordSerializer):
    """A copy, as its dataset shows it."""

    data_repository = Named(read_only=True)
    data_repository_path = serializers.CharField(source="data_repository.globus_path", read_only=True)
    data_url = serializers.CharField(read_only=True, allow_null=True)

    class Meta(RecordSerializer.Meta):
        model = FileRecord
        fields = ("id", "data_repository", "data_repository_path", "relative_path", "data_url", "exists")


class FileRecordSerializer(RecordSerializer):
    """A copy, by itself."""

    url = serializers.HyperlinkedIdentityField("files-detail")
    dataset = Linked("datasets-detail", queryset=Dataset.objects.all())
    data_repository = Named(queryset=DataRepository.objects.all())
    name = serializers.CharField(source="dataset.name", read_only=True)

    class Meta(RecordSerializer.Meta):
        model = FileRecord
        fields = ("id", "url", "dataset", "data_repository", "name", "json", "relative_path", "exists")

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A copy is a file of its dataset's session: whoever may read the dataset is sent the file."""
        if not {"dataset", "relative_path"} & set(fields):
            return fields
        before = {name: getattr(self.instance, name) for name in ("dataset", "relative_path")} if self.instance else {}
        whole = {**before, **fields}
        dataset, path = whole["dataset"], whole["relative_path"]
        try:
            inside(path)
        except ValueError as error:
            raise serializers.ValidationError({"relative_path": [str(error)]}) from None
        if dataset.session and not path.startswith(f"{dataset.session.path}/"):
            raise serializers.ValidationError(
                {"relative_path": [f"{path[:200]} is not below {dataset.session.path}, the dataset's session"]}
            )
        return fields


class DatasetSerializer(RecordSerializer):
    """A dataset."""

    url = serializers.HyperlinkedIdentityField("datasets-detail")
    created_by = Named("username", required=False, allow_null=True, queryset=User.objects.all())
    dataset_type = Named(queryset=DatasetType.objects.all())
    data_format = Named(queryset=DataFormat.objects.all())
    session = Linked("sessions-detail", required=False, allow_null=True, queryset=Session.objects.all())
    experiment_number = serializers.SerializerMethodField()
    file_records = DatasetFileRecordsSerializer(many=True, read_only=True)
    revision = Named(required=False, allow_null=True, queryset=Revision.objects.all())
    protected = serializers.SerializerMethodField()
    public = serializers.SerializerMethodField()
    tags = Named(many=True, required=False, queryset=Tag.objects.all())
    qc = QCField(required=False)
    subject = serializers.CharField(required=False, write_only=True, help_text="Of the session, in place of it")
    date = serializers.DateField(required=False, write_only=True, help_text="Of the session, in place of it")
    number = serializers.IntegerField(required=False, write_only=True, help_text="Of the session, in place of it; 1 otherwise")

    class Meta(RecordSerializer.Meta):
        model = Dataset
        fields = (
            "id",
            "url",
            "name",
            "created_by",
            "created_datetime",
            "dataset_type",
            "data_format",
            "collection",
            "session",
            "file_size",
            "hash",
            "version",
            "experiment_number",
            "file_records",
            "auto_datetime",
            "revision",
            "default_dataset",
            "protected",
            "public",
            "tags",
            "qc",
            "json",
            "subject",
            "date",
            "number",
        )

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A session may be named by its subject, day and number."""
        subject, date, number = (fields.pop(name, None) for name in ("subject", "date", "number"))
        if subject is None and date is None and number is None:
            return fields
        if subject is None or date is None:
            raise serializers.ValidationError({"subject": ["name the session by subject, date and number, or by its id in session"]})
        session = seen(Session.objects).filter(subject__nickname=subject, date=date, number=1 if number is None else number).first()
        if session is None:
            raise serializers.ValidationError({"session": [f"there is no session {subject}/{date}/{number}; register it first"]})
        if fields.get("session", session) != session:
            raise serializers.ValidationError({"session": [f"is another one than {session}, which subject, date and number name"]})
        return {**fields, "session": session}

    def get_experiment_number(self, dataset: Dataset) -> int | None:
        """Number of the session."""
        return dataset.session.number if dataset.session else None

    def get_protected(self, dataset: Dataset) -> int:
        """1 where a tag forbids changing it."""
        return int(dataset.is_protected)

    def get_public(self, dataset: Dataset) -> int:
        """1 where a tag makes it public."""
        return int(dataset.is_public)

    def to_representation(self, instance: Dataset) -> dict[str, Any]:
        """As Alyx: no revision is an empty text."""
        row = super().to_representation(instance)
        return {**row, "revision": row["revision"] or ""}


@extend_schema_field({"type": "array", "items": {"type": "object"}})
class SessionDatasetsField(serializers.Field):
    """A session's datasets that can be downloaded, as ONE reads them."""

    def to_representation(self, rows: Any) -> list[dict[str, Any]]:
        """One item for each dataset that has a copy at an address."""
        return rows_of_session(rows, self.context["request"].build_absolute_uri)
