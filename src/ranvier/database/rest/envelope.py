"""What surrounds every request: bodies that are too large are refused unread, and answers tell browsers what they may do."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from ranvier.database.rest.errors import plain

MEGABYTE = 1_000_000
#: Bytes of a body, by the first part of the address: thousands of files, tasks or channels in one request, and images of notes.
LARGER = dict.fromkeys(("register-file", "plans", "channels", "attempts", "tasks", "notes", "admin"), 32 * MEGABYTE)
LARGEST = {**LARGER, "auth-token": 64_000}
OTHERWISE = 5 * MEGABYTE
#: Pages load nothing from elsewhere and run no script that stands in them; the admin's own pages have styles in them.
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


class Envelope:
    """Django middleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a request."""
        response = self._refusal(request) or self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    def _refusal(self, request: HttpRequest) -> HttpResponse | None:
        length = request.META.get("CONTENT_LENGTH") or "0"
        most = LARGEST.get(request.path.split("/")[1], OTHERWISE)
        if not length.isdecimal() or int(length) <= most:
            return None
        return plain(413, f"the body has {int(length):,} bytes, and {request.path[:200]} takes {most:,} at most; send it in parts")
