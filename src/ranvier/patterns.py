"""Path patterns of inputs and outputs: whether two of them can name the same file."""

from __future__ import annotations

from functools import lru_cache


def is_literal(pattern: str) -> bool:
    """Whether a pattern names one path only."""
    return "*" not in pattern and "?" not in pattern


@lru_cache(maxsize=65536)
def overlap(first: str, second: str) -> bool:
    """Whether some path matches both patterns.

    Parameters
    ----------
    first, second
        Paths with ``*`` (any characters) and ``?`` (one character) inside one segment.
    """
    if is_literal(first) and is_literal(second):
        return first == second
    ours, theirs = first.split("/"), second.split("/")
    return len(ours) == len(theirs) and all(_segments_overlap(a, b) for a, b in zip(ours, theirs, strict=True))


def _segments_overlap(first: str, second: str) -> bool:
    """Walk both patterns at once, keeping the set of positions that a common beginning can have reached in them."""
    reached, seen = [(0, 0)], {(0, 0)}
    while reached:
        i, j = reached.pop()
        if i == len(first) and j == len(second):
            return True
        for step in _steps(first, second, i, j):
            if step not in seen:
                seen.add(step)
                reached.append(step)
    return False


def _steps(first: str, second: str, i: int, j: int) -> list[tuple[int, int]]:
    a, b = first[i : i + 1], second[j : j + 1]
    steps = []
    if a == "*":  # stands for nothing more, or for the other's next character
        steps += [(i + 1, j)] + ([(i, j + 1)] if b else [])
    if b == "*":
        steps += [(i, j + 1)] + ([(i + 1, j)] if a else [])
    if a and b and "*" not in (a, b) and (a == b or "?" in (a, b)):
        steps.append((i + 1, j + 1))
    return steps
