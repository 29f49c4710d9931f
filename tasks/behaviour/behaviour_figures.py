"""Figures of the behaviour tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from ranvier.tasks.behaviour.performance import Performance
    from ranvier.tasks.behaviour.training_stage import Day
    from ranvier.tasks.behaviour.wheel_trace import Moves, Wheel

#: Points that are drawn of a trace: more than a figure has pixels, fewer than take time.
MAX_POINTS = 20_000


def wheel(trace: Wheel, moves: Moves, title: str) -> Figure:
    """The wheel over the session, half a minute of it with its movements, and their sizes and durations."""
    figure = new_figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplot_mosaic([["all", "all"], ["part", "part"], ["size", "length"]])
    step = max(1, trace.times.size // MAX_POINTS)
    axes["all"].plot(trace.times[::step], trace.position[::step], lw=0.6, color="0.2")
    axes["all"].set(title=title, xlabel="time (s)", ylabel="position (rad)")
    begin = float(moves.intervals[len(moves.intervals) // 2, 0]) - 2 if len(moves.intervals) else float(trace.times[0])
    shown = (trace.times >= begin) & (trace.times <= begin + 30)
    axes["part"].plot(trace.times[shown], trace.position[shown], lw=0.9, color="0.2")
    for start, stop in moves.intervals:
        if begin < stop and start < begin + 30:
            axes["part"].axvspan(start, stop, color="tab:orange", alpha=0.3, lw=0)
    axes["part"].set(xlabel="time (s)", ylabel="position (rad)", xlim=(begin, begin + 30), title="movements (orange)")
    axes["size"].hist(moves.peak_amplitude, bins=60, color="tab:blue")
    axes["size"].set(xlabel="largest excursion (rad)", ylabel="movements")
    axes["length"].hist(np.diff(moves.intervals, axis=1).ravel(), bins=60, color="tab:blue")
    axes["length"].set(xlabel="duration (s)", ylabel="movements")
    return figure


def performance(did: Performance, title: str) -> Figure:
    """Psychometric and chronometric curves, and the course of the session."""
    figure = new_figure(figsize=(11, 3.6), layout="constrained")
    choices, reactions, course = figure.subplots(1, 3)
    curve, fit, speed = did.curve, did.fit, did.speed
    if curve is None:
        return figure
    error = np.sqrt(curve["right"] * (1 - curve["right"]) / curve["n"])
    choices.errorbar(curve["contrast"], curve["right"], yerr=error, fmt="o", color="k", ms=4)
    x = np.linspace(-100, 100, 401)
    if fit is not None:
        choices.plot(x, fit(x), color="tab:blue")
        told = f"bias {fit.bias:.1f} %, threshold {fit.threshold:.1f} %\nlapses {fit.lapse_left:.2f}, {fit.lapse_right:.2f}"
        choices.text(0.03, 0.97, told, transform=choices.transAxes, va="top", fontsize=8)
    figure.suptitle(title)
    choices.set(title="choices", xlabel="signed contrast (%)", ylabel="rightward choices", ylim=(-0.02, 1.02))
    quartiles = np.abs(curve[["reaction_25", "reaction_75"]].to_numpy().T - curve["reaction"].to_numpy())
    reactions.errorbar(curve["contrast"], curve["reaction"], yerr=quartiles, fmt="o", color="k", ms=4, elinewidth=0.8)
    if speed is not None:
        reactions.plot(x, speed(x), color="tab:blue")
        told = f"{speed.slowest:.2f} s without contrast\n{speed.fastest:.2f} s at best"
        reactions.text(0.03, 0.97, told, transform=reactions.transAxes, va="top", fontsize=8)
    highest = float(np.nanmax([0.1, *curve["reaction_75"]]))
    reactions.set(title="reaction time", xlabel="signed contrast (%)", ylabel="median and quartiles (s)", ylim=(0, 1.25 * highest))
    correct = (did.table["feedbackType"] > 0).to_numpy(float)
    width = min(20, correct.size)
    course.plot(np.arange(width - 1, correct.size), np.convolve(correct, np.ones(width) / width, "valid"), color="tab:green")
    if "probabilityLeft" in did.table:
        course.plot(1 - did.table["probabilityLeft"].to_numpy(), color="0.6", lw=1, label="probability of right")
        course.legend(fontsize=8, loc="lower left")
    course.set(title=f"correct, mean of {width} trials", xlabel="trial", ylim=(-0.02, 1.02))
    return figure


def training(days: Sequence[Day], stage: str, title: str) -> Figure:
    """Performance on easy trials and number of trials, by day."""
    figure = new_figure(figsize=(8, 3.2), layout="constrained")
    easy, number = figure.subplots(1, 2, sharex=True)
    colours = {"training": "tab:blue", "biased": "tab:orange", "ephys": "tab:red"}
    at = np.arange(len(days))
    for axes, values in ((easy, [day.easy for day in days]), (number, [len(day.table) for day in days])):
        axes.plot(at, values, color="0.7", lw=1, zorder=1)
        for kind in dict.fromkeys(day.protocol for day in days):
            chosen = [index for index, day in enumerate(days) if day.protocol == kind]
            axes.scatter(chosen, [values[index] for index in chosen], color=colours[kind], s=16, label=kind)
        axes.set_xticks(at, [day.date for day in days], rotation=90, fontsize=7)
    easy.set(ylabel="correct of easy trials", ylim=(0, 1.02))
    easy.axhline(0.9, color="0.8", lw=0.8, zorder=0)
    easy.legend(fontsize=8, loc="lower right")
    number.set(ylabel="trials", ylim=(0, None))
    figure.suptitle(f"{title}: {stage}")
    return figure


def sound(freqs: np.ndarray, times: np.ndarray, power: np.ndarray, onsets: np.ndarray) -> Figure:
    """Spectrogram of a microphone, and when the go cue was heard."""
    figure = new_figure(figsize=(10, 3.5), layout="constrained")
    axes = figure.subplots()
    decibels = 10 * np.log10(power.T + 1e-16)
    span = (0, float(2 * times[-1] - times[-2]) if times.size > 1 else 1.0, float(freqs[0]) / 1e3, float(freqs[-1]) / 1e3)
    image = axes.imshow(decibels, origin="lower", aspect="auto", extent=span, vmin=float(np.percentile(decibels, 5)), cmap="viridis")
    axes.plot(onsets, np.full(onsets.size, span[3]), "|", color="tab:red", clip_on=False)
    axes.set(title=f"sound; {onsets.size} go cues heard (red)", xlabel="time (s)", ylabel="frequency (kHz)")
    figure.colorbar(image, ax=axes, label="power (dB)")
    return figure


def new_figure(**options: Any) -> Figure:
    """A figure; matplotlib is imported only where one is made, as every look for tasks imports these modules."""
    from matplotlib.figure import Figure

    return Figure(**options)
