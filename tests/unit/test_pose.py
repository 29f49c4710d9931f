"""Pose models of each kind and what is wrong with them; poses, their faults, and what is made from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from ranvier.simulate.face import HEIGHT, KEYPOINTS, WIDTH, draw, keypoints, make_look, make_motion
from ranvier.simulate.mouse import make_behaviour
from ranvier.tasks.behaviour import motion_energy, pose, pose_estimation, pose_features, pose_model, pose_qc, video
from ranvier.tasks.behaviour.pose import Pose, PoseError
from ranvier.tasks.behaviour.pose_model import open_model
from ranvier.tasks.behaviour.pose_sidecar import PoseModelError
from ranvier.tasks.behaviour.video import Video

UINT8, FLOAT, FLOAT16 = 2, 1, 10
Shape = Sequence[int | str]


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def entry(number: int, value: int | str | bytes) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def onnx_file(path: Path, operator: str, given: Shape, made: Shape, *, kind: int = FLOAT, times: int = 1, **axes: int) -> Path:
    """A model of one node, which gets its only input `times` times; its format is that of https://onnx.ai/onnx/repo-docs/IR.html."""

    def described(name: str, shape: Shape) -> bytes:
        dims = b"".join(entry(1, entry(1 if isinstance(axis, int) else 2, axis)) for axis in shape)
        return entry(1, name) + entry(2, entry(1, entry(1, kind) + entry(2, dims)))

    node = entry(1, "x") * times + entry(2, "y") + entry(4, operator)
    for name, value in axes.items():
        one = name == "axis"
        node += entry(5, entry(1, name) + entry(3 if one else 8, value) + entry(20, 2 if one else 7))
    graph = entry(1, node) + entry(2, "graph") + entry(11, described("x", given)) + entry(12, described("y", made))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(entry(1, 8) + entry(7, graph) + entry(8, entry(1, "") + entry(2, 11)))
    return path


def with_sidecar(path: Path, **content: Any) -> Path:
    path.with_suffix(".json").write_text(json.dumps(content))
    return path


def copies(path: Path, count: int = 1, kind: int = FLOAT) -> Path:
    """A model whose maps are the picture itself, `count` times."""
    return onnx_file(path, "Concat", ["n", 1, 32, 40], ["n", count, 32, 40], kind=kind, times=count, axis=1)


def bump(x: float, y: float, sigma: float = 1.5) -> np.ndarray:
    row, column = np.mgrid[:32, :40]
    return np.round(255 * np.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * sigma**2))).astype(np.uint8)


@pytest.mark.parametrize("kind", [FLOAT, FLOAT16])
def test_a_heatmap_is_read_to_a_part_of_a_cell(tmp_path: Path, kind: int) -> None:
    model = open_model(with_sidecar(copies(tmp_path / "m.onnx", 2, kind), keypoints=["a", "b"]))
    truth = np.array([[10.3, 5.8], [30.0, 20.4], [0.0, 31.0]])
    found = model.predict(np.stack([bump(*place) for place in truth]))
    assert found.shape == (3, 2, 3)
    np.testing.assert_allclose(found[:2, 1, :2], truth[:2], atol=0.05)
    np.testing.assert_allclose(found[2, 0, :2], truth[2], atol=0.5)
    assert (found[:2, :, 2] > 0.9).all()
    assert model.predict(np.zeros((0, 32, 40), np.uint8)).shape == (0, 2, 3)


def test_peaks_of_a_model_are_taken_as_they_are_and_batches_of_one_size_are_filled_up(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "m.onnx", "Squeeze", [4, 1, 2, 3], [4, 2, 3], axes=1)
    model = open_model(with_sidecar(path, keypoints=["a", "b"], output="peaks", scale=1))
    given = np.arange(36, dtype=np.uint8).reshape(6, 2, 3)
    np.testing.assert_array_equal(model.predict(given), given)


def test_a_mask_has_four_keypoints(tmp_path: Path) -> None:
    row, column = np.mgrid[:32, :40]
    disc = (255 * (np.hypot((column - 20) / 9, (row - 14) / 6) <= 1)).astype(np.uint8)
    model = open_model(with_sidecar(copies(tmp_path / "m.onnx"), keypoints=["top", "right", "bottom", "left"], output="mask"))
    found = model.predict(np.stack([disc, np.zeros_like(disc)]))
    np.testing.assert_allclose(found[0, :, :2], [[20, 8], [29, 14], [20, 20], [11, 14]], atol=0.2)
    assert (found[0, :, 2].min(), found[1, :, 2].max()) == (1, 0)


