"""Which files may not be registered again, because a tag protects a dataset of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ranvier.database.data.locations import Location
from ranvier.database.data.models import Dataset

#: ONE tells this refusal from others by these very words.
REFUSAL = "One or more datasets is protected"


def protection(location: Location, datasets: Iterable[Dataset]) -> list[dict[str, bool]]:
    """For each revision of a file, the latest first and the original last, whether it is protected."""
    same = [d for d in datasets if (d.collection, d.name) == (location.collection, location.name)]
    revised = sorted((d for d in same if d.revision), key=lambda d: d.revision.created_datetime, reverse=True)
    return [{d.revision.name if d.revision else "": d.is_protected} for d in [*revised, *(d for d in same if not d.revision)]]


def report(filenames: Sequence[str], revisions: Sequence[list[dict[str, bool]]]) -> dict[str, Any]:
    """What ``/check-protected`` and a refused ``/register-file`` answer; `status_code` says which it is."""
    details = [{sent: states} for sent, states in zip(filenames, revisions, strict=True)]
    if any(protected for states in revisions for state in states for protected in state.values()):
        hint = f"{REFUSAL}: register them in a new revision, or ask for the tag to be lifted"
        return {"status_code": 403, "error": REFUSAL, "detail": hint, "details": details}
    return {"status_code": 200, "detail": "none of the datasets is protected", "details": details}
