"""What a look into a part of Ranvier brought up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was looked at, and how it was.

    Attributes
    ----------
    part
        What was looked at.
    ok
        Whether it is well.
    detail
        What was seen.
    mend
        A command, or what to change; empty where all is well.
    """

    part: str
    ok: bool
    detail: str
    mend: str = ""
