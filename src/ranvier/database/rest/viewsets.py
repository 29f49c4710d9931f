"""Base of the endpoints."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import prefetch_related_objects
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response


class RecordViewSet(viewsets.ModelViewSet):
    """List, create, read, update, delete; each write is one transaction."""

    lookup_value_regex = "[^/]+"

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
