"""Train a pose model on the 90 labelled frames of Lightning Pose's mirror mouse: ``python training/mirror_mouse.py DATA TARGET.onnx``.

A mouse on a treadmill, seen from the side and, in a mirror, from below: 17 keypoints. Some frames are held out, in runs of neighbours, so
that none of them has its neighbour among those that are learned; on these the exported model is measured, through onnxruntime.
Needs ``torch`` and ``onnx`` beside ``ranvier[behaviour]``; a quarter of an hour of one core.
Data: https://github.com/paninski-lab/lightning-pose (MIT), ``data/mirror-mouse-example``; the frames are those of Warren et al. 2021.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from heatmap_network import Batch, HeatmapNetwork, export, train
from matplotlib.figure import Figure
from PIL import Image, ImageFilter

from ranvier.tasks.behaviour.pose_model import open_model

SIZE, CHANNELS, BATCH = 256, (16, 32, 64, 96), 8
#: Frames in a run of neighbours, which is learned or held out as a whole, and runs that are held out.
RUN, HELD_OUT = 5, 4
#: A keypoint counts as found within so many pixels of the video.
NEAR_PX = (5, 10, 20)
SEEN = 0.5


def read(data: Path) -> tuple[list[str], list[Image.Image], np.ndarray]:
    """Names of the keypoints; frames; keypoints in pixels of them, the middle of the first being 0, shape (n, n_keypoints, 2)."""
    table = pd.read_csv(data / "CollectedData.csv", header=[0, 1, 2], index_col=0)
    names = list(dict.fromkeys(table.columns.get_level_values(1)))
    frames = [Image.open(data / name).convert("L") for name in table.index]
    return names, frames, table.to_numpy(np.float32).reshape(len(table), len(names), 2)


def held_out(count: int, seed: int) -> np.ndarray:
    """Which frames are not learned, bool, shape (count,)."""
    runs = np.arange(count) // RUN
    return np.isin(runs, np.random.default_rng(seed).choice(runs[-1] + 1, HELD_OUT, replace=False))


def scaled(frame: Image.Image, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A frame and its keypoints in the model's size."""
    factor = SIZE / np.array(frame.size, np.float32)
    return np.asarray(frame.resize((SIZE, SIZE), Image.Resampling.BOX)), (points + 0.5) * factor - 0.5


