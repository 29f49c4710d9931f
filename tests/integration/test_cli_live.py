"""The commands on a live database, with a session at which a real attempt was made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from unittest import mock

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from ranvier.cli import app, screen
from ranvier.client import Database, DatabaseRefused
from ranvier.lookup import SessionNotFound
from ranvier.plugins import UnknownTask
from ranvier.registration import register
from ranvier.session import Session
from ranvier.settings import Settings
from ranvier.tasks.ephys.raw_registration import raw_registration
from ranvier.testing import RunTask

Command = Callable[..., Result]
TASK = "raw_registration[probe00]"


@pytest.fixture
def command(ranvier_home: Settings, ranvier_database: Database, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in the temporary home; raises what the command raises."""
    monkeypatch.setenv("RANVIER_HOME", str(ranvier_home.home))
    monkeypatch.setattr(screen, "out", Console(highlight=False, width=250))

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code != 2, result.output
        return result

    return run


@pytest.fixture
def done(simulated_session: Session, run_task: RunTask) -> Session:
    """A session whose raw files have been registered."""
    result = run_task(raw_registration, simulated_session)
    assert result.status == "Complete", result.reason
    return simulated_session


def test_registering_twice_changes_nothing(command: Command, simulated_session: Session) -> None:
    first, second = (json.loads(command("register", str(simulated_session.path), "--json").stdout)[0] for _ in range(2))
    assert (first["created"], second["created"]) == (True, False)
    assert first["eid"] == second["eid"]


def test_registering_many_times_at_once_makes_one(ranvier_home: Settings, ranvier_database: Database, simulated_session: Session) -> None:
    def once(_: int) -> str:
        return str(register(simulated_session.path, ranvier_home, Database.from_settings(ranvier_home)).record["id"])

    with ThreadPoolExecutor(8) as pool:
        (eid,) = set(pool.map(once, range(8)))
    assert [insertion["name"] for insertion in ranvier_database.session(eid)["probe_insertion"]] == ["probe00"]


def test_an_insertion_that_many_ask_for_at_once_is_made_once(ranvier_home: Settings, ranvier_database: Database, done: Session) -> None:
    eid, together = ranvier_database.find_session(done)["id"], Barrier(8)
    clients = [Database.from_settings(ranvier_home) for _ in range(8)]
    assert all(client.session(eid) for client in clients), "each has signed in"

    def once(client: Database) -> str:
        together.wait()
        return str(client.ensure_insertion(eid, "probe07")["id"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(once, clients))) == 1


def test_one_folder_that_is_no_session_does_not_stop_the_next(command: Command, simulated_session: Session, tmp_path: Path) -> None:
    result = command("register", str(tmp_path), str(simulated_session.path))
    assert result.exit_code == 1
    assert "is not a session path" in result.stderr
    assert f"registered: {simulated_session.path}" in result.stdout


def test_status_counts_datasets_that_cannot_be_downloaded(
    command: Command, done: Session, ranvier_home: Settings, ranvier_database: Database
) -> None:
    counted = json.loads(command("status", done.reference, "--json").stdout)
    assert counted["datasets"] == counted["downloadable"] > 0
    address = f"/data-repository/{ranvier_home.repository}"
    served = ranvier_database._get(address)["data_url"]
    ranvier_database._call("patch", address, {"data_url": ""})
    try:
        shown = command("status", done.reference).stdout
    finally:
        ranvier_database._call("patch", address, {"data_url": served})
    assert f"Datasets  {counted['datasets']}, " in shown
    assert "; 0 of them can be downloaded" in shown


def test_status_by_id_by_folder_and_by_name(command: Command, done: Session, ranvier_database: Database) -> None:
    found = ranvier_database.find_session(done)
    assert found is not None
    for name in (found["id"], str(done.path), done.reference):
        result = command("status", name)
        assert result.exit_code == 0
        assert "Done, and its quality is good." in result.stdout
        assert TASK in result.stdout
    seen = json.loads(command("status", done.reference, "--json").stdout)
    assert (seen["good"], seen["datasets"]) == (True, len(list((done.path / "raw_ephys_data" / "probe00").iterdir())))


def test_the_latest_sessions_in_a_line_each(command: Command, done: Session) -> None:
    (line,) = [line for line in command("status", "--limit", "250").stdout.splitlines() if line.startswith(done.reference)]
    assert line.rstrip().endswith("Done, and its quality is good.")


def test_a_failure_is_told_with_its_reason_and_exit_code_1(command: Command, simulated_session: Session, run_task: RunTask) -> None:
    next((simulated_session.path / "raw_ephys_data" / "probe00").glob("*.ap.meta")).write_text("nonsense")
    assert run_task(raw_registration, simulated_session).status == "Errored"
    result = command("status", simulated_session.reference)
    assert result.exit_code == 1
    assert "Not done: 0 of 1 tasks are done, but 1 errored (raw_registration)." in result.stdout
    assert f"{TASK} is Errored: " in result.stdout


