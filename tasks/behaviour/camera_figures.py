"""Figures of the cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ranvier.tasks.behaviour.behaviour_figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ranvier.tasks.behaviour.camera_qc import Sampled

COLUMNS = 4


def contact_sheet(looked: Sampled, times: np.ndarray, title: str) -> Figure:
    """Frames of the video in rows of four."""
    rows = -(-len(looked.pictures) // COLUMNS)
    height, width = looked.pictures[0][1].shape
    figure = new_figure(figsize=(10, rows * (10 / COLUMNS * height / width + 0.25) + 0.4), layout="constrained")
    figure.suptitle(title)
    for axes, (number, image) in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, looked.pictures, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(f"{times[min(number, times.size - 1)]:.1f} s", fontsize=8)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def quality(looked: Sampled, times: np.ndarray, title: str) -> Figure:
    """Brightness, focus and movement over time, and the intervals between frames."""
    from ranvier.tasks.behaviour.camera_qc import BRIGHT, SHARP

    figure = new_figure(figsize=(10, 5.5), layout="constrained")
    brightness, sharpness, change, gaps = figure.subplots(2, 2).flat
    at = times[np.minimum(looked.number, times.size - 1)]
    brightness.plot(at, looked.brightness, lw=0.8)
    for limit in BRIGHT:
        brightness.axhline(limit, color="tab:red", lw=0.8, ls="--")
    brightness.set(title=f"{title}: brightness", ylabel="mean grey value", ylim=(0, 255))
    sharpness.plot(at, looked.sharpness, lw=0.8)
    sharpness.axhline(SHARP, color="tab:red", lw=0.8, ls="--")
    sharpness.set(title="focus", ylabel="variance of the Laplacian", ylim=(0, None))
    change.plot(at, looked.change, lw=0.8)
    change.set(title="movement", xlabel="time (s)", ylabel="change between samples", ylim=(0, None))
    gaps.hist(1e3 * np.diff(times), bins=80, log=True)
    gaps.set(title="intervals between frames", xlabel="ms", ylabel="frames")
    return figure
