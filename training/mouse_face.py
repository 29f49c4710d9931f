"""Train the pose model that Ranvier ships: ``python training/mouse_face.py --help``.

A small fully convolutional network learns, from frames of the simulated mouse alone, one heatmap a keypoint. It is written as
``mouse_face.onnx`` with its sidecar ``mouse_face.json``, and measured through onnxruntime on frames of mice that it has not seen.
Needs ``torch`` and ``onnx`` beside ``ranvier[behaviour]``; ten minutes of one core.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from ranvier.simulate.face import HEIGHT, KEYPOINTS, OUT, WIDTH, Motion, draw, keypoints, make_look
from ranvier.tasks.behaviour.pose_model import open_model

SIZE, STRIDE, SIGMA = 128, 4, 1.25  #: pixels of the input, pixels of a cell of the heatmaps, cells
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


class Block(nn.Module):
    """A convolution with a way around it."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = conv(channels, channels, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolution finds."""
        return x + self.conv(x)


def conv(before: int, after: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Three by three, normalised, rectified."""
    layer = nn.Conv2d(before, after, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class MouseFace(nn.Module):
    """From frames, uint8, shape (n, 1, 128, 128), to heatmaps, shape (n, n_keypoints, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(conv(1, 12, stride=2), conv(12, 24, stride=2), Block(24))
        self.middle = nn.Sequential(conv(24, 48, stride=2), Block(48), Block(48, dilation=2))
        self.coarse = nn.Sequential(conv(48, 64, stride=2), Block(64), Block(64, dilation=2))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.from_coarse, self.from_middle = nn.Conv2d(64, 48, 1), nn.Conv2d(48, 24, 1)
        self.join_middle, self.join_fine = Block(48), Block(24)
        self.head = nn.Conv2d(24, len(KEYPOINTS), 1)

    def forward(self, frames: Tensor) -> Tensor:
        """One heatmap a keypoint: 1 where it is, 0 where it is not."""
        fine = self.fine(frames.float() / 64 - 2)
        middle = self.middle(fine)
        middle = self.join_middle(middle + self.up(self.from_coarse(self.coarse(middle))))
        return self.head(self.join_fine(fine + self.up(self.from_middle(middle))))


def heatmaps(points: Tensor) -> Tensor:
    """A Gaussian around each keypoint, empty for those that are not to be seen; shape (n, n_keypoints, 32, 32)."""
    cells = torch.arange(SIZE // STRIDE)
    centres = (points + 0.5) / STRIDE - 0.5
    x, y = (torch.exp(-((cells - centres[..., axis, None]) ** 2) / (2 * SIGMA**2)) for axis in (0, 1))
    return torch.nan_to_num(y[..., :, None] * x[..., None, :])


def train(frames: np.ndarray, points: np.ndarray, minutes: float, seed: int) -> MouseFace:
    """Learn for so many minutes of CPU time; the rate falls to nothing at their end."""
    torch.manual_seed(seed)
    rng, batch = np.random.default_rng(seed), 32
    network = MouseFace().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-4)
    began, step, spent = time.process_time(), 0, 0.0
    while spent < 1:
        order = rng.permutation(len(frames))
        for first in range(0, len(frames) - batch + 1, batch):
            spent = (time.process_time() - began) / (60 * minutes)
            if spent >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = 3e-3 * min(1.0, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * spent))
            chosen = np.sort(order[first : first + batch])
            wanted = heatmaps(torch.from_numpy(points[chosen]))
            found = network(torch.from_numpy(frames[chosen, None]))
            loss = ((found - wanted) ** 2 * (1 + 20 * wanted)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            if step % 100 == 0:
                print(f"step {step}, {60 * minutes * spent:.0f} s: loss {loss.item():.5f}", flush=True)
    return network.eval()


def export(network: MouseFace, path: Path, seed: int) -> None:
    """Write the ONNX file and its sidecar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros((1, 1, SIZE, SIZE), dtype=torch.uint8)
    names = dict(input_names=["frames"], output_names=["heatmaps"])
    axes = {"frames": {0: "n"}, "heatmaps": {0: "n"}}
    torch.onnx.export(network, (example,), str(path), **names, dynamic_axes=axes, opset_version=17, dynamo=False)
    about = f"trained on simulated mice by training/mouse_face.py, seed {seed}: for trying out, not for real mice"
    sidecar = {"keypoints": KEYPOINTS, "output": "heatmap", "synthetic": True, "about": about}
    path.with_suffix(".json").write_text(json.dumps(sidecar, indent=1) + "\n")


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
        network = train(frames, points, wanted.minutes, wanted.seed)
        export(network, wanted.target, wanted.seed)
    print(f"{wanted.target}: {wanted.target.stat().st_size / 1e3:.0f} kB")
    measure(wanted.target, wanted.held_out, wanted.seed + 1_000_000)


if __name__ == "__main__":
    main()
