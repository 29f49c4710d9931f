"""The main job on a whole lab server: recordings in, units that ONE loads out; a mouse at its task; a broken probe beside a good one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from ranvier import demo, prefect_api
from ranvier.client import Database
from ranvier.session import Session, locate
from ranvier.settings import Settings
from ranvier.simulate import score_behaviour, score_cells, score_film, simulate_session
from ranvier.supervisor import running

pytestmark = pytest.mark.heavy
SMALL: dict[str, Any] = {"n_channels": 32, "n_units": 8, "duration_s": 20.0, "seed": 1}
OURS = ("raw_registration", "raw_ephys_qc", "spike_sorting", "unit_metrics")
OF_A_CAMERA = ("video_compression", "camera_times", "camera_qc", "pose_estimation", "pose_qc", "pose_features", "motion_energy")
OF_A_FOV = ("raw_imaging_registration", "suite2p", "raw_imaging_compression")
PROTOCOL = "_iblrig_tasks_biasedChoiceWorld_00"


@dataclass
class LabServer:
    """A lab server on which everything runs, the lab's own plugin installed."""

    settings: Settings
    database: Database
    rig: Path

    def arrives(self, subject: str, **recording: Any) -> Session:
        """A session is recorded on the rig, and moved into the lab's folder in one go."""
        made = simulate_session(self.rig, subject, demo.DAY, **{**SMALL, **recording})
        session = locate(self.settings.lab_root, subject, Session.parse(made.path).date, 1)
        session.path.parent.mkdir(parents=True)
        made.path.rename(session.path)
        return session

    def settled(self, session: Session, expected: set[str], timeout_s: float = 600) -> dict[str, dict[str, Any]]:
        """The session's task rows once none of the expected ones is waiting or running, and its flow run has ended."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            record = self.database.find_session(session)
            rows = {row["name"]: row for row in self.database.tasks(record["id"])} if record else {}
            if expected <= set(rows) and all(row["status"] not in ("Waiting", "Started") for row in rows.values()) and self.idle(session):
                return rows
            time.sleep(0.5)
        raise AssertionError(f"after {timeout_s} s: { {name: (row['status'], row['reason']) for name, row in rows.items()} }")

    def flow_run(self, session: Session) -> dict[str, Any]:
        """The session's latest flow run."""
        return self.prefect("/flow_runs/filter", {"flow_runs": {"name": {"any_": [session.reference]}}, "sort": "START_TIME_DESC"})[0]

    def idle(self, session: Session) -> bool:
        return self.flow_run(session)["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED")

    def get(self, path: str) -> Any:
        return prefect_api.ask(self.settings, "GET", path)

    def prefect(self, path: str, body: dict[str, Any]) -> Any:
        return prefect_api.ask(self.settings, "POST", path, body)


@pytest.fixture(scope="module")
def server(tmp_path_factory, repository) -> Iterator[LabServer]:
    folder = tmp_path_factory.mktemp("acceptance")
    plugin = folder / "plugin"
    install = ["install", "-q", "--no-deps", "--no-build-isolation", "--target", str(plugin), str(repository / "tests" / "lab_plugin")]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(plugin), before]))
    settings = demo.prepare(folder / "home")
    settings.secret_file("prefect_auth").parent.mkdir()
    settings.secret_file("prefect_auth").write_text("lab:a password")  # the whole line works with Prefect's sign-in, too
    try:
        with running(settings):
            yield LabServer(settings, Database.from_settings(settings), folder / "rig" / demo.LAB / "Subjects")
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def whole(server) -> tuple[Session, dict[str, dict[str, Any]]]:
    """The demo's session, from the rig to the last task."""
    session = server.arrives(demo.SUBJECT, **demo.RECORDING)
    return session, server.settled(session, {f"{name}[probe00]" for name in OURS})


def test_every_task_completes_and_the_lab_plugins_task_ran_by_itself(whole):
    _, rows = whole
    assert {name: row["status"] for name, row in rows.items()} == {f"{name}[probe00]": "Complete" for name in (*OURS, "spike_counts")}
    assert all(row["attempt"] == 1 for row in rows.values())


def test_eight_in_ten_true_units_are_found(server, whole):
    session, _ = whole
    found = demo.result(session, server.settings)
    assert found.n_found >= 0.8 * found.n_units


def test_one_loads_the_spikes_over_http(server, whole):
    loaded = demo.load_with_one(server.settings, "spykingcircus2")
    assert loaded.printed.endswith("units")
    assert int(loaded.printed.split()[0]) > 1000


def test_the_session_has_qc_insertion_and_figures(server, whole):
    session, rows = whole
    record = server.database.session(rows["spike_sorting[probe00]"]["session"])
    assert record["qc"] in ("PASS", "WARNING", "FAIL")
    assert record["extended_qc"]["_spike_sorting_probe00_n_units"] > 10
    (insertion,) = record["probe_insertion"]
    assert insertion["name"] == "probe00"
    attempts = [server.database.attempts(row["id"])[0] for row in rows.values()]
    figures = [figure["path"] for attempt in attempts for figure in attempt["figures"] or []]
    assert len(figures) >= 3
    assert all((session.path / path).stat().st_size > 10_000 for path in figures)


