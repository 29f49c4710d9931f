"""Train the pose model that Ranvier ships: ``python training/mouse_face.py --help``.

A small fully convolutional network learns, from frames of the simulated mouse alone, one heatmap a keypoint. It is written as
``mouse_face.onnx`` with its sidecar ``mouse_face.json``, and measured through onnxruntime on frames of mice that it has not seen.
Needs ``torch`` and ``onnx`` beside ``ranvier[behaviour]``; ten minutes of one core.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from heatmap_network import Batch, HeatmapNetwork, export, train
from PIL import Image, ImageFilter

from ranvier.simulate.face import HEIGHT, KEYPOINTS, OUT, WIDTH, Motion, draw, keypoints, make_look
from ranvier.tasks.behaviour.pose_model import open_model

SIZE = 128  #: pixels of the input
FRAMES_A_MOUSE = 8
TARGET = Path(__file__).parents[1] / "tasks/behaviour/models/mouse_face.onnx"


def random_motion(count: int, rng: np.random.Generator) -> Motion:
    """Wider movements than the simulated sessions have."""
    cycles = rng.uniform(0, 2 * np.pi, (2, count))
    paws = [np.column_stack([far * np.sin(cycle), -4 * np.cos(cycle)]) for far, cycle in zip((13, 20), cycles, strict=True)]
    return Motion(
        nose=rng.normal(0, 1.5, (count, 2)),
        gaze=rng.normal(0, (2.0, 1.2), (count, 2)),
        paw_l=paws[0] + rng.normal(0, 3, (count, 2)),
        paw_r=paws[1] + rng.normal(0, 3, (count, 2)),
        pupil_diameter=rng.uniform(7, 20, count),
        tongue=np.where(rng.random(count) < 0.5, rng.uniform(0, 1, count), 0.0),
        licks=np.zeros(0),
    )


def spoil(image: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """What cameras and codecs do to a frame: light, noise, blur, compression."""
    lit = (image - 128) * rng.uniform(0.75, 1.25) + 128 + rng.uniform(-25, 25) + rng.normal(0, rng.uniform(0, 6), image.shape)
    picture = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.0)))
    if rng.random() < 0.7:
        packed = io.BytesIO()
        picture.save(packed, "jpeg", quality=int(rng.integers(15, 85)))
        picture = Image.open(packed)
    return picture


def make_frames(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames, uint8, shape (count, SIZE, SIZE), and their keypoints in pixels of these, shape (count, n_keypoints, 2)."""
    rng = np.random.default_rng(seed)
    frames = np.empty((count, SIZE, SIZE), np.uint8)
    points = np.empty((count, len(KEYPOINTS), 2), np.float32)
    for first in range(0, count, FRAMES_A_MOUSE):
        look = make_look(rng, mirrored=bool(rng.integers(2)))
        motion = random_motion(min(FRAMES_A_MOUSE, count - first), rng)
        points[first : first + len(motion)] = keypoints(look, motion)
        for index in range(len(motion)):
            picture = spoil(draw(look, motion, index), rng)
            frames[first + index] = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BOX))
    return frames, (points + 0.5) * (SIZE / np.array([WIDTH, HEIGHT])) - 0.5


def shuffled(frames: np.ndarray, points: np.ndarray, seed: int, batch: int = 32) -> Iterator[Batch]:
    """All frames in batches, again and again, each time in another order."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(frames))
        for first in range(0, len(frames) - batch + 1, batch):
            chosen = np.sort(order[first : first + batch])
            yield frames[chosen], points[chosen]


def measure(path: Path, count: int, seed: int) -> None:
    """Errors on frames of other mice, in pixels of the 160 x 128 frame, and how well hidden keypoints are told from shown ones."""
    frames, points = make_frames(count, seed)
    found = open_model(path).predict(frames)
    scale = np.array([WIDTH, HEIGHT]) / SIZE
    error = np.linalg.norm((found[..., :2] - points) * scale, axis=2)
    shown = ~np.isnan(points[..., 0])
    print(f"\n{count} frames of {-(-count // FRAMES_A_MOUSE)} mice; the tongue is shown from {OUT} of its length on")
    print(f"{'':16} {'median px':>9} {'95 %':>6} {'seen':>6} {'seen though hidden':>19}")
    for index, name in enumerate(KEYPOINTS):
        here, likely = shown[:, index], found[:, index, 2] > 0.5
        hidden = f"{likely[~here].mean():19.3f}" if (~here).any() else ""
        middle, most = np.percentile(error[here, index], (50, 95))
        print(f"{name:16} {middle:9.2f} {most:6.2f} {likely[here].mean():6.3f} {hidden}")
    print(f"{'all':16} {np.median(error[shown]):9.2f} {np.percentile(error[shown], 95):6.2f}")


def main() -> None:
    """Make frames, train, export, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=12_000)
    parser.add_argument("--minutes", type=float, default=4.5, help="CPU time of the training; making the frames takes about one more.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--measure-only", action="store_true", help="Measure the model that is there.")
    parser.add_argument("--target", type=Path, default=TARGET)
    wanted = parser.parse_args()
    if not wanted.measure_only:
        torch.set_num_threads(1)
        frames, points = make_frames(wanted.frames, wanted.seed)
        torch.manual_seed(wanted.seed)
        network = train(HeatmapNetwork(len(KEYPOINTS)), shuffled(frames, points, wanted.seed), wanted.minutes)
        about = f"trained on simulated mice by training/mouse_face.py, seed {wanted.seed}: for trying out, not for real mice"
        export(network, wanted.target, SIZE, KEYPOINTS, synthetic=True, about=about)
    print(f"{wanted.target}: {wanted.target.stat().st_size / 1e3:.0f} kB")
    measure(wanted.target, wanted.held_out, wanted.seed + 1_000_000)


if __name__ == "__main__":
    main()
