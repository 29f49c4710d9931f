"""Base of the endpoints."""

from __future__ import annotations

from typing import Any

from django.db import transaction
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
        """Change one."""
        return super().update(request, *args, **kwargs)

    @transaction.atomic
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete one."""
        return super().destroy(request, *args, **kwargs)


class NamedViewSet(RecordViewSet):
    """The same for records that are asked for by name."""

    lookup_field = "name"
