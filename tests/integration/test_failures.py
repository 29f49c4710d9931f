"""Failures that are equal, the pause that too many of them lead to, and how it is lifted."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import requests
from rich.console import Console
from typer.testing import CliRunner

from ranvier import Output, task
from ranvier.cli import app, screen
from ranvier.client import Database
from ranvier.session import Session
from ranvier.settings import Settings
from ranvier.testing import RunTask

DAYS = itertools.count(1)
Fail = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def subject(live_database: Any) -> None:
    """Subjects of two labs."""
    live_database.make("/labs", {"name": "otherlab"})
    live_database.make("/subjects", {"nickname": "FAIL_001", "lab": "testlab"})
    live_database.make("/subjects", {"nickname": "FAIL_002", "lab": "otherlab"})


@pytest.fixture
def attempt(live_database: Any) -> Fail:
    """Plans a task in a new session and makes an attempt at it that ends as it is told to; its row."""

    def make(name: str, status: str = "Errored", *, subject: str = "FAIL_001", version: str = "1.0.0", **told: Any) -> dict[str, Any]:
        day = next(DAYS)
        body = {"subject": subject, "start_time": f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T09:00:00", "number": 1}
        session = live_database.make("/sessions", body)["id"]
        row = {"name": f"{name}[probe00]", "executable": name, "version": version, "status": "Waiting"}
        (planned,) = live_database.make("/plans", {"session": session, "tasks": [row]})
        claimed = live_database.make("/attempts", {"task": planned["id"], "worker": "w", "receipt": {"version": version}})
        done = live_database.request("PATCH", f"/attempts/{claimed['id']}", {"status": status, "version": version, **told})
        assert done.ok, done.text
        return live_database.request("GET", f"/tasks/{planned['id']}").json()

    return make


def error(place: str = "solve") -> dict[str, str]:
    """What a worker tells of an exception of a task."""
    traceback = f'Traceback:\n  File "/plugins/lab/solver.py", line 12, in {place}\nValueError: no'
    return {"error_type": "ValueError", "reason": "ValueError: no", "traceback": traceback, "fingerprint": f"print-{place}"}


def failures(database: Any, **query: str) -> list[dict[str, Any]]:
    """Groups of failures."""
    return list(database.request("GET", "/failures", params=query).json())


def test_equal_failures_are_counted_over_sessions_and_labs(live_database: Any, attempt: Fail) -> None:
    first = attempt("counted", **error("count"))
    attempt("counted", **error("count"))
    attempt("counted", subject="FAIL_002", **error("count"))
    (group,) = failures(live_database, task="counted")
    assert (group["fingerprint"], group["sessions"], group["tasks"], group["put_right"]) == ("print-count", 3, 3, 0)
    assert (group["labs"], group["place"], group["error_type"]) == (["otherlab", "testlab"], "solver.py:count", "ValueError")
    assert (group["version"], group["message"]) == ("1.0.0", "ValueError: no")
    again = live_database.make("/attempts", {"task": first["id"], "worker": "w", "after": first["attempt"]})
    live_database.request("PATCH", f"/attempts/{again['id']}", {"status": "Complete", "version": "1.0.0"})
    assert failures(live_database, task="counted")[0]["put_right"] == 1
    assert failures(live_database, task="counted", lab="otherlab")[0]["sessions"] == 1
    assert failures(live_database, task="counted", since="2099-01-01") == []


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("", "alf/a.times.npy of S1/2026-01-01/001: 5 values where 6 are", "alf/a.times.npy of S2/2026-02-03/002: 50 values where 7 are"),
        ("Stopped", "it ran for 600.2 s, longer than the 600 s it may", "it ran for 601.0 s, longer than the 600 s it may"),
        (
            "ProcessDied",
            "killed by signal 9; its peak memory was 1.20 GB of the 2 GB declared",
            "killed by signal 9; its peak memory was 0.1 GB of the 2 GB declared",
        ),
        ("RanvierError", "input raw/a.bin is not in /data/lab/S1/2026-01-01/001", "input raw/a.bin is not in /data/lab/S2/2026-05-01/001"),
    ],
)
def test_failures_that_are_no_exceptions_have_fingerprints_too(
    live_database: Any, attempt: Fail, kind: str, first: str, second: str
) -> None:
    name = f"odd_{kind or 'contract'}"
    for reason in (first, second):
        attempt(name, reason=reason, error_type=kind)
    attempt(name, version="2.0.0", reason=first, error_type=kind)
    groups = failures(live_database, task=name)
    assert sorted((group["version"], group["sessions"]) for group in groups) == [("1.0.0", 2), ("2.0.0", 1)]
    assert {group["error_type"] for group in groups} == {kind or "ContractViolation"}


def test_a_silent_worker_is_a_failure_of_its_own_kind(live_database: Any, attempt: Fail) -> None:
    body = {"subject": "FAIL_001", "start_time": "2027-01-01T09:00:00", "number": 1}
    session = live_database.make("/sessions", body)["id"]
    (planned,) = live_database.make("/plans", {"session": session, "tasks": [{"name": "silent", "executable": "silent"}]})
    live_database.make("/attempts", {"task": planned["id"], "worker": "w", "lease_s": 0.01})
    live_database.make("/attempts", {"task": planned["id"], "worker": "w2", "after": 1})
    (group,) = failures(live_database, task="silent")
    assert group["error_type"] == "LeaseExpired"


def test_what_was_cancelled_is_no_failure(live_database: Any) -> None:
    session = live_database.make("/sessions", {"subject": "FAIL_001", "start_time": "2027-01-02T09:00:00", "number": 1})["id"]
    (planned,) = live_database.make("/plans", {"session": session, "tasks": [{"name": "cancelled", "executable": "cancelled"}]})
    claimed = live_database.make("/attempts", {"task": planned["id"], "worker": "w"})
    live_database.request("PATCH", f"/tasks/{planned['id']}", {"cancel_requested": True})
    live_database.request("PATCH", f"/attempts/{claimed['id']}", {"status": "Errored", "reason": "cancelled", "error_type": "Stopped"})
    assert failures(live_database, task="cancelled") == []


def pauses(database: Any, task: str) -> list[dict[str, Any]]:
    return list(database.request("GET", f"/pauses?task={task}&active=true").json()["results"])


def test_the_breaker_trips_holds_and_is_lifted(live_database: Any, attempt: Fail) -> None:
    for _ in range(4):
        attempt("broken", **error("trip"))
    assert pauses(live_database, "broken") == []
    last = attempt("broken", **error("trip"))
    (pause,) = pauses(live_database, "broken")
    assert (pause["lab"], pause["version"], pause["failures"]) == ("testlab", "1.0.0", 5)
    assert pause["reason"].startswith("paused in testlab since 20")
    assert "after 5 equal failures print-trip: ValueError: no; `ranvier tasks resume broken`" in pause["reason"]
    (told,) = live_database.request("GET", f"/events?kind=task.paused&session={last['session']}").json()["results"]
    assert told["payload"]["reason"] == pause["reason"]
    assert failures(live_database, task="broken")[0]["paused"] == ["testlab"]

    refused = live_database.request("POST", "/attempts", {"task": last["id"], "worker": "w", "after": last["attempt"]})
    assert (refused.status_code, refused.json()["detail"]) == (423, pause["reason"])
    assert live_database.request("GET", f"/tasks/{last['id']}").json()["status"] == "Held"

    session = live_database.make("/sessions", {"subject": "FAIL_001", "start_time": "2027-02-01T09:00:00", "number": 1})["id"]
    rows = [{"name": "broken", "executable": "broken", "version": v, "status": "Waiting"} for v in ("1.0.0",)]
    rows += [{"name": "newer", "executable": "broken", "version": "1.0.1", "status": "Waiting"}]
    planned = live_database.make("/plans", {"session": session, "tasks": rows})
    assert [(row["status"], row["reason"]) for row in planned] == [("Held", pause["reason"]), ("Waiting", "")]
    attempt("broken", "Complete", subject="FAIL_002")  # another lab is not paused

    lifted = live_database.request("PATCH", f"/pauses/{pause['id']}", {"lifted": True}).json()
    assert (lifted["sessions"], lifted["lifted_by"]) == (2, "ranvier")
    assert live_database.request("GET", f"/tasks/{planned[0]['id']}").json()["status"] == "Waiting"
    asked = live_database.request("GET", f"/events?kind=session.requested&session={session}").json()["results"]
    assert [event["key"] for event in asked] == [f"resumed:{pause['id']}:{session}"]
    assert asked[0]["payload"]["priority"] == "backfill", "nobody waits for all of them"
    assert live_database.request("PATCH", f"/pauses/{pause['id']}", {"lifted": True}).json()["sessions"] == 0
    attempt("broken", **error("trip"))
    assert pauses(live_database, "broken") == [], "it is counted anew"


@pytest.mark.parametrize("between", [{"status": "Complete"}, error("elsewhere")])
def test_what_lies_between_breaks_the_row(live_database: Any, attempt: Fail, between: dict[str, str]) -> None:
    name = f"now_and_then_{len(between)}"
    for told in [error("row")] * 4 + [between] + [error("row")] * 4:
        attempt(name, **told)
    assert pauses(live_database, name) == []
    attempt(name, **error("row"))
    assert len(pauses(live_database, name)) == 1


def test_one_session_that_is_tried_again_and_again_trips_nothing(live_database: Any, attempt: Fail) -> None:
    row = attempt("stubborn", **error("stubborn"))
    for number in range(1, 7):
        claimed = live_database.make("/attempts", {"task": row["id"], "worker": "w", "after": number})
        live_database.request("PATCH", f"/attempts/{claimed['id']}", {"status": "Errored", "version": "1.0.0", **error("stubborn")})
    assert pauses(live_database, "stubborn") == []


def test_a_task_that_is_given_up_is_told_of(live_database: Any, attempt: Fail) -> None:
    row = attempt("hopeless", **error("hopeless"))
    live_database.request("PATCH", f"/tasks/{row['id']}", {"status": "Abandoned", "reason": "the probe was broken"})
    (event,) = live_database.request("GET", f"/events?kind=task.abandoned&session={row['session']}").json()["results"]
    assert (event["payload"]["by"], event["payload"]["reason"]) == ("ranvier", "the probe was broken")


def test_the_admin_shows_groups_and_lifts_pauses(live_database: Any, attempt: Fail) -> None:
    for _ in range(5):
        attempt("shown", **error("shown"))
    site, browser = f"{live_database.url}/admin", requests.Session()
    browser.get(f"{site}/login/", timeout=30)
    form = {"username": "admin", "password": live_database.settings.secret("admin_password")}
    browser.post(f"{site}/login/", {**form, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}, timeout=30)
    page = browser.get(f"{site}/jobs/failure/", timeout=30).text
    assert "print-shown" in page
    assert "paused in testlab" in page
    (pause,) = pauses(live_database, "shown")
    action = {"action": "lift", "_selected_action": pause["id"], "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    assert browser.post(f"{site}/jobs/pause/", action, timeout=30).ok
    assert pauses(live_database, "shown") == []


@task(version="1.0.0", outputs=[Output("alf/tongue.times.npy")])
def fragile(job: Any) -> None:
    """Fails alike in every session."""
    raise ValueError("the tongue is not in the picture")


def test_real_attempts_trip_it_and_the_command_line_resumes(
    run_task: RunTask, ranvier_home: Settings, ranvier_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for day in range(1, 7):
        path = ranvier_home.lab_root / "fragile_1" / f"2026-11-{day:02d}" / "001"
        path.mkdir(parents=True)
        (path / "raw.times.npy").write_bytes(b"")
        outcomes.append(run_task(fragile, Session.parse(path)))
    assert [outcome.status for outcome in outcomes] == ["Errored"] * 5 + ["Held"]
    assert "`ranvier tasks resume fragile`" in outcomes[-1].reason
    assert outcomes[-1].reason.startswith("paused in")

    monkeypatch.setenv("RANVIER_HOME", str(ranvier_home.home))
    monkeypatch.setattr(screen, "out", Console(highlight=False, width=250))
    shown = CliRunner().invoke(app, ["failures", "--task", "fragile"], catch_exceptions=False).stdout
    assert "fragile 1.0.0: ValueError at test_failures.py:fragile" in shown
    assert "5 sessions in" in shown
    resumed = CliRunner().invoke(app, ["tasks", "resume", "fragile"], catch_exceptions=False).stdout
    assert "fragile 1.0.0 runs again in" in resumed
    assert "1 session asked for" in resumed
    again = CliRunner().invoke(app, ["tasks", "resume", "fragile"])
    assert "is not paused in" in str(again.exception)
    assert run_task(fragile, Session.parse(path)).status == "Errored"
