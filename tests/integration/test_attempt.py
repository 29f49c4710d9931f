"""Attempts on a real database, with a real child process and real files."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import numpy as np
import psutil
import pytest

from ranvier import Again, Input, Output, Resources, Retries, closing, commit, contract, task
from ranvier.attempt import Attempt, run_attempt
from ranvier.child import describe, load
from ranvier.order import Order, make_order
from ranvier.plan import plan_rows, plan_session
from ranvier.registration import register
from ranvier.retries import Cause
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
    if how == "again":
        raise Again("the amplifier still writes", wait_s=7)
    if how == "memory":
        raise MemoryError("20 GB")
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
    resources=Resources(timeout_s=5.0),
)
def slow(job):
    """Takes longer than it may, with an output written and a daemon started."""
    job.save("alf/never.times.npy", np.arange(2))
    subprocess.run([sys.executable, "-c", "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(60)"], check=True)
    time.sleep(60)


@task(
    version="1.0.0",
    inputs=[Input("raw.times.npy")],
    outputs=[Output("alf/hog.times.npy")],
    resources=Resources(memory_gb=0.1),
    retries=Retries(on_memory={"batch": 0.5}),
)
def hog(job, batch: int = 300, seconds: float = 0.0):
    """Takes `batch` megabytes, which is more than it declares."""
    taken = np.ones(batch * 1_000_000, dtype=np.uint8)
    time.sleep(seconds)
    job.save("alf/hog.times.npy", [float(taken.size)])


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


def test_a_time_out_is_told_and_leaves_nothing(run_task, session, ranvier_home):
    outcome = run_task(slow, session)
    assert (outcome.status, outcome.reason) == ("Errored", "ran out of time after 5 s")
    assert_nothing_is_left(session, ranvier_home)


def assert_nothing_is_left(session, settings):
    """No output, no scratch, and no process of an attempt at the session."""
    assert files_below(session.path) == AS_REGISTERED
    assert not list((settings.work_folder / "scratch").glob("*/*"))
    scratch = str(settings.work_folder / "scratch")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            assert not process.environ().get("TMPDIR", "").startswith(scratch), process.cmdline()


@pytest.mark.parametrize(
    ("how", "cause", "wait_s"),
    [("raise", Cause.NONE, None), ("killed", Cause.NONE, None), ("memory", Cause.MEMORY, None), ("again", Cause.AGAIN, 7.0)],
)
def test_an_outcome_says_whether_its_failure_may_pass(run_task, session, how, cause, wait_s):
    outcome = run_task(licks, session, how=how)
    assert (outcome.status, outcome.cause, outcome.wait_s) == ("Errored", cause, wait_s)


def test_who_takes_far_more_memory_than_declared_is_ended(session, ranvier_database, ranvier_home):
    order = order_for(ranvier_database, ranvier_home, session, hog)
    order["parameters"]["seconds"] = 60.0
    strict = ranvier_home.model_copy(update={"attempts": AttemptSettings(memory_spare=1.0)})
    outcome = Attempt(Order(**order), strict, ranvier_database).run()
    assert (outcome.status, outcome.cause) == ("Errored", Cause.MEMORY)
    assert " GB of memory while the machine had " in outcome.reason
    assert outcome.reason.endswith("the task declares 0.1 GB")
    assert outcome.wall_s < 30


def test_a_try_with_other_parameters_gives_the_same_result(session, ranvier_database, ranvier_home):
    order = order_for(ranvier_database, ranvier_home, session, hog)
    changed = {"adjusted": {"batch": 150}, "note": "try 2 of 4, as it ran out of memory (20 GB); with batch 300 -> 150"}
    assert run_attempt(order | changed)["status"] == "Complete"
    assert np.load(session.path / "alf/hog.times.npy") == [150e6]
    row = rows_of(ranvier_database, session)["hog"]
    assert row["receipt"]["parameters"]["batch"] == 300
    assert row["receipt"]["adjusted"] == {"batch": 150}
    assert changed["note"] in row["log"]
    assert run_attempt(order)["status"] == "Unchanged", "what a try changes is no part of the identity"
    plan = plan_session(session, [hog], ranvier_home, ranvier_database.tasks(row["session"]))
    assert plan.decisions["hog"].action == "skip"


def test_an_order_is_answered_by_an_attempt_that_failed_since(session, ranvier_database, ranvier_home):
    order = order_for(ranvier_database, ranvier_home, session, licks) | {"seen": 0}
    broken = order | {"parameters": order["parameters"] | {"how": "raise"}}
    assert run_attempt(broken)["status"] == "Errored"
    again = run_attempt(order)
    assert (again["status"], again["attempt"], again["reason"]) == ("Errored", 1, "ValueError: the tongue is not in the picture")
    assert run_attempt(order | {"seen": 1})["status"] == "Complete"


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


@pytest.fixture
def silent(session, ranvier_database, ranvier_home):
    """An attempt that takes 3 s, sends no heartbeats and whose task has been given back; its order, thread and outcomes."""
    order = order_for(ranvier_database, ranvier_home, session, licks)
    order["parameters"]["seconds"] = 3.0
    hasty = ranvier_home.model_copy(update={"attempts": AttemptSettings(lease_s=0.5, heartbeat_s=60)})
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(Attempt(Order(**order), hasty, ranvier_database).run()))
    thread.start()
    deadline = time.monotonic() + 20
    while order["task_id"] not in ranvier_database.expired_leases() and time.monotonic() < deadline:
        time.sleep(0.1)
    yield order, thread, outcomes
    thread.join()


def test_who_lost_the_lease_to_another_writes_nothing(silent, session, ranvier_database):
    order, thread, outcomes = silent
    ranvier_database.claim(task=order["task_id"], after=1, worker="another")
    thread.join()
    assert outcomes[0].status == "Claimed"
    assert files_below(session.path / "alf") == []


def test_who_fell_silent_takes_the_task_up_again_where_nobody_has_claimed_it(silent, session, ranvier_database):
    order, thread, outcomes = silent
    row = ranvier_database.task(order["task_id"])
    assert (row["status"], row["reason"]) == ("Waiting", "given back: the worker of attempt 1 fell silent")
    thread.join()
    assert outcomes[0].status == "Complete"
    assert [attempt["status"] for attempt in ranvier_database.attempts(order["task_id"])] == ["Complete"]


@pytest.fixture
def under_way(session, ranvier_database, ranvier_home):
    """An attempt that is running and would go on for a minute: its order, its thread, and what comes of it."""
    order = order_for(ranvier_database, ranvier_home, session, licks)
    order["parameters"]["seconds"] = 60.0
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(run_attempt(order)))
    thread.start()
    while ranvier_database.task(order["task_id"])["status"] != "Started":
        time.sleep(0.1)
    return order, thread, outcomes


def test_cancelling_ends_the_child(under_way, session, ranvier_database, ranvier_home):
    order, thread, outcomes = under_way
    ranvier_database.cancel(session=order["eid"], by="olivier")
    thread.join(timeout=30)
    assert (outcomes[0]["status"], outcomes[0]["reason"]) == ("Errored", "cancelled by olivier")
    (attempt,) = ranvier_database.attempts(order["task_id"])
    assert (attempt["status"], attempt["reason"], attempt["error_type"]) == ("Errored", "cancelled by olivier", "Cancelled")
    assert_nothing_is_left(session, ranvier_home)


def test_a_worker_that_is_stopped_gives_its_task_back(under_way, session, ranvier_database, ranvier_home, monkeypatch):
    monkeypatch.setattr(closing, "_reason", "")
    order, thread, outcomes = under_way
    assert closing.close("the worker was stopped", 30.0)
    thread.join()
    assert (outcomes[0]["status"], outcomes[0]["reason"]) == ("Returned", "the worker was stopped")
    row = ranvier_database.task(order["task_id"])
    assert (row["status"], row["reason"]) == ("Waiting", "given back by attempt 1: the worker was stopped")
    assert_nothing_is_left(session, ranvier_home)
    closing._reason = ""
    assert run_attempt(order_for(ranvier_database, ranvier_home, session, licks))["status"] == "Complete"


def test_what_was_cancelled_before_it_started_does_not_start(session, ranvier_database, ranvier_home):
    order = order_for(ranvier_database, ranvier_home, session, licks)
    ranvier_database.cancel(session=order["eid"], by="olivier")
    outcome = run_attempt(order)
    assert (outcome["status"], outcome["reason"]) == ("Held", "cancelled by olivier before it started")
    assert ranvier_database.attempts(order["task_id"]) == []
    assert run_attempt(order_for(ranvier_database, ranvier_home, session, licks))["status"] == "Complete"


@pytest.mark.parametrize(
    ("step", "status"),
    [("judge", "Errored"), ("prepare", "Complete")],
)
def test_a_cancel_is_heard_until_outputs_begin_to_move(session, ranvier_database, ranvier_home, monkeypatch, step, status):
    order = order_for(ranvier_database, ranvier_home, session, licks)
    module = {"judge": contract, "prepare": commit}[step]
    go_on = getattr(module, step)

    def cancel_first(*arguments):
        ranvier_database.cancel(session=order["eid"], by="olivier")
        return go_on(*arguments)

    monkeypatch.setattr(module, step, cancel_first)
    assert Attempt(Order(**order), ranvier_home, ranvier_database).run().status == status
    assert ranvier_database.task(order["task_id"])["status"] == status
    assert len(files_below(session.path / "alf")) == (2 if status == "Complete" else 0)
    assert not list((ranvier_home.work_folder / "scratch").glob("*/*"))


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
    assert outcome.cause == Cause.DISK
    assert files_below(path) == AS_REGISTERED
    assert not list((settings.work_folder / "scratch" / order["eid"]).iterdir())


def test_a_library_that_one_of_our_tasks_lacks_is_named_with_what_installs_it() -> None:
    spec = {"reference": "ranvier.tasks.behaviour.wheel:wheel", "file": "wheel.py", "task": "wheel", "version": "1"}
    missing = ModuleNotFoundError("No module named 'av'", name="av")
    assert describe(missing, spec)["message"].startswith("No module named 'av'; pip install 'ranvier[behaviour]'")
    assert describe(missing, {**spec, "reference": "lab_chain:mark"})["message"] == "No module named 'av'"
    assert describe(ValueError("no"), spec)["message"] == "no"