def test_cancelling_tells_what_stops_and_what_will_not_start(
    command: Command, simulated_session: Session, ranvier_database: Database
) -> None:
    eid = json.loads(command("register", str(simulated_session.path), "--json").stdout)[0]["eid"]
    runs, *_ = ranvier_database.save_plan(eid, [{"name": "sort[probe00]", "executable": "sort"}, {"name": "lick", "executable": "lick"}])
    ranvier_database.claim(task=runs["id"], worker="here:1", lease_s=60)
    result = command("cancel", simulated_session.reference)
    assert set(result.stdout.splitlines()) == {"sort[probe00] stops within seconds", "lick will not start"}
    assert "Nothing runs, and nothing waits." in command("cancel", simulated_session.reference).stderr
    with pytest.raises(DatabaseRefused, match="no task licks in this session; it has lick, sort"):
        command("cancel", simulated_session.reference, "--task", "licks")


def test_the_plan_gives_its_reasons(command: Command, done: Session) -> None:
    plan = json.loads(command("plan", done.reference, "--json").stdout)
    decisions = {each["name"]: each for each in plan["instances"]}
    assert decisions[TASK]["action"] == "skip"
    assert "unchanged since attempt 1" in decisions[TASK]["reason"]
    assert decisions["spike_sorting[probe00]"]["reason"] == "has never run"
    assert TASK in decisions["spike_sorting[probe00]"]["parents"]
    assert f"← {TASK}" in command("plan", done.reference).stdout


def test_a_plan_without_the_database_says_so(command: Command, done: Session, tmp_path: Path, free_port: int) -> None:
    lab = tmp_path / "data" / "lab" / "Subjects" / "mouse" / "2026-01-15" / "001"
    shutil.copytree(done.path, lab)
    (tmp_path / "config.toml").write_text(f"[ports]\ndatabase = {free_port}\n")
    result = command("--home", str(tmp_path), "plan", str(lab))
    assert "planned without the database, as if nothing had ever run" in result.stderr
    assert TASK in result.stdout


def test_logs_of_one_task_and_of_all(command: Command, done: Session) -> None:
    for arguments in ([], ["raw_registration"], [TASK], [TASK, "--follow"]):
        shown = command("logs", done.reference, *arguments).stdout
        assert f"{TASK} is Complete" in shown
    with pytest.raises(Exception, match=r"has no task 'nonsense'"):
        command("logs", done.reference, "nonsense")


def test_a_run_is_asked_for_through_the_database(command: Command, done: Session, ranvier_database: Database) -> None:
    assert command("run", done.reference, "--task", "spike_sorting").exit_code == 0
    assert command("rerun", done.reference, "--force").exit_code == 0
    found = ranvier_database.find_session(done)
    assert found is not None
    asked = [
        event for event in ranvier_database.pending_events() if event["session"] == found["id"] and event["kind"] == "session.requested"
    ]
    payloads = [{name: event["payload"].get(name) for name in ("tasks", "force", "priority")} for event in asked]
    assert payloads == [
        {"tasks": ["spike_sorting"], "force": False, "priority": None},
        {"tasks": None, "force": True, "priority": "now"},
    ]


def test_a_rerun_shows_what_it_would_ask_for_and_why(command: Command, done: Session, ranvier_database: Database) -> None:
    before = len(ranvier_database.pending_events())
    shown = command("rerun", "--subject", done.subject, "--status", "Complete", "--dry-run")
    (line,) = [line for line in shown.stdout.splitlines() if done.reference in line]
    assert line.split(maxsplit=2)[1:] == [TASK, f"{TASK} is Complete"]
    assert "Would ask for runs of " in shown.stderr
    assert len(ranvier_database.pending_events()) == before
    answer = json.loads(command("rerun", str(done.path), "--task", TASK, "--only", "--json").stdout)
    (event,) = [each for each in ranvier_database.pending_events() if each["key"].startswith(f"rerun:{answer['id']}")]
    assert {name: event["payload"][name] for name in ("tasks", "downstream", "priority")} == {
        "tasks": [TASK],
        "downstream": False,
        "priority": "now",
    }
    assert "Nothing matches" in command("rerun", done.reference, "--failure", "0123456789ab").stderr
    for words in (("rerun", "--task", TASK), ("backfill", "plan", TASK)):
        with pytest.raises(Exception, match="which sessions"):
            command(*words)


def test_a_backfill_from_its_plan_to_its_end(command: Command, done: Session, ranvier_database: Database) -> None:
    shown = command("backfill", "plan", "raw_registration", "--subject", done.subject, "--version", "99", "--canary", "1")
    assert "version 1.0.0 is now 99" in shown.stdout
    assert " of CPU, " in shown.stdout
    assert "not 99" in shown.stderr, "another version is installed here"
    assert "last planned with" in shown.stderr
    made = json.loads(command("backfill", "list", "--json").stdout)[0]
    which = made["id"][:8]
    assert f"`ranvier backfill start {which}`" in shown.stderr
    assert command("backfill", "start", which).exit_code == 0
    (event,) = [each for each in ranvier_database.pending_events() if made["tag"] in each["payload"].get("tags", [])]
    assert (event["payload"]["tasks"], event["payload"]["priority"]) == ([TASK], "backfill")
    assert "0 ended of 1 asked for" in command("backfill", "status", which).stdout
    command("backfill", "stop", which)
    (line,) = [line for line in command("backfill", "list").stdout.splitlines() if line.startswith(which)]
    assert "stopped" in line
    assert json.loads(command("backfill", "status", which, "--json").stdout)["report"]["ended"] == 1
    with pytest.raises(Exception, match="no task nonsense is installed on this machine"):
        command("backfill", "plan", "nonsense", "--subject", done.subject)


