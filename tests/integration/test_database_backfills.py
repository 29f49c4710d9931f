"""Backfills over a live database: the plan with its price, the canary, the word to go on, and stopping."""

from __future__ import annotations

from typing import Any

import pytest

SUBJECT = "BACKFILL_001"
OLD = {"version": "1.0", "parameters": {"sorter": "a"}, "packages": {"tool": "3"}}
NEW = OLD | {"version": "2.0"}
#: A task of these tests only, so that other tests' attempts cost nothing here.
TASK, AFTER = "bf_sort", "bf_metrics"


def make_session(database: Any, number: int, receipt: dict[str, Any] | None, status: str = "Complete", subject: str = SUBJECT) -> str:
    """A session whose task ended so with that receipt, taking 100 s and more; and a task after it."""
    eid = database.make("/sessions", {"subject": subject, "start_time": f"2025-04-{number:02d}T09:00:00", "number": 1})["id"]
    tasks = [
        {"name": f"{TASK}[probe00]", "executable": TASK, "device": "probe00", "version": "1.0", "gpu": 1, "arguments": {"sorter": "a"}},
        {"name": f"{AFTER}[probe00]", "executable": AFTER, "device": "probe00", "parents": [f"{TASK}[probe00]"]},
    ]
    rows = database.make("/plans", {"session": eid, "tasks": tasks})
    if receipt is not None:
        attempt(database, rows[0]["id"], receipt, status, wall_s=100.0 * number)
        attempt(database, rows[1]["id"], OLD, "Complete", wall_s=36.0)
    return eid


def attempt(database: Any, task: str, receipt: dict[str, Any], status: str, wall_s: float, qc: str = "WARNING") -> None:
    """A whole attempt, as a worker tells of it."""
    row = database.request("GET", f"/tasks/{task}").json()
    made = database.make("/attempts", {"task": task, "worker": "w", "after": row["attempt"], "receipt": receipt})
    used = {"wall_s": wall_s, "cpu_s": 2 * wall_s, "peak_memory_mb": 1500.0, "written_bytes": 10**9}
    told = {"status": status, "receipt": receipt, "qc": {"outcome": qc, "checks": {}}, **used}
    answer = database.request("PATCH", f"/attempts/{made['id']}", told)
    assert answer.ok, answer.text


@pytest.fixture(scope="module")
def sessions(live_database: Any) -> dict[str, str]:
    """Sessions by what became of them; their ids."""
    live_database.make("/subjects", {"nickname": SUBJECT, "lab": "testlab"})
    receipts = {"old": (OLD,), "old_too": (OLD,), "new": (NEW,), "new_failed": (NEW, "Errored"), "old_failed": (OLD, "Errored")}
    receipts |= {
        "other_tool": (NEW | {"packages": {"tool": "2"}},),
        "other_parameters": (NEW | {"parameters": {"sorter": "b"}},),
        "never": (None,),
    }
    made = {name: make_session(live_database, number, *end) for number, (name, end) in enumerate(receipts.items(), 1)}
    made["bare"] = live_database.make("/sessions", {"subject": SUBJECT, "start_time": "2025-04-20T09:00:00", "number": 1})["id"]
    return made


def plan(database: Any, **fields: Any) -> Any:
    """Plan a backfill of these tests' sessions."""
    body = {"task": TASK, "version": "2.0", "packages": {"tool": "3"}, "selection": {"subjects": [SUBJECT]}, "canary": 2, **fields}
    return database.make("/backfills", body)


def test_the_plan_says_what_would_run_and_why(live_database: Any, sessions: dict[str, str]) -> None:
    made = plan(live_database)
    estimate = made["estimate"]
    assert made["state"] == "planned"
    assert estimate["reasons"] == {
        "version 1.0 is now 2.0": 3,
        "package tool changed from 2 to 3": 1,
        "parameter sorter changed from b to a": 1,
        "has never run": 1,
    }
    assert estimate["left_out"] == {
        "has run version 2.0": 1,
        "failed with this very version": 1,
        "has no such task: never planned, or it does not apply": 1,
    }
    rows = live_database.request("GET", f"/backfill-sessions?backfill={made['id']}").json()["results"]
    assert {row["session"]: row["reason"] for row in rows}[sessions["other_tool"]] == "package tool changed from 2 to 3"
    assert {row["session"] for row in rows if row["is_canary"]} == {sessions["never"], sessions["other_parameters"]}, "the newest"
    assert live_database.request("GET", f"/events?session={sessions['old']}&kind=session.requested").json()["count"] == 0


