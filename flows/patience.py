"""Waiting for what is away: while the centre, the cluster or room on the disk is missing, a flow run waits and gives nothing up."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from prefect.exceptions import PrefectHTTPStatusError

from ranvier.client import DatabaseUnreachable
from ranvier.cluster import ClusterUnreachable

#: Seconds before the second try, and before the last ones.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

_AWAY = (DatabaseUnreachable, ClusterUnreachable, httpx.TransportError)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_Result = TypeVar("_Result")


def patiently(call: Callable[[], _Result], log: logging.Logger | logging.LoggerAdapter[Any]) -> _Result:
    """Call a function until what it needs is there.

    Parameters
    ----------
    call
        The function; it may be called many times.
    log
        Is told once what is waited for, and once when it is there.

    Returns
    -------
    object
        What the function returns. Other errors are raised as they are.
    """
    pause, since = FIRST_PAUSE_S, time.monotonic()
    while True:
        try:
            result = call()
        except Exception as error:
            if not is_away(error):
                raise
            if pause == FIRST_PAUSE_S:
                log.warning("waiting, and trying on: %s", error or repr(error))
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        else:
            if pause != FIRST_PAUSE_S:
                log.info("goes on after %.0f s", time.monotonic() - since)
            return result


def is_away(error: BaseException) -> bool:
    """Whether an error says that something is missing just now which is not of the task's making."""
    if isinstance(error, PrefectHTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, _AWAY) or (isinstance(error, OSError) and error.errno in _NO_ROOM)
