"""``/cache/info`` and ``/cache.zip``: ONE's tables for working offline."""

from __future__ import annotations

from urllib.parse import quote

from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ranvier.database.data.cache_tables import current, information
from ranvier.database.data.models import Tag
from ranvier.database.rest.access import access_of
from ranvier.database.rest.reading import sees_all_sessions


class CacheInfo(APIView):
    """When the tables were made, of what, and where they are."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, tag: str = "") -> Response:
        """``GET /cache/info`` or ``GET /cache/info/<tag>``; makes the tables where something has changed."""
        _require_all(request)
        told = information(current(_tag(tag)))
        return Response({**told, "location": request.build_absolute_uri(f"/cache.zip?tag={quote(tag, safe='')}" if tag else "/cache.zip")})


class CacheArchive(APIView):
    """The tables."""

    @extend_schema(
        operation_id="cache_zip_list",
        parameters=[OpenApiParameter("tag", description="Only datasets with this tag")],
        responses={(200, "application/zip"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request) -> FileResponse:
        """``GET /cache.zip``."""
        _require_all(request)
        path = current(_tag(request.query_params.get("tag", "")))
        return FileResponse(path.open("rb"), filename="cache.zip", content_type="application/zip")


def _require_all(request: Request) -> None:
    """The tables hold every session, so they are for those from whom none is kept."""
    if not sees_all_sessions(access_of(request)):
        raise PermissionDenied("these tables hold sessions that you may not read; search online, or ask for a place in their projects")


def _tag(name: str) -> Tag | None:
    if not name:
        return None
    found = Tag.objects.filter(name=name).first()
    if found is None:
        raise NotFound(f"there is no tag {name!r}; GET /tags lists those there are")
    return found
