"""The pipeline on a server that has what a real Alyx has, and nothing else."""

from __future__ import annotations

import inspect
import json
import re
import threading
import time
from itertools import count

import numpy as np
import pytest

from ranvier import Input, Output, task
from ranvier.attempt import CLAIMED, UNCHANGED, run_attempt
from ranvier.client import Database, DatabaseRefused
from ranvier.doctor import examine
from ranvier.order import make_order
from ranvier.plain_alyx import PlainAlyx
from ranvier.plan import plan_rows, plan_session
from ranvier.registration import register
from ranvier.session import Session
from ranvier.states import Status

_numbers = count(1)


@task(
    version="1.0.0",
    per="probe",
    inputs=[Input("raw.times.npy")],
    outputs=[Output("alf/{probe}/licks.times.npy", at_least=1)],
)
def licks(job, how: str = "well", seconds: float = 0.0):
    """Writes a dataset, or fails."""
    time.sleep(seconds)
    if how == "raise":
        raise ValueError("the tongue is not in the picture")
    job.save("alf/{probe}/licks.times.npy", np.load(job.input()))
    job.qc("rate", 1.5, "WARNING")


@task(version="1.0.0", inputs=[Input("alf/*/licks.times.npy")], outputs=[Output("alf/licks.amps.npy")])
def amps(job):
    """Reads what `licks` wrote."""
    job.save("alf/licks.amps.npy", [1.0])


@pytest.fixture
def session(lab_on_alyx) -> Session:
    """A session with one probe, registered."""
    path = lab_on_alyx.settings.lab_root / f"licker_{next(_numbers)}" / "2026-11-22" / "001"
    path.mkdir(parents=True)
    np.save(path / "raw.times.npy", np.arange(5.0))
    (path / "_ibl_experiment.description.yaml").write_text(
        "version: 1.0.0\ndevices:\n  neuropixel:\n    probe00: {collection: raw_ephys_data/probe00}\n"
    )
    register(path, lab_on_alyx.settings, lab_on_alyx.database)
    return Session.parse(path)


def planned(lab, session, **parameters):
    """Save the plan of a session; returns an order for its first instance, and its rows by name."""
    database = lab.database
    eid = database.find_session(session)["id"]
    settings = lab.settings.model_copy(update={"tasks": {"licks": type(lab.settings.task("licks"))(parameters=parameters)}})
    plan = plan_session(session, [licks, amps], settings, database.tasks(eid))
    rows = database.save_plan(eid, plan_rows(plan, settings))
    return make_order(plan.instances[0], session, settings, eid=eid, task_id=rows[0]["id"]), {row["name"]: row for row in rows}


def test_what_kind_of_database_it_is_is_found_out_and_said_once(lab_on_alyx, ranvier_database, ranvier_home, caplog):
    assert type(lab_on_alyx.database) is PlainAlyx
    elsewhere = ranvier_home.database.model_copy(update={"url": ranvier_database.url})
    assert type(Database.from_settings(ranvier_home.model_copy(update={"database": elsewhere}))) is Database
    caplog.clear()
    PlainAlyx(lab_on_alyx.settings)
    assert "lacks" not in caplog.text, "it was said when the first client was made"


def test_a_plan_becomes_tasks_as_ibllib_makes_them(lab_on_alyx, session):
    _, rows = planned(lab_on_alyx, session)
    seen = lab_on_alyx.alyx.task(rows["amps"]["id"])
    assert {name: seen[name] for name in ("status", "parents", "level", "executable", "graph", "data_repository", "session")} == {
        "status": "Waiting",
        "parents": [rows["licks[probe00]"]["id"]],
        "level": 1,
        "executable": "amps",
        "graph": "ranvier",
        "data_repository": "alyxlab_server",
        "session": rows["amps"]["session"],
    }
    assert seen["arguments"] == {}
    assert planned(lab_on_alyx, session)[1].keys() == rows.keys()
    assert len(lab_on_alyx.database.tasks(seen["session"])) == 2, "the plan again changes the same rows"


def test_a_plan_made_before_an_attempt_is_refused(lab_on_alyx, session):
    database = lab_on_alyx.database
    eid = database.find_session(session)["id"]
    stale = plan_rows(plan_session(session, [licks, amps], lab_on_alyx.settings, database.tasks(eid)), lab_on_alyx.settings)
    order, _ = planned(lab_on_alyx, session)
    run_attempt(order)
    with pytest.raises(DatabaseRefused, match=r"attempted since the plan was made: licks\[probe00\]"):
        database.save_plan(eid, stale)
    assert database.task(order["task_id"])["status"] == "Complete"


