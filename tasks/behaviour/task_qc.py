"""Quality checks of an IBL task: is each event there, in order, and where its trigger asked for it?

Checks and thresholds are those that the International Brain Laboratory publishes ("Standardized and reproducible measurement of
decision-making in mice", doi 10.7554/eLife.63711, and the data release's appendix on quality control). The value of a check is the
part of the trials that pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ranvier.tasks.behaviour.bpod import TaskData
from ranvier.tasks.behaviour.trials_table import WITH_SOUND, Trials
from ranvier.tasks.behaviour.wheel_trace import Wheel

PASS, WARNING = 0.99, 0.9
#: Checks that never do more than warn.
LENIENT = frozenset(
    {
        *("stimOn_delays", "stimOff_delays", "stimFreeze_delays", "goCue_delays", "errorCue_delays", "trial_length"),
        *("stimOff_itiIn_delays", "positive_feedback_stimOff_delays", "negative_feedback_stimOff_delays"),
        *("response_stimFreeze_delays", "detected_wheel_moves", "wheel_move_during_closed_loop"),
    }
)
WHEEL_DIAMETER_MM = 62.0
SCREEN_DELAY_S, TRIAL_S, FEEDBACK_S, NO_GO_S = 0.15, 60.1, 2.0, 2.0
#: How late sounds may be, by the sound card: Harp plays at once, others take their time.
HARP_S, OTHER_CUE_S, OTHER_ERROR_S = 0.0015, 0.053, 0.062


@dataclass(frozen=True)
class Check:
    """A check of the task: part of the trials that pass (None where none could be judged) and the outcome."""

    name: str
    value: float | None
    outcome: str


def checks(trials: Trials, task: TaskData, wheel: Wheel | None) -> list[Check]:
    """All checks that the rig's version and its files allow.

    Parameters
    ----------
    trials
        With ``firstMovement_times`` where there is a wheel.
    task
        What they came from.
    wheel
        On the same clock.
    """
    found = dict(_events(trials, task))
    if task.version >= WITH_SOUND:
        found |= dict(_delays(trials, _harp(task)))
    if wheel is not None:
        found |= dict(_wheel(trials, task, wheel))
    return [_judged(name, passed) for name, passed in found.items()]


def _judged(name: str, passed: np.ndarray) -> Check:
    """NaN marks trials that the check is not about."""
    about = passed[~np.isnan(passed)]
    if not about.size:
        return Check(name, None, "NOT_SET")
    part = float(about.mean())
    outcome = "PASS" if part >= PASS else "WARNING" if part >= WARNING or name in LENIENT else "FAIL"
    return Check(name, round(part, 4), outcome)


def _within(values: np.ndarray, low: float, high: float, about: np.ndarray | None = None) -> np.ndarray:
    """1 where a value lies between the limits, 0 elsewhere and where it is NaN, NaN for trials that are not meant."""
    passed = ((values > low) & (values < high)).astype(float)
    return passed if about is None else np.where(about, passed, np.nan)


def _harp(task: TaskData) -> bool:
    sound = task.settings.get("device_sound") or {}
    output = str(sound.get("OUTPUT", "")) if isinstance(sound, dict) else ""
    return output.startswith("harp") or task.settings.get("SOUND_SAMPLE_FREQ") == 96_000


def _events(trials: Trials, task: TaskData) -> Iterator[tuple[str, np.ndarray]]:
    start, end = trials["intervals_0"], trials["intervals_1"]
    volume, correct = trials["rewardVolume"], trials.correct
    yield "trial_length", _within(trials["feedback_times"] - trials["goCue_times"], 0, TRIAL_S)
    yield "reward_volumes", np.where(correct, (volume >= 1.5) & (volume <= 3), volume == 0).astype(float)
    yield "reward_volume_set", np.array([float(0 < len(set(volume)) <= 2 and (0.0 in volume or bool(correct.all())))])
    if task.version < WITH_SOUND:
        return
    inside = [(trials[name] >= start) & (trials[name] <= end) for name in ("goCue_times", "feedback_times", "stimOn_times")]
    yield "n_trial_events", np.all(inside, axis=0).astype(float)
    cue, iti, sounds = trials["goCue_times"], trials["itiIn_times"], trials["n_bnc2"]
    valve, error = trials["valveOpen_times"], trials["errorCue_times"]
    good = (start < cue) & (cue < valve) & (valve < iti) & (iti < end) & (sounds == 1)
    bad = (start < cue) & (cue < error) & (error < iti) & (iti < end) & (sounds == 2)
    yield "correct_trial_event_sequence", np.where(correct, good, np.nan)
    yield "error_trial_event_sequence", np.where(correct, np.nan, bad)


def _delays(trials: Trials, harp: bool) -> Iterator[tuple[str, np.ndarray]]:
    responded, correct = trials["choice"] != 0, trials.correct
    on, off, frozen = (trials[f"stim{name}_times"] for name in ("On", "Off", "Freeze"))
    cue, feedback = trials["goCue_times"], trials["feedback_times"]
    soon = 0.01 if harp else OTHER_CUE_S
    yield "stimOn_goCue_delays", _within(cue - on, 0, soon)
    yield "response_feedback_delays", _within(feedback - trials["response_times"], 0, soon)
    yield "response_stimFreeze_delays", _within(frozen - trials["response_times"], 0, 0.1, responded)
    yield "stimOff_itiIn_delays", _within(trials["itiIn_times"] - off, -1e-9, 0.01, responded)
    yield "positive_feedback_stimOff_delays", _within(off - feedback - 1, -SCREEN_DELAY_S, SCREEN_DELAY_S, correct)
    late = off - trials["errorCue_times"] - FEEDBACK_S + np.where(responded, 0, NO_GO_S)
    yield "negative_feedback_stimOff_delays", _within(late, -SCREEN_DELAY_S, SCREEN_DELAY_S, ~correct)
    yield "goCue_delays", _within(cue - trials["goCueTrigger_times"], 0, HARP_S if harp else OTHER_CUE_S)
    error = trials["errorCue_times"] - trials["errorCueTrigger_times"]
    yield "errorCue_delays", _within(error, 0, HARP_S if harp else OTHER_ERROR_S, ~correct)
    yield "stimOn_delays", _within(on - trials["stimOnTrigger_times"], 0, SCREEN_DELAY_S)
    yield "stimOff_delays", _within(off - trials["stimOffTrigger_times"], 0, SCREEN_DELAY_S)
    asked = ~np.isnan(trials["stimFreezeTrigger_times"])
    yield "stimFreeze_delays", _within(frozen - trials["stimFreezeTrigger_times"], 0, SCREEN_DELAY_S, responded & asked)


def _wheel(trials: Trials, task: TaskData, wheel: Wheel) -> Iterator[tuple[str, np.ndarray]]:
    responded = trials["choice"] != 0
    feedback, cue, response = trials["feedback_times"], trials["goCueTrigger_times"], trials["response_times"]
    moved = np.array([np.ptp(_between(wheel, time - 0.05, time + 0.05)) > 0 for time in feedback], dtype=float)
    yield "wheel_move_before_feedback", np.where(responded, moved, np.nan)
    on = trials["stimOnTrigger_times"]
    quiet = [np.degrees(_furthest(wheel, begin, end)) for begin, end in zip(on - trials["quiescencePeriod"], on, strict=True)]
    yield "wheel_freeze_during_quiescence", (np.abs(quiet) < 2).astype(float)
    first = trials["firstMovement_times"]
    expected = (first > cue - trials["quiescencePeriod"]) & (first < response)
    yield "detected_wheel_moves", np.where(responded, expected, np.nan)
    gain = task.settings.get("STIM_GAIN")
    if gain:
        per_degree = 2 / WHEEL_DIAMETER_MM / float(gain)  # rad of the wheel for a degree of the stimulus
        asked = trials["position"] * per_degree * np.where(trials.correct, 1, -1)
        turned = np.array([_furthest(wheel, begin, end) for begin, end in zip(cue, response, strict=True)])
        yield "wheel_move_during_closed_loop", np.where(responded, np.abs(turned - asked) < 3 * per_degree, np.nan)


def _between(wheel: Wheel, begin: float, end: float) -> np.ndarray:
    """Positions in an interval, and the one before it."""
    if not begin < end:
        return np.zeros(1)
    first, last = np.searchsorted(wheel.times, (begin, end))
    return wheel.position[max(first - 1, 0) : max(last, 1)]


def _furthest(wheel: Wheel, begin: float, end: float) -> float:
    """Largest excursion in an interval from where the wheel was before it, rad, with its sign."""
    moved = _between(wheel, begin, end)
    moved = moved - moved[0]
    return float(moved[np.abs(moved).argmax()])
