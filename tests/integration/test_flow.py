"""A whole lab server with quick tasks: a session is copied, and everything else happens by itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from ranvier import settings as settings_module
from ranvier.client import Database
from ranvier.session import READY_FLAG
from ranvier.settings import Settings
from ranvier.supervisor import read_state, running

PLUGIN = Path(__file__).with_name("chain")
DAY = "2026-11-22"
CONFIG = """
[lab]
name = "churchlandlab"
[registration]
unknown_subject = "create"
settle_s = 0.5
[ports]
database = {}
prefect = {}
dask = {}
dask_dashboard = {}
[cluster]
cpu = 4
memory_gb = 8
[attempts]
lease_s = 6
heartbeat_s = 1
"""
ALL_COMPLETE = {"mark[probe00]": "Complete", "rate[probe00]": "Complete", "gather": "Complete"}
OURS = ("raw_registration", "raw_ephys_qc", "spike_sorting", "unit_metrics")


@dataclass
class LabServer:
    """A running lab server, as a person at it has it in hand."""

    settings: Settings
    database: Database

    def copy(self, subject: str, notes: dict[str, str], *, flag: bool = True) -> Path:
        """Copy a session as a rig does: the flag comes last."""
        session = self.settings.lab_root / subject / DAY / "001"
        for probe, note in notes.items():
            folder = session / "raw_ephys_data" / probe
            folder.mkdir(parents=True)
            (folder / "note.txt").write_text(note)
        devices = {"neuropixel": {probe: {"collection": f"raw_ephys_data/{probe}"} for probe in notes}}
        (session / "_ibl_experiment.description.yaml").write_text(yaml.safe_dump({"version": "1.0.0", "devices": devices}))
        if flag:
            (session / READY_FLAG).touch()
        return session

    def prefect(self, path: str, body: dict[str, Any]) -> Any:
        answer = requests.post(f"{self.settings.prefect_api_url}{path}", json=body, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def flow_runs(self, subject: str) -> list[dict[str, Any]]:
        return self.prefect("/flow_runs/filter", {"flow_runs": {"name": {"any_": [f"{subject}/{DAY}/001"]}}, "sort": "START_TIME_ASC"})

    def task_runs(self, flow_run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Task runs of the latest run of a flow run, by name."""
        body = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}, "limit": 200}
        found = self.prefect("/task_runs/filter", body)
        return {run["name"]: run for run in found if run["flow_run_run_count"] == flow_run["run_count"]}

    def ended(self, subject: str, number: int = 1, after: str = "", timeout_s: float = 90) -> list[dict[str, Any]]:
        """The subject's flow runs, once there are so many and all have ended."""

        def have_ended() -> bool:
            runs = self.flow_runs(subject)
            ends = [run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED") and run["state"]["timestamp"] > after for run in runs]
            return len(runs) == number and all(ends)

        until(have_ended, timeout_s)
        return self.flow_runs(subject)

    def rows(self, subject: str) -> dict[str, dict[str, Any]]:
        """The database's task rows of the subject's session, by name."""
        return {row["name"]: row for row in self.database.tasks(self.eid(subject))}

    def eid(self, subject: str) -> str:
        return next(each["id"] for each in self.database.sessions(100) if each["subject"] == subject)

    def pid(self, service: str) -> int:
        state = read_state(self.settings)
        assert state is not None
        pid = state.services[service].pid
        assert pid is not None
        return pid


def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.2)


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """One lab server for all the tests here: `ranvier up` with a lab's plugin and our own tasks turned off."""
    home = tmp_path_factory.mktemp("lab") / "home"
    home.mkdir()
    (home / "config.toml").write_text(CONFIG.format(*free_ports(4)) + "".join(f"[tasks.{name}]\nenabled = false\n" for name in OURS))
    settings = settings_module.load(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PLUGIN))
        with running(settings):
            yield LabServer(settings, Database.from_settings(settings))


@pytest.fixture(scope="module")
def half_broken(lab: LabServer) -> dict[str, Any]:
    """A session whose second probe is broken, copied and left alone; the end of its flow run."""
    lab.copy("half", {"probe00": "fine", "probe01": "broken"})
    return lab.ended("half")[0]