def test_the_price_is_that_of_recorded_attempts(live_database: Any, sessions: dict[str, str]) -> None:
    estimate = plan(live_database)["estimate"]
    by_task = {each["task"]: each for each in estimate["tasks"]}
    sort, after = by_task[TASK], by_task[AFTER]
    walls = sorted([100, 200, 300, 600, 700])  # those that came to a result
    assert (sort["instances"], sort["attempts"], sort["wall_s"][0]) == (6, len(walls), 300)
    assert sort["wall_s"][1] == pytest.approx(660)
    assert (after["instances"], after["attempts"], after["wall_s"]) == (6, 7, [36, 36])
    total = estimate["total"]
    assert total["cpu_h"][0] == pytest.approx(6 * 2 * (300 + 36) / 3600)
    assert total["gpu_h"][0] == pytest.approx(6 * 300 / 3600)
    assert total["written_gb"][0] == pytest.approx(12)
    assert total["memory_gb"][1] == pytest.approx(1.5)
    (lab,) = estimate["labs"]
    assert (lab["lab"], lab["sessions"], lab["installed"]) == ("testlab", 6, "1.0")
    assert lab["days"][0] == pytest.approx(total["wall_h"][0] / lab["at_once"] / 24)
    (two,) = plan(live_database, at_once=2)["estimate"]["labs"]
    assert two["days"][1] == pytest.approx(total["wall_h"][1] / 48)


def test_a_task_that_is_new_is_planned_where_it_is_asked_for(live_database: Any, sessions: dict[str, str]) -> None:
    body = {"task": "brand_new", "version": "1", "selection": {"subjects": [SUBJECT]}}
    refused = live_database.request("POST", "/backfills", body)
    assert refused.status_code == 400
    assert "no session has a task called brand_new" in refused.json()["detail"]
    made = live_database.make("/backfills", {**body, "unplanned": True})
    assert made["estimate"]["reasons"] == {"was never planned": len(sessions)}
    assert made["estimate"]["tasks"][0]["attempts"] == 0, "and nobody knows its price"


@pytest.mark.parametrize(
    ("selection", "complaint"),
    [({}, "says not which sessions"), ({"labs": ["atlantis"]}, "not in the database"), ({"lab": "testlab"}, "no such field")],
)
def test_a_selection_that_cannot_be_meant_is_refused(
    live_database: Any, sessions: dict[str, str], selection: dict[str, Any], complaint: str
) -> None:
    answer = live_database.request("POST", "/backfills", {"task": TASK, "version": "2.0", "selection": selection})
    assert answer.status_code == 400
    assert complaint in answer.json()["detail"]


@pytest.fixture
def three(live_database: Any, request: pytest.FixtureRequest) -> list[str]:
    """Three sessions of a subject of their own, with the old version."""
    subject = f"BF_{abs(hash(request.node.name)) % 10**8}"
    live_database.make("/subjects", {"nickname": subject, "lab": "testlab"})
    return [subject, *(make_session(live_database, number, OLD, subject=subject) for number in (1, 2, 3))]


def step(database: Any, backfill: dict[str, Any], state: str, **fields: Any) -> Any:
    """A step of a backfill; the answer."""
    return database.request("PATCH", f"/backfills/{backfill['id']}", {"state": state, **fields})


