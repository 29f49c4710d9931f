"""What a task says, made such that a database can keep it: tasks say NaN, raise megabytes, and print what is no text at all."""

from __future__ import annotations

import math
from typing import Any

from ranvier.states import Status

LONGEST_TEXT = 50_000  #: characters; the middle of a longer text is left out


def storable(value: Any) -> Any:
    """A JSON-like value without what JSON, UTF-8 or PostgreSQL do not have.

    Parameters
    ----------
    value
        The value, of dicts, lists, strings, numbers, booleans and None.

    Returns
    -------
    object
        The same with NaN and infinities as None, NUL and lone surrogates replaced, and texts cut to `LONGEST_TEXT`.
    """
    if isinstance(value, dict):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _text(text: str) -> str:
    if len(text) > LONGEST_TEXT:
        half = LONGEST_TEXT // 2
        text = f"{text[:half]}\n... {len(text) - LONGEST_TEXT} characters left out ...\n{text[-half:]}"
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def errored(reason: str, kind: str, message: str) -> dict[str, Any]:
    """The verdict of an attempt that failed, as ``PATCH /attempts/{id}`` takes it."""
    return {"status": Status.ERRORED.label, "reason": reason, "error_type": kind, "error_message": message}
