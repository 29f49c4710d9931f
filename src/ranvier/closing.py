"""Whether this Dask worker is being stopped: its attempts hear of it, and the worker waits until they have given their tasks back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_changed = threading.Condition()
_at_work = 0
_reason = ""


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Count an attempt as one that runs in this process."""
    global _at_work
    with _changed:
        _at_work += 1
    try:
        yield
    finally:
        with _changed:
            _at_work -= 1
            _changed.notify_all()


def reason() -> str:
    """Why this worker is being stopped; empty while it is not."""
    return _reason


def close(why: str, patience_s: float) -> bool:
    """Tell the attempts of this process that it is being stopped, and wait until they have ended.

    Parameters
    ----------
    why
        For people.
    patience_s
        Seconds to wait at most.

    Returns
    -------
    bool
        Whether all have ended.
    """
    global _reason
    with _changed:
        _reason = why
        return _changed.wait_for(lambda: not _at_work, patience_s)