def test_what_lightning_pose_exports_is_read_as_it_is(tmp_path: Path) -> None:
    data = {"keypoint_names": ["nose", "ear", "tail"], "image_resize_dims": {"height": 32, "width": 40}}
    path = onnx_file(tmp_path / "run/exports_onnx/m_fp16.onnx", "Identity", ["n", 3, 32, 40], ["n", 3, 32, 40], kind=FLOAT16)
    config = tmp_path / "run/config.yaml"
    config.write_text(yaml.safe_dump({"data": data, "model": {"model_type": "heatmap"}}))
    model = open_model(path)
    assert model.sidecar.keypoints == ("nose", "ear", "tail")
    normalised = model.prepared(np.full((1, 32, 40), 255, np.uint8))[0, :, 0, 0]
    np.testing.assert_allclose(normalised, [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], rtol=1e-3)
    config.write_text(yaml.safe_dump({"data": data | {"view_names": ["top", "side"]}, "model": {"model_type": "heatmap"}}))
    with pytest.raises(PoseModelError, match=r"views top, side.*one animal seen by one camera"):
        open_model(path)


@pytest.mark.parametrize(("centred", "expected"), [(True, [25.5, 20.5]), (False, [25, 20])])
def test_places_in_a_smaller_input_become_those_in_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, centred: bool, expected: list[float]
) -> None:
    model = open_model(with_sidecar(copies(tmp_path / "m.onnx"), keypoints=["a"], cells_centred=centred))
    monkeypatch.setattr(video, "scaled_frames", lambda *_: iter([bump(12.5, 10, sigma=5)]))
    filmed = Video(Path("left.mp4"), "h264", width=80, height=64, rate=60, n_frames=1, seekable=np.zeros(1, int))
    np.testing.assert_allclose(pose_estimation.estimate(filmed, model, lambda *_: None)[0, 0, :2], expected, atol=0.1)


