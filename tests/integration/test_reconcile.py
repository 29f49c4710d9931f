"""What the database says held against the disk, on a live database and a session at which real attempts were made."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable

import numpy as np
import pytest

from ranvier import reconcile
from ranvier.client import Database
from ranvier.declare import Input, Output, task
from ranvier.finding import Finding
from ranvier.job import Job
from ranvier.registration import register
from ranvier.session import READY_FLAG, Session
from ranvier.settings import Settings
from ranvier.tasks.ephys.raw_registration import raw_registration
from ranvier.testing import RunTask

Look = Callable[..., dict[str, list[Finding]]]
LONG_AGO = dt.date(2000, 1, 1)


@task(version="1.0.0", inputs=[Input("raw_ephys_data/*/*.ap.meta")], outputs=[Output("alf/licks.times.npy")])
def licks(job: Job) -> None:
    """Licks, once a second."""
    job.save("alf/licks.times.npy", np.arange(10.0))


@pytest.fixture
def look(ranvier_home: Settings, ranvier_database: Database, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Looks for differences without any grace; the findings by what was looked at."""
    monkeypatch.setattr(reconcile, "GRACE_S", -1.0)

    def found(*, hashes: bool = False) -> dict[str, list[Finding]]:
        parts: dict[str, list[Finding]] = {}
        for finding in reconcile.differences(ranvier_home, ranvier_database, since=LONG_AGO, hashes=hashes):
            parts.setdefault(finding.part, []).append(finding)
        return parts

    return found


@pytest.fixture
def done(simulated_session: Session, run_task: RunTask) -> Session:
    """A session whose raw files have been registered."""
    assert run_task(raw_registration, simulated_session).status == "Complete"
    return simulated_session


def about(findings: list[Finding], session: Session) -> list[str]:
    """What is wrong with one session; other tests' sessions are in the same database."""
    return [finding.detail for finding in findings if not finding.ok and str(session.path) in finding.detail]


def test_a_whole_session_is_no_finding(look: Look, done: Session) -> None:
    parts = look(hashes=True)
    assert about([finding for findings in parts.values() for finding in findings], done) == []


def test_a_missing_a_short_and_a_changed_file_are_told_apart(look: Look, done: Session) -> None:
    binary = next(done.path.rglob("*.ap.bin"))
    whole = binary.read_bytes()
    before = binary.stat()
    binary.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
    os.utime(binary, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert about(look()["files"], done) == []
    (changed,) = about(look(hashes=True)["files"], done)
    assert "another md5" in changed
    binary.write_bytes(whole[:-2])
    (short,) = about(look()["files"], done)
    assert f"has {len(whole) - 2} bytes" in short
    binary.unlink()
    finding = next(each for each in look()["files"] if str(binary) in each.detail)
    assert "is not there" in finding.detail
    assert "copy it again" in finding.mend


def test_a_file_that_a_task_wrote_is_written_again_by_that_task(look: Look, simulated_session: Session, run_task: RunTask) -> None:
    assert run_task(licks, simulated_session).status == "Complete"
    written = simulated_session.path / "alf/licks.times.npy"
    written.unlink()
    finding = next(each for each in look()["files"] if str(written) in each.detail)
    assert finding.mend == f"ranvier rerun {simulated_session.reference} --task 'licks' --force"


def test_a_folder_that_was_refused_is_told_at_once(look: Look, simulated_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "GRACE_S", 600.0)
    assert about(look()["registration"], simulated_session) == [], "it may be on its way"
    (simulated_session.path / "raw_session.error").write_text("the database knows no such subject\n")
    (refused,) = about(look()["registration"], simulated_session)
    assert "cannot be registered" in refused


def test_a_folder_that_nobody_registered_says_why(look: Look, simulated_session: Session) -> None:
    (flagged,) = about(look()["registration"], simulated_session)
    assert "has its flag" in flagged
    (simulated_session.path / "raw_session.error").write_text("the database knows no such subject\n")
    (refused,) = about(look()["registration"], simulated_session)
    assert refused.endswith("cannot be registered: the database knows no such subject")
    (simulated_session.path / "raw_session.error").unlink()
    (simulated_session.path / READY_FLAG).unlink()
    (unflagged,) = about(look()["registration"], simulated_session)
    assert "has no raw_session.flag" in unflagged


def test_scratch_of_an_attempt_that_ended_is_told(look: Look, done: Session, ranvier_home: Settings, ranvier_database: Database) -> None:
    eid = ranvier_database.find_session(done)["id"]
    left = ranvier_home.work_folder / "scratch" / eid / "raw_registration.probe00.7"
    left.mkdir(parents=True)
    assert any(str(left) in finding.detail for finding in look()["scratch"])


def test_an_attempt_beyond_its_lease_and_its_lost_worker_are_told(
    look: Look, done: Session, ranvier_home: Settings, ranvier_database: Database
) -> None:
    eid = register(done.path, ranvier_home, ranvier_database).record["id"]
    (row,) = ranvier_database.tasks(eid)
    host = os.uname().nodename
    ranvier_database.claim(task=row["id"], after=row["attempt"], worker=f"{host}:4194304", lease_s=0.01)
    parts = look()
    assert any(done.reference in finding.detail and "lease ran out" in finding.detail for finding in parts["leases"])
    assert any(done.reference in finding.detail and "4194304" in finding.detail for finding in parts["workers"])
    ranvier_database.expired_leases()


def test_without_prefect_the_rest_is_looked_at(look: Look) -> None:
    (finding,) = look()["flow runs"]
    assert not finding.ok
    assert "does not answer" in finding.detail


def test_of_many_differences_a_few_are_told_and_the_rest_counted() -> None:
    found = list(reconcile._told("files", ((f"file {number}", "mend it") for number in range(25)), "well"))
    assert len(found) == reconcile.MOST_TOLD + 1
    assert found[-1].detail == "and 15 more of this kind"
    assert [finding.detail for finding in reconcile._told("files", [], "all there")] == ["all there"]
