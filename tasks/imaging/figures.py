"""Figures of a field of view, for people: every axis has its unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.imaging.quality import FRAME_QC, NEUROPIL_PART

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ranvier.tasks.imaging.mpci_export import Regions
    from ranvier.tasks.imaging.quality import Quality

INK, ACCENT, WARN, PALE = "#22313f", "#1f77b4", "#d1495b", "#9aa5b1"
SHOWN_TRACES = 15
#: Points of time to draw, so that a long recording's figure stays quick.
MAX_POINTS = 4000


def mean_image(images: np.ndarray, regions: Regions, *, title: str) -> Figure:
    """Mean image of each plane, with outlines of the regions of interest.

    Parameters
    ----------
    images
        Mean of the registered frames, shape (n_planes, height, width).
    regions
        The regions.
    title
        Of the figure.
    """
    figure, axes = _figure(title, (5.6 * len(images), 5.4), 1, len(images))
    for plane, (axis, image) in enumerate(zip(axes, images, strict=True)):
        low, high = np.percentile(image, (1, 99.5))
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        for kind, colour, name in ((0, WARN, "not cells"), (1, "#ffd23f", "cells")):
            chosen = np.flatnonzero((regions.planes == plane) & (regions.arrays["mpciROITypes"] == kind))
            for region in chosen:
                _outline(axis, regions.stat[region]["ypix"], regions.stat[region]["xpix"], colour)
            axis.plot([], [], color=colour, label=f"{len(chosen)} {name}")
        axis.set(xlabel="x (px)", ylabel="y (px)", title=f"plane {plane}" if len(images) > 1 else "mean of the registered frames")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4, ncols=2, frameon=False)
    return figure


def traces(times: np.ndarray, regions: Regions, rois: pd.DataFrame, *, title: str) -> Figure:
    """dF/F of the cells with the best signal, one above the other.

    Parameters
    ----------
    times
        Of the volumes, s.
    regions, rois
        The regions, and a row of `quality.Quality.rois` for each.
    title
        Of the figure.
    """
    figure, (axis,) = _figure(title, (12, 6.5), 1, 1)
    best = _cells(regions)[np.argsort(-rois["snr"].to_numpy()[_cells(regions)], kind="stable")][:SHOWN_TRACES]
    light, around = (regions.activity[name][:, best] for name in ("ROIActivityF", "ROINeuropilActivityF"))
    corrected = light - NEUROPIL_PART * around
    base = np.percentile(corrected, 20, axis=0)
    change = (corrected - base) / np.maximum(np.abs(base), 1e-9)
    step = max(float(np.percentile(change, 99.5)), 0.1) if change.size else 1.0
    every = _every(len(times))
    for place in range(len(best)):
        axis.plot(times[::every], change[::every, place] + place * step, color=ACCENT, lw=0.8)
    axis.set_yticks(np.arange(len(best)) * step, [str(region) for region in best])
    told = f"dF/F; the distance between two lines is {step:.2f}" if len(best) else "no region is called a cell"
    axis.set(xlabel="time (s)", ylabel="region of interest", title=told)
    axis.set_xlim(times[0], times[-1])
    return figure


def raster(times: np.ndarray, regions: Regions, *, title: str) -> Figure:
    """Deconvolved activity of all cells, each relative to its own, ordered by when it is most active."""
    figure, (axis,) = _figure(title, (12, 4.8), 1, 1)
    activity = regions.activity["ROIActivityDeconvolved"][:, _cells(regions)]
    if not activity.size:
        axis.set(xlabel="time (s)", yticks=[], xlim=(times[0], times[-1]), title="no region is called a cell")
        return figure
    every = max(1, len(activity) // 1500)
    usable = len(activity) // every * every
    binned = activity[:usable].reshape(-1, every, activity.shape[1]).sum(axis=1)
    relative = binned / np.maximum(np.percentile(binned, 99.5, axis=0), 1e-9)
    order = np.argsort(np.argmax(binned, axis=0), kind="stable")
    picture = axis.imshow(
        relative[:, order].T,
        aspect="auto",
        cmap="Greys",
        vmin=0,
        vmax=1,
        extent=(times[0], times[-1], len(order), 0),
        interpolation="nearest",
    )
    figure.colorbar(picture, ax=axis, label="deconvolved activity (of a cell's own 99.5 %)")
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.set(xlabel="time (s)", ylabel="cells, by their largest activity", title=f"{len(order)} cells")
    return figure


def motion(times: np.ndarray, quality: Quality, *, title: str) -> Figure:
    """Rigid motion in y and x, and the light of each volume, with the volumes that are bad."""
    figure, (shift, light) = _figure(title, (12, 6), 2, 1, sharex=True)
    every = _every(len(times))
    for plane, moved in enumerate(quality.shift):
        for axis_number, (name, colour) in enumerate((("y", ACCENT), ("x", "#edae49"))):
            label = f"{name}, plane {plane}" if len(quality.shift) > 1 else name
            shift.plot(times[::every], moved[::every, axis_number], color=colour, lw=0.8, alpha=1 / (1 + plane / 2), label=label)
    reach = max(3.0, 1.15 * float(np.abs(quality.shift).max()))
    shift.set(ylabel="displacement (px)", title=f"motion: {quality.motion_px:.1f} px from 1 to 99 % of the volumes", ylim=(-reach, reach))
    light.plot(times[::every], quality.brightness[::every], color=INK, lw=0.8, label="mean light")
    for kind in range(1, len(FRAME_QC)):
        if (chosen := quality.frame_qc == kind).any():
            light.scatter(times[chosen], quality.brightness[chosen], s=14, color=WARN, label=f"{chosen.sum()} {FRAME_QC[kind]}")
    light.set(xlabel="time (s)", ylabel="light (counts)", title=f"{100 * quality.bleached:.0f} % of the light lost from begin to end")
    for axis in (shift, light):
        axis.legend(loc="upper right", framealpha=0.9, ncols=2)
    shift.set_xlim(times[0], times[-1])
    return figure


def _figure(title: str, size: tuple[float, float], rows: int, columns: int, **options: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, color=INK, fontweight="bold")
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _outline(axis: Axes, y: np.ndarray, x: np.ndarray, colour: str) -> None:
    top, left = int(y.min()) - 1, int(x.min()) - 1
    part = np.zeros((int(y.max()) - top + 2, int(x.max()) - left + 2))
    part[y - top, x - left] = 1
    axis.contour(np.arange(part.shape[1]) + left, np.arange(part.shape[0]) + top, part, levels=[0.5], colors=[colour], linewidths=0.9)


def _cells(regions: Regions) -> np.ndarray:
    return np.flatnonzero(regions.arrays["mpciROITypes"] == 1)


def _every(count: int) -> int:
    return max(1, count // MAX_POINTS)
