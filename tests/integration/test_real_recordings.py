"""Real recordings through the real tasks; they are no part of the repository, see ``RANVIER_REAL_DATA`` in conftest.py.

``RANVIER_MIRROR_MODEL`` names a model that ``training/mirror_mouse.py`` has made, for the pose of a real mouse.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from support import caller, keep

from ranvier import acquisition
from ranvier.job import Job
from ranvier.settings import load
from ranvier.tasks.behaviour import performance
from ranvier.tasks.behaviour.camera_qc import camera_qc
from ranvier.tasks.behaviour.camera_times import camera_times
from ranvier.tasks.behaviour.motion_energy import motion_energy
from ranvier.tasks.behaviour.pose import PoseError
from ranvier.tasks.behaviour.pose_estimation import pose_estimation
from ranvier.tasks.behaviour.pose_features import pose_features
from ranvier.tasks.behaviour.pose_qc import pose_qc
from ranvier.tasks.behaviour.trials import trials
from ranvier.tasks.behaviour.video_compression import video_compression
from ranvier.tasks.behaviour.wheel import wheel
from ranvier.tasks.imaging.raw_imaging_compression import raw_imaging_compression
from ranvier.tasks.imaging.raw_imaging_registration import raw_imaging_registration
from ranvier.tasks.imaging.suite2p import suite2p

RunTask = Callable[..., Job]
MOVIES = "raw_imaging_data_00"
VIDEO = "raw_video_data/_iblrig_bodyCamera.raw.mp4"
#: What the mirror mouse's keypoints are by IBL's names.
NAMES = {"nose_tip": "nose_top", "paw_l": "paw2LF_top", "paw_r": "paw3RF_top"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunTask:
    return caller(tmp_path_factory.mktemp("jobs"), load(tmp_path_factory.mktemp("home")))


def session(root: Path, **devices: object) -> Path:
    path = root / "lab/Subjects/m1/2026-01-15/001"
    path.mkdir(parents=True)
    (path / acquisition.DESCRIPTION).write_text(yaml.safe_dump({"version": "1.0.0", "devices": devices}))
    return path


@pytest.mark.parametrize("name", ["session_training_ge5", "session_training_lt5", "session_biased_lt5"])
def test_sessions_of_ibls_rigs(run: RunTask, real_data: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "lab/Subjects/m1/2026-01-15/001"
    shutil.copytree(real_data / "behaviour" / name, path)
    job = run(trials, path, "unknown_00")
    table = pd.read_parquet(job.staging / "alf/_ibl_trials.table.pqt")
    lines = (path / "raw_behavior_data/_iblrig_taskData.raw.jsonable").read_text().splitlines()
    assert len(table) == len(lines)
    assert ((table["feedbackType"] == 1) == [json.loads(line)["trial_correct"] for line in lines]).all()
    assert (table["feedback_times"] > table["intervals_0"]).all()
    assert {"trial_length", "reward_volumes", "performance"} <= set(job.checks)
    if name == "session_training_ge5":
        assert run(wheel, path, "unknown_00").checks["wheel_integrity"]["outcome"] == "PASS"


def test_the_psychometric_function_of_a_trained_mouse(real_data: Path) -> None:
    did = performance.assess(pd.read_csv(real_data / "behaviour/trials_df_test.csv"))
    assert did.fit is not None
    assert did.curve is not None
    assert did.values["performance_easy"] > 0.9
    assert abs(did.fit.bias) < 10
    assert did.fit.threshold < 20
    assert np.abs(did.fit(did.curve["contrast"].to_numpy()) - did.curve["right"]).max() < 0.1


def test_a_real_movie(run: RunTask, real_data: Path, tmp_path: Path) -> None:
    path = session(tmp_path, two_photon={"FOV_00": {"collection": MOVIES, "frame_rate": 15.0}})
    (path / MOVIES).mkdir()
    shutil.copy(real_data / "imaging/sima_example.tif", path / MOVIES / "imaging.frames.tif")
    checks = run(raw_imaging_registration, path, "FOV_00").checks
    assert [checks[name]["value"] for name in ("n_frames", "picture_px", "signal")] == [20, "128 x 256", "present"]
    assert run(raw_imaging_compression, path, "FOV_00").checks["compression_ratio"]["value"] > 1.2


@pytest.mark.filterwarnings("ignore:Spatial scale estimation:UserWarning")
def test_suite2p_on_a_real_movie(run: RunTask, real_data: Path, tmp_path: Path) -> None:
    """Twenty frames are too few for suite2p, so that they are shown twenty times; nothing moves in them that it would call a cell."""
    pytest.importorskip("suite2p", reason="suite2p is not installed: make env-imaging")
    path = session(tmp_path, two_photon={"FOV_00": {"collection": MOVIES, "frame_rate": 15.0}})
    (path / MOVIES).mkdir()
    frames = tifffile.imread(real_data / "imaging/sima_example.tif")
    tifffile.imwrite(path / MOVIES / "imaging.frames.tif", np.concatenate([frames] * 20))
    run(raw_imaging_registration, path, "FOV_00")
    job = run(suite2p, path, "FOV_00")
    assert job.checks["n_volumes"]["value"] == 400
    assert job.checks["n_rois"]["value"] > job.checks["n_cells"]["value"] == 0
    assert job.checks["n_cells"]["outcome"] == "FAIL"
    assert np.load(job.staging / "alf/FOV_00/mpciMeanImage.images.npy").shape == frames.shape[1:]
    assert {figure["name"] for figure in job.figures} == {"mean_image", "traces", "raster", "motion"}


def test_a_real_folder_of_suite2p(run: RunTask, real_data: Path, tmp_path: Path) -> None:
    path = session(tmp_path, two_photon={"FOV_00": {"collection": MOVIES, "frame_rate": 10.0, "shape": [608, 608]}})
    folder = path / MOVIES / "suite2p/plane0"
    shutil.copytree(real_data / "imaging/suite2p_plane0", folder)
    with pytest.raises(AssertionError, match=r"mpciMeanImage\.images\.npy was not written"):  # the folder has no pictures: Incomplete
        run(suite2p, path, "FOV_00")
    job_folder = max(tmp_path.parent.glob("jobs*/*/alf/FOV_00"), key=lambda folder: folder.stat().st_mtime)
    np.testing.assert_array_equal(np.load(job_folder / "mpci.ROIActivityF.npy"), np.load(folder / "F.npy").T)
    np.testing.assert_array_equal(np.load(job_folder / "mpciROIs.mpciROITypes.npy"), np.load(folder / "iscell.npy")[:, 0])
    if find_spec("sparse"):
        import sparse

        assert sparse.load_npz(job_folder / "mpciROIs.masks.sparse_npz").shape == (219, 608, 608)


@pytest.fixture(scope="module")
def mirror_mouse(run: RunTask, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of a real video, with its frame times."""
    path = session(tmp_path_factory.mktemp("mirror"), cameras={"body": {"collection": "raw_video_data", "fps": 250}})
    (path / VIDEO).parent.mkdir()
    shutil.copy(real_data / "video/mirror_mouse/videos/test_vid.mp4", path / VIDEO)
    keep(run(video_compression, path, "body"))
    job = keep(run(camera_times, path, "body"))
    assert job.checks["source"] == {"value": "header", "outcome": "WARNING"}
    return path


