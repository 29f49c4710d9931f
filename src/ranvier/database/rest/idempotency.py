"""Writes with a header ``Idempotency-Key`` are done once: sent again, as after an answer that was lost, they get the first answer again.

The key, what the request writes and its answer are one transaction, so there is never the one without the others; on PostgreSQL the
same request at the same time waits for the first to end, on SQLite all writes do. A failure of the database's own (5xx) leaves nothing,
and may be sent again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS
from rest_framework.views import APIView

from ranvier.database.rest.errors import plain
from ranvier.database.rest.models import KeptAnswer

KEPT = dt.timedelta(days=1)
LONGEST_KEY = 255


class Idempotency:
    """Django middleware; nearest to the views, so that nothing but them is in the transaction."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a request, from what is kept where it has been answered before."""
        key = request.headers.get("Idempotency-Key")
        if key is None or request.method in SAFE_METHODS or request.path == "/auth-token":
            return self.get_response(request)
        if not (key.isascii() and key.isprintable() and 0 < len(key) <= LONGEST_KEY):
            return plain(400, f"Idempotency-Key is 1 to {LONGEST_KEY} plain characters, such as a UUID")
        said, user = _digest(request), _user(request)
        if user is None:  # the view says so
            return self.get_response(request)
        return self._once(request, user, key, said)

    @transaction.atomic
    def _once(self, request: HttpRequest, user: Any, key: str, said: str) -> HttpResponse:
        KeptAnswer.objects.filter(created__lt=timezone.now() - KEPT).delete()
        kept, is_new = KeptAnswer.objects.get_or_create(user=user, key=key, defaults={"request": said})
        if not is_new:
            return _again(kept, said)
        before = transaction.savepoint()
        response = self.get_response(request)
        if response.status_code >= 500:
            transaction.set_rollback(True)
            return response
        if response.status_code >= 400:
            transaction.savepoint_rollback(before)
        kept.status, kept.content_type, kept.body = response.status_code, response.get("Content-Type", ""), response.content
        kept.save()
        return response


def _digest(request: HttpRequest) -> str:
    asked = f"{request.method} {request.get_full_path()} {request.content_type}\n".encode()
    return hashlib.sha256(asked + request.body).hexdigest()


def _user(request: HttpRequest) -> Any:
    """Who asks; None where the request's token or password is none."""
    signed_in = request.user  # by a cookie; the authentication writes over it, and the view would then take a token for a cookie
    try:
        found = APIView().initialize_request(request).user
    except APIException:
        return None
    finally:
        request.user = signed_in
    return found if found.is_authenticated else None


def _again(kept: KeptAnswer, said: str) -> HttpResponse:
    if kept.request != said:
        return plain(409, f"Idempotency-Key {kept.key} came with another request less than a day ago; use a new key for each request")
    return HttpResponse(bytes(kept.body), status=kept.status, content_type=kept.content_type, headers={"Idempotent-Replayed": "true"})
