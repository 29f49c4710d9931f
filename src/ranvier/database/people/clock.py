"""The time of day where an animal is: times are without time zone, and what people do with animals is told by the clock on their wall."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.exceptions import ValidationError

from ranvier.database.people.models import Lab


def local_now(lab: Lab | None) -> datetime.datetime:
    """Now, by the clock of a lab; UTC where its time zone is not known."""
    zone = _zone(lab.timezone) if lab and lab.timezone else None
    return datetime.datetime.now(zone or ZoneInfo("UTC")).replace(tzinfo=None)


def known_zone(name: str) -> None:
    """Refuse what is the name of no time zone.

    Raises
    ------
    ValidationError
        If it is none.
    """
    if _zone(name) is None:
        raise ValidationError(f"{name} is no time zone; give one as Europe/London or America/New_York, or UTC")


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
