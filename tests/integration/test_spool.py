"""Attempts whose database goes away, or that are cut off after they have computed: what they made stands, once, and is handed in later."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import subprocess
import threading
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from ranvier import Input, Output, attempt, commit, task
from ranvier.attempt import Attempt
from ranvier.client import Database
from ranvier.order import Order, make_order
from ranvier.plan import plan_rows, plan_session
from ranvier.registration import register
from ranvier.session import Session
from ranvier.settings import AttemptSettings
from ranvier.spool import Spool, read


def until(condition, timeout_s=30.0):  # not from support.py: attempts import this file, for its task, without the other tests
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


_numbers = count(1)


@task(version="1", inputs=[Input("raw.times.npy")], outputs=[Output("alf/gated.times.npy"), Output("alf/gated.amps.npy")])
def gated(job, gate: str = ""):
    """Computes when its gate is opened, and says when it has come there."""
    if gate:
        Path(gate).with_suffix(".reached").touch()
        while not Path(gate).exists():
            time.sleep(0.02)
    for attribute in ("times", "amps"):
        job.save(f"alf/gated.{attribute}.npy", np.load(job.input()))


class Try:
    """One attempt in a thread, whose way to the database can be cut."""

    def __init__(self, order, settings, database, gate):
        self.order, self.settings, self.gate = order, settings, gate
        self.outcome = None
        self.database = database
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        until(gate.with_suffix(".reached").exists)

    def _run(self):
        self.outcome = Attempt(Order(**self.order), self.settings, self.database).run()

    def finish(self):
        self.gate.touch()
        self.thread.join(60)
        return self.outcome


@pytest.fixture(scope="module")
def line(ranvier_home, ranvier_database, wire):
    """The attempt's way to the database."""
    return wire(ranvier_home.ports.database)


@pytest.fixture
def session(ranvier_home):
    path = ranvier_home.lab_root / f"spooled_{next(_numbers)}" / "2026-11-24" / "001"
    path.mkdir(parents=True)
    np.save(path / "raw.times.npy", np.arange(5.0))
    return Session.parse(path)


@pytest.fixture
def hasty(ranvier_home):
    """Settings whose leases run out soon."""
    return ranvier_home.model_copy(update={"attempts": AttemptSettings(lease_s=0.3, heartbeat_s=60)})


@pytest.fixture
def order(session, ranvier_home, ranvier_database):
    eid = register(session.path, ranvier_home, ranvier_database).record["id"]
    plan = plan_session(session, [gated], ranvier_home, ranvier_database.tasks(eid))
    rows = ranvier_database.save_plan(eid, plan_rows(plan, ranvier_home))
    return make_order(plan.instances[0], session, ranvier_home, eid=eid, task_id=rows[0]["id"])


@pytest.fixture
def under_way(order, hasty, line, tmp_path):
    """An attempt that is computing."""
    gate = tmp_path / "gate"
    order["parameters"]["gate"] = str(gate)
    database = Database(f"http://127.0.0.1:{line.port}", hasty.secret("token"), patience_s=0.5)
    going = Try(order, hasty, database, gate)
    yield going
    line.mend()
    going.finish()


@pytest.fixture
def spool(ranvier_home):
    return Spool(ranvier_home)


def datasets(database, order):
    return {item["name"]: item for item in database.session(order["eid"])["data_dataset_session_related"]}


def assert_committed_once(database, order, session, number=1):
    """One attempt has committed: its files are whole and registered as they are, and nothing is left over."""
    row = database.task(order["task_id"])
    assert (row["status"], row["attempt"]) == ("Complete", number)
    assert [each["status"] for each in database.attempts(order["task_id"])].count("Complete") == 1
    registered = datasets(database, order)
    assert set(registered) == {"gated.times.npy", "gated.amps.npy"}
    for name, item in registered.items():
        assert item["hash"] == hashlib.md5((session.path / "alf" / name).read_bytes()).hexdigest()


def assert_nothing_left(settings, order):
    work = settings.work_folder
    left = [*work.glob(f"spool/{order['eid']}*"), *work.glob(f"scratch/{order['eid']}/*"), *work.glob(f"locks/{order['eid']}*")]
    assert left == []


def test_what_was_computed_while_the_database_was_away_stands_and_is_handed_in_later(
    under_way, session, spool, line, ranvier_database, ranvier_home
):
    order = under_way.order
    line.cut()
    outcome = under_way.finish()
    assert (outcome.status, outcome.attempt) == ("Complete", 1)
    assert np.array_equal(np.load(session.path / "alf/gated.amps.npy"), np.arange(5.0))
    (kept,) = spool.waiting(order["eid"])
    assert not list(ranvier_home.work_folder.glob(f"scratch/{order['eid']}/*"))
    assert datasets(ranvier_database, order) == {}
    until(lambda: ranvier_database.expired_leases() or ranvier_database.task(order["task_id"])["status"] == "Waiting")
    content = kept.read_bytes()
    assert [report.attempt for report in spool.catch_up(ranvier_database)] == [read_id(kept)]
    assert_committed_once(ranvier_database, order, session)
    assert_nothing_left(ranvier_home, order)
    assert "Complete" in ranvier_database.task(order["task_id"])["log"]
    kept.write_bytes(content)  # its answer was lost, or the machine went down before the report was removed
    assert len(list(spool.catch_up(ranvier_database))) == 1
    assert_committed_once(ranvier_database, order, session)
    assert_nothing_left(ranvier_home, order)


