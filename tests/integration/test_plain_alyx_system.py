"""A whole lab server on a plain Alyx: sessions are copied, or registered by others, and everything else happens by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from support import free_ports, waiter

from ranvier import runs
from ranvier.overview import overview
from ranvier.session import READY_FLAG
from ranvier.settings import load
from ranvier.supervisor import read_state, running

until = waiter(300, 0.3)


pytestmark = pytest.mark.whole

PLUGIN = Path(__file__).with_name("chain")
DAY = "2026-11-22"
MORE = """
[ports]
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
OURS = ("raw_registration", "raw_ephys_qc", "spike_sorting", "unit_metrics")


@pytest.fixture(scope="module")
def server(lab_on_alyx) -> Iterator[Any]:
    """`ranvier up` with a lab's plugin and our own tasks turned off; its database is the Alyx."""
    with (lab_on_alyx.settings.home / "config.toml").open("a") as config:
        config.write(MORE.format(*free_ports(3)) + "".join(f"[tasks.{name}]\nenabled = false\n" for name in OURS))
    settings = load(lab_on_alyx.settings.home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PLUGIN))
        with running(settings):
            yield type(lab_on_alyx)(settings, lab_on_alyx.alyx)


def copy(server, subject: str, notes: dict[str, str], *, flag: bool = True) -> Path:
    """Copy a session as a rig does: the flag comes last."""
    session = server.settings.lab_root / subject / DAY / "001"
    for probe, note in notes.items():
        (session / "raw_ephys_data" / probe).mkdir(parents=True)
        (session / "raw_ephys_data" / probe / "note.txt").write_text(note)
    devices = {"neuropixel": {probe: {"collection": f"raw_ephys_data/{probe}"} for probe in notes}}
    (session / "_ibl_experiment.description.yaml").write_text(yaml.safe_dump({"version": "1.0.0", "devices": devices}))
    if flag:
        (session / READY_FLAG).touch()
    return session


def flow_runs(server, subject: str) -> list[dict[str, Any]]:
    body = {"flow_runs": {"name": {"any_": [f"{subject}/{DAY}/001"]}}, "sort": "START_TIME_ASC"}
    answer = requests.post(f"{server.settings.prefect_api_url}/flow_runs/filter", json=body, timeout=20)
    answer.raise_for_status()
    return answer.json()


def ended(server, subject: str, number: int = 1) -> list[dict[str, Any]]:
    """The subject's flow runs, once there are so many and all have ended."""
    ends = ("COMPLETED", "FAILED", "CRASHED")
    until(lambda: len(runs := flow_runs(server, subject)) == number and all(run["state"]["type"] in ends for run in runs))
    return flow_runs(server, subject)


def eid_of(server, subject: str) -> str:
    return server.alyx.request("GET", f"/sessions?subject={subject}")["results"][0]["id"]


def in_alyx(server, subject: str) -> dict[str, dict[str, Any]]:
    """The session's tasks as Alyx has them, by name."""
    return {row["name"]: row for row in server.alyx.request("GET", f"/tasks?session={eid_of(server, subject)}")["results"]}


def test_a_copied_session_is_preprocessed_a_failure_stays_small_and_is_retried(server):
    session = copy(server, "half", {"probe00": "fine", "probe01": "broken"})
    assert "1 of 7 failed: mark[probe01]" in ended(server, "half")[0]["state"]["message"]
    rows = in_alyx(server, "half")
    assert {name: row["status"] for name, row in rows.items()} == {
        **{"mark[probe00]": "Complete", "rate[probe00]": "Complete", "mark[probe01]": "Errored", "rate[probe01]": "Held"},
        **{"gather": "Held", "giant[probe00]": "Held", "giant[probe01]": "Held"},
    }
    assert "the note says broken" in rows["mark[probe01]"]["log"]
    assert "mark[probe01] is Errored" in rows["rate[probe01]"]["log"]
    datasets = server.alyx.request("GET", f"/sessions/{eid_of(server, 'half')}")["data_dataset_session_related"]
    assert sorted(item["name"] for item in datasets) == ["marks.rates.npy", "marks.times.npy"]
    (session / "raw_ephys_data" / "probe01" / "note.txt").write_text("fine")
    runs.ask(server.database, eid_of(server, "half"))
    ended(server, "half", 2)
    assert {name: row["status"] for name, row in in_alyx(server, "half").items() if "giant" not in name} == dict.fromkeys(
        ("mark[probe00]", "rate[probe00]", "mark[probe01]", "rate[probe01]", "gather"), "Complete"
    )
    attempts = {row["name"]: row["attempt"] for row in server.database.tasks(eid_of(server, "half"))}
    assert (attempts["mark[probe00]"], attempts["mark[probe01]"], attempts["gather"]) == (1, 2, 1)


