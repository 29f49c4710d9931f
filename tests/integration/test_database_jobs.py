"""Plans, claims, heartbeats, verdicts, leases and events over a live database."""

from __future__ import annotations

import itertools
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from typing import Any

import pytest
import requests
from django.db.models import F

from ranvier.client import Database

SERIAL = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def subject(live_database: Any) -> str:
    """A subject for the sessions of these tests."""
    return live_database.make("/subjects", {"nickname": "JOBS_001", "lab": "testlab"})["nickname"]


@pytest.fixture
def session(live_database: Any, subject: str) -> str:
    """A fresh session's id."""
    body = {"subject": subject, "start_time": "2026-06-01T09:00:00", "number": next(SERIAL)}
    return live_database.make("/sessions", body)["id"]


def plan(database: Any, session: str, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """Plan tasks; the rows."""
    return database.make("/plans", {"session": session, "tasks": list(tasks)})


def claim(database: Any, task: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Claim a task; the attempt."""
    return database.make("/attempts", {"task": task["id"], "worker": "worker-1", **fields})


class From(requests.adapters.HTTPAdapter):
    """Sends requests from an address of this machine."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(self.address, 0), **kwargs)


def test_plan_creates_rows_in_order_with_parents_by_name(live_database: Any, session: str) -> None:
    rows = plan(
        live_database, session, {"name": "b", "parents": ["a"], "level": 1, "status": "Held", "reason": "a is not done"}, {"name": "a"}
    )
    assert [(row["name"], row["status"], row["reason"]) for row in rows] == [("b", "Held", "a is not done"), ("a", "Waiting", "")]
    assert rows[0]["parents"] == [rows[1]["id"]]


def test_plan_again_updates_and_leaves_the_status_where_it_is_told_to(live_database: Any, session: str) -> None:
    (first,) = plan(live_database, session, {"name": "a", "ram": 4, "status": "Held", "reason": "no worker has a GPU"})
    (second,) = plan(live_database, session, {"name": "a", "ram": 8, "status": None})
    assert (second["id"], second["ram"], second["status"], second["reason"]) == (first["id"], 8, "Held", "no worker has a GPU")
    (third,) = plan(live_database, session, {"name": "a", "status": "Complete"})
    assert third["status"] == "Held", "Held cannot become Complete, so the plan leaves it alone"


def test_plan_leaves_a_leased_task_alone(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a", "ram": 4})
    claim(live_database, task)
    (row,) = plan(live_database, session, {"name": "a", "ram": 64, "status": "Waiting"})
    assert (row["status"], row["ram"]) == ("Started", 4)


@pytest.mark.parametrize(
    ("tasks", "complaint"),
    [
        ([{"name": "a", "parents": ["nobody"]}], "no such parent"),
        ([{"name": "a"}, {"name": "a"}], "planned twice"),
        ([{"name": "a", "parents": ["a"]}], "own parent"),
        ([{"name": "a", "status": "Running"}], "not a task status"),
        ([{"name": "a", "memory": 3}], "no such field"),
    ],
)
def test_bad_plan_is_refused_whole(live_database: Any, session: str, tasks: list[dict[str, Any]], complaint: str) -> None:
    answer = live_database.request("POST", "/plans", {"session": session, "tasks": [{"name": "good"}, *tasks]})
    assert answer.status_code == 400
    assert complaint in answer.json()["detail"]
    assert live_database.request("GET", f"/tasks?session={session}").json()["count"] == 0


def test_of_twenty_workers_one_gets_the_task(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    ask = {"task": task["id"]}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda i: live_database.request("POST", "/attempts", {**ask, "worker": f"w{i}"}), range(20)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 19}
    winner = next(answer.json() for answer in answers if answer.status_code == 201)
    assert all(f"claimed by {winner['worker']} until" in answer.json()["detail"] for answer in answers if answer.status_code == 409)
    assert live_database.request("GET", f"/attempts?task={task['id']}").json()["count"] == 1


def test_claim_sent_again_with_its_id_is_answered_again(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    ask = {"task": task["id"], "worker": "w", "id": str(uuid.uuid4())}
    first, again = (live_database.request("POST", "/attempts", ask) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = live_database.request("POST", "/attempts", {"task": task["id"], "worker": "w", "id": str(uuid.uuid4())})
    assert other.status_code == 409


def test_held_task_cannot_be_claimed_and_says_why(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a", "status": "Held", "reason": "its parent is Errored"})
    answer = live_database.request("POST", "/attempts", {"task": task["id"], "worker": "w"})
    assert answer.status_code == 409
    assert "its parent is Errored" in answer.json()["detail"]


def test_worker_that_has_seen_the_last_attempt_may_run_a_task_again(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    live_database.request("PATCH", f"/attempts/{claim(live_database, task)['id']}", {"status": "Complete"})
    ask = {"task": task["id"], "worker": "w"}
    assert live_database.request("POST", "/attempts", ask).status_code == 409, "it is Complete"
    late = live_database.request("POST", "/attempts", {**ask, "after": 0})
    assert late.status_code == 409
    assert "attempted since" in late.json()["detail"]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: live_database.request("POST", "/attempts", {**ask, "after": 1}).status_code, range(8)))
    assert Counter(codes) == {201: 1, 409: 7}


def test_abandoned_task_is_claimed_by_nobody(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a", "status": "Abandoned"})
    for after in (None, 0):
        assert live_database.request("POST", "/attempts", {"task": task["id"], "worker": "w", "after": after}).status_code == 409


def test_verdict_reaches_task_session_and_insertion(live_database: Any, session: str) -> None:
    live_database.make("/insertions", {"session": session, "name": "probe00"})
    (task,) = plan(live_database, session, {"name": "sort[probe00]", "executable": "sort", "device": "probe00"})
    attempt = claim(live_database, task, lease_s=30, identity="1" * 64)
    checks = {"drift_um": {"value": 12.5, "outcome": "WARNING"}}
    told = {
        "status": "Complete", "reason": "", "wall_s": 3.5, "version": "1.2", "log": "all\nwell\n", "identity": "2" * 64,
        "qc": {"outcome": "WARNING", "checks": checks}, "outputs": [{"path": "alf/a.npy", "size": 1, "hash": "x"}],
    }  # fmt: skip
    first = live_database.request("PATCH", f"/attempts/{attempt['id']}", told)
    again = live_database.request("PATCH", f"/attempts/{attempt['id']}", told)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    row = live_database.request("GET", f"/tasks/{task['id']}").json()
    assert (row["status"], row["version"], row["log"], row["identity"]) == ("Complete", "1.2", "all\nwell\n", "2" * 64)
    assert (row["time_elapsed_secs"], row["outputs"], row["lease_until"]) == (3.5, told["outputs"], None)
    found = live_database.request("GET", f"/sessions/{session}").json()
    assert found["extended_qc"] == {"sort_probe00": "WARNING", "_sort_probe00_drift_um": 12.5}
    assert found["qc"] == "WARNING"
    assert found["probe_insertion"][0]["json"] == {"extended_qc": found["extended_qc"], "qc": "WARNING"}


def test_other_verdict_after_the_end_is_refused(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    attempt = claim(live_database, task)
    live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete"})
    for told in ({"status": "Errored"}, {"progress": 0.5}):
        answer = live_database.request("PATCH", f"/attempts/{attempt['id']}", told)
        assert answer.status_code == 409
        assert "has ended, Complete" in answer.json()["detail"]


def test_heartbeat_renews_the_lease_and_hears_of_a_cancel(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    attempt = claim(live_database, task, lease_s=10)
    beat = live_database.request("PATCH", f"/attempts/{attempt['id']}", {"lease_s": 600, "progress": 0.25, "message": "a quarter"}).json()
    assert beat["lease_until"] > attempt["lease_until"]
    assert (beat["progress"], beat["cancel_requested"]) == (0.25, False)
    live_database.request("PATCH", f"/tasks/{task['id']}", {"cancel_requested": True})
    assert live_database.request("PATCH", f"/attempts/{attempt['id']}", {"lease_s": 10}).json()["cancel_requested"] is True


def test_task_taken_away_by_hand_fences_its_worker(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    attempt = claim(live_database, task)
    assert live_database.request("PATCH", f"/tasks/{task['id']}", {"status": "Abandoned"}).status_code == 200
    answer = live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete"})
    assert answer.status_code == 409
    assert "ranvier set the task Abandoned" in answer.json()["detail"]
    assert live_database.request("GET", f"/tasks/{task['id']}").json()["status"] == "Abandoned"


def test_expired_lease_is_given_back_once(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    attempt = claim(live_database, task, lease_s=0.05)
    time.sleep(0.1)
    assert task["id"] in live_database.request("POST", "/expired-leases", {}).json()
    assert task["id"] not in live_database.request("POST", "/expired-leases", {}).json()
    row = live_database.request("GET", f"/tasks/{task['id']}").json()
    assert (row["status"], row["attempt"]) == ("Waiting", 1)
    closed = live_database.request("GET", f"/attempts/{attempt['id']}").json()
    assert closed["status"] == "Errored"
    assert "the worker fell silent" in closed["reason"]
    events = live_database.request("GET", f"/events?session={session}&kind=task.returned").json()["results"]
    assert [event["payload"] for event in events] == [{"given_back": {"a": 1}, "tasks": ["a"], "downstream": True}]
    assert claim(live_database, task)["number"] == 2
    assert live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete"}).status_code == 409


def test_attempt_that_is_given_back_has_not_failed(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    attempt = claim(live_database, task, flow_run="f1")
    for _ in range(2):
        answer = live_database.request("PATCH", f"/attempts/{attempt['id']}", {"given_back": "the worker was stopped"})
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["reason"]) == ("Errored", "the worker was stopped")
    row = live_database.request("GET", f"/tasks/{task['id']}").json()
    assert (row["status"], row["reason"], row["leased"]) == ("Waiting", "given back by attempt 1: the worker was stopped", False)
    assert not [group for group in live_database.request("GET", "/failures").json() if group["session"] == session]
    (event,) = live_database.request("GET", f"/events?session={session}&kind=task.returned").json()["results"]
    assert event["payload"] == {"given_back": {"a": 1}, "tasks": ["a"], "downstream": True, "flow_run": "f1"}
    assert live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete"}).status_code == 409
    assert claim(live_database, task)["number"] == 2


def test_task_that_is_given_back_again_and_again_is_not_given_up(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    for number in range(1, 7):
        attempt = claim(live_database, task, lease_s=60)
        assert attempt["number"] == number
        live_database.request("PATCH", f"/attempts/{attempt['id']}", {"given_back": "stopped"})
    claim(live_database, task, lease_s=0.05)
    time.sleep(0.1)
    assert task["id"] in live_database.request("POST", "/expired-leases", {}).json()


def test_attempt_that_is_given_back_and_was_cancelled_is_cancelled(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    attempt = claim(live_database, task)
    live_database.request("POST", "/cancellations", {"session": session, "by": "olivier"})
    live_database.request("PATCH", f"/attempts/{attempt['id']}", {"given_back": "stopped"})
    row = live_database.request("GET", f"/tasks/{task['id']}").json()
    assert (row["status"], row["reason"]) == ("Errored", "cancelled by olivier; stopped")


def test_attempt_is_given_back_or_ended_but_not_both(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    attempt = claim(live_database, task)
    answer = live_database.request("PATCH", f"/attempts/{attempt['id']}", {"given_back": "stopped", "status": "Complete"})
    assert answer.status_code == 400
    assert "given_back" in answer.text


def fallen_silent(database: Any, session: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A task that was given back, and its attempt."""
    (task,) = plan(database, session, {"name": "a"})
    attempt = claim(database, task, lease_s=0.05)
    time.sleep(0.1)
    assert task["id"] in database.request("POST", "/expired-leases", {}).json()
    return task, attempt


def test_attempt_that_fell_silent_comes_back_while_nobody_has_claimed_its_task(live_database: Any, session: str) -> None:
    task, attempt = fallen_silent(live_database, session)
    assert live_database.request("PATCH", f"/attempts/{attempt['id']}", {"progress": 0.5, "lease_s": 60}).status_code == 200
    row = live_database.request("GET", f"/tasks/{task['id']}").json()
    assert (row["status"], row["attempt"], row["leased"], row["reason"]) == ("Started", 1, True, "")
    again = live_database.request("GET", f"/attempts/{attempt['id']}").json()
    assert (again["status"], again["reason"], again["error_type"], again["finished"]) == ("Started", "", "", None)
    assert live_database.request("POST", "/attempts", {"task": task["id"], "worker": "w", "after": 1}).status_code == 409
    assert live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete"}).status_code == 200


@pytest.mark.parametrize("verdict", ["Complete", "Errored"])
def test_late_verdict_is_taken_while_nobody_has_claimed_the_task(live_database: Any, session: str, verdict: str) -> None:
    task, attempt = fallen_silent(live_database, session)
    told = {"status": verdict, "reason": "in the end", "error_type": "", "wall_s": 2.0}
    first, again = (live_database.request("PATCH", f"/attempts/{attempt['id']}", told) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    row = live_database.request("GET", f"/tasks/{task['id']}").json()
    assert (row["status"], row["reason"], row["time_elapsed_secs"]) == (verdict, "in the end", 2.0)


@pytest.mark.parametrize("told", [{"lease_s": 60}, {"status": "Complete"}, {"status": "Errored"}])
def test_attempt_that_fell_silent_is_refused_once_another_has_claimed(live_database: Any, session: str, told: dict[str, Any]) -> None:
    task, attempt = fallen_silent(live_database, session)
    claim(live_database, task)
    answer = live_database.request("PATCH", f"/attempts/{attempt['id']}", told)
    assert answer.status_code == 409
    assert "fell silent" in answer.json()["detail"]
    assert live_database.request("GET", f"/tasks/{task['id']}").json()["attempt"] == 2


def test_attempt_that_fell_silent_is_refused_where_its_task_was_abandoned(live_database: Any, session: str) -> None:
    task, attempt = fallen_silent(live_database, session)
    live_database.request("PATCH", f"/tasks/{task['id']}", {"status": "Abandoned"})
    for told in ({"lease_s": 60}, {"status": "Complete"}):
        assert live_database.request("PATCH", f"/attempts/{attempt['id']}", told).status_code == 409


def test_coming_back_and_claiming_anew_at_once_has_one_winner(live_database: Any, session: str) -> None:
    for _ in range(8):
        session = live_database.make("/sessions", {"subject": "JOBS_001", "start_time": "2026-06-05T09:00:00", "number": next(SERIAL)})[
            "id"
        ]
        task, attempt = fallen_silent(live_database, session)
        ask = {"task": task["id"], "worker": "other", "after": 1}
        with ThreadPoolExecutor(2) as pool:
            back = pool.submit(live_database.request, "PATCH", f"/attempts/{attempt['id']}", {"lease_s": 60})
            new = pool.submit(live_database.request, "POST", "/attempts", ask)
        assert sorted((back.result().status_code, new.result().status_code)) in ([200, 409], [201, 409])


def test_tasks_of_a_session_that_fall_silent_together_are_one_event_each_time(live_database: Any, session: str) -> None:
    rows = plan(live_database, session, {"name": "a"}, {"name": "b"})
    attempts = [claim(live_database, row, lease_s=0.05) for row in rows]
    for turn in (1, 2):
        time.sleep(0.1)
        live_database.request("POST", "/expired-leases", {})
        events = live_database.request("GET", f"/events?session={session}&kind=task.returned").json()["results"]
        assert [event["payload"]["given_back"] for event in events] == [{"a": 1, "b": 1}] * turn
        for attempt in attempts:
            assert live_database.request("PATCH", f"/attempts/{attempt['id']}", {"lease_s": 0.05}).status_code == 200


def test_events_are_a_stream_in_which_none_is_passed_over(live_database: Any, rest: Any, session: str) -> None:
    from ranvier.database.jobs.models import LONGEST_WRITE, Event

    def ids(after: int) -> list[int]:
        return [event["id"] for event in live_database.request("GET", f"/events?after={after}").json()["results"]]

    made = [
        live_database.make("/events", {"kind": "session.requested", "session": session, "key": f"{session}:{n}"})["id"] for n in range(3)
    ]
    assert made == list(range(made[0], made[0] + 3))
    start = made[0] - 1
    assert ids(start)[:3] == made
    assert ids(made[1])[0] == made[2]
    Event.objects.filter(pk=made[1]).delete()
    assert ids(start) == made[:1], "the one in between may be on its way"
    Event.objects.filter(pk=made[2]).update(created=F("created") - LONGEST_WRITE)
    assert ids(start) == [made[0], made[2]]


def fall_silent(database: Any, task: dict[str, Any]) -> None:
    """One attempt whose lease runs out."""
    claim(database, task, lease_s=0.02)
    time.sleep(0.05)
    database.request("POST", "/expired-leases", {})


def test_a_task_that_falls_silent_again_and_again_is_given_up(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    for _ in range(3):
        fall_silent(live_database, task)
        assert live_database.request("GET", f"/tasks/{task['id']}").json()["status"] == "Waiting"
    fall_silent(live_database, task)
    row = live_database.request("GET", f"/tasks/{task['id']}").json()
    assert row["status"] == "Errored"
    assert row["reason"].startswith("given up: its worker fell silent 4 times in a row, in attempts 1 to 4")
    assert live_database.request("GET", f"/events?session={session}&kind=task.returned").json()["count"] == 3
    plan(live_database, session, {"name": "a", "status": "Waiting"})
    fall_silent(live_database, task)
    assert "fell silent 5 times in a row" in live_database.request("GET", f"/tasks/{task['id']}").json()["reason"], "one more chance"


def test_an_overdue_task_that_was_silent_too_often_is_not_claimed_over(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    for _ in range(4):
        claim(live_database, task, lease_s=0.02)
        time.sleep(0.05)
    answer = live_database.request("POST", "/attempts", {"task": task["id"], "worker": "w", "after": 4})
    assert answer.status_code == 409
    assert "given up: its worker fell silent 4 times in a row" in answer.json()["detail"]
    assert live_database.request("GET", f"/tasks/{task['id']}").json()["status"] == "Errored"


def qc_of(database: Any, session: str) -> tuple[str, Any, Any]:
    """QC of a session, what it lost, and QC of its probe01."""
    found = database.request("GET", f"/sessions/{session}").json()
    insertion = next(each for each in found["probe_insertion"] if each["name"] == "probe01")
    return found["qc"], (found["extended_qc"] or {}).get("_pipeline_lost"), (insertion["json"] or {}).get("qc")


def end(database: Any, task: dict[str, Any], status: str, outcome: str = "PASS") -> None:
    """Claim a task and hand in a verdict, with a quality check unless it failed."""
    attempt = claim(database, task, after=database.request("GET", f"/tasks/{task['id']}").json()["attempt"])
    qc = {"outcome": outcome, "checks": {}} if status != "Errored" else None
    assert database.request("PATCH", f"/attempts/{attempt['id']}", {"status": status, "qc": qc}).ok


def test_a_probe_lost_to_an_error_shows_in_the_qc_until_it_is_mended(live_database: Any, session: str) -> None:
    for probe in ("probe00", "probe01"):
        live_database.make("/insertions", {"session": session, "name": probe})
    planned = [
        {"name": "sort[probe00]", "executable": "sort", "device": "probe00"},
        {"name": "sort[probe01]", "executable": "sort", "device": "probe01"},
        {"name": "units[probe01]", "executable": "units", "device": "probe01", "parents": ["sort[probe01]"], "level": 1},
        {"name": "giant", "status": "Held", "reason": "needs 512 CPU"},
    ]
    good, bad, child, _ = plan(live_database, session, *planned)
    end(live_database, good, "Complete")
    assert qc_of(live_database, session) == ("PASS", None, None)
    end(live_database, bad, "Errored")
    assert qc_of(live_database, session) == ("FAIL", ["sort[probe01]"], "FAIL")
    live_database.request("PATCH", f"/tasks/{child['id']}", {"status": "Held", "reason": "sort[probe01] is Errored"})
    assert qc_of(live_database, session) == ("FAIL", ["sort[probe01]", "units[probe01]"], "FAIL")
    plan(live_database, session, *({**item, "status": "Waiting"} for item in planned[1:3]))
    assert qc_of(live_database, session) == ("FAIL", ["sort[probe01]", "units[probe01]"], "FAIL"), "it is only being tried again"
    end(live_database, bad, "Complete", "WARNING")
    assert row_of(live_database, bad)["qc"] == "WARNING"
    assert qc_of(live_database, session) == ("FAIL", ["units[probe01]"], "FAIL")
    end(live_database, child, "Complete")
    assert qc_of(live_database, session) == ("WARNING", None, "WARNING")


def test_what_a_person_found_bad_does_not_become_good(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    live_database.request("PATCH", f"/sessions/{session}", {"qc": "CRITICAL"})
    end(live_database, task, "Errored")
    assert live_database.request("GET", f"/sessions/{session}").json()["qc"] == "CRITICAL"
    end(live_database, task, "Complete")
    assert live_database.request("GET", f"/sessions/{session}").json()["qc"] == "CRITICAL"


def test_a_reason_is_given_only_while_the_task_stands_there(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    client = Database(live_database.url, live_database.settings.secret("token"))
    client.explain(task["id"], "waits for 2 CPU", "Waiting")
    assert client.task(task["id"])["reason"] == "waits for 2 CPU"
    claim(live_database, task)
    client.explain(task["id"], "waits for 2 CPU", "Waiting")
    assert (client.task(task["id"])["status"], client.task(task["id"])["reason"]) == ("Started", "")


def test_a_flow_run_that_is_being_stopped_does_not_set_its_cancelled_task_waiting(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    client = Database(live_database.url, live_database.settings.secret("token"))
    attempt = claim(live_database, task)
    client.cancel(session=session, by="olivier")
    client.report(attempt["id"], status="Errored", reason="cancelled by olivier")
    client.explain(task["id"], "tried again, as the worker was lost", "Waiting,Errored", "Waiting")
    assert (client.task(task["id"])["status"], client.task(task["id"])["reason"]) == ("Errored", "cancelled by olivier")


def test_overdue_task_can_be_claimed_over(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    first = claim(live_database, task, lease_s=0.05)
    time.sleep(0.1)
    second = claim(live_database, task)
    assert (first["number"], second["number"]) == (1, 2)
    assert live_database.request("GET", f"/attempts/{first['id']}").json()["status"] == "Errored"


def test_who_takes_over_a_silent_task_does_not_where_it_was_given_up_meanwhile(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    claim(live_database, task, lease_s=0.05)
    time.sleep(0.1)
    second = claim(live_database, task, after=1, takes_over=True, lease_s=0.05)
    live_database.request("PATCH", f"/attempts/{second['id']}", {"status": "Errored", "reason": "given up"})
    body = {"task": task["id"], "worker": "w", "after": 2}
    assert live_database.request("POST", "/attempts", {**body, "takes_over": True}).status_code == 409
    assert live_database.request("POST", "/attempts", body).status_code == 201


def test_ibllib_worker_patches_its_way_through(live_database: Any, session: str) -> None:
    body = {
        "session": session,
        "name": "EphysPulses_probe00",
        "executable": "ibllib.pipes.ephys_tasks.EphysPulses",
        "module": "ibllib.pipes.dynamic_pipeline.Pipeline",
        "arguments": {"pname": "probe00"},
    }
    task = live_database.make("/tasks", body)
    assert task["status"] == "Waiting"
    steps = [("Held", 200), ("Waiting", 200), ("Started", 200), ("Started", 200), ("Errored", 200)]
    steps += [("Started", 200), ("Started", 200), ("Complete", 200), ("Started", 409)]
    for status, code in steps:
        answer = live_database.request("PATCH", f"/tasks/{task['id']}", {"status": status})
        assert answer.status_code == code, (status, answer.text)
    assert live_database.request("POST", "/tasks", body).status_code == 409
    assert live_database.request("POST", "/tasks", {**body, "name": "other", "modules": "x"}).status_code == 400


def test_two_workers_that_patch_started_at_once(live_database: Any, session: str) -> None:
    """From eight machines: one gets it. Which is which is told by the address, as ibllib's workers say no more of themselves."""
    task = live_database.make("/tasks", {"session": session, "name": "raced"})
    token = f"Token {live_database.settings.secret('token')}"

    def start(machine: int) -> tuple[int, str]:
        with requests.Session() as http:
            http.mount("http://", From(f"127.0.0.{machine}"))
            answer = http.patch(f"{live_database.url}/tasks/{task['id']}", json={"status": "Started"}, headers={"Authorization": token})
        return answer.status_code, answer.text

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(start, range(1, 9)))
    assert Counter(code for code, _ in answers) == {200: 1, 409: 7}
    (winner,) = (machine for machine, (code, _) in enumerate(answers, 1) if code == 200)
    assert start(winner)[0] == 200
    assert f"by ranvier at 127.0.0.{winner}" in start(winner % 8 + 1)[1]


def test_who_holds_an_attempt_is_not_pushed_aside(live_database: Any, session: str) -> None:
    task = live_database.make("/tasks", {"session": session, "name": "held by an attempt"})
    for status in ("Started", "Waiting"):
        assert live_database.request("PATCH", f"/tasks/{task['id']}", {"status": status}).status_code == 200
    claim(live_database, task)
    assert live_database.request("PATCH", f"/tasks/{task['id']}", {"status": "Started"}).status_code == 409


def test_a_new_status_is_not_explained_by_the_reason_of_the_last(live_database: Any, session: str) -> None:
    task = live_database.make("/tasks", {"session": session, "name": "reasoned"})
    held = live_database.request("PATCH", f"/tasks/{task['id']}", {"status": "Held", "reason": "a parent is not good enough"}).json()
    assert held["reason"] == "a parent is not good enough"
    assert live_database.request("PATCH", f"/tasks/{task['id']}", {"log": "x"}).json()["reason"] == "a parent is not good enough"
    assert live_database.request("PATCH", f"/tasks/{task['id']}", {"status": "Waiting"}).json()["reason"] == ""


def test_task_cannot_be_its_own_parent_nor_another_sessions(live_database: Any, session: str, subject: str) -> None:
    task = live_database.make("/tasks", {"session": session, "name": "a"})
    other_session = live_database.make("/sessions", {"subject": subject, "start_time": "2026-06-02T09:00:00", "number": next(SERIAL)})["id"]
    other = live_database.make("/tasks", {"session": other_session, "name": "a"})
    for parent in (task, other):
        assert live_database.request("PATCH", f"/tasks/{task['id']}", {"parents": [parent["id"]]}).status_code == 400


def test_new_session_is_an_event_and_the_same_key_is_the_same_event(live_database: Any, subject: str) -> None:
    body = {"subject": subject, "start_time": "2026-06-03T09:00:00", "number": 1, "json": {"ready": "2026-06-03T12:00"}}
    eid = live_database.make("/sessions", body)["id"]
    (event,) = live_database.request("GET", f"/events?session={eid}&pending=true").json()["results"]
    assert (event["kind"], event["key"], event["lab"]) == ("session.registered", f"{eid}:2026-06-03T12:00", "testlab")
    ask = {"kind": "session.requested", "session": eid, "key": f"{eid}:again", "payload": {"by": "hand"}}
    first, again = (live_database.request("POST", "/events", ask) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()


def test_delivery_of_an_event(live_database: Any, session: str) -> None:
    (event,) = live_database.request("GET", f"/events?session={session}").json()["results"]
    failed = live_database.request("PATCH", f"/events/{event['id']}", {"error": "Prefect does not answer"}).json()
    assert (failed["tries"], failed["delivered"], failed["error"]) == (1, None, "Prefect does not answer")
    done = live_database.request("PATCH", f"/events/{event['id']}", {"delivered": True, "flow_run": "abc"}).json()
    assert (done["flow_run"], done["error"]) == ("abc", "")
    assert done["delivered"]
    assert live_database.request("GET", f"/events?session={session}&pending=true").json()["count"] == 0


def test_ten_registrations_of_one_session_at_once_make_one(live_database: Any, subject: str) -> None:
    body = {"subject": subject, "start_time": "2026-06-04T09:00:00", "number": 1}
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: live_database.request("POST", "/sessions", body), range(10)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 9}
    eid = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
    assert all(eid in answer.json()["detail"] for answer in answers if answer.status_code == 409)
    assert live_database.request("GET", f"/events?session={eid}").json()["count"] == 1


def test_many_writers_at_once_and_none_finds_the_database_locked(live_database: Any, session: str) -> None:
    rows = plan(live_database, session, *({"name": f"task{i}"} for i in range(16)))
    attempts = [claim(live_database, row) for row in rows]

    def work(attempt: dict[str, Any]) -> list[int]:
        beats = [live_database.request("PATCH", f"/attempts/{attempt['id']}", {"progress": i / 5}).status_code for i in range(5)]
        qc = {"outcome": "PASS", "checks": {"n": {"value": attempt["number"], "outcome": "PASS"}}}
        return [*beats, live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete", "qc": qc}).status_code]

    with ThreadPoolExecutor(16) as pool:
        codes = [code for codes in pool.map(work, attempts) for code in codes]
    assert Counter(codes) == {200: 16 * 6}
    assert len(live_database.request("GET", f"/sessions/{session}").json()["extended_qc"]) == 32, "no QC of another task was overwritten"


def row_of(database: Any, task: dict[str, Any]) -> dict[str, Any]:
    """A task as it stands."""
    return database.request("GET", f"/tasks/{task['id']}").json()


def test_cancelling_a_flow_run_stops_what_it_has_planned_and_nothing_else(live_database: Any, session: str) -> None:
    mine = [{"name": name} for name in ("runs", "waits", "done")]
    body = {"session": session, "tasks": [*mine, {"name": "held", "status": "Held", "reason": "no GPU"}], "flow_run": "mine"}
    runs, waits, done, held = live_database.make("/plans", body)
    other = plan(live_database, session, {"name": "other"})[0]
    finished = claim(live_database, done, flow_run="mine")
    live_database.request("PATCH", f"/attempts/{finished['id']}", {"status": "Complete"})
    attempt = claim(live_database, runs, flow_run="mine")
    stopped = live_database.request("POST", "/cancellations", {"flow_run": "mine", "by": "someone"}).json()
    assert {row["name"] for row in stopped} == {"runs", "waits"}
    assert (row_of(live_database, runs)["status"], row_of(live_database, runs)["cancelled_by"]) == ("Started", "someone")
    assert (row_of(live_database, waits)["status"], row_of(live_database, waits)["reason"]) == (
        "Held",
        "cancelled by someone before it started",
    )
    assert row_of(live_database, held)["reason"] == "no GPU"
    assert row_of(live_database, done)["status"] == "Complete"
    assert row_of(live_database, other)["status"] == "Waiting"
    beat = live_database.request("PATCH", f"/attempts/{attempt['id']}", {"lease_s": 10}).json()
    assert (beat["cancel_requested"], beat["cancelled_by"]) == (True, "someone")
    assert live_database.request("POST", "/cancellations", {"flow_run": "mine"}).json() == [], "the second time there is nothing to stop"


def test_what_was_cancelled_starts_when_it_is_planned_again_and_not_before(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    attempt = claim(live_database, task)
    live_database.request("POST", "/cancellations", {"session": session, "by": "someone"})
    live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Errored", "reason": "cancelled by someone"})
    refused = live_database.request("POST", "/attempts", {"task": task["id"], "worker": "late", "after": 1})
    assert refused.status_code == 409
    assert "a was cancelled by someone" in refused.text
    assert plan(live_database, session, {"name": "a", "status": "Waiting"})[0]["cancelled_by"] == ""
    assert claim(live_database, task)["number"] == 2


def test_a_verdict_that_comes_after_all_is_taken_and_unmarks_the_task(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    attempt = claim(live_database, task)
    live_database.request("POST", "/cancellations", {"session": session})
    live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete"})
    row = row_of(live_database, task)
    assert (row["status"], row["cancel_requested"], row["cancelled_by"]) == ("Complete", False, "")


def test_a_cancelled_task_whose_worker_falls_silent_is_not_given_back(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    attempt = claim(live_database, task, lease_s=0.01)
    live_database.request("POST", "/cancellations", {"session": session, "by": "someone"})
    time.sleep(0.1)
    assert task["id"] not in live_database.request("POST", "/expired-leases", {}).json()
    row = row_of(live_database, task)
    assert (row["status"], row["reason"]) == ("Errored", "cancelled by someone; its worker fell silent")
    events = live_database.request("GET", f"/events?session={session}").json()["results"]
    assert [event["kind"] for event in events] == ["session.registered", "session.cancelled"]
    assert live_database.request("PATCH", f"/attempts/{attempt['id']}", {"lease_s": 10}).status_code == 409


def test_cancelling_a_session_tells_prefect_and_withdraws_what_was_asked_for(live_database: Any, session: str) -> None:
    asked = {"kind": "session.requested", "session": session, "key": f"{session}:again"}
    live_database.make("/events", asked)
    live_database.request("POST", "/cancellations", {"session": session, "by": "someone"})
    registered, requested, cancelled = live_database.request("GET", f"/events?session={session}").json()["results"]
    assert registered["delivered"]
    assert requested["error"] == "cancelled by someone before it was delivered"
    assert (cancelled["kind"], cancelled["delivered"], cancelled["payload"]) == ("session.cancelled", None, {"by": "someone"})


def test_single_tasks_are_cancelled_by_their_name_or_that_of_an_instance(live_database: Any, session: str) -> None:
    tasks = [{"name": f"sort[probe0{n}]", "executable": "sort"} for n in range(2)]
    plan(live_database, session, *tasks, {"name": "lick", "executable": "lick"})

    def cancelled(*names: str) -> set[str]:
        return {row["name"] for row in live_database.request("POST", "/cancellations", {"session": session, "tasks": names}).json()}

    assert cancelled("sort[probe01]") == {"sort[probe01]"}
    assert cancelled("sort") == {"sort[probe00]"}
    assert [event["kind"] for event in live_database.request("GET", f"/events?session={session}").json()["results"]] == [
        "session.registered"
    ]
    unknown = live_database.request("POST", "/cancellations", {"session": session, "tasks": ["sorting"]})
    assert unknown.status_code == 400
    assert "no task sorting in this session; it has lick, sort" in unknown.text


@pytest.mark.parametrize("body", [{}, {"session": "00000000-0000-0000-0000-000000000000"}, {"flow_run": "a", "tasks": ["b"]}])
def test_a_cancellation_says_of_what(live_database: Any, body: dict[str, Any]) -> None:
    assert live_database.request("POST", "/cancellations", body).status_code == 400


class Form(HTMLParser):
    """What a browser would send back of the session's form as it was shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: list[tuple[str, str]] = []
        self.buttons: set[str] = set()
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Take up inputs and chosen options; text follows in `handle_data`."""
        read = {name: value or "" for name, value in attributes}
        kind = read.get("type", "")
        if tag == "button" or kind == "submit":
            self.buttons.add(read.get("name", ""))
        elif tag == "input" and (kind not in ("checkbox", "radio") or "checked" in read):
            self.fields.append((read.get("name", ""), read.get("value", "")))
        elif tag in ("select", "textarea"):
            self._open = read.get("name", "")
            self.fields += [(self._open, "")] if tag == "textarea" else []
        elif tag == "option" and "selected" in read:
            self.fields.append((self._open, read.get("value", "")))

    def handle_data(self, data: str) -> None:
        """The text of a text area."""
        if self.fields and self.fields[-1] == (self._open, "") and self.lasttag == "textarea":
            self.fields[-1] = (self._open, data.strip())


def test_a_session_is_cancelled_from_its_admin_page(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    page = f"{live_database.url}/admin/actions/session/{session}/change/"
    with requests.Session() as browser:
        login = browser.get(page)
        password = live_database.settings.secret("admin_password")
        form = dict(Form(login.text).fields) | {"username": "admin", "password": password}
        shown = Form(browser.post(login.url, data=form, headers={"Referer": login.url}).text)
        assert "_cancel_session" in shown.buttons
        answer = browser.post(page, data=[*shown.fields, ("_cancel_session", "1")], headers={"Referer": page})
    assert "cancelled a" in answer.text
    assert "_cancel_session" not in Form(answer.text).buttons
    assert row_of(live_database, task)["reason"] == "cancelled by admin before it started"


def test_plan_made_before_an_attempt_ended_is_refused_whole(live_database: Any, session: str) -> None:
    (task, _) = plan(live_database, session, {"name": "a"}, {"name": "b"})
    attempt = claim(live_database, task)
    live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete"})
    stale = {"session": session, "tasks": [{"name": "b", "ram": 7, "seen": 0}, {"name": "a", "status": "Waiting", "seen": 0}]}
    answer = live_database.request("POST", "/plans", stale)
    assert answer.status_code == 409
    assert "attempted since the plan was made: a;" in answer.json()["detail"]
    rows = {row["name"]: row for row in live_database.request("GET", f"/tasks?session={session}").json()["results"]}
    assert (rows["a"]["status"], rows["b"]["ram"]) == ("Complete", None)
    (row,) = plan(live_database, session, {"name": "a", "status": "Waiting", "seen": attempt["number"]})
    assert row["status"] == "Waiting"