@pytest.fixture(scope="module")
def behaving(server) -> tuple[Session, dict[str, dict[str, Any]]]:
    """A mouse at its task before two cameras, and below a microscope where suite2p is installed, from the rig to the last task."""
    fovs = [demo.FOV] if demo.with_suite2p() else []
    session = server.arrives("behaving", probes=(), cameras=demo.CAMERAS, behaviour=True, fovs=fovs, duration_s=60.0)
    devices = [(OF_A_CAMERA, demo.CAMERAS), (("trials", "wheel", "training_status"), (PROTOCOL,)), (OF_A_FOV, fovs)]
    return session, server.settled(session, {f"{name}[{each}]" for names, of in devices for name in names for each in of})


def test_every_task_of_behaviour_completes_at_once_and_its_datasets_are_registered(server, behaving):
    session, rows = behaving
    assert {(row["status"], row["attempt"]) for row in rows.values()} == {("Complete", 1)}
    registered = {item["name"] for item in server.database._get(f"/datasets?session={server.database.find_session(session)['id']}")}
    of_cameras = {f"_ibl_{camera}Camera.{name}" for camera in demo.CAMERAS for name in ("times.npy", "onnx.pqt", "features.pqt")}
    assert {"_ibl_trials.table.pqt", "_ibl_wheel.position.npy", "_ibl_wheelMoves.intervals.npy"} | of_cameras <= registered


def test_every_trial_and_the_whole_wheel_are_found(behaving, record_property):
    found = score_behaviour(behaving[0].path)
    record_property("behaviour", str(found))
    assert found.n_found == found.n_trials == found.n_rows > 10
    assert found.feedback_ms < 0.2
    assert found.wheel_rad < 0.05


@pytest.mark.parametrize("camera", demo.CAMERAS)
def test_the_keypoints_are_found_to_a_pixel(behaving, record_property, camera):
    found = score_film(behaving[0].path, camera)
    record_property(camera, str(found))
    assert found.median_px < 1.0
    assert found.most_px < 3.0
    assert found.seen > 0.97
    assert found.made_up < 0.05


@pytest.mark.skipif(not demo.with_suite2p(), reason="suite2p is not installed: pip install 'ranvier[imaging]'")
def test_the_cells_are_found(behaving, record_property):
    found = score_cells(behaving[0].path, demo.FOV)
    record_property(demo.FOV, str(found))
    assert found.recall >= 0.9
    assert found.precision >= 0.9
    assert found.trace_correlation > 0.8


def test_nobody_asks_prefect_without_signing_in(server):
    answer = requests.post(f"{server.settings.prefect_api_url}/flow_runs/filter", json={}, timeout=20)
    assert answer.status_code == 401


def test_database_prefect_and_disk_agree_and_a_flow_says_so(server, whole):
    deployment = server.get(f"/deployments/name/reconcile/{demo.LAB}")
    assert deployment["schedules"][0]["schedule"]["interval"] == 3600
    run = server.prefect(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"days": 36500, "hashes": True}})
    end = time.monotonic() + 120
    while (state := server.get(f"/flow_runs/{run['id']}")["state"])["type"] not in ("COMPLETED", "FAILED", "CRASHED"):
        assert time.monotonic() < end, state
        time.sleep(0.5)
    assert (state["type"], state["message"]) == ("COMPLETED", "database, Prefect, cluster and disk agree")


def test_a_broken_probe_fails_alone_and_retry_runs_only_what_failed(server):
    session = server.arrives("two_probes", probes=["probe00", "probe01"], damage={"probe01": "missing_meta"})
    names = {f"{name}[{probe}]" for name in OURS for probe in ("probe00", "probe01")}
    rows = server.settled(session, names)
    assert {name: row["status"] for name, row in rows.items() if "probe00" in name} == {
        f"{name}[probe00]": "Complete" for name in (*OURS, "spike_counts")
    }
    assert rows["raw_registration[probe01]"]["status"] == "Errored"
    assert ".ap.meta" in rows["raw_registration[probe01]"]["reason"]
    assert rows["spike_sorting[probe01]"]["status"] == "Held"
    assert "raw_registration[probe01] is Errored" in rows["spike_sorting[probe01]"]["reason"]
    run = server.flow_run(session)
    assert run["state"]["type"] == "FAILED"

    good = simulate_session(server.rig, "two_probes_again", demo.DAY, **SMALL, probes=["probe00", "probe01"])
    for meta in (good.path / "raw_ephys_data/probe01").glob("*.meta"):
        meta.rename(session.path / "raw_ephys_data/probe01" / meta.name)
    retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}, "force": True}
    assert server.prefect(f"/flow_runs/{run['id']}/set_state", retry)["status"] == "ACCEPT"
    time.sleep(2)
    after = server.settled(session, names)
    assert {row["status"] for row in after.values()} == {"Complete"}
    attempts = {name: row["attempt"] for name, row in after.items()}
    assert {name for name, count in attempts.items() if count == 2} == {"raw_registration[probe01]"}
    assert set(attempts.values()) == {1, 2}
