"""Poses by DeepLabCut, Lightning Pose and sleap-nn in a Python environment of their own, where stand-ins of them are installed."""

from __future__ import annotations

import venv
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from ranvier.declare import Task
from ranvier.plan import plan_session
from ranvier.session import Session
from ranvier.settings import Settings, TaskSettings
from ranvier.simulate import simulate_session
from ranvier.tasks.behaviour import pose
from ranvier.tasks.behaviour.camera_times import camera_times
from ranvier.tasks.behaviour.pose_deeplabcut import pose_deeplabcut
from ranvier.tasks.behaviour.pose_lightning_pose import pose_lightning_pose
from ranvier.tasks.behaviour.pose_qc import pose_qc
from ranvier.tasks.behaviour.pose_sleap_nn import pose_sleap_nn
from ranvier.testing import RunTask

KEYPOINTS = ("nose_tip", "paw_l", "paw_r")
UNSEEN = 5
TASKS: dict[str, tuple[Task, str]] = {
    "deeplabcut": (pose_deeplabcut, "dlc"),
    "lightning_pose": (pose_lightning_pose, "lightningPose"),
    "sleap_nn": (pose_sleap_nn, "sleap"),
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> str:
    """The interpreter of an environment that holds the stand-ins, and numpy and PyAV for them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python3*/site-packages")
    known = [repository / "tests" / "stand_ins", *{Path(str(module.__file__)).parents[1] for module in (av, np)}]
    (packages / "stand_ins.pth").write_text("".join(f"{path}\n" for path in known))
    return str(folder / "bin/python")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model's folder for each package, with the file that says what it finds."""
    folder = tmp_path_factory.mktemp("models") / "left"
    contents = {
        "deeplabcut/config.yaml": {"Task": "mice", "multianimalproject": False, "bodyparts": list(KEYPOINTS)},
        "lightning_pose/config.yaml": {"data": {"keypoint_names": list(KEYPOINTS)}, "model": {"model_type": "heatmap"}},
        "sleap_nn/training_config.yaml": {"model_config": {"head_configs": {"single_instance": {"confmaps": {}}, "centroid": None}}},
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(yaml.safe_dump(content))
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def filmed(ranvier_home: Settings) -> Session:
    made = simulate_session(ranvier_home.lab_root, "mouse_elsewhere", "2026-01-15", probes=(), cameras=("left",), duration_s=5.0)
    return Session.parse(made.path)


@pytest.mark.parametrize("name", TASKS)
def test_a_package_elsewhere_finds_the_pose(
    name: str,
    run_task: RunTask,
    ranvier_home: Settings,
    elsewhere: str,
    models: dict[str, Path],
    filmed: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, backend = TASKS[name]
    monkeypatch.setitem(ranvier_home.environments, name, elsewhere)
    outcome = run_task(task, filmed, "left", model=str(models[name]).replace("/left/", "/{camera}/"))
    assert (outcome.status, outcome.reason) == ("Complete", "")
    found = pose.read(filmed.path / f"alf/_ibl_leftCamera.{backend}.pqt")
    assert found.keypoints == KEYPOINTS
    n_seen = len(found) - (UNSEEN if name == "sleap_nn" else 0)
    assert len(found) > 100
    np.testing.assert_allclose(found.of("paw_l")[:n_seen], np.column_stack([50 + 0.1 * np.arange(n_seen), np.full(n_seen, 40)]), atol=1e-3)
    np.testing.assert_allclose(found.likelihood[:n_seen], 0.9)
    assert np.isnan(found.xy[n_seen:]).all()
    assert not found.likelihood[n_seen:].any()


def test_what_comes_after_a_pose_reads_it(
    run_task: RunTask, ranvier_home: Settings, elsewhere: str, models: dict[str, Path], filmed: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ranvier_home.environments, "deeplabcut", elsewhere)
    for task, parameters in ((camera_times, {}), (pose_deeplabcut, {"model": str(models["deeplabcut"])}), (pose_qc, {"backend": "dlc"})):
        outcome = run_task(task, filmed, "left", **parameters)
        assert outcome.status in ("Complete", "Unchanged"), outcome.reason


def test_what_a_package_says_when_it_fails_is_the_reason(
    run_task: RunTask, ranvier_home: Settings, elsewhere: str, models: dict[str, Path], filmed: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ranvier_home.environments, "deeplabcut", elsewhere)
    outcome = run_task(pose_deeplabcut, filmed, "left", model=str(models["deeplabcut"]), shuffle=7)
    assert outcome.status == "Errored"
    assert "ended with exit code 1" in outcome.reason
    assert "FileNotFoundError: Snapshot of shuffle 7 not found!" in outcome.reason


def test_several_animals_in_what_comes_out_are_refused(
    run_task: RunTask,
    ranvier_home: Settings,
    elsewhere: str,
    models: dict[str, Path],
    filmed: Session,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(ranvier_home.environments, "sleap_nn", elsewhere)
    (tmp_path / "animals").write_text("2")
    (tmp_path / "training_config.yaml").write_text((models["sleap_nn"] / "training_config.yaml").read_text())
    outcome = run_task(pose_sleap_nn, filmed, "left", model=str(tmp_path))
    assert outcome.status == "Errored"
    assert "finds 2 animals" in outcome.reason
    (tmp_path / "animals").write_text("0")
    assert run_task(pose_sleap_nn, filmed, "left", model=str(tmp_path)).status == "Complete"
    assert not pose.read(filmed.path / "alf/_ibl_leftCamera.sleap.pqt").likelihood.any()


def test_an_absent_environment_is_said_at_planning_and_an_absent_model_leaves_the_task_out(ranvier_home: Settings, filmed: Session) -> None:
    tasks = [task for task, _ in TASKS.values()]
    assert set(plan_session(filmed, tasks, ranvier_home).left_out) == {f"{task.name}[left]" for task in tasks}
    chosen = {"pose_sleap_nn": TaskSettings(parameters={"model": "/models/mouse"})}
    plan = plan_session(filmed, tasks, ranvier_home.model_copy(update={"tasks": chosen}))
    assert plan.decisions["pose_sleap_nn[left]"].action == "hold"
    assert '[environments] sleap_nn = "/path/to/bin/python"' in plan.decisions["pose_sleap_nn[left]"].reason
    assert "`model` of [tasks.pose_deeplabcut]" in plan.left_out["pose_deeplabcut[left]"]