def states(runs: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {name: (run["state"]["type"], run["state"]["name"]) for name, run in runs.items()}


def test_a_copied_session_is_preprocessed_and_one_failure_stays_small(lab, half_broken) -> None:
    assert states(lab.task_runs(half_broken)) == {
        "mark[probe00]": ("COMPLETED", "Complete"),
        "rate[probe00]": ("COMPLETED", "Complete"),
        "mark[probe01]": ("FAILED", "Errored"),
        "rate[probe01]": ("CANCELLED", "Held"),
        "gather": ("CANCELLED", "Held"),
        "giant[probe00]": ("CANCELLED", "Held"),
        "giant[probe01]": ("CANCELLED", "Held"),
    }
    assert half_broken["state"]["name"] == "Failed"
    assert half_broken["state"]["message"] == "1 of 7 failed: mark[probe01]: ValueError: the note says broken; 4 held; 2 complete"


def test_a_held_task_says_which_parent_and_why(lab, half_broken) -> None:
    runs, rows = lab.task_runs(half_broken), lab.rows("half")
    assert runs["rate[probe01]"]["state"]["message"] == "mark[probe01] is Errored: ValueError: the note says broken"
    assert "512 CPU (4 at most here)" in runs["giant[probe00]"]["state"]["message"]
    for name, row in rows.items():
        assert row["status"] == runs[name]["state"]["name"]
        if row["status"] == "Held":
            assert row["reason"] == runs[name]["state"]["message"]


def test_the_graph_has_the_plan_s_edges(lab, half_broken) -> None:
    runs = lab.task_runs(half_broken)
    names = {run["id"]: name for name, run in runs.items()}
    edges = {(names[item["id"]], name) for name, run in runs.items() for items in run["task_inputs"].values() for item in items}
    assert edges == {
        ("mark[probe00]", "rate[probe00]"),
        ("mark[probe01]", "rate[probe01]"),
        ("rate[probe00]", "gather"),
        ("rate[probe01]", "gather"),
    }


def test_session_and_flow_run_link_to_each_other(lab, half_broken) -> None:
    attempts = lab.database.attempts(lab.rows("half")["mark[probe01]"]["id"])
    assert [attempt["flow_run"] for attempt in attempts] == [half_broken["id"]]
    artifacts = lab.prefect("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [half_broken["id"]]}}})
    link = next(each["data"] for each in artifacts if each["key"] == "session")
    assert f"{lab.database.url}/session/{lab.eid('half')}" in link
    outcome = next(each["data"] for each in artifacts if each["key"] == "outcome")
    assert "| `rate[probe01]` | Held |" in outcome


def test_an_attempt_s_log_reaches_prefect(lab, half_broken) -> None:
    run = lab.task_runs(half_broken)["mark[probe00]"]
    logs = lab.prefect("/logs/filter", {"logs": {"task_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_ASC"})
    assert any("the note says fine" in each["message"] for each in logs)


def test_retry_from_the_ui_runs_what_failed_and_nothing_else(lab, half_broken) -> None:
    note = lab.settings.lab_root / "half" / DAY / "001" / "raw_ephys_data" / "probe01" / "note.txt"
    note.write_text("fine")
    retry = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
    answer = lab.prefect(f"/flow_runs/{half_broken['id']}/set_state", {"state": retry, "force": True})
    run = lab.ended("half", after=answer["state"]["timestamp"])[0]
    assert run["state"]["message"] == "2 held, 2 unchanged, 3 complete"
    assert {name: row["attempt"] for name, row in lab.rows("half").items()} == {
        "mark[probe00]": 1,
        "rate[probe00]": 1,
        "mark[probe01]": 2,
        "rate[probe01]": 1,
        "gather": 1,
        "giant[probe00]": 0,
        "giant[probe01]": 0,
    }


def test_a_registered_session_without_data_waits_for_them(lab) -> None:
    lab.database.create_subject("early", "churchlandlab")
    record = {
        "subject": "early",
        "users": ["ranvier"],
        "lab": "churchlandlab",
        "number": 1,
        "start_time": f"{DAY}T00:00:00",
        "procedures": [],
    }
    lab.database.create_session({**record, "projects": [], "type": "Experiment"})
    run = lab.ended("early")[0]
    assert (run["state"]["type"], run["state"]["name"]) == ("COMPLETED", "NoData")
    assert "waiting for the data" in run["state"]["message"]
    lab.copy("early", {"probe00": "fine"})
    assert lab.ended("early", 2)[1]["state"]["message"] == "1 held, 3 complete"


def test_a_broken_session_beside_a_good_one(lab) -> None:
    broken = lab.copy("torn", {"probe00": "fine"}, flag=False)
    (broken / "_ibl_experiment.description.yaml").write_text("devices: [unclosed")
    (broken / READY_FLAG).touch()
    lab.copy("whole", {"probe00": "fine"})
    assert lab.ended("whole")[0]["state"]["message"] == "1 held, 3 complete"
    assert "is not valid YAML" in (broken / "raw_session.error").read_text()
    assert (broken / READY_FLAG).exists()
    shutil.rmtree(broken)


def test_two_runs_of_one_session_share_the_work(lab) -> None:
    lab.copy("twice", {"probe00": "sleep 6"})
    until(lambda: len(lab.flow_runs("twice")) == 1)
    until(lambda: lab.rows("twice").get("mark[probe00]", {}).get("status") == "Started")
    lab.database.request_run(lab.eid("twice"), "session.requested", "twice:again")
    first, second = lab.ended("twice", 2)
    assert first["state"]["message"] == "1 held, 3 complete"
    assert second["state"]["message"] == "1 held, 3 unchanged"
    assert {row["attempt"] for row in lab.rows("twice").values()} == {0, 1}


def test_events_outlive_prefect_and_make_one_flow_run_each(lab) -> None:
    os.kill(lab.pid("prefect-server"), signal.SIGKILL)
    lab.copy("away", {"probe00": "fine"})
    until(lambda: any(event["session"] == lab.eid("away") for event in lab.database.pending_events()), 20)
    until(lambda: _answers(lab) and lab.flow_runs("away"))
    assert lab.ended("away")[0]["state"]["message"] == "1 held, 3 complete"
    assert lab.database.pending_events() == []
    log = (lab.settings.home / "logs" / "dispatcher.log").read_text()
    assert log.count("Prefect does not answer") == 1
    assert log.count("Prefect answers again") == 1


def test_a_dask_worker_that_dies_costs_one_attempt(lab) -> None:
    lab.copy("hit", {"probe00": "sleep 5"})
    until(lambda: lab.flow_runs("hit") and lab.rows("hit").get("mark[probe00]", {}).get("status") == "Started")
    os.kill(lab.pid("dask-worker"), signal.SIGKILL)
    until(lambda: all(run["state"]["type"] == "COMPLETED" for run in lab.flow_runs("hit")))
    assert {name: row["status"] for name, row in lab.rows("hit").items() if "giant" not in name} == ALL_COMPLETE
    attempts = lab.database.attempts(lab.rows("hit")["mark[probe00]"]["id"])
    assert [attempt["status"] for attempt in attempts] == ["Complete", "Errored"]
    assert "fell silent" in attempts[1]["reason"]


def test_a_flow_run_whose_process_is_killed_goes_on(lab) -> None:
    lab.copy("cut", {"probe00": "sleep 3"})
    until(lambda: lab.flow_runs("cut") and lab.rows("cut").get("mark[probe00]", {}).get("status") == "Started")
    os.kill(lab.pid("prefect-worker"), signal.SIGKILL)
    until(lambda: lab.flow_runs("cut")[0]["run_count"] == 2)
    run = lab.ended("cut")[0]
    assert run["state"]["type"] == "COMPLETED"
    assert {name: row["status"] for name, row in lab.rows("cut").items() if "giant" not in name} == ALL_COMPLETE
    assert {row["attempt"] for name, row in lab.rows("cut").items() if "giant" not in name} == {1}, (
        "the attempt went on without its flow run"
    )


def test_an_event_that_nobody_takes_says_why(lab) -> None:
    token = {"Authorization": f"Token {lab.settings.secret('token')}"}
    requests.post(f"{lab.database.url}/labs", json={"name": "otherlab"}, headers=token, timeout=20).raise_for_status()
    lab.database.create_subject("stray", "otherlab")
    record = {"subject": "stray", "users": ["ranvier"], "lab": "otherlab", "number": 1, "start_time": f"{DAY}T00:00:00"}
    created = lab.database.create_session({**record, "projects": [], "procedures": [], "type": "Experiment"})
    pending = {}
    until(lambda: pending.update({event["session"]: event for event in lab.database.pending_events() if event["tries"]}) or pending)
    assert "Prefect has no deployment preprocess-session/otherlab" in pending[created["id"]]["error"]


def _answers(lab: LabServer) -> bool:
    try:
        return requests.get(f"{lab.settings.prefect_api_url}/health", timeout=5).ok
    except requests.ConnectionError:
        return False