def test_what_does_not_fit_into_alyx_s_columns_is_cut_there_and_whole_here(lab_on_alyx, session):
    eid = lab_on_alyx.database.find_session(session)["id"]
    (row,) = plan_rows(plan_session(session, [licks], lab_on_alyx.settings), lab_on_alyx.settings)
    long = {**row, "name": "x" * 100, "time_out_secs": 400_000, "version": "v" * 80}
    (saved,) = lab_on_alyx.database.save_plan(eid, [long])
    seen = lab_on_alyx.alyx.task(saved["id"])
    assert (len(seen["name"]), seen["time_out_secs"], len(seen["version"])) == (64, 32_767, 64)
    assert saved["name"] == "x" * 100
    assert lab_on_alyx.database.save_plan(eid, [long])[0]["id"] == saved["id"]


def test_an_attempt_from_claim_to_registered_files(lab_on_alyx, session):
    order, rows = planned(lab_on_alyx, session)
    assert run_attempt(order)["status"] == "Complete"
    alyx, task_id = lab_on_alyx.alyx, rows["licks[probe00]"]["id"]
    seen = alyx.task(task_id)
    assert seen["status"] == "Complete"
    assert seen["time_elapsed_secs"] > 0
    assert "licks[probe00] is Complete" in seen["log"]
    record = alyx.request("GET", f"/sessions/{seen['session']}")
    assert [item["name"] for item in record["data_dataset_session_related"]] == ["licks.times.npy"]
    assert (record["qc"], record["extended_qc"]) == ("WARNING", {"licks_probe00": "WARNING", "_licks_probe00_rate": 1.5})
    (probe,) = alyx.request("GET", f"/insertions?session={seen['session']}")["results"]
    assert probe["json"]["qc"] == "WARNING"
    row = lab_on_alyx.database.task(task_id)
    assert (row["attempt"], row["device"], [item["path"] for item in row["outputs"]]) == (1, "probe00", ["alf/probe00/licks.times.npy"])
    assert [attempt["status"] for attempt in lab_on_alyx.database.attempts(task_id)] == ["Complete"]


def test_the_same_again_is_unchanged_and_a_failure_is_retried(lab_on_alyx, session):
    order, rows = planned(lab_on_alyx, session, how="raise")
    failed = run_attempt(order)
    assert (failed["status"], failed["reason"]) == ("Errored", "ValueError: the tongue is not in the picture")
    seen = lab_on_alyx.alyx.task(order["task_id"])
    assert seen["status"] == "Errored"
    assert seen["log"].startswith("ValueError: the tongue is not in the picture\n\n")
    order, rows = planned(lab_on_alyx, session, how="well")
    assert rows["licks[probe00]"]["status"] == "Waiting"
    assert run_attempt(order)["status"] == "Complete"
    order, _ = planned(lab_on_alyx, session, how="well")
    assert run_attempt(order)["status"] == UNCHANGED
    attempts = lab_on_alyx.database.attempts(order["task_id"])
    assert [(each["number"], each["status"]) for each in attempts] == [(2, "Complete"), (1, "Errored")]


def test_of_many_workers_one_gets_a_task(lab_on_alyx, session):
    order, _ = planned(lab_on_alyx, session)
    clients, outcomes = [lab_on_alyx.database for _ in range(6)], []
    together = threading.Barrier(len(clients))

    def claim(database: Database) -> None:
        together.wait()
        try:
            outcomes.append(database.claim(task=order["task_id"], after=0, worker="w", lease_s=30.0)["number"])
        except DatabaseRefused as error:
            outcomes.append(error.status)

    threads = [threading.Thread(target=claim, args=(client,)) for client in clients]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(outcomes) == [1, 409, 409, 409, 409, 409]


def test_a_task_that_another_program_has_started_is_left_to_it(lab_on_alyx, session):
    order, _ = planned(lab_on_alyx, session)
    lab_on_alyx.alyx.request("PATCH", f"/tasks/{order['task_id']}", {"status": "Started"})
    outcome = run_attempt(order)
    assert outcome["status"] == CLAIMED
    assert "by a program that knows none" in outcome["reason"]
    lab_on_alyx.alyx.request("PATCH", f"/tasks/{order['task_id']}", {"status": "Waiting"})
    assert run_attempt(order)["status"] == "Complete"


