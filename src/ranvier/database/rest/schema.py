"""The OpenAPI document, from which ONE learns the endpoints, their filters and their fields."""

from __future__ import annotations

from functools import lru_cache

from django.http import HttpRequest, HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer


@lru_cache(maxsize=1)
def document() -> bytes:
    """The document; it changes with the code only, so a process makes it once."""
    return OpenApiJsonRenderer().render(SchemaGenerator().get_schema(public=True))


def schema(request: HttpRequest) -> HttpResponse:
    """``GET /api/schema``."""
    return HttpResponse(document(), content_type="application/vnd.oai.openapi+json")