def test_the_same_again_runs_nothing(server):
    runs.ask(server.database, eid_of(server, "half"))
    assert "5 unchanged" in ended(server, "half", 3)[2]["state"]["message"]
    seen = overview(server.database.session(eid_of(server, "half")), server.database, server.settings)
    assert seen.links["database"].endswith(f"/admin/actions/session/{seen.eid}/change")


def test_a_session_that_others_register_is_found(server):
    copy(server, "theirs", {"probe00": "fine"}, flag=False)
    server.alyx.request("POST", "/subjects", {"nickname": "theirs", "lab": "alyxlab"})
    record = {"subject": "theirs", "users": ["admin"], "lab": "alyxlab", "number": 1, "start_time": f"{DAY}T10:00:00"}
    server.alyx.request("POST", "/sessions", record)
    assert "3 complete" in ended(server, "theirs")[0]["state"]["message"]


def test_a_dask_worker_that_dies_costs_one_attempt(server):
    copy(server, "hit", {"probe00": "sleep 5"})
    until(lambda: flow_runs(server, "hit") and in_alyx(server, "hit").get("mark[probe00]", {}).get("status") == "Started")
    os.kill(read_state(server.settings).services["dask-worker"].pid, signal.SIGKILL)
    until(lambda: all(row["status"] in ("Complete", "Held") for row in in_alyx(server, "hit").values()))
    attempts = server.database.attempts(in_alyx(server, "hit")["mark[probe00]"]["id"])
    assert (attempts[0]["status"], attempts[-1]["status"]) == ("Complete", "Errored")
    assert "fell silent" in attempts[-1]["reason"]


def test_two_runs_of_one_session_share_the_work(server):
    copy(server, "twice", {"probe00": "sleep 6"})
    until(lambda: flow_runs(server, "twice") and in_alyx(server, "twice").get("mark[probe00]", {}).get("status") == "Started")
    runs.ask(server.database, eid_of(server, "twice"))
    ended(server, "twice", 2)
    assert {row["attempt"] for row in server.database.tasks(eid_of(server, "twice"))} == {0, 1}


def test_what_is_cancelled_stops(server):
    copy(server, "stop", {"probe00": "sleep 300"})
    until(lambda: flow_runs(server, "stop") and in_alyx(server, "stop").get("mark[probe00]", {}).get("status") == "Started")
    server.database.cancel(session=eid_of(server, "stop"), by="me")
    until(lambda: in_alyx(server, "stop")["mark[probe00]"]["status"] == "Errored")
    assert in_alyx(server, "stop")["mark[probe00]"]["log"].startswith("cancelled by me")
    until(lambda: flow_runs(server, "stop")[0]["state"]["type"] == "CANCELLED")


def test_what_is_lacking_is_said_once_and_nothing_is_asked_that_alyx_does_not_know(server):
    assert (server.settings.home / "logs" / "dispatcher.log").read_text().count("is a plain Alyx and lacks") == 1
    asked = server.alyx.refusals.read_text().splitlines()
    assert [line for line in asked if not line.endswith(": Alyx has no such endpoint") or not line.startswith("GET ")] == []