def test_a_real_video(run: RunTask, mirror_mouse: Path) -> None:
    times = np.load(mirror_mouse / "alf/_ibl_bodyCamera.times.npy")
    assert times.size == 994
    job = run(camera_qc, mirror_mouse, "body")
    assert [job.checks[name]["outcome"] for name in ("picture", "times_minus_frames")] == ["PASS", "PASS"]
    assert (mirror_mouse / "raw_video_data/_ranvier_bodyCamera.proxy.mp4").exists()


def test_the_pose_of_a_real_mouse(run: RunTask, mirror_mouse: Path) -> None:
    model = os.environ.get("RANVIER_MIRROR_MODEL")
    if not model:
        pytest.skip("no model of a real mouse: RANVIER_MIRROR_MODEL names one that training/mirror_mouse.py has made")
    found = keep(run(pose_estimation, mirror_mouse, "body", model=model))
    assert found.checks["model"]["outcome"] == "PASS"
    table = pd.read_parquet(mirror_mouse / "alf/_ibl_bodyCamera.onnx.pqt")
    assert table.shape == (994, 3 * 17)
    seen = table["nose_top_likelihood"] > 0.5
    assert seen.mean() > 0.9
    assert table.loc[seen, "nose_top_x"].diff().abs().median() < 5
    quality = run(pose_qc, mirror_mouse, "body")
    with pytest.raises(PoseError, match="say in `names` which are IBL's nose_tip"):
        run(pose_features, mirror_mouse, "body")
    with pytest.raises(PoseError, match="no keypoint snout"):
        run(pose_features, mirror_mouse, "body", names={"nose_tip": "snout"})
    features = run(pose_features, mirror_mouse, "body", names=NAMES)
    columns = pd.read_parquet(features.staging / "alf/_ibl_bodyCamera.features.pqt").columns
    assert columns.tolist() == ["pawSpeed_l", "pawSpeed_r", "nose_x", "nose_y"]
    assert "paws" in run(motion_energy, mirror_mouse, "body", names=NAMES).checks["regions"]["value"]
    if out := os.environ.get("RANVIER_MIRROR_FIGURES"):
        for job in (quality, features):
            shutil.copytree(job.staging / "figures", out, dirs_exist_ok=True)
    print({name: check["value"] for name, check in {**found.checks, **quality.checks, **features.checks}.items()})
