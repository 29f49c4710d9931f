"""Limits: how often a password may be guessed, and how many requests a minute are answered.

Guesses are counted in the database, for all its processes together. Requests are counted in each process by itself, as a count in the
database would be a write for each request. The services are never made to wait.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework.exceptions import Throttled

from ranvier.database.rest.errors import plain

#: As many times the guesses from one address, over all user names, as of one user name from there.
NAMES = 10
#: The part of the requests that an address has without signing in.
ANONYMOUS = 10
MINUTE = 60.0
#: Counters that a process keeps; above that all begin again.
MOST_COUNTERS = 10_000


class TooOften(Throttled):
    """Too many guesses; the answer has the header `Retry-After`."""

    def __init__(self, wait: float) -> None:
        super().__init__(wait, f"too many sign-ins failed; try again in {math.ceil(wait)} s, or ask an administrator for a new password")
        self.wait = math.ceil(wait)


def address_of(request: Any) -> str:
    """Where a request comes from; behind a web server (`database.url` with https) as that says."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "") if settings.RANVIER.database_url.startswith("https:") else ""
    return str(forwarded.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR", ""))


def refuse_guessing(request: Any, username: str) -> None:
    """Say no where too many sign-ins have failed of late.

    Raises
    ------
    TooOften
        If so, whatever the password.
    """
    from ranvier.database.rest.models import FailedSignIns

    most, wait = _limits(username, address_of(request)), settings.RANVIER.database.sign_in_wait_s
    for row in FailedSignIns.objects.filter(key__in=most):
        rest = wait - (timezone.now() - row.since).total_seconds()
        if rest > 0 and row.count >= most[row.key]:
            raise TooOften(rest)


@transaction.atomic
def note_guess(request: Any, username: str) -> None:
    """Count a sign-in that failed."""
    from ranvier.database.rest.models import FailedSignIns

    now = timezone.now()
    FailedSignIns.objects.filter(since__lt=now - dt.timedelta(seconds=settings.RANVIER.database.sign_in_wait_s)).delete()
    for key in _limits(username, address_of(request)):
        FailedSignIns.objects.get_or_create(key=key, defaults={"since": now})
        FailedSignIns.objects.filter(key=key).update(count=F("count") + 1)


def _limits(username: str, address: str) -> dict[str, int]:
    """How many guesses are too many, of a name from an address and of any name from there."""
    tries = settings.RANVIER.database.sign_in_tries
    texts = {f"{username}\n{address}": tries, f"\n{address}": tries * NAMES}
    return {hashlib.sha256(text.encode(errors="replace")).hexdigest(): most for text, most in texts.items()}


class Counters:
    """Requests of this minute, by whom they come from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: dict[str, int] = {}

    def count(self, key: str, change: int = 0) -> int:
        """How many they are, after a change."""
        with self._lock:
            minute = int(time.monotonic() / MINUTE)
            if minute != self._minute or len(self._counts) > MOST_COUNTERS:
                self._minute, self._counts = minute, {}
            self._counts[key] = self._counts.get(key, 0) + change
            return self._counts[key]


class Limits:
    """Django middleware: answers 429 to who asks too much, and to who guesses passwords on the admin pages."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.counters = Counters()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a request, and count it."""
        most = settings.RANVIER.database.requests_per_min
        said, address = request.headers.get("Authorization", ""), address_of(request)
        if not most or request.path == "/health" or said == f"Token {settings.RANVIER.secret('token')}":
            return self.get_response(request)
        signed = said or request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
        known = self.counters.count(signed) if signed else 0
        if known >= most or (not known and self.counters.count(address) >= most / ANONYMOUS):
            return _wait(MINUTE - time.monotonic() % MINUTE, "too many requests this minute; send fewer at once, such as with longer pages")
        response = self.get_response(request)
        access = getattr(request, "ranvier_access", None)
        if access is None:
            self.counters.count(address, 1)
        elif not access.is_machine:
            self.counters.count(signed or address, 1)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A sign-in outside of REST that came too often."""
        return _wait(exception.wait, str(exception.detail)) if isinstance(exception, TooOften) else None


def _wait(seconds: float, why: str) -> HttpResponse:
    answer = plain(429, why)
    answer["Retry-After"] = str(math.ceil(seconds))
    return answer
