"""What may be wrong with a model of another package, or with the table that it leaves."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from ranvier.errors import RanvierError
from ranvier.job import Job
from ranvier.tasks.behaviour import pose_elsewhere
from ranvier.tasks.behaviour.pose import PoseError
from ranvier.tasks.behaviour.pose_elsewhere import DEEPLABCUT, LIGHTNING_POSE, SLEAP_NN, Backend, read_csv
from ranvier.tasks.behaviour.pose_sidecar import PoseModelError

HEADS = "scorer,net,net,net\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n"


def keypoints(backend: Backend, folder: Path) -> tuple[str, ...]:
    config = pose_elsewhere.find_config(folder, backend.configs)
    return backend.keypoints(config, pose_elsewhere.read_config(config))


@pytest.mark.parametrize(
    ("backend", "content", "words"),
    [
        (DEEPLABCUT, {"multianimalproject": True, "bodyparts": "MULTI!"}, r"several animals .*one animal seen by one camera"),
        (LIGHTNING_POSE, {"data": {"keypoint_names": ["a"], "view_names": ["top", "side"]}}, r"views top, side .*one camera"),
        (LIGHTNING_POSE, {"data": {}}, "no configuration of lightning-pose: KeyError"),
        (SLEAP_NN, {"model_config": {"head_configs": {"single_instance": None, "bottomup": {}}}}, r"bottomup model .*one animal"),
        (SLEAP_NN, {"model_config": {"head_configs": {"single_instance": {}, "centroid": {}}}}, "centroid/single_instance model"),
        (SLEAP_NN, {"model": {}}, "no configuration of sleap-nn: KeyError"),
        (DEEPLABCUT, ["a"], "holds list, not a mapping"),
    ],
)
def test_a_model_of_another_kind_is_refused_before_anything_runs(tmp_path: Path, backend: Backend, content: Any, words: str) -> None:
    (tmp_path / backend.configs[0]).write_text(yaml.safe_dump(content))
    with pytest.raises(PoseModelError, match=words):
        keypoints(backend, tmp_path)


def test_a_model_is_found_by_its_folder_or_its_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("bodyparts: [nose, tail]\n")
    for path in (tmp_path, tmp_path / "config.yaml"):
        assert keypoints(DEEPLABCUT, path) == ("nose", "tail")
    with pytest.raises(PoseModelError, match=r"no folder with training_config.yaml or training_config.json"):
        keypoints(SLEAP_NN, tmp_path)
    (tmp_path / "config.yaml").write_text("{")
    with pytest.raises(PoseModelError, match=r"config\.yaml cannot be read"):
        keypoints(DEEPLABCUT, tmp_path)


def test_a_table_of_deeplabcut_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADS + "0,1.5,2.5,0.9\n1,,,\n2,3,4,1.02\n")
    found = read_csv(path)
    assert found.keypoints == ("nose",)
    np.testing.assert_array_equal(found.of("nose"), [[1.5, 2.5], [np.nan, np.nan], [3, 4]])
    np.testing.assert_array_equal(found.likelihood[:, 0], [0.9, 0, 1])


def test_a_table_as_the_packages_themselves_write_it_is_read(tmp_path: Path) -> None:
    names = ["scorer", "bodyparts", "coords"]
    columns = pd.MultiIndex.from_product([["net"], ["nose", "tail"], ["x", "y", "likelihood"]], names=names)
    values = np.random.default_rng(0).uniform(0, 1, (20, 6))
    pd.DataFrame(values, columns=columns).to_csv(tmp_path / "a.csv")
    found = read_csv(tmp_path / "a.csv")
    assert found.keypoints == ("nose", "tail")
    np.testing.assert_allclose(found.table().to_numpy(), values, rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no pose"),
        ("frame,x,y\n0,1,2\n", "is no pose: its first rows are frame, 0"),
        ("scorer,net,net\nindividuals,one,two\nbodyparts,nose,nose\ncoords,x,x\n", r"a pose of the animals one, two .*one animal"),
        (HEADS.replace("likelihood", "z") + "0,1,2,3\n", "is no pose"),
        (HEADS + "0,1,2\n", "names 3 columns and has 2"),
        (HEADS + "0,1,2,nose\n", "is no pose: could not convert"),
        (HEADS + "0,1,2,90\n", "likelihoods from 90 to 90"),
        (HEADS + "0,1,2,-1\n", "likelihoods from -1 to -1"),
    ],
)
def test_a_table_of_something_else_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(PoseError, match=words):
        read_csv(tmp_path / "a.csv")


def test_one_table_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(PoseError, match=r"run\.py left no CSV"):
        pose_elsewhere.only_csv(tmp_path, "run.py")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).touch()
    with pytest.raises(RanvierError, match=r"left a\.csv, b\.csv"):
        pose_elsewhere.only_csv(tmp_path, "run.py")


def test_a_script_that_fails_in_silence_is_told_by_its_exit_code(tmp_path: Path) -> None:
    job = Job(tmp_path, "left", {}, {}, [], {}, {}, Path(tempfile.mkdtemp(dir=tmp_path)), tmp_path)
    with pytest.raises(PoseError, match="false ended with exit code 1: it said nothing"):
        pose_elsewhere.run_script(["/bin/false"], job)


def test_what_points_at_a_line_is_none_of_the_last_words(tmp_path: Path) -> None:
    job = Job(tmp_path, "left", {}, {}, [], {}, {}, Path(tempfile.mkdtemp(dir=tmp_path)), tmp_path)
    with pytest.raises(PoseError, match=r"exit code 1: open\(path\) \| FileNotFoundError: best\.ckpt \("):
        pose_elsewhere.run_script(["/bin/sh", "-c", "echo 'open(path)'; echo '  ^^~~~^'; echo 'FileNotFoundError: best.ckpt'; exit 1"], job)
