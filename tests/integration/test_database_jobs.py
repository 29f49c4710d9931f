"""Plans, claims, heartbeats, verdicts, leases and events over a live database."""

from __future__ import annotations

import itertools
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

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
    assert [event["payload"]["name"] for event in events] == ["a"]
    assert claim(live_database, task)["number"] == 2
    assert live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete"}).status_code == 409


def test_overdue_task_can_be_claimed_over(live_database: Any, session: str) -> None:
    (task,) = plan(live_database, session, {"name": "a"})
    first = claim(live_database, task, lease_s=0.05)
    time.sleep(0.1)
    second = claim(live_database, task)
    assert (first["number"], second["number"]) == (1, 2)
    assert live_database.request("GET", f"/attempts/{first['id']}").json()["status"] == "Errored"


def test_ibllib_worker_patches_its_way_through(live_database: Any, session: str) -> None:
    body = {
        "session": session,
        "name": "EphysPulses_probe00",
        "executable": "ibllib.pipes.ephys_tasks.EphysPulses",
        "arguments": {"pname": "probe00"},
    }
    task = live_database.make("/tasks", body)
    assert task["status"] == "Waiting"
    steps = [("Held", 200), ("Started", 409), ("Waiting", 200), ("Started", 200), ("Started", 409), ("Complete", 200), ("Started", 409)]
    for status, code in steps:
        answer = live_database.request("PATCH", f"/tasks/{task['id']}", {"status": status})
        assert answer.status_code == code, (status, answer.text)
    assert live_database.request("POST", "/tasks", body).status_code == 409


def test_two_workers_that_patch_started_at_once(live_database: Any, session: str) -> None:
    task = live_database.make("/tasks", {"session": session, "name": "raced"})
    with ThreadPoolExecutor(8) as pool:
        codes = list(
            pool.map(lambda _: live_database.request("PATCH", f"/tasks/{task['id']}", {"status": "Started"}).status_code, range(8))
        )
    assert Counter(codes) == {200: 1, 409: 7}


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
