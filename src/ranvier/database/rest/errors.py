"""Every error is JSON with a `detail` that says what to do, and a `status_code`, as Alyx has it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as ModelError
from django.db import DataError, IntegrityError
from django.db.models import ProtectedError
from django.http import HttpRequest, HttpResponse, JsonResponse
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler


class Conflict(APIException):
    """The request is sound, and the state of things forbids it."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = "conflicts with what is there already"
    default_code = "conflict"


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Django REST framework's exception handler."""
    response = exception_handler(_translated(error), context)
    if response is not None:
        response.data = _body(response.data, response.status_code)
    return response


def _translated(error: Exception) -> Exception:
    if isinstance(error, ProtectedError):
        names = ", ".join(sorted({str(row._meta.verbose_name) for row in error.protected_objects}))
        return Conflict(f"still in use by a {names}; delete or change what uses it first")
    if isinstance(error, IntegrityError):
        reason = str(error).strip().splitlines()[-1].removeprefix("DETAIL:").strip()
        return Conflict(f"{reason}; such a row is there already: read it and PATCH it, or choose another name or number")
    if isinstance(error, ModelError):
        return ValidationError(error.messages)
    if isinstance(error, (DataError, OverflowError, UnicodeEncodeError)):
        return ValidationError(f"a value cannot be stored: {str(error).strip()}; send numbers and text within the documented limits")
    return error


def _body(data: Any, code: int) -> dict[str, Any]:
    if isinstance(data, dict) and "detail" in data:
        return {**data, "status_code": code}
    body: dict[str, Any] = {"detail": "; ".join(_sentences(data)), "status_code": code}
    return {**body, "errors": data} if isinstance(data, dict) else body


def _sentences(data: Any, field: str = "") -> list[str]:
    if isinstance(data, dict):
        return [s for key, value in data.items() for s in _sentences(value, key if key != "non_field_errors" else field)]
    if isinstance(data, list):
        return [s for value in data for s in _sentences(value, field)]
    return [f"{field}: {data}" if field else str(data)]


def _plain(code: int, detail: str) -> JsonResponse:
    return JsonResponse({"detail": detail, "status_code": code}, status=code)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A request that Django itself refuses, such as one for an unknown host."""
    return _plain(400, "bad request: is the host name in the address one of this database's (setting database.url)?")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """No such address."""
    return _plain(404, f"{request.path} is not here; GET /api/schema lists every endpoint")


def server_error(request: HttpRequest) -> HttpResponse:
    """A mistake of ours."""
    return _plain(500, "the database made a mistake, which its log tells of; please report it")