def moved(frame: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A frame as another camera would have seen it: turned, nearer, shifted, lit otherwise, noisy, blurred."""
    angle, zoom = rng.uniform(-0.12, 0.12), rng.uniform(0.88, 1.12, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(zoom)
    middle = np.full(2, SIZE / 2)
    shift = middle - turn @ middle + rng.uniform(-0.06, 0.06, 2) * SIZE
    back = np.linalg.inv(turn)
    how = np.column_stack([back, -back @ shift]).ravel()
    picture = Image.fromarray(frame).transform((SIZE, SIZE), Image.Transform.AFFINE, tuple(how), Image.Resampling.BILINEAR)
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.0)))
    light = np.asarray(picture, np.float32) * rng.uniform(0.7, 1.3) + rng.uniform(-20, 20)
    noisy = light + rng.normal(0, rng.uniform(0, 8), light.shape)
    places = (points + 0.5) @ turn.T + shift - 0.5
    outside = ((places < 0) | (places > SIZE - 1)).any(axis=1)
    places[outside] = np.nan
    return np.clip(noisy, 0, 255).astype(np.uint8), places.astype(np.float32)


def batches(frames: list[Image.Image], points: np.ndarray, seed: int) -> Iterator[Batch]:
    """Frames to learn from, each time as another camera would have seen them."""
    rng = np.random.default_rng(seed)
    whole = [scaled(frame, where) for frame, where in zip(frames, points, strict=True)]
    while True:
        chosen = [moved(*whole[index], rng) for index in rng.choice(len(whole), BATCH, replace=False)]
        yield np.stack([frame for frame, _ in chosen]), np.stack([where for _, where in chosen])


def measure(path: Path, names: list[str], frames: list[Image.Image], points: np.ndarray) -> np.ndarray:
    """Print how far what is found is from the labels, in pixels of the video; return what was found, shape (n, n_keypoints, 3)."""
    model = open_model(path)
    found = model.predict(np.stack([scaled(frame, where)[0] for frame, where in zip(frames, points, strict=True)]))
    found[..., :2] = (found[..., :2] + 0.5) * (np.array(frames[0].size) / SIZE) - 0.5
    error, shown = np.linalg.norm(found[..., :2] - points, axis=2), np.isfinite(points[..., 0])
    likely = found[..., 2] >= SEEN
    print(f"{'':14} {'labels':>6} {'median px':>9} {'95 %':>6} {'seen':>6} {'of seen, median':>15}")
    for index, name in enumerate([*names, "all"]):
        one = slice(None) if name == "all" else slice(index, index + 1)
        here, sure = error[:, one][shown[:, one]], error[:, one][shown[:, one] & likely[:, one]]
        of_seen = f"{np.median(sure):15.1f}" if sure.size else f"{'-':>15}"
        part = sure.size / max(here.size, 1)
        print(f"{name:14} {here.size:6} {np.median(here):9.1f} {np.percentile(here, 95):6.1f} {part:6.2f} {of_seen}")
    print(", ".join(f"PCK within {px} px: {(error[shown] <= px).mean():.3f}" for px in NEAR_PX))
    print(f"seen though not labelled: {likely[~shown].mean():.2f} of {(~shown).sum()}")
    return found


def draw(path: Path, names: list[str], frames: list[Image.Image], points: np.ndarray, found: np.ndarray) -> None:
    """Some held-out frames with what was found (crosses), what was labelled (rings), and the way between."""
    figure = Figure(figsize=(16, 8), layout="constrained")
    for axes, index in zip(figure.subplots(2, 4).ravel(), np.linspace(0, len(frames) - 1, 8).astype(int), strict=True):
        axes.imshow(frames[index], cmap="gray")
        likely = found[index, :, 2] >= SEEN
        colours = np.linspace(0, 1, len(names))
        axes.scatter(*points[index].T, s=45, c=colours, cmap="tab20", vmin=0, vmax=1, marker="o", alpha=0.5)
        axes.scatter(*found[index, likely, :2].T, s=40, c=colours[likely], cmap="tab20", vmin=0, vmax=1, marker="x")
        for label, place in zip(points[index], found[index, :, :2], strict=True):
            axes.plot(*np.stack([label, place]).T, color="w", lw=0.6)
        axes.axis("off")
    figure.savefig(path, dpi=80)


def main() -> None:
    """Train, export, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="Folder with CollectedData.csv and labeled-data.")
    parser.add_argument("target", type=Path, help="ONNX file to write, with its sidecar and a picture beside it.")
    parser.add_argument("--minutes", type=float, default=15, help="CPU time of the training.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure-only", action="store_true", help="Measure the model that is there.")
    wanted = parser.parse_args()
    names, frames, points = read(wanted.data)
    out = held_out(len(frames), wanted.seed)
    kept, spared = ([frame for frame, one in zip(frames, which, strict=True) if one] for which in (~out, out))
    print(f"{len(kept)} frames to learn from, {len(spared)} held out: {', '.join(map(str, np.flatnonzero(out)))}")
    if not wanted.measure_only:
        torch.set_num_threads(1)
        torch.manual_seed(wanted.seed)
        network = HeatmapNetwork(len(names), CHANNELS, placed=SIZE)
        network = train(network, batches(kept, points[~out], wanted.seed), wanted.minutes)
        export(network, wanted.target, SIZE, names, about=f"mirror mouse, by training/mirror_mouse.py, seed {wanted.seed}")
    print(f"{wanted.target}: {wanted.target.stat().st_size / 1e3:.0f} kB")
    found = measure(wanted.target, names, spared, points[out])
    draw(wanted.target.with_suffix(".png"), names, spared, points[out], found)


if __name__ == "__main__":
    main()
