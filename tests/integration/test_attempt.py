"""Attempts on a real database, with a real child process and real files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import numpy as np
import pytest

from ranvier import Input, Output, Resources, task
from ranvier.attempt import Attempt, run_attempt
from ranvier.child import load
from ranvier.order import Order, make_order
from ranvier.plan import plan_rows, plan_session
from ranvier.registration import register
from ranvier.session import Session
from ranvier.settings import AttemptSettings


@task(version="1.0.0", inputs=[Input("raw.times.npy")], outputs=[Output("alf/licks.times.npy", at_least=1), Output("alf/licks.amps.npy")])
def licks(job, how: str = "well", seconds: float = 0.0):
    """Writes two datasets of one object, or fails in one of many ways."""
    raw = np.load(job.input())
    job.log.info("reading %d samples", len(raw))
    if how == "raise":
        raise ValueError("the tongue is not in the picture")
    if how == "garbage":
        print("no text: \x00")
        job.qc("rate", float("nan"), "PASS")
        job.qc("half \ud800", "\x00")
        raise ValueError("\x00\ud800" + "e" * 1_000_000)
    if how == "nothing":
        return
    job.save("alf/licks.times.npy", raw[:0] if how == "too few" else raw)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "disk full":
        job.output("alf/licks.amps.npy").write_bytes(bytes(50_000_000))
    time.sleep(seconds)
    if how != "half":
        job.save("alf/licks.amps.npy", raw * 2)
    job.qc("rate", 1.5, "WARNING")


@task(version="1.0.0", inputs=[Input("raw.times.npy")], outputs=[Output("alf/odd.invention.npy")])
def invents(job):
    """Writes a dataset of a type that nobody has heard of."""
    job.save("alf/odd.invention.npy", np.arange(2))


@task(version="1.0.0", inputs=[Input("raw.times.npy")], outputs=[Output("alf/odd.taken.npy")])
def takes(job):
    """Writes a dataset whose type exists, for other file names."""
    job.save("alf/odd.taken.npy", np.arange(2))


@task(
    version="1.0.0",
    inputs=[Input("raw.times.npy")],
    outputs=[Output("alf/never.times.npy")],
    resources=Resources(timeout_s=1.0),
)
def slow(job):
    """Takes longer than it may."""
    time.sleep(60)


AS_REGISTERED = ["_ibl_experiment.description.yaml", "raw.times.npy"]
_numbers = iter(range(1, 1000))


@pytest.fixture
def session(ranvier_home):
    path = ranvier_home.lab_root / f"licker_{next(_numbers)}" / "2026-11-22" / "001"
    path.mkdir(parents=True)
    np.save(path / "raw.times.npy", np.arange(5.0))
    return Session.parse(path)


def rows_of(database, session):
    return {row["name"]: row for row in database.tasks(database.find_session(session)["id"])}


def order_for(database, settings, session, task_, **overrides):
    eid = register(session.path, settings, database).record["id"]
    plan = plan_session(session, [task_], settings, database.tasks(eid))
    rows = database.save_plan(eid, plan_rows(plan, settings))
    return make_order(plan.instances[0], session, settings, eid=eid, task_id=rows[0]["id"]) | overrides


def files_below(folder: Path):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_complete_commits_registers_and_records(run_task, session, ranvier_database, ranvier_home):
    outcome = run_task(licks, session)
    assert (outcome.status, outcome.reason, outcome.attempt) == ("Complete", "", 1)
    assert np.array_equal(np.load(session.path / "alf/licks.amps.npy"), np.arange(5.0) * 2)
    row = rows_of(ranvier_database, session)["licks"]
    (attempt,) = ranvier_database.attempts(row["id"])
    assert attempt["status"] == "Complete"
    assert attempt["exit_code"] == 0
    assert attempt["cpu_s"] > 0
    assert attempt["peak_memory_mb"] > 1
    assert "reading 5 samples" in row["log"]
    record = ranvier_database.session(row["session"])
    datasets = {item["name"]: item for item in record["data_dataset_session_related"]}
    assert set(datasets) == {"licks.times.npy", "licks.amps.npy"}
    assert datasets["licks.times.npy"]["file_size"] == (session.path / "alf/licks.times.npy").stat().st_size
    assert datasets["licks.times.npy"]["version"] == "1.0.0"
    assert record["extended_qc"]["licks"] == "WARNING"
    assert record["extended_qc"]["_licks_rate"] == 1.5
    assert record["qc"] == "WARNING"
    assert not list((ranvier_home.work_folder / "scratch" / row["session"]).iterdir())


def test_the_same_identity_comes_back_unchanged_and_a_changed_input_runs(run_task, session, ranvier_database):
    assert run_task(licks, session).status == "Complete"
    again = run_task(licks, session)
    assert (again.status, again.verdict, again.attempt) == ("Unchanged", "Complete", 1)
    np.save(session.path / "raw.times.npy", np.arange(6.0))
    changed = run_task(licks, session)
    assert (changed.status, changed.attempt) == ("Complete", 2)
    assert len(np.load(session.path / "alf/licks.times.npy")) == 6


def test_an_error_leaves_the_session_as_it_was_and_a_retry_repairs(run_task, session, ranvier_database):
    failed = run_task(licks, session, how="raise")
    assert failed.status == "Errored"
    assert failed.reason == "ValueError: the tongue is not in the picture"
    assert files_below(session.path) == AS_REGISTERED
    row = rows_of(ranvier_database, session)["licks"]
    assert (row["status"], row["reason"]) == ("Errored", failed.reason)
    assert "Traceback" in ranvier_database.attempts(row["id"])[0]["traceback"]
    assert run_task(licks, session).status == "Complete"
    assert [attempt["status"] for attempt in ranvier_database.attempts(row["id"])] == ["Complete", "Errored"]


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ("nothing", "Empty", "alf/licks.times.npy was not written"),
        ("too few", "Incomplete", "alf/licks.times.npy has 0 rows, at least 1"),
        ("half", "Incomplete", "alf/licks.amps.npy was not written"),
        ("killed", "Errored", "killed by signal 9"),
    ],
)
def test_verdicts(run_task, session, how, status, words):
    outcome = run_task(licks, session, how=how)
    assert outcome.status == status
    assert words in outcome.reason


def test_what_no_database_can_store_still_ends_the_attempt(run_task, session, ranvier_database):
    outcome = run_task(licks, session, how="garbage")
    assert outcome.status == "Errored"
    assert outcome.reason.startswith("ValueError: ")
    (attempt,) = ranvier_database.attempts(rows_of(ranvier_database, session)["licks"]["id"])
    assert attempt["status"] == "Errored"
    assert len(attempt["traceback"]) < 100_000


def test_missing_input_is_named(run_task, session, ranvier_database, ranvier_home):
    order = order_for(ranvier_database, ranvier_home, session, licks)
    (session.path / "raw.times.npy").unlink()
    outcome = run_attempt(order)
    assert outcome["status"] == "Errored"
    assert f"input raw.times.npy is not in {session.path}" in outcome["reason"]


def test_a_time_out_is_told(run_task, session):
    outcome = run_task(slow, session)
    assert (outcome.status, outcome.reason) == ("Errored", "ran out of time after 1 s")


def test_of_two_at_once_only_one_runs(session, ranvier_database, ranvier_home):
    order = order_for(ranvier_database, ranvier_home, session, licks)
    order["parameters"]["seconds"] = 1.0
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(run_attempt(order))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome["status"] for outcome in outcomes) == ["Claimed", "Claimed", "Complete"]
    assert len(ranvier_database.attempts(order["task_id"])) == 1


def test_who_lost_the_lease_writes_nothing(session, ranvier_database, ranvier_home):
    order = order_for(ranvier_database, ranvier_home, session, licks)
    order["parameters"]["seconds"] = 3.0
    hasty = ranvier_home.model_copy(update={"attempts": AttemptSettings(lease_s=0.5, heartbeat_s=60)})
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(Attempt(Order(**order), hasty, ranvier_database).run()))
    thread.start()
    deadline = time.monotonic() + 20
    while order["task_id"] not in ranvier_database.expired_leases() and time.monotonic() < deadline:
        time.sleep(0.1)
    row = ranvier_database.task(order["task_id"])
    assert row["status"] == "Waiting"
    assert "silent" in ranvier_database.attempts(order["task_id"])[0]["reason"]
    thread.join()
    assert outcomes[0].status == "Claimed"
    assert files_below(session.path / "alf") == []


def test_cancelling_ends_the_child(session, ranvier_database, ranvier_home):
    order = order_for(ranvier_database, ranvier_home, session, licks)
    order["parameters"]["seconds"] = 60.0
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(run_attempt(order)))
    thread.start()
    while ranvier_database.task(order["task_id"])["status"] != "Started":
        time.sleep(0.1)
    ranvier_database.patch_task(order["task_id"], cancel_requested=True)
    thread.join(timeout=20)
    assert outcomes[0]["reason"] == "cancelled on request"


def test_a_new_dataset_type_is_brought_along(run_task, session, ranvier_database):
    assert run_task(invents, session).status == "Complete"
    assert ranvier_database._get("/dataset-types/odd.invention")["description"] == "Brought by the task invents"


def test_a_dataset_type_with_another_pattern_is_told(run_task, session, ranvier_database):
    ranvier_database._post("/dataset-types", {"name": "odd.taken", "filename_pattern": "*odd.taken.lab*.npy", "description": "of a lab"})
    outcome = run_task(takes, session)
    assert outcome.status == "Errored"
    assert "the dataset type odd.taken is for files like '*odd.taken.lab*.npy', which odd.taken.npy is not" in outcome.reason


def test_protected_datasets_go_into_a_revision(run_task, session, ranvier_database):
    assert run_task(licks, session).status == "Complete"
    record = ranvier_database.find_session(session)
    ranvier_database._post("/tags", {"name": "paper 2026", "protected": True})
    for item in ranvier_database.session(record["id"])["data_dataset_session_related"]:
        ranvier_database._call("patch", f"/datasets/{item['id']}", {"tags": ["paper 2026"]})
    old = (session.path / "alf/licks.times.npy").read_bytes()
    np.save(session.path / "raw.times.npy", np.arange(9.0))
    assert run_task(licks, session).status == "Complete"
    assert (session.path / "alf/licks.times.npy").read_bytes() == old
    (revised,) = session.find("alf/licks.times.npy")
    assert revised.parent.name.startswith("#20")
    assert len(np.load(revised)) == 9


def test_runs_in_another_python_environment(run_task, session, ranvier_home, tmp_path):
    venv.create(tmp_path / "other", with_pip=True)
    python = tmp_path / "other/bin/python"
    source = Path(sys.modules["ranvier"].__file__).parents[2]
    if not (source / "pyproject.toml").exists():
        pytest.skip("ranvier is installed from a wheel; its sources are needed to install it a second time")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", source], check=True, capture_output=True)
    ranvier_home.environments["other"] = str(python)
    outcome = run_task(load("task_elsewhere:elsewhere", str(Path(__file__).with_name("task_elsewhere.py"))), session)
    assert (outcome.status, outcome.reason) == ("Complete", "")
    assert (session.path / "alf/where.txt").read_text() == str(tmp_path / "other")


@pytest.fixture
def small_disk(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "ranvier-test", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_full_disk_is_told_and_leaves_nothing(small_disk, ranvier_database, ranvier_home):
    lab = ranvier_home.lab.model_copy(update={"root": str(small_disk / "testlab" / "Subjects")})
    settings = ranvier_home.model_copy(update={"lab": lab})
    path = settings.lab_root / f"licker_{next(_numbers)}" / "2026-11-22" / "001"
    path.mkdir(parents=True)
    np.save(path / "raw.times.npy", np.arange(5.0))
    order = order_for(ranvier_database, settings, Session.parse(path), licks)
    order["parameters"]["how"] = "disk full"
    outcome = Attempt(Order(**order), settings, ranvier_database).run()
    assert outcome.status == "Errored"
    assert "No space left on device" in outcome.reason
    assert files_below(path) == AS_REGISTERED
    assert not list((settings.work_folder / "scratch" / order["eid"]).iterdir())
