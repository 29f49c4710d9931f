"""Datasets: what they are, and where their copies are."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from one.alf.path import add_uuid_string
from one.alf.spec import QC

from ranvier.database.base import NamedRecord, Record

QC_CHOICES = sorted((level.value, level.name) for level in QC)


class DataRepositoryType(NamedRecord):
    """A kind of place, such as a file server."""


class DataRepository(NamedRecord):
    """A place that keeps copies of data: a folder tree, and where there is one the address under which it is served."""

    repository_type = models.ForeignKey(DataRepositoryType, models.SET_NULL, null=True, blank=True)
    hostname = models.CharField(max_length=200, blank=True)
    data_url = models.URLField(blank=True, help_text="Address of the folder that relative paths start from, ending in /<lab>/Subjects/")
    timezone = models.CharField(max_length=64, blank=True, default="UTC")
    globus_path = models.CharField(max_length=1000, blank=True)
    globus_endpoint_id = models.UUIDField(null=True, blank=True)
    globus_is_personal = models.BooleanField(
        default=False, help_text="A machine that only its lab can reach; clients do not download from it"
    )

    class Meta(NamedRecord.Meta):
        verbose_name_plural = "data repositories"


class DataFormat(NamedRecord):
    """A file format, known by its extension."""

    description = models.CharField(max_length=255, blank=True)
    file_extension = models.CharField(
        max_length=255, unique=True, validators=[RegexValidator(r"^\.[\w.]+$", "start with a dot, as .npy does")]
    )
    matlab_loader_function = models.CharField(max_length=255, blank=True)
    python_loader_function = models.CharField(max_length=255, blank=True)


class DatasetType(NamedRecord):
    """What a file is, recognised by its name: by `filename_pattern`, or where that is empty by its ``object.attribute``."""

    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    description = models.TextField(blank=True)
    filename_pattern = models.CharField(
        max_length=255,
        unique=True,
        null=True,
        blank=True,
        help_text="Glob, in small letters; empty: the name is the object.attribute itself",
    )

    def save(self, *args: object, **kwargs: object) -> None:
        """Keep patterns in small letters, and no pattern as NULL, so that patterns stay unique."""
        self.filename_pattern = (self.filename_pattern or "").strip().lower() or None
        super().save(*args, **kwargs)


class Revision(NamedRecord):
    """A later version of datasets, kept in a folder ``#name#`` beside the first."""

    name = models.CharField(
        max_length=255, unique=True, validators=[RegexValidator(r"^[\w.-]+$", "use letters, digits, '_', '-' and '.' only")]
    )
    description = models.CharField(max_length=1023, blank=True)
    created_datetime = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_datetime"]


class Tag(NamedRecord):
    """A set of datasets, such as those of a paper; a protected tag forbids changing them."""

    description = models.CharField(max_length=1023, blank=True)
    protected = models.BooleanField(default=False)
    public = models.BooleanField(default=False)
    hash = models.CharField(max_length=64, blank=True)


