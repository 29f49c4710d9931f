"""The time of day where an animal is: times are without time zone, and what people do with animals is told by the clock on their wall."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ranvier.database.people.models import Lab


def local_now(lab: Lab | None) -> datetime.datetime:
    """Now, by the clock of a lab; UTC where its time zone is not known."""
    try:
        zone = ZoneInfo(lab.timezone) if lab and lab.timezone else ZoneInfo("UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zone = ZoneInfo("UTC")
    return datetime.datetime.now(zone).replace(tzinfo=None)
