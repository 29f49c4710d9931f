"""Telling people of a service that does not answer: once when it stops, once when it answers again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any


class Outages:
    """Says once when a service stops answering, and once when it answers again.

    Parameters
    ----------
    log
        Where it says so.
    note
        Called each time, with the service and whether it answers.
    """

    def __init__(
        self, log: logging.Logger | logging.LoggerAdapter[Any], note: Callable[[str, bool], None] = lambda service, answers: None
    ) -> None:
        self._log = log
        self._note = note
        self._since: dict[str, float] = {}

    def begin(self, service: str, reason: str) -> bool:
        """The service did not answer; returns whether that is new."""
        self._note(service, False)
        if service in self._since:
            return False
        self._since[service] = time.monotonic()
        self._log.warning("%s does not answer; trying on: %s", service, reason)
        return True

    def end(self, service: str) -> None:
        """The service answered."""
        self._note(service, True)
        if (since := self._since.pop(service, None)) is not None:
            self._log.info("%s answers again after %.0f s", service, time.monotonic() - since)
