"""Figures of a probe, for people: depth goes up, time to the right, every axis has its unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from spikeinterface import BaseRecording

    from ranvier.tasks.ephys.motion import Drift
    from ranvier.tasks.ephys.raw_ephys_qc import RawQuality

INK, ACCENT, WARN, PALE = "#22313f", "#1f77b4", "#d1495b", "#9aa5b1"
LABEL_COLOURS = {0: ACCENT, 1: WARN, 2: "#edae49", 3: PALE}
LABEL_NAMES = {0: "good", 1: "dead", 2: "noisy", 3: "outside brain"}
SNIPPET_S = 0.05
MAX_POINTS = 200_000


def raw_quality(raw: BaseRecording, clean: BaseRecording, quality: RawQuality, *, title: str) -> Figure:
    """Noise by depth, spectrum, and a snippet of the traces before and after destriping.

    Parameters
    ----------
    raw, clean
        The raw and the destriped recording, of the same channels.
    quality
        What was measured.
    title
        Of the figure.
    """
    figure, axes = _figure(title, width=13, ratios=(1, 1.2, 1.3, 1.3))
    depths = raw.get_channel_locations()[:, 1]
    _draw_rms(axes[0], depths, quality)
    _draw_spectrum(axes[1], quality)
    start = raw.get_num_samples() // 2
    window = dict(start_frame=start, end_frame=start + int(SNIPPET_S * raw.sampling_frequency), return_in_uV=True)
    order = np.argsort(depths, kind="stable")
    before, after = (traces.get_traces(**window)[:, order] for traces in (raw, clean))
    limit = max(float(np.percentile(np.abs(before - before.mean(axis=0)), 99.5)), 1.0)
    for axis, traces, name in ((axes[2], before - before.mean(axis=0), "raw"), (axes[3], after, "destriped")):
        image = axis.imshow(traces.T, **_extent(SNIPPET_S * 1e3, depths), vmin=-limit, vmax=limit, cmap="RdBu_r")
        axis.set(title=name, xlabel="time (ms)")
    axes[2].set_ylabel("depth (µm)")
    figure.colorbar(image, ax=axes[3], label="voltage (µV)")
    return figure


def drift_map(drift: Drift, *, corrected: bool, title: str) -> Figure:
    """Peaks by time and depth, and the estimated motion over them.

    Parameters
    ----------
    drift
        The motion and the peaks it was estimated from.
    corrected
        Whether the traces were corrected by it.
    title
        Of the figure.
    """
    figure, (peaks, line) = _figure(title, width=11, ratios=(2.2, 1))
    some = _thin(drift.peak_times.size)
    points = peaks.scatter(drift.peak_times[some], drift.peak_depths[some], c=drift.peak_amps[some], **_dots(drift.peak_amps))
    figure.colorbar(points, ax=peaks, label="peak amplitude (µV)")
    for index, depth in enumerate(drift.depths):
        shown = depth + drift.um[:, index]
        peaks.plot(drift.times, shown, color=WARN, lw=1.5, label="estimated motion" if index == 0 else None)
        line.plot(drift.times, drift.um[:, index], lw=1.5, label=f"at {depth:.0f} µm")
    peaks.set(xlabel="time (s)", ylabel="depth (µm)", title="peaks")
    peaks.legend(loc="upper right", framealpha=0.9)
    line.set(
        xlabel="time (s)", ylabel="displacement (µm)", title=f"motion: {drift.range_um:.0f} µm, {'' if corrected else 'not '}corrected"
    )
    reach = max(15.0, 1.15 * float(np.abs(drift.um).max()))  # so that next to nothing looks like nothing
    line.set_ylim(-reach, reach)
    line.axhline(0, color=PALE, lw=0.8)
    if len(drift.depths) <= 6:
        line.legend(loc="best", framealpha=0.9)
    return figure


def raster(units: dict[str, np.ndarray], table: pd.DataFrame, duration_s: float, *, title: str) -> Figure:
    """Every spike by time and depth, and beside it the units: rate by depth, those that pass filled.

    Parameters
    ----------
    units
        ALF arrays of the sorting.
    table
        Metrics of its units, with their label.
    duration_s
        Length of the recording, s.
    title
        Of the figure.
    """
    figure, (spikes, rates) = _figure(title, width=13, ratios=(3, 1), sharey=True)
    amps = units["spikes.amps"] * 1e6
    some = _thin(amps.size)
    points = spikes.scatter(units["spikes.times"][some], units["spikes.depths"][some], c=amps[some], **_dots(amps))
    figure.colorbar(points, ax=spikes, label="spike amplitude (µV)")
    spikes.set(xlabel="time (s)", ylabel="depth (µm)", xlim=(0, duration_s), title=f"{amps.size:,} spikes of {len(table)} units")
    passing = (table["label"] == 1).to_numpy()
    for mask, name, face in ((passing, "passes", ACCENT), (~passing, "does not pass", "none")):
        rates.scatter(table["firing_rate"][mask], units["clusters.depths"][mask], s=36, facecolors=face, edgecolors=ACCENT, label=name)
    rates.set(xlabel="firing rate (Hz)", title=f"{passing.sum()} of {len(table)} units pass", xscale="log", xlim=(0.08, 120))
    rates.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    rates.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)
    return figure


def _figure(title: str, *, width: float, ratios: tuple[float, ...], **options: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 5.2), layout="constrained")
    figure.suptitle(title, color=INK, fontweight="bold")
    axes = figure.subplots(1, len(ratios), width_ratios=ratios, **options)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw_rms(axis: Axes, depths: np.ndarray, quality: RawQuality) -> None:
    raw, clean = quality.rms * 1e6
    axis.scatter(raw, depths, s=10, color=PALE, label="raw")
    for label in np.unique(quality.labels):
        chosen = quality.labels == label
        axis.scatter(clean[chosen], depths[chosen], s=12, color=LABEL_COLOURS[label], label=f"destriped, {LABEL_NAMES[label]}")
    headroom = 0.09 * (1 + len(np.unique(quality.labels))) * np.ptp(depths)  # for the legend
    axis.set(xlabel="RMS (µV)", ylabel="depth (µm)", title="noise", xlim=(0, None), ylim=(None, depths.max() + headroom))
    axis.legend(loc="upper left", fontsize="small", framealpha=0.9)


def _draw_spectrum(axis: Axes, quality: RawQuality) -> None:
    chosen = quality.labels == 0 if np.any(quality.labels == 0) else np.ones(len(quality.labels), dtype=bool)
    decibels = 10 * np.log10(np.maximum(quality.power[1:-1, chosen], 1e-30))
    low, middle, high = np.percentile(decibels, (5, 50, 95), axis=1)
    kilohertz = quality.freqs[1:-1] / 1e3
    axis.fill_between(kilohertz, low, high, color=ACCENT, alpha=0.25, lw=0, label="5 to 95 % of channels")
    axis.plot(kilohertz, middle, color=ACCENT, label="median")
    axis.set(xlabel="frequency (kHz)", ylabel="power (dB re 1 V²/Hz)", title="spectrum, destriped")
    axis.legend(loc="best", fontsize="small", framealpha=0.9)


def _extent(width: float, depths: np.ndarray) -> dict[str, Any]:
    return dict(extent=(0, width, depths.min(), depths.max()), origin="lower", aspect="auto", interpolation="nearest")


def _dots(amps: np.ndarray) -> dict[str, Any]:
    low, high = np.percentile(amps, (1, 99)) if amps.size else (0, 1)
    return dict(s=2, cmap="viridis", vmin=low, vmax=high, linewidths=0, rasterized=True)


def _thin(count: int) -> slice:
    """Every how-manieth point to draw, so that a long recording's figure stays quick."""
    return slice(None, None, max(1, count // MAX_POINTS))