def test_rerun_takes_up_what_was_given_up(command: Command, done: Session, ranvier_database: Database) -> None:
    found = ranvier_database.find_session(done)
    assert found is not None
    (row,) = ranvier_database.tasks(found["id"])
    ranvier_database.patch_task(row["id"], status="Abandoned")
    command("rerun", done.reference)
    assert ranvier_database.task(row["id"])["status"] == "Waiting"


def test_labs_marks_this_machines_own(command: Command) -> None:
    (line,) = [line for line in command("labs").stdout.splitlines() if "testlab" in line]
    assert line.startswith("→")
    assert "testlab_server" in line


def test_the_doctor_signs_in_and_knows_the_endpoints(command: Command) -> None:
    findings = {each["part"]: each for each in json.loads(command("doctor", "--json").stdout)}
    assert findings["database"]["ok"]
    assert findings["sign-in"]["detail"].startswith("ranvier at http://127.0.0.1")
    assert findings["endpoints"]["detail"] == "all of Ranvier's own"
    assert findings["prefect-server"]["detail"] == "does not run"


def test_an_unknown_session_says_how_to_register_it(command: Command, ranvier_home: Settings, free_port: int) -> None:
    for name in ("status", "run", "plan"):
        with pytest.raises(
            Exception, match=r"has no session nobody/2026-01-15/001 \(there is no such folder here either; `ranvier status` lists"
        ):
            command(name, "nobody/2026-01-15/001")
    with (
        mock.patch.dict(os.environ, RANVIER_DATABASE_URL=f"http://127.0.0.1:{free_port}"),
        pytest.raises(SessionNotFound, match=r"nobody/2026-01-15/001 is not on this machine, and the database at .* does not answer"),
    ):
        command("plan", "nobody/2026-01-15/001")
    (ranvier_home.lab_root / "nobody" / "2026-01-15" / "001").mkdir(parents=True)
    with pytest.raises(
        Exception, match=r"has no session nobody/2026-01-15/001 \(`ranvier register .*nobody/2026-01-15/001` registers it\)"
    ):
        command("status", "nobody/2026-01-15/001")


def test_a_run_of_a_task_that_is_not_there_is_refused(command: Command, done: Session) -> None:
    for name in ("nosuch", "raw_registration[probe07]"):
        with pytest.raises(Exception, match=r"the session has no task .*raw_registration\[probe00\]"):
            command("run", str(done.path), "--task", name)


def test_a_token_that_the_database_does_not_know_is_named_with_its_mend(
    command: Command, ranvier_home: Settings, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("RANVIER_TOKEN", "f" * 40)
    with pytest.raises(DatabaseRefused, match=r"does not know the token of RANVIER_TOKEN") as refused:
        command("status")
    assert (refused.value.status, len(recwarn)) == (403, 0)
    assert "take it out" in refused.value.hint
    monkeypatch.delenv("RANVIER_TOKEN")
    kept = (ranvier_home.home / "secrets" / "token").read_text()
    (ranvier_home.home / "secrets" / "token").write_text("f" * 40)
    try:
        with pytest.raises(DatabaseRefused, match=r"secrets/token"):
            command("labs")
    finally:
        (ranvier_home.home / "secrets" / "token").write_text(kept)


def test_failures_of_what_is_not_there_are_refused(command: Command, done: Session, ranvier_database: Database) -> None:
    assert "No failures since" in command("failures", "--lab", "testlab", "--task", "raw_registration", "--since", "2099-01-01").stdout
    with pytest.raises(DatabaseRefused, match=r"'nolab' is not in the database"):
        command("failures", "--lab", "nolab")
    with pytest.raises(UnknownTask, match=r"no task is called 'nosuch'; known: .*raw_registration"):
        command("failures", "--task", "nosuch")
    found = ranvier_database.find_session(done)
    assert found is not None
    ranvier_database.save_plan(found["id"], [{"name": "lick[left]", "executable": "lick_of_another_lab"}])
    assert "No failures since" in command("failures", "--task", "lick_of_another_lab").stdout, "a task that is not installed here"


def test_an_id_of_no_session_is_said_to_be_none(command: Command) -> None:
    for name in ("status", "run", "logs", "plan"):
        with pytest.raises(SessionNotFound, match="has no session 00000000"):
            command(name, "00000000-0000-0000-0000-000000000000")
    with pytest.raises(DatabaseRefused, match="no such session: 00000000"):
        command("rerun", "00000000-0000-0000-0000-000000000000")
