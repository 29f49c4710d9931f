"""Figures for Prometheus: of attempts, from the Dask workers' own ``/metrics``; of the outbox and of all tasks, from the dispatcher's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from ranvier.settings import Settings

_MINUTE, _HOUR = 60.0, 3600.0

RUNNING = Gauge("ranvier_attempts_running", "Attempts that run on this worker now", ["task"])
ENDED = Counter("ranvier_attempts", "Attempts that have ended on this worker", ["task", "outcome"])
SECONDS = Histogram(
    "ranvier_attempt_seconds",
    "Wall time of attempts that ended on this worker",
    ["task"],
    buckets=(1, 10, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 3 * _HOUR, 10 * _HOUR),
)

PENDING = Gauge("ranvier_events_pending", "Events of the outbox that have not become a flow run yet")
OLDEST = Gauge("ranvier_events_oldest_seconds", "Age of the oldest of them; 0 where there is none")
DELIVERED = Counter("ranvier_events_delivered", "Events that have become a flow run")
REFUSED = Counter("ranvier_events_undeliverable", "Tries at an event that failed")
RETURNED = Counter("ranvier_leases_expired", "Tasks given back because their worker fell silent")
ANSWERS = Gauge("ranvier_service_answers", "1 where a service that the dispatcher needs answers, else 0", ["service"])
TASKS = Gauge("ranvier_tasks", "Task instances in the database", ["lab", "task", "status"])


def serve(settings: Settings) -> bool:
    """Serve this process's figures at ``/metrics`` where the settings give a port for it; returns whether they do."""
    if settings.ports.metrics:
        start_http_server(settings.ports.metrics, settings.ports.host)
    return bool(settings.ports.metrics)


@contextlib.contextmanager
def attempt(task: str) -> Iterator[Callable[[str, float], None]]:
    """Count an attempt at a task while it runs; yields a function that takes its outcome and its seconds at the end."""

    def note(outcome: str, wall_s: float) -> None:
        ENDED.labels(task, outcome).inc()
        if wall_s:
            SECONDS.labels(task).observe(wall_s)

    with RUNNING.labels(task).track_inprogress():
        yield note


def note_answer(service: str, answers: bool) -> None:
    """Note whether a service that the dispatcher needs answers."""
    ANSWERS.labels(service).set(answers)


def note_events(events: Iterable[dict[str, Any]]) -> None:
    """Note what waits in the outbox."""
    ages = [age_s(event["created"]) for event in events]
    PENDING.set(len(ages))
    OLDEST.set(max(ages, default=0.0))


def note_tasks(counts: Iterable[dict[str, Any]]) -> None:
    """Note how the task instances of all labs stand, as ``GET /task-counts`` gives them."""
    TASKS.clear()
    for row in counts:
        TASKS.labels(row["lab"], row["task"], row["status"]).set(row["count"])


def age_s(moment: str) -> float:
    """Seconds since a moment; one without a time zone is UTC."""
    read = datetime.fromisoformat(moment)
    return (datetime.now(UTC) - (read if read.tzinfo else read.replace(tzinfo=UTC))).total_seconds()