def test_another_program_at_the_very_moment_is_noticed(lab_on_alyx, session, monkeypatch):
    order, _ = planned(lab_on_alyx, session)
    database = lab_on_alyx.database
    patch = database._patch

    def patch_and_be_overtaken(query, fields):
        answer = patch(query, fields)
        lab_on_alyx.alyx.request("PATCH", query, {"status": "Started"})
        return answer

    monkeypatch.setattr(database, "_patch", patch_and_be_overtaken)
    with pytest.raises(DatabaseRefused, match="by another program at the same moment"):
        database.claim(task=order["task_id"], after=0, worker="w", lease_s=30.0)
    assert lab_on_alyx.alyx.task(order["task_id"])["status"] == "Started", "the other one goes on"
    assert [each["status"] for each in database.attempts(order["task_id"])] == ["Errored"]


def test_a_worker_that_falls_silent_loses_its_task(lab_on_alyx, session):
    order, _ = planned(lab_on_alyx, session)
    database = lab_on_alyx.database
    silent = database.claim(task=order["task_id"], after=0, worker="w", lease_s=0.0)
    assert order["task_id"] in database.expired_leases()
    assert lab_on_alyx.alyx.task(order["task_id"])["status"] == "Waiting"
    row = database.task(order["task_id"])
    assert (row["status"], row["reason"]) == ("Waiting", "given back: the worker of attempt 1 fell silent")
    assert [event["kind"] for event in database.pending_events() if event["session"] == order["eid"]] == [
        "session.registered",
        "task.returned",
    ]
    database.report(silent["id"], lease_s=0.0)
    assert lab_on_alyx.alyx.task(order["task_id"])["status"] == "Started", "it was only slow, and nobody has claimed the task since"
    database.expired_leases()
    database.claim(task=order["task_id"], after=1, worker="another", lease_s=30.0)
    with pytest.raises(DatabaseRefused, match="fell silent") as late:
        database.report(silent["id"], status="Complete")
    assert late.value.status == 409


def test_a_person_who_takes_the_task_away_in_alyx_stops_the_attempt(lab_on_alyx, session):
    order, _ = planned(lab_on_alyx, session)
    database = lab_on_alyx.database
    attempt = database.claim(task=order["task_id"], after=0, worker="w", lease_s=30.0)
    database.report(attempt["id"], lease_s=30.0, progress=0.5)
    lab_on_alyx.alyx.request("PATCH", f"/tasks/{order['task_id']}", {"status": "Abandoned"})
    with pytest.raises(DatabaseRefused, match="in Alyx the task is Abandoned"):
        database.report(attempt["id"], lease_s=30.0)
    assert database.task(order["task_id"])["status"] == "Abandoned"


def test_a_session_is_cancelled(lab_on_alyx, session):
    order, rows = planned(lab_on_alyx, session)
    database = lab_on_alyx.database
    attempt = database.claim(task=order["task_id"], after=0, worker="w", lease_s=30.0, flow_run="run")
    assert {(row["name"], row["status"]) for row in database.cancel(session=order["eid"], by="me")} == {
        ("licks[probe00]", "Started"),
        ("amps", "Waiting"),
    }
    assert lab_on_alyx.alyx.task(rows["amps"]["id"])["status"] == "Held"
    assert lab_on_alyx.alyx.task(rows["amps"]["id"])["log"] == "cancelled by me before it started"
    heard = database.report(attempt["id"], lease_s=30.0)
    assert (heard["cancel_requested"], heard["cancelled_by"]) == (True, "me")
    database.report(attempt["id"], status="Errored", reason="cancelled by me")
    database.explain(order["task_id"], "tried again, as the worker was lost", "Waiting,Errored", "Waiting")
    assert database.task(order["task_id"])["reason"] == "cancelled by me"
    with pytest.raises(DatabaseRefused, match="was cancelled by me; it can be claimed once it is planned again"):
        database.claim(task=order["task_id"], after=1, worker="w", lease_s=30.0)
    assert [row["name"] for row in database.flow_run_tasks("run")] == ["licks[probe00]"]
    assert [event["kind"] for event in database.pending_events() if event["session"] == order["eid"]] == ["session.cancelled"]
    with pytest.raises(DatabaseRefused, match="no task sorting"):
        database.cancel(session=order["eid"], tasks=["sorting"])
    order, _ = planned(lab_on_alyx, session)
    assert run_attempt(order)["status"] == "Complete"


