"""Selections and reruns over a live database."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

SUBJECT = "RERUN_001"


@pytest.fixture(scope="module")
def sessions(live_database: Any) -> dict[str, str]:
    """Six sessions of a chain of tasks on a probe, by what became of them; their ids."""
    live_database.make("/subjects", {"nickname": SUBJECT, "lab": "testlab"})
    live_database.make("/projects", {"name": "rerun_project"})
    ends = {"good": ("Complete", ""), "failed": ("Errored", "aaaabbbbcccc"), "failed_too": ("Errored", "aaaabbbbcccc")}
    ends |= {"failed_otherwise": ("Errored", "ddddeeeeffff"), "given_up": ("Errored", "aaaabbbbcccc"), "unplanned": ("", "")}
    return {name: _session(live_database, number, name, *end) for number, (name, end) in enumerate(ends.items(), 1)}


def _session(database: Any, number: int, name: str, status: str, fingerprint: str) -> str:
    projects = ["rerun_project"] if name == "failed" else []
    body = {"subject": SUBJECT, "start_time": f"2025-03-0{number}T09:00:00", "number": 1, "projects": projects}
    eid = database.make("/sessions", body)["id"]
    if not status:
        return eid
    tasks = [{"name": "sort[probe00]", "executable": "sort", "device": "probe00", "version": "1.0"}]
    tasks += [
        {"name": "metrics[probe00]", "executable": "metrics", "parents": ["sort[probe00]"], "status": "Held", "reason": "sort is not done"}
    ]
    rows = database.make("/plans", {"session": eid, "tasks": tasks})
    attempt = database.make("/attempts", {"task": rows[0]["id"], "worker": "w"})
    told = {"status": status, "reason": "ValueError: the disk is full" if fingerprint else "", "fingerprint": fingerprint}
    assert database.request("PATCH", f"/attempts/{attempt['id']}", told).ok
    if name == "given_up":
        assert database.request("PATCH", f"/tasks/{rows[0]['id']}", {"status": "Abandoned"}).ok
    return eid


def asked(database: Any, **selection: Any) -> dict[str, tuple[Any, str]]:
    """What a selection comes to, without asking for it: tasks and reason by session."""
    answer = database.request("POST", "/reruns", {"subjects": [SUBJECT], "dry": True, **selection})
    assert answer.status_code == 200, answer.text
    return {each["session"]: (each["tasks"], each["reason"]) for each in answer.json()["sessions"]}


def test_one_failure_across_sessions(live_database: Any, sessions: dict[str, str]) -> None:
    found = asked(live_database, failures=["aaaabbbb"])
    why = "sort[probe00] is Errored: ValueError: the disk is full"
    assert found == {sessions[name]: (["sort[probe00]"], why) for name in ("failed", "failed_too")}, "what was given up stays so"


def test_a_failure_that_has_been_mended_is_none(live_database: Any, sessions: dict[str, str]) -> None:
    eid = _session(live_database, 9, "mended", "Errored", "999999999999")
    assert list(asked(live_database, failures=["999999"])) == [eid]
    task = live_database.request("GET", f"/tasks?session={eid}&executable=sort").json()["results"][0]
    attempt = live_database.make("/attempts", {"task": task["id"], "worker": "w", "after": 1})
    live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete"})
    assert asked(live_database, failures=["999999"]) == {}
    assert live_database.request("DELETE", f"/sessions/{eid}").ok


def test_criteria_all_agree(live_database: Any, sessions: dict[str, str]) -> None:
    assert list(asked(live_database, statuses=["Errored"], since="2025-03-03")) == [sessions["failed_too"], sessions["failed_otherwise"]]
    assert list(asked(live_database, statuses=["Errored"], until="2025-03-02")) == [sessions["failed"]]
    assert list(asked(live_database, statuses=["errored"], projects=["rerun_project"])) == [sessions["failed"]]
    assert asked(live_database, statuses=["Held"], tasks=["sort"]) == {}
    assert len(asked(live_database, statuses=["Held"], labs=["testlab"])) == 5


def test_without_tasks_each_session_runs_what_is_due(live_database: Any, sessions: dict[str, str]) -> None:
    assert asked(live_database) == {eid: (None, "all that is due") for eid in sessions.values()}


def test_one_task_of_one_session_by_its_name(live_database: Any, sessions: dict[str, str]) -> None:
    named = {"sessions": [f"{SUBJECT}/2025-03-01/001"], "subjects": []}
    assert asked(live_database, **named, tasks=["sort"]) == {sessions["good"]: (["sort"], "sort[probe00] is Complete")}
    assert asked(live_database, **named, tasks=["metrics[probe00]"]) == {
        sessions["good"]: (["metrics[probe00]"], "metrics[probe00] is Held: sort is not done")
    }


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, "says not which sessions"),
        ({"tasks": ["sort"], "force": True}, "says not which sessions"),
        ({"sessions": ["nobody/2025-01-01/001"]}, "no such session: nobody/2025-01-01/001"),
        ({"sessions": [str(uuid.UUID(int=7))]}, "no such session"),
        ({"labs": ["atlantis"]}, "'atlantis' is not in the database"),
        ({"subjects": [SUBJECT], "tasks": ["sotr"]}, "no session has a task called sotr"),
        ({"subjects": [SUBJECT], "statuses": ["Broken"]}, "not a task status"),
        ({"failures": ["a"]}, "give 6 digits"),
        ({"subjects": [SUBJECT], "since": "yesterday"}, "since"),
        ({"subject": [SUBJECT]}, "no such field"),
    ],
)
def test_what_cannot_be_meant_is_refused(live_database: Any, sessions: dict[str, str], body: dict[str, Any], complaint: str) -> None:
    answer = live_database.request("POST", "/reruns", body)
    assert answer.status_code == 400
    assert complaint in answer.json()["detail"]


def test_the_same_request_twice_asks_once(live_database: Any, sessions: dict[str, str]) -> None:
    body = {"id": str(uuid.uuid4()), "subjects": [SUBJECT], "failures": ["aaaabbbbcccc"], "force": True}
    first, again = (live_database.request("POST", "/reruns", body) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["sessions"] == again.json()["sessions"]
    events = [
        event
        for name in ("failed", "failed_too")
        for event in live_database.request("GET", f"/events?session={sessions[name]}&kind=session.requested").json()["results"]
        if event["key"].startswith(f"rerun:{body['id']}")
    ]
    assert [event["key"] for event in events] == [f"rerun:{body['id']}:{sessions[name]}" for name in ("failed", "failed_too")]
    assert events[0]["payload"] == {
        "tasks": ["sort[probe00]"],
        "force": True,
        "downstream": True,
        "priority": "backfill",
        "reason": "sort[probe00] is Errored: ValueError: the disk is full",
        "tags": [f"rerun-{body['id'][:8]}"],
    }
    rerun = live_database.request("GET", f"/reruns/{body['id']}").json()
    assert (rerun["count"], rerun["open"], rerun["created_by"]) == (2, 2, "ranvier")
    assert rerun["selection"] == {"subjects": [SUBJECT], "failures": ["aaaabbbbcccc"]}


def test_one_session_goes_first_and_many_last(live_database: Any, sessions: dict[str, str]) -> None:
    def priority(**body: Any) -> str:
        return live_database.request("POST", "/reruns", {"dry": True, **body}).json()["priority"]

    assert priority(sessions=[sessions["good"]]) == "now"
    assert priority(subjects=[SUBJECT]) == "backfill"
    assert priority(subjects=[SUBJECT], priority="now") == "now"


def test_what_was_given_up_is_taken_up_where_it_is_named(live_database: Any, sessions: dict[str, str]) -> None:
    def status() -> str:
        return live_database.request("GET", f"/tasks?session={sessions['given_up']}&executable=sort").json()["results"][0]["status"]

    body = {"sessions": [sessions["given_up"]]}
    live_database.make("/reruns", {"subjects": [SUBJECT], "statuses": ["Errored"]})
    assert live_database.request("POST", "/reruns", {**body, "dry": True}).json()["revived"] == 0
    assert status() == "Abandoned"
    answer = live_database.make("/reruns", body)
    assert (answer["revived"], status()) == (1, "Waiting")


def test_how_a_flow_run_ended_is_kept(live_database: Any, sessions: dict[str, str]) -> None:
    rerun = live_database.make("/reruns", {"sessions": [sessions["good"]]})["id"]
    (row,) = live_database.request("GET", f"/rerun-sessions?rerun={rerun}").json()["results"]
    assert (row["outcome"], row["flow_run"], row["tasks"]) == ("", "", None)
    assert live_database.request("GET", f"/rerun-sessions?rerun={rerun}&delivered=true").json()["count"] == 0
    live_database.request("PATCH", f"/events/{row['event']}", {"delivered": True, "flow_run": "1234"})
    (heard,) = live_database.request("GET", f"/rerun-sessions?rerun={rerun}&delivered=true&open=true").json()["results"]
    assert heard["flow_run"] == "1234"
    live_database.request("PATCH", f"/rerun-sessions/{row['id']}", {"outcome": "Completed: 2 unchanged"})
    assert live_database.request("GET", f"/rerun-sessions?rerun={rerun}&open=true").json()["count"] == 0
    assert live_database.request("GET", f"/reruns/{rerun}").json()["open"] == 0