def read_id(path):
    return path.name.split(".")[-2]


def test_the_next_attempt_hands_it_in_before_it_looks(under_way, session, line, ranvier_database, ranvier_home):
    line.cut()
    under_way.finish()
    ranvier_database.expired_leases()
    order = under_way.order
    outcome = Attempt(Order(**order), ranvier_home, ranvier_database).run()
    assert (outcome.status, outcome.attempt) == ("Unchanged", 1)
    assert_committed_once(ranvier_database, order, session)
    assert_nothing_left(ranvier_home, order)


def test_a_report_whose_task_another_has_claimed_is_put_aside_and_told(under_way, spool, line, ranvier_database, ranvier_home, caplog):
    order = under_way.order
    line.cut()
    under_way.finish()
    until(lambda: ranvier_database.expired_leases() or ranvier_database.task(order["task_id"])["status"] == "Waiting")
    ranvier_database.claim(task=order["task_id"], after=1, worker="another", lease_s=600)
    assert list(spool.catch_up(ranvier_database)) == []
    assert spool.waiting(order["eid"]) == []
    (aside,) = [path for path in spool.refused() if path.name.startswith(order["eid"])]
    assert "fell silent" in json.loads(aside.read_text())["refused"]
    assert "is put aside" in caplog.text
    assert ranvier_database.task(order["task_id"])["status"] == "Started"
    assert datasets(ranvier_database, order) == {}
    aside.unlink()


def test_outputs_that_might_be_protected_wait_for_the_database(under_way, session, line, ranvier_database, ranvier_home):
    (session.path / "alf").mkdir()
    (session.path / "alf/gated.times.npy").write_bytes(b"of an earlier attempt")
    line.cut()
    under_way.gate.touch()
    log = Path(under_way.order["log_path"])
    until(lambda: "waiting until it tells whether they are protected" in log.read_text())
    assert (session.path / "alf/gated.times.npy").read_bytes() == b"of an earlier attempt"
    line.mend()
    assert under_way.finish().status == "Complete"
    assert_committed_once(ranvier_database, under_way.order, session)


def test_an_attempt_at_work_keeps_others_of_this_server_away_though_its_lease_ran_out(under_way, ranvier_database, ranvier_home):
    until(lambda: ranvier_database.expired_leases() or ranvier_database.task(under_way.order["task_id"])["status"] == "Waiting")
    other = Attempt(Order(**under_way.order), ranvier_home, ranvier_database).run()
    assert (other.status, other.attempt) == ("Claimed", 0)
    assert "another attempt at this task is at work" in other.reason
    assert under_way.finish().status == "Complete"


def die_after(order, settings, point, moved):
    """Run an attempt that is killed at a point of its way, after some files were moved."""
    carry_out = commit.carry_out

    def dies(moves):
        carry_out(dict(list(moves.items())[:moved]))
        os.kill(os.getpid(), 9)

    if point == "moving":
        commit.carry_out = dies
    else:
        attempt.hand_in = lambda *_, **__: os.kill(os.getpid(), 9)
    Attempt(Order(**order), settings, Database.from_settings(settings)).run()


@pytest.mark.parametrize(("point", "moved"), [("moving", 0), ("moving", 1), ("handing in", 2)])
def test_an_attempt_that_is_killed_after_it_has_computed_has_committed(order, session, hasty, ranvier_home, ranvier_database, point, moved):
    process = multiprocessing.get_context("spawn").Process(target=die_after, args=(order, hasty, point, moved))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    assert len(list(session.path.glob("alf/*"))) == moved
    until(lambda: ranvier_database.expired_leases() or ranvier_database.task(order["task_id"])["status"] == "Waiting")
    outcome = Attempt(Order(**order), ranvier_home, ranvier_database).run()
    assert (outcome.status, outcome.attempt) == ("Unchanged", 1)
    assert_committed_once(ranvier_database, order, session)
    assert_nothing_left(ranvier_home, order)


def test_a_report_that_cannot_be_finished_stays_and_does_not_keep_others_waiting(order, spool, hasty, ranvier_database, session, caplog):
    damaged = spool.folder / f"{order['eid']}.damaged.0.json"
    spool.folder.mkdir(exist_ok=True)
    damaged.write_text("{")
    try:
        assert list(spool.catch_up(ranvier_database)) == []
        assert list(spool.catch_up(ranvier_database)) == []
        assert caplog.text.count("cannot be finished yet") == 1
        assert Attempt(Order(**order), hasty, ranvier_database).run().status == "Complete"
    finally:
        damaged.unlink()


@pytest.fixture
def small_disk(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "ranvier-test", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room on a disk."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)):
                pass
        except OSError:
            return filler
    raise AssertionError("the disk does not fill")


def test_a_report_is_written_whole_or_not_at_all(small_disk, ranvier_home):
    lab = ranvier_home.lab.model_copy(update={"root": str(small_disk / "testlab" / "Subjects")})
    spool = Spool(ranvier_home.model_copy(update={"lab": lab}))
    from ranvier.spool import Report

    report = Report("1", 1, "e", "s", "s", "s", "p", "x", "r", "l", verdict={"log": "x" * 10_000})
    spool.folder.mkdir(parents=True)
    filler = fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        spool.put(report)
    assert list(spool.folder.iterdir()) == []
    filler.unlink()
    spool.put(report)
    assert [read(path) for path in spool.waiting()] == [report]
    assert replace(report) == report
