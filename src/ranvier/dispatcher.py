"""Delivers the database's events to Prefect: each becomes one flow run of its lab's deployment (``python -m ranvier.dispatcher``).

An event is delivered at least once, and its key is Prefect's idempotency key, so that it makes one flow run whatever fails in between.
What cannot be delivered stays in the outbox with its reason, and is tried again.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from ranvier import settings as settings_module
from ranvier.client import Database, DatabaseRefused, DatabaseUnreachable, Record
from ranvier.revival import Reviver
from ranvier.services import pulse
from ranvier.settings import Settings

log = logging.getLogger("ranvier.dispatcher")

#: Name of the flow that preprocesses a session; its deployments are ``<flow>/<lab>``.
FLOW = "preprocess-session"
#: Seconds between two looks at the outbox.
ROUND_S = 0.3
#: Seconds between two reapings of expired leases.
REAP_S = 5.0
#: An event that failed is tried again after 2 s, 4 s, ... and at last every so many seconds.
LONGEST_BACKOFF_S = 60.0
#: What a request may pass on to the flow.
_PARAMETERS = ("force", "tasks")


class Undeliverable(Exception):
    """An event that Prefect does not take; the message says why and what to do."""


class Outages:
    """Says once when a service stops answering, and once when it answers again."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def begin(self, service: str, reason: str) -> bool:
        """The service did not answer; returns whether that is new."""
        if service in self._since:
            return False
        log.warning("%s does not answer; trying on: %s", service, reason)
        self._since[service] = time.monotonic()
        return True

    def end(self, service: str) -> None:
        """The service answered."""
        if service in self._since:
            log.info("%s answers again after %.0f s", service, time.monotonic() - self._since.pop(service))


class Dispatcher:
    """Carries events from the outbox to Prefect.

    Parameters
    ----------
    database
        The database, whose outbox is read.
    prefect
        Prefect's client.
    reviver
        Starts flow runs again whose process has gone.
    """

    def __init__(self, database: Database, prefect: SyncPrefectClient, reviver: Reviver) -> None:
        self.database = database
        self.prefect = prefect
        self.reviver = reviver
        self.outages = Outages()
        self._not_before: dict[int, float] = {}
        self._reaped = 0.0

    def round(self) -> int:
        """Deliver what is pending and due, have expired leases reaped and dead flow runs started again.

        Returns
        -------
        int
            How many events were delivered.
        """
        try:
            if time.monotonic() - self._reaped > REAP_S:
                self._reap()
            delivered = self._deliver_all([event for event in self.database.pending_events() if self._due(event)])
        except DatabaseUnreachable as error:
            self.outages.begin("the database", str(error))
            return 0
        self.outages.end("the database")
        self._revive()
        return delivered

    def _revive(self) -> None:
        try:
            if self.reviver.round():
                self.outages.end("Prefect")
        except httpx.HTTPError as error:
            self.outages.begin("Prefect", f"{self.prefect.api_url}: {error!r}")

    def _due(self, event: Record) -> bool:
        return time.monotonic() >= self._not_before.get(event["id"], 0.0)

    def _reap(self) -> None:
        for task in self.database.expired_leases():
            log.warning("task %s is given back: its worker fell silent", task)
        self._reaped = time.monotonic()

    def _deliver_all(self, events: list[Record]) -> int:
        delivered = 0
        for event in events:
            try:
                delivered += self._deliver(event)
            except httpx.TransportError as error:
                if self.outages.begin("Prefect", f"{self.prefect.api_url}: {error!r}"):
                    self.database.event_failed(event["id"], f"Prefect at {self.prefect.api_url} does not answer: {error!r}")
                break  # the others would fare no better; all stay pending
        return delivered

    def _deliver(self, event: Record) -> bool:
        try:
            flow_run = self._start_flow_run(event)
        except (Undeliverable, DatabaseRefused) as error:
            self._note_failure(event, str(error))
            return False
        except httpx.HTTPStatusError as error:
            self._note_failure(event, f"Prefect answered {error.response.status_code}: {error.response.text[:500]}")
            return False
        except (httpx.TransportError, DatabaseUnreachable):
            raise
        except Exception as error:  # whatever is wrong with one event, the others are delivered
            log.exception("event %s", event["id"])
            self._note_failure(event, f"{type(error).__name__}: {error}")
            return False
        self.outages.end("Prefect")
        self.database.event_delivered(event["id"], flow_run)
        self._not_before.pop(event["id"], None)
        log.info("event %s (%s of session %s) is flow run %s", event["id"], event["kind"], event["session"], flow_run)
        return True

    def _note_failure(self, event: Record, reason: str) -> None:
        wait = min(2.0 ** (event["tries"] + 1), LONGEST_BACKOFF_S)
        what = f"event {event['id']} ({event['kind']} of session {event['session']})"
        log.error("%s cannot be delivered, next try in %.0f s: %s", what, wait, reason)
        self._not_before[event["id"]] = time.monotonic() + wait
        self.database.event_failed(event["id"], reason)

    def _start_flow_run(self, event: Record) -> str:
        session = self.database.session(event["session"])
        name = f"{FLOW}/{event['lab']}"
        try:
            deployment = self.prefect.read_deployment_by_name(name)
        except ObjectNotFound:
            raise Undeliverable(f"Prefect has no deployment {name}; `ranvier up` on the server of {event['lab']} makes it") from None
        run = self.prefect.create_flow_run_from_deployment(
            deployment.id,
            parameters={"session": event["session"], **_parameters(event)},
            name=run_name(session),
            tags=[session["subject"], event["kind"]],
            idempotency_key=event["key"],
        )
        return str(run.id)


def run_name(session: Record) -> str:
    """What a session's flow runs are called: ``<subject>/<date>/<number>``."""
    return f"{session['subject']}/{session['start_time'][:10]}/{session['number'] or 0:03d}"


def _parameters(event: Record) -> dict[str, Any]:
    payload = event["payload"] or {}
    return {name: payload[name] for name in _PARAMETERS if payload.get(name) is not None}


@contextlib.contextmanager
def connected(settings: Settings) -> Iterator[Dispatcher]:
    """A dispatcher on the database and the Prefect of these settings.

    The environment's ``PREFECT_API_URL`` says where Prefect is, as for every Prefect client.
    """
    with get_client(sync_client=True) as prefect:
        yield Dispatcher(Database.from_settings(settings, patience_s=1.0), prefect, Reviver(prefect, FLOW, settings))


def main() -> None:
    """Deliver events until killed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = settings_module.load()
    sign = pulse(settings, "dispatcher")
    with connected(settings) as dispatcher:
        while True:
            dispatcher.round()
            sign.touch()
            time.sleep(ROUND_S)


if __name__ == "__main__":
    main()