class Dataset(Record):
    """A file, whatever number of copies it has."""

    name = models.CharField(max_length=255, db_index=True)
    session = models.ForeignKey("actions.Session", models.CASCADE, null=True, blank=True, related_name="data_dataset_session_related")
    content_type = models.ForeignKey("contenttypes.ContentType", models.SET_NULL, null=True, blank=True)
    object_id = models.UUIDField(null=True, blank=True, help_text="What a dataset without a session belongs to")
    collection = models.CharField(max_length=255, blank=True, default="")
    revision = models.ForeignKey(Revision, models.PROTECT, null=True, blank=True, related_name="datasets")
    dataset_type = models.ForeignKey(DatasetType, models.PROTECT, related_name="datasets")
    data_format = models.ForeignKey(DataFormat, models.PROTECT, related_name="datasets")
    tags = models.ManyToManyField(Tag, blank=True, related_name="datasets")
    file_size = models.BigIntegerField(null=True, blank=True, help_text="Bytes")
    hash = models.CharField(max_length=64, blank=True, default="", help_text="md5")
    version = models.CharField(max_length=64, blank=True, default="", help_text="Of the software that wrote it")
    generating_software = models.CharField(max_length=255, blank=True)
    provenance_directory = models.CharField(max_length=255, blank=True)
    default_dataset = models.BooleanField(default=True, help_text="Whether this revision is the one to load")
    qc = models.IntegerField(choices=QC_CHOICES, default=QC.NOT_SET)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_datetime = models.DateTimeField(default=timezone.now)
    auto_datetime = models.DateTimeField(auto_now=True, verbose_name="last updated")

    class Meta:
        ordering = ["collection", "name", "-created_datetime"]
        indexes = [models.Index(fields=["collection", "name", "-created_datetime"], name="datasets_in_order")]
        constraints = [
            models.UniqueConstraint(
                fields=["session", "collection", "name"], condition=models.Q(revision=None), name="one_original_dataset"
            ),
            models.UniqueConstraint(fields=["session", "collection", "name", "revision"], name="one_dataset_per_revision"),
        ]

    def __str__(self) -> str:
        return "/".join(filter(None, (self.collection, f"#{self.revision.name}#" if self.revision else "", self.name)))

    @property
    def is_protected(self) -> bool:
        """Whether a tag forbids changing it."""
        return any(tag.protected for tag in self.tags.all())

    @property
    def is_public(self) -> bool:
        """Whether a tag makes it public."""
        return any(tag.public for tag in self.tags.all())


class FileRecord(Record):
    """A copy of a dataset in a repository, or the intention of one."""

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="file_records")
    data_repository = models.ForeignKey(DataRepository, models.PROTECT, related_name="file_records")
    relative_path = models.CharField(max_length=1000, help_text="<subject>/<date>/<number>/… below the repository's folder")
    exists = models.BooleanField(default=False, help_text="Whether the copy is there")
    auto_datetime = models.DateTimeField(auto_now=True, verbose_name="last updated")

    class Meta:
        ordering = ["data_repository__name"]
        constraints = [models.UniqueConstraint(fields=["data_repository", "relative_path"], name="one_record_per_file")]

    def __str__(self) -> str:
        return f"{self.data_repository.name}: {self.relative_path}"

    @classmethod
    def mark(cls, keys: Iterable[uuid.UUID], *, exists: bool) -> None:
        """Write whether copies are there, any number in one statement."""
        cls.objects.filter(pk__in=keys).update(exists=exists, auto_datetime=timezone.now())

    @property
    def data_url(self) -> str | None:
        """Address of the copy, the dataset's UUID inside its name; None where the repository is not served."""
        base = self.data_repository.data_url
        return base + add_uuid(self.relative_path, self.dataset_id) if base else None


def add_uuid(relative_path: str, dataset: uuid.UUID) -> str:
    """``…/spikes.times.npy`` as clients ask for it: ``…/spikes.times.<UUID>.npy``."""
    return add_uuid_string(relative_path, dataset).as_posix()


class Download(Record):
    """That a user has downloaded a dataset, how often, and for what."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="downloads")
    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="downloads")
    projects = models.ManyToManyField("people.Project", blank=True, related_name="downloads")
    first_download = models.DateTimeField(auto_now_add=True)
    last_download = models.DateTimeField(auto_now=True)
    count = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-last_download"]
        constraints = [models.UniqueConstraint(fields=["user", "dataset"], name="one_download_per_user")]

    def __str__(self) -> str:
        return f"{self.dataset} by {self.user}"


class DataNotice(Record):
    """Something that users of datasets have to know, such as a mistake in the software that wrote them."""

    class Importance(models.IntegerChoices):
        """How much it matters."""

        INSIGNIFICANT = 20
        MINOR = 30
        MAJOR = 40
        CRITICAL = 50

    name = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True, help_text="Markdown")
    importance = models.IntegerField(choices=Importance, default=Importance.MINOR)
    datasets = models.ManyToManyField(Dataset, blank=True, related_name="notices")
    version_affected = models.CharField(max_length=64, blank=True, default="", help_text="Versions of the software")
    affected_date_start = models.DateField(null=True, blank=True)
    affected_date_end = models.DateField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="data_notices")
    created_datetime = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-importance", "-created_datetime"]

    def __str__(self) -> str:
        return self.name
