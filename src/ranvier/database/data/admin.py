"""Admin pages of datasets, their copies and what describes them."""

from __future__ import annotations

from django.contrib import admin
from django.db import models

from ranvier.database.data.models import (
    DataFormat,
    DataNotice,
    DataRepository,
    DataRepositoryType,
    Dataset,
    DatasetType,
    Download,
    FileRecord,
    Revision,
    Tag,
)
from ranvier.database.rest.admin_site import RoleAdmin


@admin.register(DataRepository)
class DataRepositoryAdmin(RoleAdmin):
    """Repositories."""

    list_display = ("name", "repository_type", "hostname", "data_url", "globus_is_personal")
    list_filter = ("repository_type", "globus_is_personal", "lab_set")
    search_fields = ("name", "hostname")
    formfield_overrides = {models.URLField: {"assume_scheme": "http"}}


@admin.register(DataRepositoryType)
class DataRepositoryTypeAdmin(RoleAdmin):
    """Kinds of repositories."""

    list_display = search_fields = ("name",)


@admin.register(DataFormat)
class DataFormatAdmin(RoleAdmin):
    """File formats."""

    list_display = ("name", "file_extension", "description")
    search_fields = ("name", "file_extension")


@admin.register(DatasetType)
class DatasetTypeAdmin(RoleAdmin):
    """Dataset types."""

    list_display = ("name", "filename_pattern", "description")
    list_filter = (("filename_pattern", admin.EmptyFieldListFilter),)
    search_fields = ("name", "filename_pattern", "description")
    autocomplete_fields = ("created_by",)


@admin.register(Revision)
class RevisionAdmin(RoleAdmin):
    """Revisions."""

    list_display = ("name", "description", "created_datetime")
    search_fields = ("name",)


@admin.register(Tag)
class TagAdmin(RoleAdmin):
    """Tags."""

    list_display = ("name", "description", "protected", "public")
    list_filter = ("protected", "public")
    search_fields = ("name",)


class FileRecordInline(admin.TabularInline):
    """Copies of a dataset."""

    model = FileRecord
    extra = 0
    fields = ("data_repository", "relative_path", "exists")


@admin.register(Dataset)
class DatasetAdmin(RoleAdmin):
    """Datasets."""

    list_display = ("name", "collection", "revision", "session", "dataset_type", "file_size", "qc", "default_dataset", "auto_datetime")
    list_filter = ("qc", "default_dataset", "session__lab", "data_format", "tags")
    list_select_related = ("revision", "session__subject", "dataset_type")
    search_fields = ("name", "collection", "session__subject__nickname")
    autocomplete_fields = ("session", "dataset_type", "data_format", "revision", "tags", "created_by")
    date_hierarchy = "auto_datetime"
    show_full_result_count = False
    inlines = [FileRecordInline]


@admin.register(FileRecord)
class FileRecordAdmin(RoleAdmin):
    """Copies."""

    list_display = ("relative_path", "data_repository", "exists")
    list_filter = ("data_repository", "exists")
    list_select_related = ("data_repository",)
    search_fields = ("relative_path",)
    autocomplete_fields = ("dataset", "data_repository")
    show_full_result_count = False


@admin.register(DataNotice)
class DataNoticeAdmin(RoleAdmin):
    """What users of datasets have to know."""

    list_display = ("name", "importance", "version_affected", "affected_date_start", "affected_date_end", "created_by")
    list_filter = ("importance", "created_datetime")
    list_select_related = ("created_by",)
    search_fields = ("name", "description", "version_affected")
    autocomplete_fields = ("datasets", "created_by")


@admin.register(Download)
class DownloadAdmin(RoleAdmin):
    """Who downloaded what."""

    list_display = ("dataset", "user", "count", "first_download", "last_download")
    list_filter = ("projects", "last_download")
    list_select_related = ("dataset__revision", "user")
    search_fields = ("dataset__name", "user__username")
    autocomplete_fields = ("dataset", "user", "projects")
    show_full_result_count = False
