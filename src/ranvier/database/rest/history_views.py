"""``/history``: who changed what."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from ranvier.database.rest.access import access_of
from ranvier.database.rest.models import Change
from ranvier.database.rest.reading import visible
from ranvier.database.rest.rules import RULES, Area, rule_of
from ranvier.database.rest.serializers import RecordSerializer


class ChangeSerializer(RecordSerializer):
    """A change."""

    class Meta(RecordSerializer.Meta):
        model = Change
        fields = ("id", "time", "username", "model", "row", "name", "kind", "fields")


class History(generics.GenericAPIView):
    """The changes of a row, the latest first."""

    queryset = Change.objects.all()
    serializer_class = ChangeSerializer
    filter_backends = ()

    @extend_schema(
        operation_id="history_list",
        parameters=[
            OpenApiParameter("model", required=True, description="session, actions.session, …"),
            OpenApiParameter("id", required=True),
        ],
        responses=ChangeSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """``GET /history?model=&id=``; of a row that is gone for staff only, as nothing says any more whose it was."""
        table = _table(request.query_params.get("model", ""))
        pk = request.query_params.get("id", "")
        access = access_of(request)
        if not access.everything and not _is_there(table, pk, access):
            raise NotFound(f"there is no {table._meta.model_name} {pk[:64]} that you may read")
        page = self.paginate_queryset(self.get_queryset().filter(model=table._meta.label_lower, row=pk))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


def _table(name: str) -> Any:
    """The table of a name, with its app or without."""
    known = {label.lower(): label for label in RULES} | {label.lower().partition(".")[2]: label for label in RULES}
    if name.lower() not in known:
        raise ValidationError({"model": [f"no table {name[:64]!r}; the tables are {', '.join(sorted(RULES))}"]})
    return apps.get_model(known[name.lower()])


def _is_there(table: Any, pk: str, access: Any) -> bool:
    if rule_of(table).area in (Area.STAFF, Area.OWN):
        return False
    try:
        return bool(visible(table._base_manager.filter(pk=table._meta.pk.to_python(pk)), access).exists())
    except ValueError:
        raise ValidationError({"id": [f"{pk[:64]!r} is not an id"]}) from None
