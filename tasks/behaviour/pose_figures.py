"""Figures of the pose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.behaviour.behaviour_figures import MAX_POINTS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ranvier.tasks.behaviour.motion_energy import Box
    from ranvier.tasks.behaviour.pose import Pose
    from ranvier.tasks.behaviour.pose_qc import Found

COLUMNS, PART_S = 4, 30.0
TITLES = {
    "pupilDiameter_raw": "pupil (px)",
    "pawSpeed_l": "paw_l (px/s)",
    "pawSpeed_r": "paw_r (px/s)",
    "nose_x": "nose x (px)",
    "nose_y": "nose y (px)",
}


def contact_sheet(shown: list[tuple[int, np.ndarray]], seen: Pose, title: str) -> Figure:
    """Frames in rows of four, with the keypoints that are seen."""
    rows = -(-len(shown) // COLUMNS)
    height, width = shown[0][1].shape
    figure = new_figure(figsize=(12, rows * (12 / COLUMNS * height / width + 0.25) + 0.8), layout="constrained")
    figure.suptitle(title)
    for axes, (number, image) in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, shown, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        for index, name in enumerate(seen.keypoints):
            axes.plot(*seen.xy[number, index], "o", ms=4, mfc="none", color=_colour(index), label=name)
        axes.set_title(f"frame {number}", fontsize=8)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize=8)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def quality(whole: Pose, seen: Pose, times: np.ndarray, found: Found, title: str) -> Figure:
    """Likelihood of every keypoint in time, courses, and the parts of the frames that are bad."""
    figure = new_figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplot_mosaic([["likelihood", "bad"], ["x", "x"], ["y", "y"]], width_ratios=[2.2, 1], height_ratios=[1.2, 1, 1])
    at = _frame_times(times, len(whole))
    span = (float(at[0]), float(at[-1]), len(whole.keypoints) - 0.5, -0.5)
    shown: dict[str, Any] = dict(aspect="auto", vmin=0, vmax=1, interpolation="nearest")
    image = axes["likelihood"].imshow(_binned(whole.likelihood).T, extent=span, **shown)
    axes["likelihood"].set_yticks(range(len(whole.keypoints)), whole.keypoints, fontsize=8)
    axes["likelihood"].set_title(f"{title}: likelihood", fontsize=10)
    figure.colorbar(image, ax=axes["likelihood"])
    at_rows = np.arange(len(whole.keypoints))
    for offset, name in zip((-0.27, 0, 0.27), ("missing", "jumps", "outside"), strict=True):
        axes["bad"].barh(at_rows + offset, 100 * getattr(found, name), height=0.27, label=name)
    axes["bad"].set_yticks(at_rows, whole.keypoints, fontsize=8)
    axes["bad"].invert_yaxis()
    axes["bad"].set(xlabel="% of frames", xlim=(0, 100))
    axes["bad"].legend(fontsize=8)
    step = max(1, len(whole) // MAX_POINTS)
    for axis, name in enumerate("xy"):
        for index, keypoint in enumerate(seen.keypoints):
            axes[name].plot(at[::step], seen.xy[::step, index, axis], lw=0.7, color=_colour(index), label=keypoint)
        axes[name].set(ylabel=f"{name} (px)", xlim=(at[0], at[-1]))
    axes["y"].set(xlabel="time (s)")
    axes["y"].invert_yaxis()
    return figure


def features(times: np.ndarray, found: dict[str, np.ndarray], licks: np.ndarray | None, title: str) -> Figure:
    """Each feature over the session, and half a minute of it from the middle."""
    rows = [name for name in TITLES if name in found] + ["licks"] * (licks is not None)
    figure = new_figure(figsize=(12, 1.3 * len(rows) + 1), layout="constrained")
    figure.suptitle(title)
    begin = max(float(times[0]), float(times[times.size // 2]) - PART_S / 2)
    grid = figure.subplots(len(rows), 2, squeeze=False, sharex="col", width_ratios=[1.2, 1])
    for (whole, part), name in zip(grid, rows, strict=True):
        for axes in (whole, part):
            if name == "licks" and licks is not None:
                axes.vlines(licks, 0, 1, lw=0.8, color="tab:red")
                axes.set(ylim=(0, 1), yticks=[])
            else:
                _trace(axes, times, found, name)
        whole.set_ylabel(TITLES.get(name, name), fontsize=8)
    grid[-1][0].set(xlabel="time (s)", xlim=(times[0], times[-1]))
    grid[-1][1].set(xlabel="time (s)", xlim=(begin, min(begin + PART_S, float(times[-1]))))
    return figure


def energy(image: np.ndarray, boxes: dict[str, Box], times: np.ndarray, found: dict[str, np.ndarray]) -> Figure:
    """The regions on a frame, and their courses."""
    figure = new_figure(figsize=(12, 1.5 * len(found) + 1.5), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=[1, 2])
    picture, traces = halves
    axes = picture.subplots()
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    for index, (name, (x, y, width, height)) in enumerate(boxes.items()):
        axes.plot(np.array([x, x + width, x + width, x, x]), np.array([y, y, y + height, y + height, y]), color=_colour(index), label=name)
    axes.set_axis_off()
    if boxes:
        axes.legend(fontsize=8)
    at = _frame_times(times, len(next(iter(found.values()))))
    step = max(1, at.size // MAX_POINTS)
    rows = traces.subplots(len(found), 1, sharex=True, squeeze=False)
    for index, (each, (name, values)) in enumerate(zip(rows.flat, found.items(), strict=True)):
        each.plot(at[::step], values[::step], lw=0.6, color=_colour(index))
        each.set_ylabel(name, fontsize=8)
    figure.axes[-1].set(xlabel="time (s)", xlim=(at[0], at[-1]))
    return figure


def _trace(axes: Axes, times: np.ndarray, found: dict[str, np.ndarray], name: str) -> None:
    step = max(1, times.size // MAX_POINTS)
    smoothed = found.get(name.replace("_raw", "_smooth"))
    axes.plot(times[::step], found[name][::step], lw=0.6, color="0.6" if name.endswith("_raw") else "0.2")
    if name.endswith("_raw") and smoothed is not None:
        axes.plot(times[::step], smoothed[::step], lw=1, color="tab:blue")


def _frame_times(times: np.ndarray, n_frames: int) -> np.ndarray:
    """A time for each frame, shape (n_frames,), also where there are more or fewer times than frames."""
    return times[np.linspace(0, times.size - 1, n_frames).astype(int)]


def _binned(values: np.ndarray, most: int = 1000) -> np.ndarray:
    """Means of neighbouring rows, so that so many are left at most."""
    step = -(-len(values) // most)
    return np.array([values[first : first + step].mean(axis=0) for first in range(0, len(values), step)])


def _colour(index: int) -> tuple[float, ...]:
    """The ten usual colours, then their light ones."""
    from matplotlib import colormaps

    shade: tuple[float, ...] = colormaps["tab20"](2 * (index % 10) + index // 10 % 2)
    return shade
