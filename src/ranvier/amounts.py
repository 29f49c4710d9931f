"""Times and sizes as people say them."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def duration(seconds: float | None) -> str:
    """Such as ``4.2 s``, ``3 min 05 s``, ``2 h 10 min`` or ``3 d 4 h``; a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours = minutes // 60
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes % 60:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(count: float) -> str:
    """A number of bytes, such as ``12.3 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def counted(count: int, one: str, many: str = "") -> str:
    """Such as ``1 probe`` or ``2 probes``; `many` is the plural where it is not `one` with an s."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def span(values: Sequence[float], words: Callable[[float], str]) -> str:
    """A lower and an upper figure in words, such as ``4.2 s to 3 min 05 s``; once where they are the same."""
    low, high = map(words, values)
    return low if low == high else f"{low} to {high}"