def test_a_task_says_why_it_is_where_it_stands(lab_on_alyx, session):
    order, _ = planned(lab_on_alyx, session)
    database = lab_on_alyx.database
    database.explain(order["task_id"], "waits for 4 cores", "Waiting")
    assert database.task(order["task_id"])["reason"] == "waits for 4 cores"
    database.explain(order["task_id"], "lost too often", "Waiting,Started", "Errored")
    assert lab_on_alyx.alyx.task(order["task_id"])["log"] == "lost too often"
    database.explain(order["task_id"], "too late", "Waiting,Started", "Held")
    assert lab_on_alyx.alyx.task(order["task_id"])["status"] == "Errored"


def test_rows_can_be_worked_through_by_a_program_that_only_patches_statuses(lab_on_alyx, session):
    """As ibllib's worker does: Waiting, Started, its verdict, log and time; then the children, whose parents are done."""
    _, rows = planned(lab_on_alyx, session)
    for name in ("licks[probe00]", "amps"):
        row = lab_on_alyx.alyx.task(rows[name]["id"])
        assert all(lab_on_alyx.alyx.task(parent)["status"] in ("Complete", "Incomplete") for parent in row["parents"])
        for fields in ({"status": "Started"}, {"status": "Complete", "log": "done", "version": "4.1.0", "time_elapsed_secs": 1.0}):
            lab_on_alyx.alyx.request("PATCH", f"/tasks/{row['id']}", fields)
    database = lab_on_alyx.database
    assert {row["name"]: row["status"] for row in database.tasks(rows["amps"]["session"])} == {
        "licks[probe00]": "Complete",
        "amps": "Complete",
    }


def test_sessions_of_others_are_found_by_looking_and_old_ones_are_left_alone(alyx, lab_on_alyx, tmp_path):
    database = lab_on_alyx.database
    database.pending_events()
    alyx.request("POST", "/subjects", {"nickname": "theirs", "lab": "alyxlab"})
    record = {"subject": "theirs", "lab": "alyxlab", "number": 1, "start_time": "2026-11-20T10:00:00", "users": ["admin"]}
    eid = alyx.request("POST", "/sessions", record)["id"]
    time.sleep(lab_on_alyx.settings.database.poll_s)
    (event,) = [event for event in database.pending_events() if event["session"] == eid]
    assert (event["kind"], event["lab"], event["tries"]) == ("session.registered", "alyxlab", 0)
    database.event_failed(event["id"], "Prefect is away")
    assert next(each for each in database.pending_events() if each["id"] == event["id"])["tries"] == 1
    database.event_delivered(event["id"], "a flow run")
    alyx.request("PATCH", f"/sessions/{eid}", {"narrative": "a good one"})
    time.sleep(lab_on_alyx.settings.database.poll_s)
    assert eid not in {event["session"] for event in database.pending_events()}
    fresh = lab_on_alyx.settings.model_copy(update={"home": tmp_path, "lab": lab_on_alyx.settings.lab.model_copy(update={"root": ""})})
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text(alyx.token)
    assert PlainAlyx(fresh).pending_events() == [], "what was there before Ranvier came is not computed anew"


def test_a_run_is_asked_for_where_the_data_are(lab_on_alyx, session, tmp_path):
    database = lab_on_alyx.database
    eid = database.find_session(session)["id"]
    first = database.request_run(eid, "session.requested", f"{eid}:1", {"force": True})
    assert database.event(first["id"]) == first
    assert database.request_run(eid, "session.requested", f"{eid}:1")["id"] == first["id"]
    assert first["payload"] == {"force": True}
    nowhere = lab_on_alyx.settings.lab.model_copy(update={"root": str(tmp_path / "alyxlab" / "Subjects")})
    elsewhere = PlainAlyx(lab_on_alyx.settings.model_copy(update={"lab": nowhere}))
    assert elsewhere.tasks(eid) == [], "reading needs no ledger"
    with pytest.raises(Exception, match="ask on the server of alyxlab"):
        elsewhere.request_run(eid, "session.requested", f"{eid}:2")
    assert not (tmp_path / "alyxlab").exists()


