"""Poses by DeepLabCut, Lightning Pose and sleap-nn themselves, by tiny models that are trained here: where a variable names their Python.

Each is skipped without its variable, such as ``RANVIER_TEST_SLEAP_NN=/opt/envs/sleap_nn/bin/python``. ``RANVIER_TEST_POSE_MODELS``
may name a folder in which the models are looked for, and left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ranvier.declare import Task
from ranvier.session import Session
from ranvier.settings import Settings
from ranvier.simulate import load_film, simulate_session
from ranvier.simulate.face import KEYPOINTS
from ranvier.tasks.behaviour import pose, video
from ranvier.tasks.behaviour.pose_deeplabcut import pose_deeplabcut
from ranvier.tasks.behaviour.pose_estimation import pose_estimation
from ranvier.tasks.behaviour.pose_lightning_pose import pose_lightning_pose
from ranvier.tasks.behaviour.pose_sleap_nn import pose_sleap_nn
from ranvier.testing import RunTask

VIDEO = "raw_video_data/_iblrig_leftCamera.raw.avi"
#: Every so many of the first frames are learned, the rest is for the test.
EVERY, LEARNED = 3, 400


@dataclass(frozen=True)
class Package:
    """A package of another environment, and what it has trained.

    Attributes
    ----------
    name, python
        Of its environment.
    task, backend
        The task that calls it, and the attribute of the file that this writes.
    models
        Folder with ``single`` and ``several``.
    """

    name: str
    python: str
    task: Task
    backend: str
    models: Path

    @property
    def single(self) -> Path:
        """Model of one animal in one view."""
        return self.models / "single"


TASKS = {
    "sleap_nn": (pose_sleap_nn, "sleap"),
    "lightning_pose": (pose_lightning_pose, "lightningPose"),
    "deeplabcut": (pose_deeplabcut, "dlc"),
}


@pytest.fixture(scope="module")
def filmed(ranvier_home: Settings) -> Session:
    made = simulate_session(
        ranvier_home.lab_root, "mouse_packages", "2026-01-15", probes=(), cameras=("left",), behaviour=True, duration_s=20.0
    )
    return Session.parse(made.path)


@pytest.fixture(scope="module")
def labels(filmed: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of the video with the places of their keypoints, as somebody marks them."""
    folder = tmp_path_factory.mktemp("labels")
    chosen = range(0, LEARNED, EVERY)
    for number, frame in enumerate(video.grey_frames(video.inspect(filmed.path / VIDEO), 0, LEARNED)):
        if number in chosen:
            Image.fromarray(frame).save(folder / f"img{number:04}.png")
    np.savez(folder / "labels.npz", keypoints=KEYPOINTS, places=load_film(filmed.path, "left").keypoints[list(chosen)])
    return folder


def named(name: str) -> str:
    """The variable that names the Python of a package."""
    return f"RANVIER_TEST_{name.upper()}"


def where_named(name: str) -> object:
    """A package, to be skipped where no Python is named."""
    why = f"{named(name)} names no Python that has {name}"
    return pytest.param(name, marks=pytest.mark.skipif(not os.environ.get(named(name)), reason=why))


@pytest.fixture(scope="module", params=map(where_named, TASKS))
def package(
    request: pytest.FixtureRequest, labels: Path, ranvier_home: Settings, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Package:
    python, kept = os.environ[named(request.param)], os.environ.get("RANVIER_TEST_POSE_MODELS")
    models = (Path(kept) if kept else tmp_path_factory.mktemp("models")) / request.param
    if not (models / "trained").exists():
        shutil.rmtree(models, ignore_errors=True)
        subprocess.run([python, "-I", repository / "training/tiny_pose_models.py", request.param, labels, models], check=True)
        (models / "trained").touch()
    ranvier_home.environments[request.param] = python
    return Package(request.param, python, *TASKS[request.param], models)


def distances(one: np.ndarray, other: np.ndarray) -> str:
    """How far apart places are, in words and pixels."""
    apart = np.linalg.norm(one - other, axis=-1)
    return ", ".join(f"{level} % {np.nanpercentile(apart, level):.2f} px" for level in (50, 95))


def test_a_package_finds_the_pose(package: Package, run_task: RunTask, filmed: Session) -> None:
    outcome = run_task(package.task, filmed, "left", model=str(package.single))
    assert (outcome.status, outcome.reason) == ("Complete", "")
    found, truth = pose.read(filmed.path / f"alf/_ibl_leftCamera.{package.backend}.pqt"), load_film(filmed.path, "left").keypoints
    assert found.keypoints == KEYPOINTS
    assert len(found) == len(truth)
    held_out = slice(LEARNED, None)
    shown = np.isfinite(truth[held_out, :, 0])
    seen = found.likelihood[held_out] >= pose.SEEN
    print(f"\n{package.name}: {distances(found.xy[held_out][shown], truth[held_out][shown])}; seen {seen[shown].mean():.3f}")
    assert np.nanmedian(np.linalg.norm(found.xy - truth, axis=2)[held_out]) < 3


def test_its_export_is_read_as_it_is(package: Package, run_task: RunTask, filmed: Session) -> None:
    exports = sorted(package.single.rglob("*.onnx"))
    if not exports:
        pytest.skip(f"{package.name} exports no ONNX")
    assert run_task(package.task, filmed, "left", model=str(package.single)).status in ("Complete", "Unchanged")
    outcome = run_task(pose_estimation, filmed, "left", model=str(exports[0]))
    assert (outcome.status, outcome.reason) == ("Complete", "")
    own, exported = (pose.read(filmed.path / f"alf/_ibl_leftCamera.{backend}.pqt") for backend in (package.backend, "onnx"))
    both = (own.likelihood >= pose.SEEN) & (exported.likelihood >= pose.SEEN)
    print(f"\n{package.name}, export against the package: {distances(own.xy[both], exported.xy[both])}")
    assert both.mean() > 0.5
    assert np.median(np.linalg.norm(own.xy - exported.xy, axis=2)[both]) < 1


def test_a_model_of_several_is_refused(package: Package, run_task: RunTask, filmed: Session) -> None:
    outcome = run_task(package.task, filmed, "left", model=str(package.models / "several"))
    assert outcome.status == "Errored"
    assert "use a model of one animal seen by one camera" in outcome.reason


def test_a_folder_that_is_no_model_is_refused(package: Package, run_task: RunTask, filmed: Session, tmp_path: Path) -> None:
    outcome = run_task(package.task, filmed, "left", model=str(tmp_path))
    assert outcome.status == "Errored"
    assert f"the pose model {tmp_path} is no folder with" in outcome.reason


def test_a_model_whose_weights_are_lost_is_told_in_the_packages_words(
    package: Package, run_task: RunTask, filmed: Session, tmp_path: Path
) -> None:
    shutil.copytree(package.single, tmp_path / "model")
    for weights in [path for suffix in ("ckpt", "pt") for path in tmp_path.rglob(f"*.{suffix}")]:
        weights.unlink()
    outcome = run_task(package.task, filmed, "left", model=str(tmp_path / "model"))
    print(f"\n{package.name}, without its weights: {outcome.reason}")
    assert outcome.status == "Errored"
    assert "ended with exit code" in outcome.reason
