"""The base of every error that Ranvier raises on purpose."""

from __future__ import annotations


class RanvierError(Exception):
    """Something that a person can put right.

    Parameters
    ----------
    message
        What is wrong, naming the file or the thing and the reason.
    hint
        What to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message