def test_a_distribution_s_likelihood_is_what_is_near_its_summit(tmp_path: Path) -> None:
    model = open_model(with_sidecar(copies(tmp_path / "m.onnx"), keypoints=["a"], sums_to_one=True, scale=1 / (255 * 2 * np.pi * 1.5**2)))
    near, far = model.predict(np.stack([bump(12, 12), bump(12, 12) // 2]))[:, 0, 2]
    assert 0.7 < near < 1
    assert far == pytest.approx(near / 2, abs=0.02)


def test_what_sleap_nn_exports_is_read_as_it_is(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "model.onnx", "Squeeze", ["n", 1, "height", "width"], ["n", "height", "width"], axes=1)
    metadata = tmp_path / "export_metadata.json"
    metadata.write_text(json.dumps({"model_type": "single_instance", "node_names": ["nose", "tail"], "sleap_nn_version": "0.3.5"}))
    model = open_model(path, size=(2, 3))
    assert (model.sidecar.output, model.sidecar.keypoints, model.height, model.width) == ("peaks", ("nose", "tail"), 2, 3)
    metadata.write_text(json.dumps({"model_type": "bottomup", "node_names": ["nose", "tail"]}))
    with pytest.raises(PoseModelError, match=r"bottomup model.*several.*one animal seen by one camera"):
        open_model(path, size=(2, 3))


def no_onnx(path: Path) -> Path:
    path.write_bytes(b"\x80\x02 a checkpoint of something else" * 20)
    return path


@pytest.mark.parametrize(
    ("make", "sidecar", "words"),
    [
        (lambda path: path, None, "m.onnx is not there"),
        (copies, None, r"no sidecar .* m\.json is not there"),
        (no_onnx, dict(keypoints=["a"]), "cannot be read as an ONNX model"),
        (copies, dict(keypoints=["a", "b"]), "has 1 keypoints, but m.json names 2: a, b"),
        (copies, dict(keypoints=["a"], output="mask"), "has 4 keypoints, but m.json names 1: a .*top, right, bottom, left"),
        (copies, dict(keypoints=["a"], output="vector"), "output 'vector' is unknown .*heatmap, peaks, mask"),
        (copies, dict(keypoints=["a", "a"]), "different names"),
        (copies, dict(keypoint=["a"]), "has keypoint, which is unknown"),
        (copies, dict(output="mask"), "m.json is no sidecar .*keypoints"),
        (copies, dict(keypoints=["a"], output="peaks"), "peaks of several animals .*one animal"),
        (lambda path: onnx_file(path, "Squeeze", ["n", 1, 32, 40], ["n", 32, 40], axes=1), dict(keypoints=["a"]), "gives .* a heatmap"),
        (lambda path: onnx_file(path, "Identity", ["n", 2, 1, 8, 8], ["n", 2, 1, 8, 8]), dict(keypoints=["a"]), "several views or frames"),
        (lambda path: onnx_file(path, "Identity", ["n", 8, 8, 3], ["n", 8, 8, 3]), dict(keypoints=["a"]), "one or three channels"),
        (lambda path: onnx_file(path, "Identity", ["n", 1, 8, 8], ["n", 1, 8, 8], kind=6), dict(keypoints=["a"]), "takes tensor.int32"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(
    tmp_path: Path, make: Callable[[Path], Path], sidecar: dict[str, Any] | None, words: str
) -> None:
    path = make(tmp_path / "m.onnx")
    if sidecar is not None:
        with_sidecar(path, **sidecar)
    with pytest.raises(PoseModelError, match=words):
        open_model(path)


def test_a_sidecar_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = copies(tmp_path / "m.onnx")
    path.with_suffix(".json").write_text('{"keypoints": [')
    with pytest.raises(PoseModelError, match=r"m\.json is no sidecar"):
        open_model(path)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_shipped_model_finds_the_keypoints_of_mice_it_has_not_seen(mirrored: bool) -> None:
    from PIL import Image

    rng, did, errors, model = np.random.default_rng(4_000_001), make_behaviour(30, 0), [], open_model(pose_model.SHIPPED)
    assert pose_model.SHIPPED.stat().st_size < 1_000_000
    assert model.sidecar.synthetic
    assert model.sidecar.keypoints == KEYPOINTS
    times = np.arange(2, 28, 0.9)
    for _ in range(4):
        look, motion = make_look(rng, mirrored=mirrored), make_motion(times, did, rng)
        frames = [
            np.clip(draw(look, motion, frame) + rng.normal(0, 2, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8) for frame in range(times.size)
        ]
        small = np.stack([np.asarray(Image.fromarray(frame).resize((model.width, model.height), Image.Resampling.BOX)) for frame in frames])
        found, truth = model.predict(small), keypoints(look, motion)
        places = (found[..., :2] + 0.5) * [WIDTH / model.width, HEIGHT / model.height] - 0.5
        seen = np.isfinite(truth[..., 0])
        assert ((found[..., 2] >= pose.SEEN) == seen).mean() > 0.97
        errors.append(np.linalg.norm(places - truth, axis=2)[seen])
    assert np.median(np.concatenate(errors)) < 1.0


def walk(n: int = 400, seed: int = 0) -> Pose:
    """Paws on their courses, each with all the likelihood there is."""
    at = np.arange(n)
    left, right = np.column_stack([60 + 10 * np.sin(at / 20), 90 + 0 * at]), np.column_stack([100 + 10 * np.sin(at / 25), 92 + 0 * at])
    return Pose(
        ("paw_l", "paw_r"), np.stack([left, right], axis=1) + np.random.default_rng(seed).normal(0, 0.2, (n, 2, 2)), np.ones((n, 2))
    )


def test_a_pose_is_written_and_read_again(tmp_path: Path) -> None:
    made = walk(20)
    made.table().to_parquet(tmp_path / "a.pqt")
    found = pose.read(tmp_path / "a.pqt")
    assert found.keypoints == made.keypoints
    np.testing.assert_allclose(found.xy, made.xy, atol=1e-4)
    made.table().drop(columns="paw_r_y").to_parquet(tmp_path / "b.pqt")
    with pytest.raises(PoseError, match=r"b\.pqt is no pose: it lacks paw_r_y"):
        pose.read(tmp_path / "b.pqt")
    pd.DataFrame({"x": [1.0]}).to_parquet(tmp_path / "c.pqt")
    with pytest.raises(PoseError, match=r"c\.pqt is no pose: it has the columns x"):
        pose.read(tmp_path / "c.pqt")


def test_keypoints_may_be_called_otherwise() -> None:
    seen = Pose(("snout", "b"), np.zeros((3, 2, 2)), np.ones((3, 2)))
    assert seen.called({"nose_tip": "snout"}).keypoints == ("nose_tip", "b")
    assert seen.called({}).keypoints == ("snout", "b")
    with pytest.raises(PoseError, match=r"no keypoint c \(it has snout, b; mend `names`"):
        seen.called({"nose_tip": "c"})


def test_each_fault_of_a_pose_is_found_and_nothing_in_a_good_one() -> None:
    good = walk()
    clean = pose_qc.examine(good, good.seen(0.5), 160, 128)
    assert (clean.missing.sum(), clean.jumps.sum(), clean.outside.sum(), clean.swaps) == (0, 0, 0, {"paw_l/paw_r": 0.0})
    bad = walk()
    bad.likelihood[:100, 0] = 0.1
    bad.xy[200, 1] = (10, 10)
    bad.xy[300:320, 1] = (170, 92)
    found = pose_qc.examine(bad, bad.seen(0.5), 160, 128)
    np.testing.assert_allclose(found.missing, [0.25, 0])
    np.testing.assert_allclose(found.jumps, [0, 4 / 399])
    np.testing.assert_allclose(found.outside, [0, 20 / 400])
    swapped = walk()
    swapped.xy[150:250] = swapped.xy[150:250, ::-1]
    assert pose_qc.examine(swapped, swapped.seen(0.5), 160, 128).swaps == {"paw_l/paw_r": 2 / 399}


def test_smoothing_bridges_short_gaps_only() -> None:
    rng, rate = np.random.default_rng(1), 60.0
    truth = np.sin(np.arange(600) / 40)
    values = truth + rng.normal(0, 0.1, truth.size)
    values[100:104] = values[300:360] = np.nan
    found = pose.smooth(values, rate, 0.5, 0.1)
    assert np.isfinite(found[100:104]).all()
    assert np.isnan(found[300:360]).all()
    known = np.isfinite(found)
    assert np.sqrt(np.mean((found - truth)[known] ** 2)) < 0.06
    assert np.isnan(pose.smooth(np.full(20, np.nan), rate, 0.5, 0.1)).all()


def test_a_pupil_has_a_diameter_as_long_as_two_of_its_points_are_seen() -> None:
    around = np.array([[50, 40], [55, 45], [50, 50], [45, 45]], float)
    points = np.repeat(around[None], 3, axis=0)
    points[1, :2] = points[2, 1:] = np.nan
    found = pose_features.pupil_diameter(Pose(pose_features.PUPIL, points, np.ones((3, 4))))
    np.testing.assert_allclose(found, [10, 10, np.nan])


def test_a_lick_is_a_tongue_that_comes_out() -> None:
    xy = np.full((10, 2, 2), np.nan)
    xy[[2, 3, 7], 0] = 1.0
    xy[[4, 9], 1] = 1.0
    np.testing.assert_array_equal(pose_features.lick_frames(Pose(pose_features.TONGUE, xy, np.ones((10, 2)))), [2, 7, 9])


def test_speed_is_in_pixels_a_second() -> None:
    course = np.column_stack([np.arange(100) * 0.5, np.full(100, 7.0)])
    np.testing.assert_allclose(pose_features.speed(course, 60.0), 30.0)


def test_regions_are_where_the_keypoints_are_and_stay_in_the_picture(tmp_path: Path) -> None:
    film = Video(tmp_path, "h264", 160, 128, 30.0, 3, np.zeros(1, int))
    names = (pose_features.NOSE, *pose_features.PUPIL, *pose_features.PAWS)
    places = np.array([[140, 70], [80, 36], [86, 40], [80, 44], [74, 40], [150, 120], [158, 126]], float)
    seen = Pose(names, np.repeat(places[None], 3, axis=0), np.ones((3, 7)))
    found = motion_energy.regions(seen, film)
    apart = np.hypot(60, 30)
    assert found["whiskerPad"] == (round(110 - apart / 4), 55, round(110 + apart / 4) - round(110 - apart / 4), round(55 + apart / 3) - 55)
    x, y, width, height = found["paws"]
    assert (x + width, y + height) == (160, 128)
    assert motion_energy.regions(seen.seen(2.0), film) == {}