def test_named_sessions_are_rerun_and_none_is_searched_for(lab_on_alyx, session):
    database = lab_on_alyx.database
    eid = database.find_session(session)["id"]
    shown = database.rerun(sessions=[session.reference], tasks=["licks"], dry=True)
    assert [(each["session"], each["tasks"]) for each in shown["sessions"]] == [(eid, ["licks"])]
    answer = database.rerun(sessions=[eid], tasks=["licks"], force=True, downstream=True)
    (row,) = database.rerun_sessions(answer["id"])
    payload = database.event(row["event"])["payload"]
    assert {name: payload[name] for name in ("tasks", "force", "downstream", "priority")} == {
        "tasks": ["licks"],
        "force": True,
        "downstream": True,
        "priority": "now",
    }
    assert database.rerun_sessions(database.rerun(sessions=[eid], dry=True)["id"]) == []
    with pytest.raises(DatabaseRefused, match="cannot choose sessions by labs"):
        database.rerun(labs=["alyxlab"])
    order, _ = planned(lab_on_alyx, session)
    claimed = database.claim(task=order["task_id"], after=0, worker="w", lease_s=30.0, flow_run="a-run")
    assert [each["id"] for each in database.attempts_of("a-run")] == [claimed["id"]]
    assert (database.open_rerun_sessions(), database.attempts_of("no-such-run")) == ([], [])


def test_alyx_hears_of_a_verdict_when_it_answers_again(lab_on_alyx, session, monkeypatch):
    order, _ = planned(lab_on_alyx, session)
    database = lab_on_alyx.database
    attempt = database.claim(task=order["task_id"], after=0, worker="w", lease_s=30.0)
    with monkeypatch.context() as away:
        away.setattr(database._alyx, "base_url", "http://127.0.0.1:9")
        away.setattr(database._retrying, "stop", lambda state: True)
        database.report(attempt["id"], status="Complete", wall_s=1.0, log="all well")
    assert lab_on_alyx.alyx.task(order["task_id"])["status"] == "Started"
    assert database.task(order["task_id"])["status"] == "Complete", "the lab knows"
    monkeypatch.setattr("ranvier.plain_alyx.attempts.UNTOLD_S", 0.0)
    assert order["task_id"] not in database.expired_leases()
    seen = lab_on_alyx.alyx.task(order["task_id"])
    assert (seen["status"], seen["log"], seen["time_elapsed_secs"]) == ("Complete", "all well", 1.0)


def test_who_may_not_write_is_told_which_right_is_lacking(lab_on_alyx, monkeypatch):
    monkeypatch.setenv("RANVIER_TOKEN", lab_on_alyx.alyx.token_of_a_visitor())
    with pytest.raises(
        DatabaseRefused, match=r"the user ranvier may not create subjects in .* gives the user the right to create subjects"
    ):
        PlainAlyx(lab_on_alyx.settings).create_subject("nobody", "alyxlab")


def test_doctor_says_what_it_is_and_what_it_lacks(lab_on_alyx):
    found = {finding.part: finding for finding in examine(lab_on_alyx.settings.home)}
    assert "a plain Alyx" in found["endpoints"].detail
    assert "atomic claims" in found["endpoints"].detail
    assert found["lab in Alyx"].ok
    assert found["repository in Alyx"].ok


def test_whatever_needs_an_endpoint_that_alyx_does_not_have_has_a_stand_in(repository):
    document = json.loads((repository / "tests" / "integration" / "alyx_only" / "openapi.json").read_text())
    in_alyx = {path.split("/")[1] for path in document["paths"]}
    needing = {
        name
        for name, method in inspect.getmembers(Database, inspect.isfunction)
        if set(re.findall(r'"/([a-z][\w-]*)', inspect.getsource(method))) - in_alyx
    }
    assert needing >= {"save_plan", "claim", "report", "pending_events", "expired_leases", "task_counts"}
    assert {name for name in needing if getattr(PlainAlyx, name) is getattr(Database, name)} == set()


def test_what_the_lab_is_looked_after_with(lab_on_alyx, session):
    order, _ = planned(lab_on_alyx, session)
    database = lab_on_alyx.database
    database.claim(task=order["task_id"], after=0, worker="w", lease_s=30.0)
    lab_on_alyx.alyx.request("POST", "/tasks", {"name": "Theirs", "session": order["eid"], "status": "Waiting", "executable": "a.B"})
    found = [row for row in database.lab_tasks("alyxlab", Status.STARTED, Status.WAITING) if row["session"] == order["eid"]]
    assert {row["name"]: (row["status"], row["leased"]) for row in found} == {
        "licks[probe00]": ("Started", True),
        "amps": ("Waiting", False),
    }
    assert ("licks", "Started") in {(row["task"], row["status"]) for row in database.task_counts()}
    assert order["eid"] in {record["id"] for record in database.lab_sessions("alyxlab", session.date)}


def test_nothing_was_asked_that_alyx_does_not_know(alyx):
    asked = [line for line in alyx.refusals.read_text().splitlines() if not re.match(r"GET \S+: Alyx has no such endpoint", line)]
    assert asked == []
