"""The behaviour tasks on a simulated mouse, called as the attempt's child process calls them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mtscomp
import numpy as np
import pandas as pd
import pytest
from one.alf.io import load_object
from scipy.io import savemat, wavfile
from support import PROTOCOL, caller, keep, simulated

from ranvier import acquisition, graph
from ranvier.client import Database
from ranvier.declare import Task
from ranvier.instances import fan_out
from ranvier.job import Job
from ranvier.registration import register
from ranvier.session import Session
from ranvier.settings import Settings, TaskSettings, load
from ranvier.simulate import SimulatedSession, SimulationError, score_behaviour, score_film, simulate_session
from ranvier.simulate.face import KEYPOINTS
from ranvier.tasks.behaviour import bpod
from ranvier.tasks.behaviour.audio import AudioError, audio
from ranvier.tasks.behaviour.bpod import BehaviourError
from ranvier.tasks.behaviour.camera_qc import camera_qc
from ranvier.tasks.behaviour.camera_times import camera_times
from ranvier.tasks.behaviour.daq import DaqError
from ranvier.tasks.behaviour.encoder import EncoderError
from ranvier.tasks.behaviour.motion_energy import motion_energy
from ranvier.tasks.behaviour.pose import PoseError
from ranvier.tasks.behaviour.pose_estimation import pose_estimation
from ranvier.tasks.behaviour.pose_features import pose_features
from ranvier.tasks.behaviour.pose_model import SHIPPED
from ranvier.tasks.behaviour.pose_qc import pose_qc
from ranvier.tasks.behaviour.pose_sidecar import PoseModelError
from ranvier.tasks.behaviour.training_status import training_status
from ranvier.tasks.behaviour.trials import trials
from ranvier.tasks.behaviour.video import VideoError
from ranvier.tasks.behaviour.video_compression import video_compression
from ranvier.tasks.behaviour.wheel import wheel
from ranvier.testing import RunTask as RunAttempt

RAW, ALF, VIDEOS = "raw_task_data_00", "alf/task_00", "raw_video_data"
RunTask = Callable[..., Job]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> RunTask:
    return caller(tmp_path_factory.mktemp("jobs"), settings)


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSession:
    return simulated(tmp_path_factory.mktemp("mouse"), duration_s=150.0)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSession:
    return simulated(tmp_path_factory.mktemp("filmed"), cameras=("left", "body"), duration_s=20.0, damage={"body": "dropped_frames"})


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # of ONE 3.6.1, under pandas 3.1
def test_trials_are_what_the_mouse_did_on_the_clock_of_the_session(run: RunTask, mouse: SimulatedSession) -> None:
    job = run(trials, mouse.path)
    did, found = mouse.behaviour, load_object(job.staging / ALF, "trials")
    assert did is not None
    assert len(found["choice"]) == len(did) > 30
    for name, truth in [("intervals", did.starts), ("response_times", did.response), ("feedback_times", did.feedback)]:
        values = found[name][:, 0] if name == "intervals" else found[name]
        np.testing.assert_allclose(values, truth, atol=2e-4)
    np.testing.assert_allclose(found["goCue_times"], did.go_cue, atol=1e-3)
    np.testing.assert_array_equal(found["choice"], did.choice)
    np.testing.assert_array_equal(found["feedbackType"] == 1, did.correct)
    np.testing.assert_array_equal(np.isnan(found["contrastLeft"]), did.position > 0)
    np.testing.assert_allclose(found["quiescencePeriod"], did.quiescence)
    delay = found["firstMovement_times"] - did.movement
    assert np.all((delay > -0.02) & (delay < 0.12)), "an onset shows once the wheel has turned by a count or two"
    assert job.checks["clock"]["value"] == "DAQ"
    bad = {name: check for name, check in job.checks.items() if check["outcome"] in ("FAIL", "CRITICAL")}
    assert bad == {}
    assert (job.staging / "figures/performance.png").exists()


def test_wheel_is_the_true_one(run: RunTask, mouse: SimulatedSession) -> None:
    job = run(wheel, mouse.path)
    did, found, moves = mouse.behaviour, *(load_object(job.staging / ALF, name) for name in ("wheel", "wheelMoves"))
    assert did is not None
    truth = np.interp(found["timestamps"], did.wheel_times, did.wheel_position)
    error = found["position"] - truth
    assert np.abs(error - np.median(error)).max() < 0.1
    assert len(moves["intervals"]) >= len(did)
    assert job.checks["wheel_integrity"]["outcome"] == "PASS"


def test_the_plan_follows_from_the_description(settings: Settings, tmp_path: Path) -> None:
    session = Session.parse(simulated(tmp_path, cameras=("left",), duration_s=10.0).path)
    tasks = [trials, wheel, video_compression, camera_times, camera_qc, pose_estimation, pose_qc, pose_features, motion_energy]
    instances, left_out = graph.applicable(session, fan_out(tasks, acquisition.read(session), settings))
    graph.refuse_ambiguous(instances)
    graph.link(instances)
    assert left_out == {}
    assert {each.name: each.parents for each in instances} == {
        "camera_qc[left]": ["camera_times[left]", "video_compression[left]", f"wheel[{PROTOCOL}]"],
        "camera_times[left]": ["video_compression[left]"],
        "motion_energy[left]": ["camera_times[left]", "pose_estimation[left]", "video_compression[left]"],
        "pose_estimation[left]": ["video_compression[left]"],
        "pose_features[left]": ["camera_times[left]", "pose_estimation[left]"],
        "pose_qc[left]": ["camera_times[left]", "pose_estimation[left]", "video_compression[left]"],
        f"trials[{PROTOCOL}]": [],
        "video_compression[left]": [],
        f"wheel[{PROTOCOL}]": [],
    }
    assert not any(each.refused for each in instances)


def test_a_real_camera_gets_no_pose_until_a_model_is_chosen(settings: Settings, run: RunTask, tmp_path: Path) -> None:
    session = Session.parse(simulated(tmp_path, cameras=("left",), duration_s=10.0).path)
    content = acquisition.read(session).content
    del content["devices"]["cameras"]["left"]["simulated"]
    (session.path / acquisition.DESCRIPTION).write_text(json.dumps(content))
    tasks = [video_compression, camera_times, pose_estimation, pose_qc, pose_features, motion_energy]
    kept, left_out = graph.applicable(session, fan_out(tasks, acquisition.read(session), settings))
    assert {each.task.name for each in kept} == {"video_compression", "camera_times"}
    assert "`model` of [tasks.pose_estimation]" in left_out["pose_estimation[left]"]
    assert set(left_out) == {f"{name}[left]" for name in ("pose_estimation", "pose_qc", "pose_features", "motion_energy")}
    with pytest.raises(PoseModelError, match="no pose model is chosen"):
        run(pose_estimation, session.path, "left")
    chosen = settings.model_copy(update={"tasks": {"pose_estimation": TaskSettings(parameters={"model": "/models/{camera}.onnx"})}})
    kept, left_out = graph.applicable(session, fan_out(tasks, acquisition.read(session), chosen))
    assert (len(kept), left_out) == (len(tasks), {})


def test_an_old_session_without_a_description_has_a_protocol(tmp_path: Path) -> None:
    path = simulated(tmp_path, duration_s=10.0).path
    (path / acquisition.DESCRIPTION).unlink()
    (path / RAW).rename(path / "raw_behavior_data")
    assert acquisition.read(Session.parse(path)).of("protocol") == {"unknown_00": {"collection": "raw_behavior_data"}}


def test_a_wheel_that_is_cut_ends_its_own_task_only(run: RunTask, tmp_path: Path) -> None:
    path = simulated(tmp_path, damage="encoder_cut").path
    with pytest.raises(EncoderError, match=r"encoderPositions.*no positions in \d+ of the \d+ trials"):
        run(wheel, path)
    job = run(trials, path)
    assert job.checks["wheel"]["outcome"] == "FAIL"
    assert pd.read_parquet(job.staging / ALF / "_ibl_trials.table.pqt")["firstMovement_times"].isna().all()


def test_a_trial_without_a_time_is_named(run: RunTask, tmp_path: Path) -> None:
    path = simulated(tmp_path, damage="nan_times").path
    for task in (trials, wheel):
        with pytest.raises(BehaviourError, match=r"trial \d+ has trial start time nan"):
            run(task, path)


def test_a_last_trial_that_was_cut_off_is_left_out(run: RunTask, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = simulated(tmp_path, damage="trials_cut")
    table = pd.read_parquet(run(trials, session.path).staging / ALF / "_ibl_trials.table.pqt")
    assert len(table) == len(session.behaviour or ()) - 1
    assert "cut off" in caplog.text


def test_a_broken_line_in_the_middle_is_an_error(run: RunTask, tmp_path: Path) -> None:
    path = simulated(tmp_path).path
    data = path / RAW / "_iblrig_taskData.raw.jsonable"
    lines = data.read_text().splitlines()
    lines[3] = lines[3][:100]
    data.write_text("\n".join(lines))
    with pytest.raises(BehaviourError, match="line 4 is no trial"):
        run(trials, path)


def test_without_a_daq_the_clock_is_that_of_bpod(run: RunTask, tmp_path: Path) -> None:
    session = simulated(tmp_path, sync=False)
    job = run(trials, session.path)
    table = pd.read_parquet(job.staging / ALF / "_ibl_trials.table.pqt")
    assert job.checks["clock"]["value"] == "Bpod"
    assert session.behaviour is not None
    np.testing.assert_allclose(np.diff(table["intervals_0"]), np.diff(session.behaviour.starts), atol=1e-3)


def test_bpod_on_an_analogue_channel_gives_the_clock_of_the_session(run: RunTask, tmp_path: Path) -> None:
    session = simulated(tmp_path, analogue_bpod=True)
    did = session.behaviour
    assert did is not None
    job = run(trials, session.path)
    table = pd.read_parquet(job.staging / ALF / "_ibl_trials.table.pqt")
    assert job.checks["clock"]["value"] == "DAQ"
    np.testing.assert_allclose(table["intervals_0"], did.starts, atol=2e-4)
    np.testing.assert_allclose(table["feedback_times"], did.feedback, atol=2e-4)
    assert run(wheel, session.path).checks["clock"]["value"] == "DAQ"


def test_a_compressed_file_of_the_daq_is_read_and_one_that_is_not_whole_is_refused(run: RunTask, tmp_path: Path) -> None:
    path = simulated(tmp_path, analogue_bpod=True, cameras=("left",), duration_s=20.0).path
    keep(run(camera_times, path, "left"))
    before = np.load(path / "alf/_ibl_leftCamera.times.npy")
    (plain,) = (path / "raw_ephys_data").glob("*.nidq.bin")
    packed, header = plain.with_suffix(".cbin"), plain.with_suffix(".ch")
    how = dict(sample_rate=30_000.0, n_channels=2, dtype=np.int16, n_threads=1, check_after_compress=False, quiet=True)
    mtscomp.compress(plain, packed, header, **how)
    plain.unlink()
    job = run(camera_times, path, "left")
    np.testing.assert_array_equal(np.load(job.staging / "alf/_ibl_leftCamera.times.npy"), before)
    assert job.checks["source"]["value"] == "TTL"
    assert run(trials, path).checks["clock"]["value"] == "DAQ"
    content = packed.read_bytes()
    packed.write_bytes(content[: len(content) // 2])
    with pytest.raises(DaqError, match=r"nidq\.cbin cannot be decompressed"):
        run(camera_times, path, "left")
    header.unlink()
    with pytest.raises(DaqError, match=r"nidq\.ch is not there"):
        run(camera_times, path, "left")


def test_trials_of_a_csv(run: RunTask, tmp_path: Path) -> None:
    path = simulated(tmp_path).path
    content = acquisition.read(Session.parse(path)).content
    content["tasks"] = [
        {
            "maze": {
                "collection": "raw_task_data_01",
                "columns": {"stimOn_times": "on", "choice": "side", "feedbackType": "won"},
                "values": {"choice": {"L": 1, "R": -1}},
            }
        }
    ]
    (path / acquisition.DESCRIPTION).write_text(json.dumps(content))
    folder = path / "raw_task_data_01"
    folder.mkdir()
    (folder / "maze.csv").write_text("on,side,won\n1.5,L,1\n4.0,R,-1\n")
    table = pd.read_parquet(run(trials, path, "maze_00").staging / "alf/task_01/_ibl_trials.table.pqt")
    assert table.to_dict("list") == {"choice": [1, -1], "stimOn_times": [1.5, 4.0], "feedbackType": [1, -1]}
    (folder / "maze.csv").write_text("on,side,won\n1.5,up,1\n")
    with pytest.raises(BehaviourError, match="side has up"):
        run(trials, path, "maze_00")


def test_trials_of_bpods_matlab_program_are_on_the_clock_of_the_session(run: RunTask, tmp_path: Path) -> None:
    session = simulated(tmp_path, analogue_bpod=True)
    did, path = session.behaviour, session.path
    assert did is not None
    rig = bpod.read(path / RAW / "_iblrig_taskData.raw.jsonable")
    cells = np.empty(len(did), dtype=object)
    cells[:] = [{"States": {"Reward": trial["behavior_data"]["States timestamps"]["reward"][0]}} for trial in rig.trials]
    (path / "raw_task_data_01").mkdir()
    savemat(path / "raw_task_data_01/a.mat", {"SessionData": {"TrialStartTimestamp": rig.starts, "RawEvents": {"Trial": cells}}})
    content = acquisition.read(Session.parse(path)).content
    content["tasks"] = [{"maze": {"collection": "raw_task_data_01", "columns": {"feedback_times": "States.Reward"}}}]
    (path / acquisition.DESCRIPTION).write_text(json.dumps(content))
    job = run(trials, path, "maze_00")
    assert job.checks["clock"]["value"] == "DAQ"
    found = pd.read_parquet(job.staging / "alf/task_01/_ibl_trials.table.pqt")["feedback_times"]
    np.testing.assert_allclose(found, np.where(did.correct, did.feedback, np.nan), atol=2e-4)


def test_real_attempts_register_what_they_wrote(run_task: RunAttempt, ranvier_home: Settings, ranvier_database: Database) -> None:
    made = simulate_session(
        ranvier_home.lab_root, "mouse_b", "2026-01-15", probes=(), behaviour=True, cameras=("left",), duration_s=15.0, seed=5
    )
    session = Session.parse(made.path)
    for task in (wheel, trials, training_status, video_compression, camera_times, camera_qc, pose_estimation):
        outcome = run_task(task, session)
        assert outcome.status == "Complete", outcome.reason
    assert run_task(video_compression, session).status == "Unchanged"
    names = {path.name for path in session.path.rglob("*.*")}
    assert {"_ibl_trials.table.pqt", "_ibl_wheel.position.npy", "_ibl_leftCamera.times.npy", "_iblrig_leftCamera.raw.mp4"} <= names
    rows = {row["name"]: row for row in ranvier_database.tasks(register(session.path, ranvier_home, ranvier_database).record["id"])}
    registered = {Path(output["path"]).name for row in rows.values() for output in row["outputs"]}
    assert {"_ibl_trials.table.pqt", "_iblrig_leftCamera.raw.mp4", "_iblrig_leftCamera.raw.avi", "_ibl_leftCamera.onnx.pqt"} <= registered
    assert "_ranvier_training.status.json" in registered


@pytest.fixture(scope="module")
def seen(run: RunTask, filmed: SimulatedSession) -> dict[str, Job]:
    keep(run(wheel, filmed.path))
    jobs = {}
    for camera in ("left", "body"):
        for task in (video_compression, camera_times, camera_qc):
            jobs[f"{task.name} {camera}"] = keep(run(task, filmed.path, camera))
    return jobs


def test_compression_keeps_every_frame_and_the_original(seen: dict[str, Job], filmed: SimulatedSession, run: RunTask) -> None:
    checks = seen["video_compression left"].checks
    n_frames = filmed.films["left"].frame_times.size
    assert checks["frames_kept"] == {"value": n_frames, "outcome": "PASS"}
    assert checks["compression"]["value"] > 10
    names = {path.name for path in (filmed.path / VIDEOS).iterdir()}
    assert {"_iblrig_leftCamera.raw.avi", "_iblrig_leftCamera.raw.mp4", "_ranvier_leftCamera.proxy.mp4"} <= names
    again = run(video_compression, filmed.path, "left")
    assert again.checks["compression"]["value"] == "is there already"


@pytest.mark.parametrize("camera", ["left", "body"])
def test_each_frame_has_its_time(seen: dict[str, Job], filmed: SimulatedSession, camera: str) -> None:
    times = np.load(filmed.path / "alf" / f"_ibl_{camera}Camera.times.npy")
    np.testing.assert_allclose(times, filmed.films[camera].frame_times, atol=1e-4)
    checks = seen[f"camera_times {camera}"].checks
    lost = 20 if camera == "body" else 0
    assert (checks["ttl_surplus"]["value"], checks["dropped_frames"]["value"]) == (lost, lost)


def test_a_good_video_passes(seen: dict[str, Job]) -> None:
    job = seen["camera_qc left"]
    assert {
        check: job.checks[check]["outcome"] for check in ("picture", "brightness", "focus", "times_minus_frames", "wheel_lag_frames")
    } == {
        "picture": "PASS",
        "brightness": "PASS",
        "focus": "PASS",
        "times_minus_frames": "PASS",
        "wheel_lag_frames": "PASS",
    }
    assert (job.staging / "figures/contact_sheet_left.png").exists()


@pytest.fixture(scope="module")
def posed(run: RunTask, seen: dict[str, Job], filmed: SimulatedSession) -> dict[str, Job]:
    return {task.name: keep(run(task, filmed.path, "left")) for task in (pose_estimation, pose_qc, pose_features, motion_energy)}


def test_the_pose_is_the_true_one(posed: dict[str, Job], filmed: SimulatedSession) -> None:
    table = pd.read_parquet(filmed.path / "alf/_ibl_leftCamera.onnx.pqt")
    truth, names = filmed.films["left"].keypoints, list(KEYPOINTS)
    assert table.columns.tolist() == [f"{name}_{column}" for name in names for column in ("x", "y", "likelihood")]
    found = table.to_numpy().reshape(len(table), len(names), 3)
    assert found.shape[:2] == truth.shape[:2]
    shown = np.isfinite(truth[..., 0])
    error = np.linalg.norm(found[..., :2] - truth, axis=2)
    assert np.median(error[shown]) < 1.0
    assert np.percentile(error[shown & (found[..., 2] >= 0.5)], 95) < 3.0
    assert ((found[..., 2] >= 0.5) == shown).mean() > 0.97
    assert posed["pose_estimation"].checks["model"] == {"value": "mouse_face.onnx", "outcome": "WARNING"}


def test_the_scores_say_how_much_of_the_truth_was_found(
    posed: dict[str, Job], filmed: SimulatedSession, run: RunTask, tmp_path: Path
) -> None:
    keep(run(trials, filmed.path))
    did, film = score_behaviour(filmed.path), score_film(filmed.path, "left")
    assert did.n_found == did.n_trials == did.n_rows > 2
    assert did.feedback_ms < 0.2
    assert did.wheel_rad < 0.05
    assert film.median_px < 1.0
    assert film.seen > 0.97
    assert film.made_up < 0.05
    path = tmp_path / "copy"
    shutil.copytree(filmed.path, path)
    table = pd.read_parquet(path / ALF / "_ibl_trials.table.pqt")
    table.assign(choice=-table["choice"]).to_parquet(path / ALF / "_ibl_trials.table.pqt")
    assert score_behaviour(path).n_found == 0
    pose = pd.read_parquet(path / "alf/_ibl_leftCamera.onnx.pqt")
    pose.assign(**{name: pose[name] + 5 for name in pose if name.endswith("_x")}).to_parquet(path / "alf/_ibl_leftCamera.onnx.pqt")
    assert 4 < score_film(path, "left").median_px < 6
    pose[:-1].to_parquet(path / "alf/_ibl_leftCamera.onnx.pqt")
    with pytest.raises(SimulationError, match=r"onnx\.pqt has \d+ rows for \d+ frames"):
        score_film(path, "left")
    (path / ALF / "_ibl_wheel.position.npy").unlink()
    with pytest.raises(SimulationError, match=r"run the task wheel first"):
        score_behaviour(path)


def test_a_good_pose_passes(posed: dict[str, Job]) -> None:
    job = posed["pose_qc"]
    outcomes = {
        check: job.checks[check]["outcome"] for check in ("missing", "never_seen", "jumps", "outside", "swaps", "frames_minus_times")
    }
    assert set(outcomes.values()) == {"PASS"}, job.checks
    assert {path.name for path in (job.staging / "figures").iterdir()} == {"pose_left.png", "pose_quality_left.png"}
    table = pd.read_parquet(job.staging / VIDEOS / "_iblqc_leftCamera.keypoints.pqt")
    assert table["keypoint"].tolist() == list(KEYPOINTS)


def test_features_are_those_of_the_mouse(posed: dict[str, Job], filmed: SimulatedSession) -> None:
    film, did = filmed.films["left"], filmed.behaviour
    assert did is not None
    features = pd.read_parquet(filmed.path / "alf/_ibl_leftCamera.features.pqt")
    known = features["pupilDiameter_smooth"].notna()
    assert known.mean() > 0.9
    assert np.median(np.abs(features["pupilDiameter_smooth"] - film.pupil_diameter)[known]) < 0.7
    assert np.corrcoef(features["pupilDiameter_smooth"][known], film.pupil_diameter[known])[0, 1] > 0.9
    turning = np.abs(np.gradient(np.interp(film.frame_times, did.wheel_times, did.wheel_position)))
    assert np.corrcoef(features["pawSpeed_r"].fillna(0), turning)[0, 1] > 0.6
    licks = np.load(filmed.path / "alf/_ranvier_leftLicks.times.npy")
    filmed_licks = film.licks[film.licks < film.frame_times[-1] - 0.2]
    assert filmed_licks.size > 10
    assert np.mean([np.abs(licks - time).min() < 0.07 for time in filmed_licks]) > 0.9
    assert np.mean([np.abs(film.licks - time).min() < 0.1 for time in licks]) > 0.9


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # of ONE 3.6.1, under pandas 3.1
def test_motion_energy_follows_the_paws(posed: dict[str, Job], filmed: SimulatedSession) -> None:
    table = pd.read_parquet(filmed.path / "alf/_ranvier_leftCamera.motionEnergy.pqt")
    features = pd.read_parquet(filmed.path / "alf/_ibl_leftCamera.features.pqt")
    assert table.columns.tolist() == ["whiskerPad", "paws", "frame"]
    assert len(load_object(filmed.path / "alf", "leftCamera", attribute="ROIMotionEnergy")["ROIMotionEnergy"]) == len(table)
    film = filmed.films["left"]
    quiet = np.array([np.abs(film.licks - time).min() > 0.2 for time in film.frame_times])
    quiet[0] = False  # which has no frame before it
    paws, pad, speed = table["paws"][quiet], table["whiskerPad"][quiet], features["pawSpeed_r"][quiet]
    assert np.corrcoef(paws, speed)[0, 1] > 0.6 > np.corrcoef(pad, speed)[0, 1]
    width, height, _, _ = np.load(filmed.path / "alf/leftROIMotionEnergy.position.npy")
    assert 10 < height < width < 80


def test_a_pose_of_another_video_is_refused(run: RunTask, posed: dict[str, Job], filmed: SimulatedSession, tmp_path: Path) -> None:
    path = simulated(tmp_path, cameras=("left",), duration_s=10.0).path
    keep(run(camera_times, path, "left"))
    shutil.copy(filmed.path / "alf/_ibl_leftCamera.onnx.pqt", path / "alf")
    n_frames = filmed.films["left"].frame_times.size
    for task in (pose_qc, pose_features, motion_energy):
        with pytest.raises(PoseError, match=rf"onnx\.pqt has {n_frames} rows, but there are \d+ frame"):
            run(task, path, "left")


def test_no_pose_is_made_up_for_a_black_video(run: RunTask, tmp_path: Path) -> None:
    path = simulated(tmp_path, cameras=("left",), duration_s=10.0, damage="black_video").path
    with pytest.raises(VideoError, match=r"is black .* no pose"):
        run(pose_estimation, path, "left")


@pytest.mark.parametrize(
    ("content", "words"), [("shipped", "has 9 keypoints, but mouse.json names 2: nose_tip, tail"), ("none", "as an ONNX model")]
)
def test_a_model_that_is_none_ends_the_pose_and_nothing_else(
    run: RunTask, seen: dict[str, Job], filmed: SimulatedSession, tmp_path: Path, content: str, words: str
) -> None:
    model = tmp_path / "mouse.onnx"
    model.write_bytes(SHIPPED.read_bytes() if content == "shipped" else b"weights of another program")
    model.with_suffix(".json").write_text(json.dumps({"keypoints": ["nose_tip", "tail"]}))
    with pytest.raises(PoseModelError, match=words):
        run(pose_estimation, filmed.path, "left", model=str(model))
    assert {seen[f"{name} left"].checks[check]["outcome"] for name, check in (("camera_times", "source"), ("camera_qc", "picture"))} == {
        "PASS"
    }


@pytest.mark.parametrize(("damage", "words"), [("black_video", "black"), ("frozen_video", "constant")])
def test_a_video_of_nothing_is_critical(run: RunTask, tmp_path: Path, damage: str, words: str) -> None:
    path = simulated(tmp_path, cameras=("left",), duration_s=10.0, damage=damage).path
    keep(run(camera_times, path, "left"))
    check = run(camera_qc, path, "left").checks["picture"]
    assert check["outcome"] == "CRITICAL"
    assert words in check["value"]


@pytest.mark.parametrize(
    ("damage", "task", "words"),
    [
        ("missing_video", video_compression, "has no video .* names the camera 'left'"),
        ("truncated_video", video_compression, "cut off|stopped early|cannot be read"),
        ("lost_frames", camera_times, r"\d+ TTLs, but \d+ frames"),
    ],
)
def test_a_camera_that_cannot_be_used_says_why(run: RunTask, tmp_path: Path, damage: str, task: Task, words: str) -> None:
    path = simulated(tmp_path, cameras=("left", "body"), duration_s=10.0, damage={"left": damage}).path
    with pytest.raises(VideoError, match=words):
        run(task, path, "left")
    run(task, path, "body")


@pytest.mark.parametrize("keep_bytes", [0.3, 0.95])
def test_an_mp4_that_is_cut_off_is_refused(
    seen: dict[str, Job], filmed: SimulatedSession, run: RunTask, tmp_path: Path, keep_bytes: float
) -> None:
    path = simulated(tmp_path, cameras=("left",), duration_s=10.0, damage="missing_video").path
    whole = (filmed.path / VIDEOS / "_iblrig_leftCamera.raw.mp4").read_bytes()
    (path / VIDEOS / "_iblrig_leftCamera.raw.mp4").write_bytes(whole[: int(len(whole) * keep_bytes)])
    with pytest.raises(VideoError, match=r"leftCamera\.raw\.mp4"):
        run(video_compression, path, "left")


def test_the_microphone_hears_the_go_cues(run: RunTask, tmp_path: Path) -> None:
    path = simulated(tmp_path, duration_s=10.0).path
    rate, onsets = 48_000, np.array([1.0, 3.5, 6.2])
    at = np.arange(8 * rate) / rate
    sound = np.random.default_rng(0).normal(0, 30, at.size)
    for onset in onsets:
        sound += 4000 * np.sin(2 * np.pi * 5000 * at) * ((at >= onset) & (at < onset + 0.1))
    file = path / RAW / "_iblrig_micData.raw.wav"
    wavfile.write(file, rate, sound.astype(np.int16))
    job = run(audio, path, "")
    found = np.load(job.staging / RAW / "_iblmic_audioOnsetGoCue.times_mic.npy")
    np.testing.assert_allclose(found, onsets, atol=0.01)
    freqs, power = (np.load(job.staging / RAW / f"_iblmic_audioSpectrogram.{name}.npy") for name in ("frequencies", "power"))
    assert power.shape == (16, freqs.size)
    assert abs(freqs[power[2].argmax()] - 5000) < 50
    assert job.checks["flac"]["outcome"] == "PASS"
    assert (job.staging / RAW / "_iblrig_micData.raw.flac").stat().st_size < file.stat().st_size
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)
    with pytest.raises(AudioError, match="cannot be read as WAV"):
        run(audio, path, "")
