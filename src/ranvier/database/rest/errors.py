"""Every error is JSON with a `detail` that says what to do, and a `status_code`, as Alyx has it."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import DisallowedHost
from django.core.exceptions import ValidationError as ModelError
from django.db import DataError, IntegrityError, InterfaceError, NotSupportedError, OperationalError, ProgrammingError
from django.db.models import ProtectedError
from django.http import HttpRequest, HttpResponse, JsonResponse
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

#: What SQLite and PostgreSQL say of a question that is too long, too deep or of values that they have no type for.
TOO_MUCH = re.compile(
    r"pattern too complex|Expression tree is too large|at most \d+ tables|too many FROM clause terms|too many SQL variables"
    r"|parser stack overflow|string or blob too big|stack depth limit exceeded|Error binding parameter|cannot adapt type"
)


class Conflict(APIException):
    """The request is sound, and the state of things forbids it."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = "conflicts with what is there already"
    default_code = "conflict"


class Unavailable(APIException):
    """What the database stands on does not answer just now, or its disk is full: the same request may work later."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Django REST framework's exception handler."""
    response = exception_handler(_translated(error), context)
    if response is not None:
        response.data = _body(response.data, response.status_code)
    return response


def _translated(error: Exception) -> Exception:
    from ranvier.database.rest.reading import may_read  # which needs the models; the settings name this module

    if isinstance(error, ProtectedError):
        users = sorted(error.protected_objects, key=str)
        kinds = ", ".join(sorted({str(row._meta.verbose_name) for row in users}))
        example = next((f", such as {row}" for row in users if may_read(row)), "")
        return Conflict(f"still in use by {len(users)} of kind {kinds}{example}; delete or change what uses it first")
    if isinstance(error, IntegrityError):
        reason = str(error).strip().splitlines()[-1].removeprefix("DETAIL:").strip()
        return Conflict(f"{reason}; such a row is there already: read it and PATCH it, or choose another name or number")
    if isinstance(error, (OperationalError, InterfaceError, ProgrammingError)) and (limit := TOO_MUCH.search(str(error))):
        return ValidationError(f"the database cannot answer this question ({limit[0]}); ask for less at once")
    if isinstance(error, (OperationalError, InterfaceError)) and "no such" not in str(error):  # SQLite's missing table or column
        return Unavailable(f"the database's storage does not answer just now: {str(error).strip()}; try again")
    if isinstance(error, NotSupportedError):
        return ValidationError(f"{str(error).strip()} Use another lookup, such as exact.")
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
        return [s for key, value in data.items() for s in _sentences(value, _named(key) or field)]
    if isinstance(data, list):
        return [s for value in data for s in _sentences(value, field)]
    return [f"{field}: {data}" if field else str(data)]


def _named(key: Any) -> str:
    """A field's name; the places of a list, and what is said of the whole, have none."""
    return key if isinstance(key, str) and key != "non_field_errors" else ""


def plain(code: int, detail: str) -> JsonResponse:
    """An error that no view gives."""
    return JsonResponse({"detail": detail, "status_code": code}, status=code)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A request that Django itself refuses, such as one for an unknown host."""
    if isinstance(exception, DisallowedHost):
        return plain(400, "bad request: is the host name in the address one of this database's (setting database.url)?")
    return plain(400, f"bad request: {exception}")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """No such address."""
    return plain(404, f"{request.path} is not here; GET /api/schema lists every endpoint")


def server_error(request: HttpRequest) -> HttpResponse:
    """A mistake of ours."""
    return plain(500, "the database made a mistake, which its log tells of; please report it")