def sent(database: Any, backfill: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a backfill."""
    events = database.request("GET", "/events?kind=session.requested&limit=1000").json()["results"]
    return [event for event in events if backfill["tag"] in event["payload"].get("tags", [])]


def carry_out(database: Any, event: dict[str, Any], version: str = "2.0", qc: str = "PASS") -> None:
    """What the dispatcher and a flow run do with an event."""
    database.request("PATCH", f"/events/{event['id']}", {"delivered": True, "flow_run": f"run-of-{event['id']}"})
    task = database.request("GET", f"/tasks?session={event['session']}&executable={TASK}").json()["results"][0]
    attempt(database, task["id"], OLD | {"version": version}, "Complete", 120.0, qc)
    end(database, event)


def end(database: Any, event: dict[str, Any], outcome: str = "Completed: 2 complete") -> None:
    """The dispatcher tells that an event's flow run has ended."""
    rows = database.request("GET", f"/rerun-sessions?session={event['session']}&limit=100").json()["results"]
    (row,) = [row for row in rows if row["event"] == event["id"]]
    assert database.request("PATCH", f"/rerun-sessions/{row['id']}", {"outcome": outcome}).ok


def test_the_canary_goes_first_and_the_rest_when_told(live_database: Any, three: list[str]) -> None:
    subject, *eids = three
    made = plan(live_database, selection={"subjects": [subject]}, canary=1)
    assert step(live_database, made, "going").status_code == 409
    assert step(live_database, made, "canary").json()["state"] == "canary"
    assert step(live_database, made, "canary").status_code == 409
    (canary,) = sent(live_database, made)
    assert canary["session"] == eids[2]
    payload = {name: canary["payload"][name] for name in ("tasks", "force", "downstream", "priority", "reason")}
    assert payload == {
        "tasks": [f"{TASK}[probe00]"],
        "force": False,
        "downstream": True,
        "priority": "backfill",
        "reason": "version 1.0 is now 2.0",
    }
    early = step(live_database, made, "going")
    assert early.status_code == 409
    assert "is canary" in early.json()["detail"]
    carry_out(live_database, canary)
    seen = live_database.request("GET", f"/backfills/{made['id']}").json()
    assert seen["state"] == "waiting"
    report = seen["report"]
    assert (report["asked"], report["ended"], report["verdicts"], report["versions"]) == (1, 1, {"Complete": 1}, {"2.0": 1})
    assert report["qc"] == {"before": {"WARNING": 1}, "after": {"PASS": 1}}
    assert report["measured"]["wall_s"] == [120, 120]
    (line,) = report["canary"]
    assert (line["session"], line["qc_before"], line["qc_after"], line["version"]) == (eids[2], "WARNING", "PASS", "2.0")
    assert step(live_database, made, "going").json()["state"] == "going"
    rest = [event for event in sent(live_database, made) if event["session"] != eids[2]]
    assert [event["session"] for event in rest] == eids[:2]
    for event in rest:
        carry_out(live_database, event)
    assert live_database.request("GET", f"/backfills/{made['id']}").json()["state"] == "done"
    assert plan(live_database, selection={"subjects": [subject]})["estimate"]["left_out"] == {"has run version 2.0": 3}


def test_a_canary_that_ran_another_version_stops_the_rest(live_database: Any, three: list[str]) -> None:
    made = plan(live_database, selection={"subjects": [three[0]]}, canary=1)
    step(live_database, made, "canary")
    carry_out(live_database, sent(live_database, made)[0], version="1.0")
    refused = step(live_database, made, "going")
    assert refused.status_code == 409
    assert "the canary ran versions 1.0, not 2.0" in refused.json()["detail"]
    assert step(live_database, made, "going", anyway=True).json()["state"] == "going"


def test_a_canary_that_had_the_version_already_has_shown_it(live_database: Any, three: list[str]) -> None:
    made = plan(live_database, selection={"subjects": [three[0]]}, canary=1)
    (canary,) = live_database.request("GET", f"/backfill-sessions?backfill={made['id']}&is_canary=true").json()["results"]
    task = live_database.request("GET", f"/tasks?session={canary['session']}&executable={TASK}").json()["results"][0]
    attempt(live_database, task["id"], OLD | {"version": "2.0"}, "Complete", 120.0, "PASS")  # by somebody else, meanwhile
    step(live_database, made, "canary")
    (event,) = sent(live_database, made)
    live_database.request("PATCH", f"/events/{event['id']}", {"delivered": True, "flow_run": "unchanged"})
    end(live_database, event, "Completed: 1 unchanged")
    assert step(live_database, made, "going").json()["state"] == "going"


def test_a_canary_that_did_nothing_says_what_it_has(live_database: Any, three: list[str]) -> None:
    made = plan(live_database, selection={"subjects": [three[0]]}, canary=1)
    step(live_database, made, "canary")
    (event,) = sent(live_database, made)
    live_database.request("PATCH", f"/events/{event['id']}", {"delivered": True, "flow_run": "nothing"})
    end(live_database, event, "Failed: no worker")
    assert "the canary ran nothing, and has 1.0, not 2.0" in step(live_database, made, "going").json()["detail"]


def test_what_is_running_is_left_out(live_database: Any, three: list[str]) -> None:
    task = live_database.request("GET", f"/tasks?session={three[1]}&executable={TASK}").json()["results"][0]
    assert live_database.request("PATCH", f"/tasks/{task['id']}", {"status": "Waiting"}).ok
    live_database.make("/attempts", {"task": task["id"], "worker": "w"})
    assert plan(live_database, selection={"subjects": [three[0]]})["estimate"]["left_out"] == {"is Started": 1}


def test_stopping_takes_back_what_has_not_begun(live_database: Any, three: list[str]) -> None:
    made = plan(live_database, selection={"subjects": [three[0]]}, canary=0)
    assert step(live_database, made, "canary").json()["state"] == "going", "without a canary all are asked for"
    first, *others = sent(live_database, made)
    live_database.request("PATCH", f"/events/{first['id']}", {"delivered": True, "flow_run": "one"})
    assert step(live_database, made, "stopped").json()["state"] == "stopped"
    pending = {event["id"] for event in live_database.request("GET", "/events?pending=true&limit=1000").json()["results"]}
    assert not pending & {event["id"] for event in others}
    open_ = live_database.request("GET", "/rerun-sessions?open=true&delivered=true&withdrawn=true").json()["results"]
    assert "one" in [row["flow_run"] for row in open_], "the dispatcher cancels it, where it has not begun"
    end(live_database, first, "Cancelled: stopped before it began")
    assert live_database.request("GET", f"/backfills/{made['id']}").json()["state"] == "stopped"
    assert step(live_database, made, "going").status_code == 409
