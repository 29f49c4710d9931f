"""Delivers the database's events to Prefect: each becomes one flow run of its lab's deployment (``python -m ranvier.dispatcher``).

An event is delivered at least once, and its key is Prefect's idempotency key, so that it makes one flow run whatever fails in between.
What cannot be delivered stays in the outbox with its reason, and is tried again.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from ranvier import metrics, notify
from ranvier import settings as settings_module
from ranvier.cancelling import cancel_flow_runs
from ranvier.client import Database, DatabaseRefused, DatabaseUnreachable, Record
from ranvier.followup import Followup
from ranvier.outages import Outages
from ranvier.priority import Priority
from ranvier.services import pulse
from ranvier.session import reference_of
from ranvier.settings import Settings

log = logging.getLogger("ranvier.dispatcher")

#: Name of the flow that preprocesses a session; its deployments are ``<flow>/<lab>``.
FLOW = "preprocess-session"
#: Name of the flow behind the form that asks for reruns.
RERUN_FLOW = "rerun"
#: Seconds between two looks at the outbox.
ROUND_S = 0.5
#: Seconds between two reapings of expired leases.
REAP_S = 5.0
#: Seconds between two counts of all tasks, for Prometheus.
COUNT_S = 15.0
#: An event that failed is tried again after 2 s, 4 s, ... and at last every so many seconds.
LONGEST_BACKOFF_S = 60.0
#: What a request may pass on to the flow.
_PARAMETERS = ("force", "tasks", "downstream", "priority")
#: Seconds after which a round ends although more is pending, so that it is seen that the dispatcher lives.
LONGEST_ROUND_S = 20.0
#: What Prefect answers when it has too much to do; the next request would fare no better.
_BUSY = frozenset({429, 502, 503, 504})
#: Events of large reruns that are delivered in one round, so that those that somebody waits for need not wait for all of them.
BACKFILL_A_ROUND = 10


class Undeliverable(Exception):
    """An event that Prefect does not take; the message says why and what to do."""


class Busy(Exception):
    """Prefect has too much to do."""


class Dispatcher:
    """Carries events from the outbox to Prefect.

    Parameters
    ----------
    database
        The database, whose outbox is read.
    prefect
        Prefect's client.
    count_tasks
        Whether to count the tasks of the database for Prometheus now and then.
    """

    def __init__(self, database: Database, prefect: SyncPrefectClient, *, count_tasks: bool = False) -> None:
        self.database = database
        self.prefect = prefect
        self.count_tasks = count_tasks
        self.followup = Followup(database, prefect)
        self.outages = Outages(log, metrics.note_answer)
        self._not_before: dict[int, float] = {}
        self._reaped = 0.0
        self._counted = -COUNT_S

    def round(self) -> int:
        """Deliver what is pending and due, have expired leases reaped, and follow up the flow runs of reruns.

        Returns
        -------
        int
            How many events were delivered.
        """
        try:
            if time.monotonic() - self._reaped > REAP_S:
                self._reap()
            self._count()
            pending = self.database.pending_events()
            metrics.note_events(pending)
            delivered = self._deliver_all(_first([event for event in pending if self._due(event)]))
        except DatabaseUnreachable as error:
            self.outages.begin("the database", str(error))
            return 0
        self.outages.end("the database")
        self._follow_up()
        return delivered

    def _follow_up(self) -> None:
        try:
            if self.followup.round():
                self.outages.end("Prefect")
        except (DatabaseUnreachable, DatabaseRefused) as error:
            log.warning("the flow runs of reruns are not followed up: %s", error)
        except httpx.HTTPError as error:
            self.outages.begin("Prefect", f"{self.prefect.api_url}: {error!r}")

    def _due(self, event: Record) -> bool:
        return time.monotonic() >= self._not_before.get(event["id"], 0.0)

    def _reap(self) -> None:
        for task in self.database.expired_leases():
            log.warning("task %s is given back: its worker fell silent", task)
            metrics.RETURNED.inc()
        self._reaped = time.monotonic()

    def _count(self) -> None:
        """Count all tasks for Prometheus, where somebody may be looking."""
        if self.count_tasks and time.monotonic() - self._counted > COUNT_S:
            metrics.note_tasks(self.database.task_counts())
            self._counted = time.monotonic()

    def _deliver_all(self, events: list[Record]) -> int:
        delivered, until = 0, time.monotonic() + LONGEST_ROUND_S
        for event in events:
            if time.monotonic() > until:
                break
            try:
                delivered += self._deliver(event)
            except Busy as error:
                self.outages.begin("Prefect's own database", str(error))
                break
            except httpx.TransportError as error:
                if self.outages.begin("Prefect", f"{self.prefect.api_url}: {error!r}"):
                    self.database.event_failed(event["id"], f"Prefect at {self.prefect.api_url} does not answer: {error!r}")
                break  # the others would fare no better; all stay pending
        return delivered

    def _deliver(self, event: Record) -> bool:
        try:
            flow_run = self._cancel(event) if event["kind"] == "session.cancelled" else self._start_flow_run(event)
        except (Undeliverable, DatabaseRefused) as error:
            self._note_failure(event, str(error))
            return False
        except httpx.HTTPStatusError as error:
            reason = f"Prefect answered {error.response.status_code}: {error.response.text[:500]}"
            if error.response.status_code in _BUSY:
                raise Busy(reason) from None
            self._note_failure(event, reason)
            return False
        except (httpx.TransportError, DatabaseUnreachable):
            raise
        except Exception as error:  # whatever is wrong with one event, the others are delivered
            log.exception("event %s", event["id"])
            self._note_failure(event, f"{type(error).__name__}: {error}")
            return False
        for service in ("Prefect", "Prefect's own database"):
            self.outages.end(service)
        self.database.event_delivered(event["id"], flow_run)
        self._not_before.pop(event["id"], None)
        metrics.DELIVERED.inc()
        log.info("event %s (%s of session %s): flow run %s", event["id"], event["kind"], event["session"], flow_run or "none")
        return True

    def _note_failure(self, event: Record, reason: str) -> None:
        wait = min(2.0 ** (event["tries"] + 1), LONGEST_BACKOFF_S)
        what = f"event {event['id']} ({event['kind']} of session {event['session']})"
        log.error("%s cannot be delivered, next try in %.0f s: %s", what, wait, reason)
        self._not_before[event["id"]] = time.monotonic() + wait
        metrics.REFUSED.inc()
        self.database.event_failed(event["id"], reason)

    def _cancel(self, event: Record) -> str:
        name = reference_of(self.database.session(event["session"]))
        cancelled = cancel_flow_runs(self.prefect, FLOW, event["lab"], name, event["payload"].get("by", "request"))
        return str(cancelled[0].id) if cancelled else ""

    def _start_flow_run(self, event: Record) -> str:
        if goes_on := self._goes_on(event):
            return goes_on
        session = self.database.session(event["session"])
        name = f"{FLOW}/{event['lab']}"
        try:
            deployment = self.prefect.read_deployment_by_name(name)
        except ObjectNotFound:
            raise Undeliverable(f"Prefect has no deployment {name}; `ranvier up` on the server of {event['lab']} makes it") from None
        run = self.prefect.create_flow_run_from_deployment(
            deployment.id,
            parameters={"session": event["session"], **_parameters(event)},
            name=reference_of(session),
            tags=[session["subject"], event["kind"], *(event["payload"] or {}).get("tags", [])],
            idempotency_key=event["key"],
            work_queue_name=_priority(event).queue,
        )
        return str(run.id)

    def _goes_on(self, event: Record) -> str:
        """The flow run whose worker has given a task back, where it has not ended: it has the task attempted again by itself."""
        flow_run = (event["payload"] or {}).get("flow_run")
        if not flow_run:
            return ""
        try:
            state = self.prefect.read_flow_run(UUID(flow_run)).state
        except (ValueError, ObjectNotFound):
            return ""
        return "" if state is None or state.is_final() else flow_run


def _parameters(event: Record) -> dict[str, Any]:
    payload = event["payload"] or {}
    return {name: payload[name] for name in _PARAMETERS if payload.get(name) is not None}


def _priority(event: Record) -> Priority:
    is_backfill = (event["payload"] or {}).get("priority") == Priority.BACKFILL
    return Priority.BACKFILL if is_backfill else Priority.NOW


def _first(events: list[Record]) -> list[Record]:
    """What to deliver in one round: all that somebody waits for, and after it a few of the rest."""
    waited_for = [event for event in events if _priority(event) == Priority.NOW]
    others = [event for event in events if _priority(event) != Priority.NOW]
    return waited_for + others[:BACKFILL_A_ROUND]


@contextlib.contextmanager
def connected(settings: Settings) -> Iterator[Dispatcher]:
    """A dispatcher on the database and the Prefect of these settings.

    The environment's ``PREFECT_API_URL`` says where Prefect is, as for every Prefect client.
    """
    with get_client(sync_client=True) as prefect:
        database = Database.from_settings(settings, patience_s=1.0)
        yield Dispatcher(database, prefect, count_tasks=metrics.serve(settings))


def main() -> None:
    """Deliver events until killed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = settings_module.load()
    sign = pulse(settings, "dispatcher")
    threading.Thread(target=notify.watch, args=(settings,), name="notify", daemon=True).start()
    with connected(settings) as dispatcher:
        while True:
            dispatcher.round()
            sign.touch()
            time.sleep(ROUND_S)


if __name__ == "__main__":
    main()
