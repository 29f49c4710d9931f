"""The doctor on homes that have something wrong with them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ranvier.client import Database
from ranvier.doctor import SILENT_S, _is_there, examine
from ranvier.finding import Finding
from ranvier.running_state import ServiceState, State, only_one, write_state
from ranvier.services import environment, pulse, services
from ranvier.settings import Settings, initialise
from ranvier.spool import Report, Spool


def findings(home: Path) -> dict[str, Finding]:
    return {finding.part: finding for finding in examine(home)}


def test_a_wrong_setting_is_the_only_finding(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[ports]\ndatabase = 'many'\n")
    (finding,) = examine(tmp_path)
    assert not finding.ok
    assert "ports.database" in finding.detail
    assert str(tmp_path / "config.toml") in finding.mend


def test_a_centre_is_not_asked_for_a_lab_s_data_and_tasks(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[machine]\nrole = "centre"\n')
    assert not {"data folder", "tasks", "extra ephys", "agent", "files"} & set(findings(tmp_path))


def test_services_that_are_starting_are_one_finding(tmp_path: Path) -> None:
    settings = initialise(tmp_path)
    services = {"database-setup": ServiceState(status="done"), "database": ServiceState(status="starting"), "agent": ServiceState()}
    with only_one(settings):
        write_state(settings, State(os.getpid(), services=services))
        found = findings(tmp_path)
    assert found["ranvier up"].detail == f"process {os.getpid()} is still starting database, agent"
    assert found["ranvier up"].mend == "look again in half a minute"
    assert not {"database", "agent", "sign-in"} & set(found)
    assert {"prefect-server", "dask-scheduler"} <= set(found)  # which the state does not name


def test_a_service_that_has_just_ended_is_not_taken_for_alive(tmp_path: Path) -> None:
    settings = initialise(tmp_path)
    (agent,) = (service for service in services(settings) if service.name == "agent")
    sign = pulse(settings, "agent")
    sign.parent.mkdir(exist_ok=True)
    sign.touch()
    assert agent.answers(time.time() - SILENT_S) == "", "its last sign of life is fresh"
    assert findings(tmp_path)["agent"].detail == "does not run"
    code = "import sys, time; print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code]
    assert not _is_there(replace(agent, command=tuple(command)), settings)
    with subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert _is_there(replace(agent, command=tuple(command)), settings)
        process.kill()


def test_a_live_database_is_looked_into(ranvier_home: Settings, ranvier_database: Database) -> None:
    found = findings(ranvier_home.home)
    assert found["sign-in"].ok
    assert found["endpoints"].detail == "all of Ranvier's own"
    assert not found["ranvier up"].ok
    assert {"leases", "files", "registration", "scratch"} <= set(found)


def test_a_clock_that_is_wrong_is_found(ranvier_home: Settings, ranvier_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(ranvier_home.home)["clock"].ok
    true = time.time
    monkeypatch.setattr("ranvier.doctor.time.time", lambda: true() + 3600)
    found = findings(ranvier_home.home)["clock"]
    assert not found.ok
    assert found.detail in ("3600 s ahead of the database's", "3601 s ahead of the database's")
    assert "timedatectl" in found.mend


def test_a_secret_that_others_can_read_is_found(ranvier_home: Settings, ranvier_database: Database) -> None:
    token = ranvier_home.secret_file("token")
    token.chmod(0o644)
    found = findings(ranvier_home.home)["secrets"]
    token.chmod(0o600)
    assert not found.ok
    assert str(token) in found.detail
    assert found.mend.startswith("chmod 600")


def test_reports_that_wait_for_long_or_were_refused_are_told(tmp_path: Path) -> None:
    spool = Spool(initialise(tmp_path))
    reports = [Report(str(number), 1, "eid", f"sort.{number}", "sort", "sort", "", "", "", "") for number in range(2)]
    for report in reports:
        spool.put(report)
    assert findings(tmp_path)["reports of attempts"].detail == "2 wait to be handed in"
    spool.refuse(reports[0], "another attempt was made since")
    refused, waiting = [finding for finding in examine(tmp_path) if finding.part == "reports of attempts"]
    assert not refused.ok
    assert "another attempt was made since" in refused.detail
    assert waiting.ok
    os.utime(spool.waiting()[0], (1, 1))
    assert "1 have waited for over" in findings(tmp_path)["reports of attempts"].detail
