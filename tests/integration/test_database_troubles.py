"""What the database does when its clock is set, and when what it stands on fails."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import pytest

SERIAL = itertools.count(1)


@pytest.fixture
def claimed(live_database: Any) -> tuple[str, str]:
    """A task with a lease of a minute, and its attempt; their ids."""
    if not live_database.request("GET", "/subjects/TROUBLE_001").ok:
        live_database.make("/subjects", {"nickname": "TROUBLE_001", "lab": "testlab"})
    body = {"subject": "TROUBLE_001", "start_time": "2026-09-01T08:00:00", "number": next(SERIAL)}
    session = live_database.make("/sessions", body)["id"]
    (task,) = live_database.make("/plans", {"session": session, "tasks": [{"name": "a"}]})
    attempt = live_database.make("/attempts", {"task": task["id"], "worker": "w", "lease_s": 60})
    return task["id"], attempt["id"]


@pytest.fixture
def clock(rest: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the clock of the database that `rest` asks, by so many seconds."""
    from django.utils import timezone

    true = timezone.now

    def set_by(seconds: float) -> None:
        monkeypatch.setattr(timezone, "now", lambda: true() + datetime.timedelta(seconds=seconds))

    return set_by


def test_clock_that_is_set_back_keeps_no_dead_worker_s_task_started(rest: Any, clock: Any, claimed: Any) -> None:
    task, attempt = claimed
    clock(-3600)
    assert rest.get(f"/tasks/{task}").json()["leased"] is False
    assert task in rest.post("/expired-leases", {}, format="json").json()
    assert rest.patch(f"/attempts/{attempt}", {"lease_s": 60}, format="json").status_code == 200, "its worker lives and takes it up again"
    assert task not in rest.post("/expired-leases", {}, format="json").json(), "renewed by the new clock"


def test_clock_that_is_set_forward_costs_a_living_worker_nothing(rest: Any, clock: Any, claimed: Any) -> None:
    task, attempt = claimed
    clock(3600)
    assert task in rest.post("/expired-leases", {}, format="json").json()
    assert rest.patch(f"/attempts/{attempt}", {"status": "Complete"}, format="json").status_code == 200
    assert rest.get(f"/tasks/{task}").json()["status"] == "Complete"


@pytest.mark.parametrize("words", ["server closed the connection unexpectedly", "database or disk is full"])
def test_storage_that_fails_is_a_503_that_says_so(rest: Any, claimed: Any, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    from django.db import OperationalError

    from ranvier.database.jobs import leases

    def fails(*_: Any, **__: Any) -> None:
        raise OperationalError(words)

    monkeypatch.setattr(leases, "_granted", fails)
    answer = rest.patch(f"/attempts/{claimed[1]}", {"lease_s": 60}, format="json")
    assert answer.status_code == 503
    assert words in answer.json()["detail"]
