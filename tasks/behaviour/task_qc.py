"""Quality checks of an IBL task: is each event there, in order, and where its trigger asked for it?

Checks and thresholds are those that the International Brain Laboratory publishes ("Standardized and reproducible measurement of
decision-making in mice", doi 10.7554/eLife.63711, and the data release's appendix on quality control), as ibllib 4.1.0 has them
(``ibllib.qc.task_metrics``). The value of a check is the part of the trials that pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ranvier.tasks.behaviour.bpod import TaskData
from ranvier.tasks.behaviour.trials_table import WITH_FREEZE, WITH_SOUND, Trials
from ranvier.tasks.behaviour.wheel_trace import STEP, Wheel, min_quiescence

PASS, WARNING = 0.99, 0.9
#: Part of the trials that is to pass every check.
PASS_ALL = 0.7
#: Version of iblrig from which the time between two trials is judged, and how many trials pass every check.
WITH_PAUSES = (8, 0, 0)
#: Checks that never do more than warn.
LENIENT = frozenset(
    {
        *("stimOn_delays", "stimOff_delays", "stimFreeze_delays", "goCue_delays", "errorCue_delays", "trial_length"),
        *("stimOff_itiIn_delays", "positive_feedback_stimOff_delays", "negative_feedback_stimOff_delays"),
        *("response_stimFreeze_delays", "detected_wheel_moves", "wheel_move_during_closed_loop", "iti_delays", "passed_trial_checks"),
    }
)
WHEEL_DIAMETER_MM = 62.0
SCREEN_DELAY_S, TRIAL_S, FEEDBACK_S, NO_GO_S, ITI_S = 0.15, 60.1, 2.0, 2.0, 0.5
#: How late sounds may be, by the sound card: Harp plays at once, others take their time.
HARP_S, OTHER_CUE_S, OTHER_ERROR_S = 0.0015, 0.053, 0.062
#: An error sound that is due before this long after the go cue waits for its end, s.
CUE_S = 0.105
#: A sound this shortly before the go cue is the go cue's, s.
BEFORE_CUE_S = 0.02
#: The photodiode flickers: the screen does not go dark for less than this, s.
FLICKER_S = 0.01


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
    found = dict(_rewards(trials))
    if task.version >= WITH_SOUND:
        found |= dict(_events(trials, task, wheel is not None)) | dict(_delays(trials, task))
    if wheel is not None:
        found |= dict(_wheel(trials, task, wheel))
    if task.version >= WITH_PAUSES:
        every_trial = [passed for passed in found.values() if passed.size == len(task)]
        found["passed_trial_checks"] = np.all([passed != 0 for passed in every_trial], axis=0).astype(float)
    return [_judged(name, passed) for name, passed in found.items()]


def _judged(name: str, passed: np.ndarray) -> Check:
    """NaN marks trials that the check is not about."""
    about = passed[~np.isnan(passed)]
    if not about.size:
        return Check(name, None, "NOT_SET")
    part = float(about.mean())
    enough = PASS_ALL if name == "passed_trial_checks" else PASS
    outcome = "PASS" if part >= enough else "WARNING" if part >= WARNING or name in LENIENT else "FAIL"
    return Check(name, round(part, 4), outcome)


def _within(values: np.ndarray, low: float, high: float, about: np.ndarray | None = None) -> np.ndarray:
    """1 where a value lies between the limits, 0 elsewhere and where it is NaN, NaN for trials that are not meant."""
    passed = ((values > low) & (values < high)).astype(float)
    return passed if about is None else np.where(about, passed, np.nan)


def _after(times: np.ndarray, triggers: np.ndarray, most: float, about: np.ndarray | None = None) -> np.ndarray:
    """The same for how late something was after its trigger, which may be as late as the limit."""
    return _within(times - triggers, 0, np.nextafter(most, np.inf), about)


def _harp(task: TaskData) -> bool:
    """Whether the sound card is a Harp; before iblrig 8 rigs only told what played the sounds, and at which rate."""
    sound = task.settings.get("device_sound")
    if isinstance(sound, dict):
        return str(sound.get("OUTPUT", "")).lower() == "harp"
    return "sounddevice" not in str(task.settings.get("SD", "")) and task.settings.get("SOUND_SAMPLE_FREQ") == 96_000


def _rewards(trials: Trials) -> Iterator[tuple[str, np.ndarray]]:
    volume, correct = trials["rewardVolume"], trials.correct
    yield "trial_length", _within(trials["feedback_times"] - trials["goCue_times"], 0, TRIAL_S)
    yield "reward_volumes", np.where(correct, (volume >= 1.5) & (volume <= 3), volume == 0).astype(float)
    yield "reward_volume_set", np.array([float(0 < len(set(volume)) <= 2 and 0.0 in volume)])


def _events(trials: Trials, task: TaskData, has_wheel: bool) -> Iterator[tuple[str, np.ndarray]]:
    start, end, responded, correct = trials["intervals_0"], trials["intervals_1"], trials["choice"] != 0, trials.correct

    def inside(name: str) -> np.ndarray:
        return (trials[name] > start) & (trials[name] < end)

    once = ["goCueTrigger", "goCue", "stimOnTrigger", "stimOn", "stimOffTrigger", "stimOff", "itiIn", "response", "feedback"]
    turned = ["stimFreezeTrigger"] * (task.version >= WITH_FREEZE) + ["firstMovement"] * has_wheel
    there = [inside(f"{name}_times") for name in once] + [inside(f"{name}_times") | ~responded for name in turned]
    error_asked = np.where(correct, np.isnan(trials["errorCueTrigger_times"]), inside("errorCueTrigger_times"))
    yield "n_trial_events", np.all([*there, error_asked], axis=0).astype(float)
    cue, iti, sounds = trials["goCue_times"], trials["itiIn_times"], trials["n_bnc2"]
    valve, error = trials["valveOpen_times"], trials["errorCue_times"]
    good = (start < cue) & (cue < valve) & (valve < iti) & (iti < end) & (sounds == 1)
    bad = (start < cue) & (cue < error) & (error < iti) & (iti < end) & (sounds == 2)
    yield "correct_trial_event_sequence", np.where(correct, good, np.nan)
    yield "error_trial_event_sequence", np.where(correct, np.nan, bad)
    changes = _count(_steady(task), start, cue)
    yield "stimulus_move_before_goCue", np.where(np.isnan(cue), np.nan, changes == 1)
    heard = np.sort(np.concatenate(task.events("BNC2High", "BNC2Low")))
    yield "audio_pre_trial", (_count(heard, start, cue - BEFORE_CUE_S) == 0).astype(float)


def _steady(task: TaskData) -> np.ndarray:
    """When the screen changed, without the times at which the photodiode flickered."""
    fronts = [np.concatenate(task.events(name)) for name in ("BNC1High", "BNC1Low")]
    dark = np.repeat([False, True], [each.size for each in fronts])
    times = np.concatenate(fronts)
    order = np.argsort(times, kind="stable")
    times, dark = times[order], dark[order]
    flicker = np.flatnonzero((np.diff(times) < FLICKER_S) & dark[:-1])
    return np.delete(times, np.unique([flicker, flicker + 1]))


def _count(times: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """How many of the times lie in each of the intervals; none where an end of it is NaN."""
    return np.where(begin < end, np.searchsorted(times, end) - np.searchsorted(times, begin, side="right"), 0)


def _delays(trials: Trials, task: TaskData) -> Iterator[tuple[str, np.ndarray]]:
    responded, correct, harp = trials["choice"] != 0, trials.correct, _harp(task)
    on, off, frozen = (trials[f"stim{name}_times"] for name in ("On", "Off", "Freeze"))
    cue, feedback, response = trials["goCue_times"], trials["feedback_times"], trials["response_times"]
    soon = 0.01 if harp else OTHER_CUE_S
    yield "stimOn_goCue_delays", _within(cue - on, 0, soon)
    yield "response_feedback_delays", _within(feedback - response, 0, soon)
    yield "response_stimFreeze_delays", _within(frozen - response, 0, 0.1, responded)
    yield "stimOff_itiIn_delays", _within(trials["itiIn_times"] - off, -1e-9, 0.01, responded)
    yield "positive_feedback_stimOff_delays", _within(off - feedback - 1, -SCREEN_DELAY_S, SCREEN_DELAY_S, correct)
    late = off - trials["errorCue_times"] - FEEDBACK_S + np.where(responded, 0, NO_GO_S)
    yield "negative_feedback_stimOff_delays", _within(late, -SCREEN_DELAY_S, SCREEN_DELAY_S, ~correct)
    yield "goCue_delays", _after(cue, trials["goCueTrigger_times"], HARP_S if harp else OTHER_CUE_S)
    alone = ~correct & ~(response - cue < CUE_S)
    yield "errorCue_delays", _after(trials["errorCue_times"], trials["errorCueTrigger_times"], HARP_S if harp else OTHER_ERROR_S, alone)
    yield "stimOn_delays", _after(on, trials["stimOnTrigger_times"], SCREEN_DELAY_S)
    yield "stimOff_delays", _after(off, trials["stimOffTrigger_times"], SCREEN_DELAY_S)
    if task.version >= WITH_FREEZE:
        yield "stimFreeze_delays", _after(frozen, trials["stimFreezeTrigger_times"], SCREEN_DELAY_S, responded)
    if task.version >= WITH_PAUSES:
        grey = np.append(trials["intervals_0"][1:], np.nan) - off - ITI_S - np.where(responded, 0, NO_GO_S)
        yield "iti_delays", _within(grey, -ITI_S / 10, ITI_S / 10, np.arange(len(task)) < len(task) - 1)


def _wheel(trials: Trials, task: TaskData, wheel: Wheel) -> Iterator[tuple[str, np.ndarray]]:
    responded = trials["choice"] != 0
    feedback, cue, response = trials["feedback_times"], trials["goCueTrigger_times"], trials["response_times"]
    moved = [abs(np.diff(_during(wheel, time - 0.05, time + 0.05)[[0, -1]]).item()) > STEP / 8 for time in feedback]
    yield "wheel_move_before_feedback", np.where(responded, moved, np.nan)
    on = trials["stimOnTrigger_times"]
    quiet = [np.degrees(_furthest(wheel, begin, end)) for begin, end in zip(on - trials["quiescencePeriod"], on, strict=True)]
    yield "wheel_freeze_during_quiescence", (np.abs(quiet) < 2).astype(float)
    first = trials["firstMovement_times"]
    expected = (first > cue - min_quiescence(task)) & (first < response)
    yield "detected_wheel_moves", np.where(responded, expected, np.nan)
    gain = task.settings.get("STIM_GAIN")
    if gain:
        per_degree = 2 / WHEEL_DIAMETER_MM / float(gain)  # rad of the wheel for a degree of the stimulus
        asked = trials["position"] * per_degree * np.where(trials.correct, 1, -1)
        missed = np.abs([_furthest(wheel, begin, end) for begin, end in zip(cue, response, strict=True)] - asked)
        yield "wheel_move_during_closed_loop", np.where(responded, missed < 3 * per_degree, np.nan)
        yield "wheel_move_during_closed_loop_bpod", np.where(responded, missed < per_degree, np.nan)


def _during(wheel: Wheel, begin: float, end: float, before: int = 0) -> np.ndarray:
    """Positions in an interval, and so many before it; a single zero where there are none."""
    if not begin < end:
        return np.zeros(1)
    first, last = np.searchsorted(wheel.times, begin, side="right"), np.searchsorted(wheel.times, end)
    return wheel.position[max(first - before, 0) : last] if first < last else np.zeros(1)


def _furthest(wheel: Wheel, begin: float, end: float) -> float:
    """Largest excursion in an interval from where the wheel was before it, rad, with its sign."""
    moved = _during(wheel, begin, end, before=1)
    moved = moved - moved[0]
    return float(moved[np.abs(moved).argmax()])
