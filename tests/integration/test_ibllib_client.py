"""ibllib on our database, unmodified: it registers a rig's session, makes tasks and works on them, and writes what its tasks write.

Only where ``RANVIER_IBLLIB_PYTHON`` names a Python that has ibllib 4.1.0, as for test_ibllib_parity.py, and with real recordings.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

PYTHON = os.environ.get("RANVIER_IBLLIB_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="no ibllib to try: RANVIER_IBLLIB_PYTHON names no Python that has it")
SCRIPT = Path(__file__).parents[1] / "ibllib_client.py"
SUBJECT, DAY, RIG = "_iblrig_test_mouse", "2019-07-01", "rig_of_ibllib"


def record_session(day: Path, number: str, real_data: Path) -> Path:
    """A session as a rig leaves it."""
    shutil.copytree(real_data / "behaviour/session_training_ge5", day / number)
    (settings,) = (day / number).rglob("_iblrig_taskSettings.raw.json")
    facts = {"PYBPOD_CREATOR": ["admin", "x"], "PYBPOD_BOARD": RIG, "SUBJECT_WEIGHT": 23.5, "SESSION_NUMBER": number}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | facts))
    return day / number


@pytest.fixture(scope="module")
def found(each_database: Any, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ibllib found after each of its doings."""
    folder = tmp_path_factory.mktemp("ibllib")
    each_database.make("/subjects", {"nickname": SUBJECT, "lab": "testlab"})
    each_database.make("/locations", {"name": RIG, "lab": "testlab"})
    endpoint = str(uuid.uuid4())
    (folder / ".globusonline/lta").mkdir(parents=True)
    (folder / ".globusonline/lta/client-id.txt").write_text(endpoint)
    assert each_database.request("PATCH", "/data-repository/testlab_server", {"globus_endpoint_id": endpoint}).ok
    subjects = folder / "testlab/Subjects"
    session, flagged = (record_session(subjects / SUBJECT / DAY, number, real_data) for number in ("001", "002"))
    (flagged / "raw_session.flag").touch()
    request, result = folder / "request.json", folder / "result.json"
    password = each_database.settings.secret("admin_password")
    asked = {
        "url": each_database.url,
        "lab": "testlab",
        "user": "admin",
        "password": password,
        "session": str(session),
        "cache": str(folder / "one"),
    }
    request.write_text(json.dumps(asked))
    done = subprocess.run([str(PYTHON), SCRIPT, request, result], env=dict(os.environ, HOME=str(folder)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(result.read_text()))


def test_a_session_of_a_rig_is_registered_with_its_files_weight_and_water(found: dict[str, Any]) -> None:
    session = found["session"]
    assert (session["subject"], session["location"], session["number"], session["n_trials"]) == (SUBJECT, RIG, 1, 12)
    assert (session["start_time"], session["users"]) == ("2019-07-01T12:15:18.145140", ["admin"])
    assert session["json"] == {"IS_MOCK": False, "IBLRIG_VERSION": "5.0.0", "POOP_COUNT": 1}
    names = {dataset["name"] for dataset in session["data_dataset_session_related"]}
    assert {"_iblrig_taskData.raw.jsonable", "_iblrig_taskSettings.raw.json", "_iblrig_encoderPositions.raw.ssv"} < names
    assert [water["water_administered"] for water in session["wateradmin_session_related"]] == [0.018]
    assert [weighing["weight"] for weighing in found["records"]["weighings"]] == [23.5]


def test_tasks_are_held_released_and_run_again(found: dict[str, Any]) -> None:
    rounds = {name: {task["name"]: task for task in tasks} for name, tasks in found["rounds"].items()}

    def stood(name: str) -> dict[str, str]:
        return {task: facts["status"] for task, facts in rounds[name].items()}

    assert set(stood("created").values()) == {"Waiting"}
    assert stood("2 Report")["Metrics"] == stood("2 Report")["Report"] == "Held", "their parents had not run"
    assert (stood("5 Sorting")["Metrics"], stood("5 Sorting")["Report"]) == ("Waiting", "Held"), "released once all parents are done"
    done = {"Nothing": "Empty", "Partly": "Incomplete", "Sorting": "Complete", "Broken": "Errored", "Metrics": "Complete", "Report": "Held"}
    assert stood("worked") == done
    assert stood("created again") == done
    assert stood("rerun") == {**done, "Broken": "Complete", "Report": "Complete"}
    broken = rounds["worked"]["Broken"]
    assert "ValueError: the recording is too short" in broken["log"]
    assert (broken["version"], broken["graph"], broken["executable"]) == ("4.1.0", "Pipeline", "ibllib_client.Broken")
    assert broken["started_by"] == "admin at 127.0.0.1"
    (spikes,) = found["records"]["spikes"]
    assert (spikes["collection"], spikes["version"], spikes["file_size"]) == ("alf", "4.1.0", 152)
    assert [record["exists"] for record in spikes["file_records"]] == [False], "ibllib leaves that to a nightly job"


def test_probes_quality_tracks_and_notes_are_written(found: dict[str, Any]) -> None:
    records = found["records"]
    quality = {"task": "PASS", "_task_wheel": 0.98, "_task_stimulus": None, "experimenter": "FAIL"}
    assert (records["session"]["qc"], records["session"]["extended_qc"]) == ("FAIL", quality)
    assert records["insertion"]["json"] == {"qc": "FAIL", "extended_qc": quality}
    assert (records["insertion"]["name"], records["insertion"]["model"]) == ("probe00", "3B2")
    assert (records["trajectory"]["provenance"], records["trajectory"]["depth"]) == ("Histology track", 4000.0)
    assert [channel["brain_region"] for channel in records["channels"]] == [385, 382]
    (note,) = records["notes"]
    assert (note["text"], note["json"]) == ("raster", {"name": "raster"})
    (reason,) = records["reasons"]
    assert "the probe broke" in reason["text"]


def test_ibls_own_pipeline_is_served_to_its_end(found: dict[str, Any], each_database: Any) -> None:
    """A lab server's jobs find a session by its flag, make the tasks of IBL's pipeline and run them; there is no video."""
    served = {task["name"]: task for task in found["served"]}
    stood = {name: task["status"] for name, task in served.items()}
    assert stood == {
        "ExperimentDescriptionRegisterRaw": "Complete",
        "RegisterRaw_trainingChoiceWorld_00": "Complete",
        "VideoRegisterRaw": "Complete",
        "AudioRegisterRaw": "Complete",
        "Trials_trainingChoiceWorld_00": "Complete",
        "TrainingStatus_trainingChoiceWorld_00": "Complete",
        "VideoCompress": "Empty",
        "VideoSyncQC_bpod": "Held",
    }
    assert {task["data_repository"] for task in found["served"]} == {"testlab_server"}
    eid = served["VideoCompress"]["session"]
    session = each_database.request("GET", f"/sessions/{eid}").json()
    assert (session["qc"], session["extended_qc"]["task"]) == ("FAIL", "FAIL"), "twelve trials are too few"
    names = {each["name"] for each in each_database.request("GET", f"/datasets?session={eid}&limit=100").json()["results"]}
    assert {"_ibl_trials.table.pqt", "_ibl_wheel.position.npy", "_iblrig_taskData.raw.jsonable"} < names
    subject = each_database.request("GET", f"/subjects/{SUBJECT}").json()["id"]
    assert each_database.request("GET", f"/notes?object_id={subject}").json()["count"] == 5, "figures of how the animal's training goes"
    health = each_database.request("GET", "/data-repository/testlab_server").json()["json"]
    assert health["ibllib_version"] == "4.1.0"
