"""Filters that every list shares."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import django_filters
from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend

from ranvier.database.data.models import Dataset
from ranvier.database.rest import lookups
from ranvier.database.rest.access import access_of
from ranvier.database.rest.fields import parse_qc
from ranvier.database.rest.reach import filtered
from ranvier.database.rest.reading import visible

if TYPE_CHECKING:  # rest_framework.views itself imports this module
    from rest_framework.request import Request
    from rest_framework.views import APIView


class Seen(BaseFilterBackend):
    """Rows that whoever asks may read, in lists and alone."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Model], view: APIView) -> QuerySet[Model]:
        """Those rows."""
        return visible(queryset, access_of(request))


class ListFilters(DjangoFilterBackend):
    """Filters lists only: to make the filters' forms takes longer than to read the one row that an address names."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Model], view: APIView) -> QuerySet[Model]:
        """Rows that the query asks for."""
        return queryset if getattr(view, "detail", False) else super().filter_queryset(request, queryset, view)


class AnyOf(django_filters.CharFilter):
    """Any of some names, joined by commas; capitals make no difference."""

    def filter(self, rows: QuerySet[Model], value: str) -> QuerySet[Model]:
        """Rows of one of the names."""
        condition = Q()
        for name in words(value):
            condition |= Q(**{f"{self.field_name}__iexact": name})
        rows = rows.filter(condition)
        return rows.distinct() if value and self.distinct else rows


class AllOf(django_filters.CharFilter):
    """All of some names, joined by commas."""

    def filter(self, rows: QuerySet[Model], value: str) -> QuerySet[Model]:
        """Rows that have every one of the names."""
        for name in words(value):
            rows = rows.filter(**{f"{self.field_name}__{self.lookup_expr}": name})
        return rows.distinct() if value else rows


def words(value: str | None) -> list[str]:
    """What stands between commas."""
    return [word.strip() for word in (value or "").split(",") if word.strip()]


def days(value: str, field: str) -> tuple[datetime.date, datetime.date]:
    """The first and last day of a range, as ``from,to``."""
    try:
        first, last = (datetime.date.fromisoformat(day.strip()[:10]) for day in value.split(","))
    except ValueError:
        raise ValidationError({field: [f"{value!r} is not a range of days; write 2026-01-01,2026-01-31"]}) from None
    return first, last


def qc_level(value: str, field: str) -> int:
    """A QC outcome by name or number."""
    try:
        return int(parse_qc(value))
    except ValueError as error:
        raise ValidationError({field: [str(error)]}) from None


class RecordFilter(django_filters.FilterSet):
    """Any list: the ``django=`` filter."""

    django = django_filters.CharFilter(method="by_lookups", help_text="field__lookup,value,…; ~ before a field excludes")

    def filter_queryset(self, queryset: QuerySet[Model]) -> QuerySet[Model]:
        """Apply each filter that was given."""
        for name, value in self.form.cleaned_data.items():
            queryset = filtered(queryset, self.filters[name], _utc(value))
        return queryset

    def by_lookups(self, rows: QuerySet[Model], name: str, value: str) -> QuerySet[Model]:
        """Apply ``django=``."""
        return lookups.apply(rows, value)


def _utc(value: Any) -> Any:
    """A time with its zone as the database has times: UTC, without one."""
    is_aware = isinstance(value, datetime.datetime) and value.tzinfo is not None
    return value.astimezone(datetime.UTC).replace(tzinfo=None) if is_aware else value


class StructuredFilter(RecordFilter):
    """Lists of rows with structured data: ``json=key,value``."""

    json = django_filters.CharFilter(method="by_structure", help_text="key,value or key__gte,value")

    def by_structure(self, rows: QuerySet[Model], name: str, value: str) -> QuerySet[Model]:
        """Conditions on keys of structured data, written as in ``django=`` without the field's name."""
        conditions = ",".join(f"{name}__{term.path},{term.value}" for term in lookups.terms(value))
        return lookups.apply(rows, conditions)


class HasDatasets(RecordFilter):
    """Lists of rows that have datasets: sessions and insertions."""

    datasets = django_filters.CharFilter(method="by_datasets", help_text="Names, joined by commas: all must be there")
    dataset_types = django_filters.CharFilter(method="by_dataset_types", help_text="Names, joined by commas: all must be registered")
    dataset_qc_lte = django_filters.CharFilter(method="by_dataset_qc", help_text="Worst outcome of the datasets asked for")
    tag = django_filters.CharFilter(method="by_tag", help_text="Name of a tag that one of the datasets has")
    owner = "session"

    def _having(self, rows: QuerySet[Model], **conditions: Any) -> QuerySet[Model]:
        return rows.filter(Exists(Dataset.objects.filter(**{self.owner: OuterRef("pk")}, **conditions)))

    def _quality(self) -> dict[str, int]:
        worst = self.data.get("dataset_qc_lte")
        return {"qc__lte": qc_level(worst, "dataset_qc_lte")} if worst else {}

    def by_datasets(self, rows: QuerySet[Model], name: str, value: str) -> QuerySet[Model]:
        """Rows all of whose named datasets are registered and there."""
        for dataset in words(value):
            rows = self._having(rows, name=dataset, file_records__exists=True, **self._quality())
        return rows

    def by_dataset_types(self, rows: QuerySet[Model], name: str, value: str) -> QuerySet[Model]:
        """Rows that have a dataset of each type."""
        for dataset_type in words(value):
            rows = self._having(rows, dataset_type__name=dataset_type, **self._quality())
        return rows

    def by_dataset_qc(self, rows: QuerySet[Model], name: str, value: str) -> QuerySet[Model]:
        """Where no dataset is named, rows that have any of the quality."""
        named = self.data.get("datasets") or self.data.get("dataset_types")
        return rows if named else self._having(rows, **self._quality())

    def by_tag(self, rows: QuerySet[Model], name: str, value: str) -> QuerySet[Model]:
        """Rows with a tagged dataset."""
        return self._having(rows, tags__name=value)
