"""Base of the endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from ranvier.database.rest.access import acting
from ranvier.database.rest.reading import seen


class RecordViewSet(viewsets.ModelViewSet):
    """List, create, read, update, delete; each write is one transaction."""

    lookup_value_regex = "[^/]+"
    #: Rows of other tables that the answer shows, by relation: only those that whoever asks may read.
    nested: Mapping[str, QuerySet[Any]] = {}
    #: Relations to one row that is shown by its key, and may be kept from who reads this one: `fields.SeenKey`.
    hidden: Mapping[str, QuerySet[Any]] = {}

    def get_queryset(self) -> QuerySet[Any]:
        """The rows, with what they show of others."""
        access = acting()
        apart = {} if access is None or access.everything else self.hidden
        rows: QuerySet[Any] = super().get_queryset()
        return rows.prefetch_related(*(Prefetch(name, seen(among)) for name, among in {**self.nested, **apart}.items()))

    @transaction.atomic
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Create one."""
        return super().create(request, *args, **kwargs)

    @transaction.atomic
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change one; of what belongs to it only that is read again for the answer which was changed."""
        row = self.get_object()
        form = self.get_serializer(row, data=request.data, partial=kwargs.pop("partial", False))
        form.is_valid(raise_exception=True)
        self.perform_update(form)
        prefetch_related_objects([row], *self.get_queryset()._prefetch_related_lookups)
        return Response(form.data)

    @transaction.atomic
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete one."""
        return super().destroy(request, *args, **kwargs)


class NamedViewSet(RecordViewSet):
    """The same for records that are asked for by name."""

    lookup_field = "name"
