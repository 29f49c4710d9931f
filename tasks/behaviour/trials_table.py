"""Trials as IBL's table has them, from the states and events of Bpod.

Columns and their meaning: https://docs.internationalbrainlab.org, "Trials"; times in s on Bpod's clock, contrasts from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ranvier.tasks.behaviour.bpod import BehaviourError, TaskData

if TYPE_CHECKING:
    import pandas as pd

#: Versions of iblrig from which the sound card reports to Bpod, and from which the stimulus is frozen and hidden in states of their own.
WITH_SOUND, WITH_FREEZE = (5, 0, 0), (6, 2, 5)
TONE_S = 0.1
#: Some sound cards report an onset twice; a second one within this is the same, s.
SAME_ONSET_S = 0.02
OUTCOMES = {"correct": 1, "error": -1, "no_go": -1, "omit_correct": 0, "omit_error": 0, "omit_no_go": 0}


@dataclass(frozen=True)
class Trials:
    """The trials of a protocol.

    Attributes
    ----------
    table
        Columns of ``_ibl_trials.table.pqt``; ``firstMovement_times`` are NaN until the wheel has been read.
    extra
        What is kept beside the table, by attribute, shapes (n_trials,).
    checked
        Times that quality control needs besides, by name, shapes (n_trials,).
    """

    table: pd.DataFrame
    extra: dict[str, np.ndarray]
    checked: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        for values in (self.extra, self.checked):
            if name in values:
                return values[name]
        return self.table[name].to_numpy()

    @property
    def correct(self) -> np.ndarray:
        """Whether each trial was rewarded."""
        return self["feedbackType"] > 0

    @property
    def signed_contrast(self) -> np.ndarray:
        """Contrast, right positive, left negative."""
        return np.nan_to_num(self["contrastRight"]) - np.nan_to_num(self["contrastLeft"])


def extract(task: TaskData) -> Trials:
    """The trials of a protocol.

    Raises
    ------
    BehaviourError
        If a trial has no outcome, or lacks a value that the table needs.
    """
    try:
        return _extract(task)
    except KeyError as error:
        raise BehaviourError(f"{task.path}: the trials lack {error}", "is it an IBL protocol? A CSV with a mapping is read, too") from error


def _extract(task: TaskData) -> Trials:
    import pandas as pd

    position, correct = (
        np.sign([trial["position"] for trial in task.trials]),
        np.array([trial["trial_correct"] for trial in task.trials], bool),
    )
    no_go = ~np.isnan(task.state("no_go"))
    contrast = np.array([_contrast(trial) for trial in task.trials], dtype=float)
    triggers = _triggers(task, no_go)
    stimulus = _stimulus(task, triggers, no_go)
    reward = task.state("reward")
    table = pd.DataFrame(
        {
            "intervals_0": task.starts,
            "intervals_1": task.ends,
            "goCue_times": _go_cues(task),
            "response_times": task.state("closed_loop", 1),
            "choice": np.where(no_go, 0, np.where(correct, -position, position)).astype(int),
            "stimOn_times": stimulus["stimOn_times"],
            "contrastLeft": np.where(position < 0, contrast, np.nan),
            "contrastRight": np.where(position > 0, contrast, np.nan),
            "feedback_times": _feedback_times(task),
            "feedbackType": _outcomes(task),
            "rewardVolume": np.where(correct, task.column("reward_amount").astype(float), 0.0),
            "probabilityLeft": np.array([trial["stim_probability_left"] for trial in task.trials], dtype=float),
            "firstMovement_times": np.full(len(task), np.nan),
        }
    )
    kept = ("goCueTrigger_times", "stimOnTrigger_times", "stimOffTrigger_times")
    extra = {name: triggers[name] for name in kept} | {
        "stimOff_times": stimulus["stimOff_times"],
        "quiescencePeriod": task.column("quiescent_period").astype(float),
        "included": _included(task),
    }
    repeated = [_repeated(trial) for trial in task.trials]
    if None not in repeated:
        extra["repNum"] = _count_up(np.array(repeated, dtype=bool))
    checked = {name: times for name, times in triggers.items() if name not in kept} | {
        "stimFreeze_times": stimulus["stimFreeze_times"],
        "valveOpen_times": reward,
        "errorCue_times": np.where(np.isnan(reward), table["feedback_times"], np.nan),
        "position": task.column("position").astype(float),
        "n_bnc2": np.array([len(times) for times in _onsets(task)]),
    }
    return Trials(table, extra, checked)


def _triggers(task: TaskData, no_go: np.ndarray) -> dict[str, np.ndarray]:
    """When the state machine asked for the sound, the stimulus and their end."""
    none = np.full(len(task), np.nan)
    sound, freeze = task.version >= WITH_SOUND, task.version >= WITH_FREEZE
    off = task.state("hide_stim") if freeze else task.state("exit_state") if sound else task.starts.copy()
    if sound:
        off[no_go] = task.state("no_go")[no_go]
    frozen = np.fmin(task.state("freeze_reward"), task.state("freeze_error")) if freeze else none
    return {
        "goCueTrigger_times": task.state("play_tone" if sound else "closed_loop"),
        "stimOnTrigger_times": task.state("stim_on"),
        "stimOffTrigger_times": off,
        "stimFreezeTrigger_times": np.where(no_go, np.nan, frozen),
        "errorCueTrigger_times": np.where(no_go, task.state("no_go"), task.state("error")),
        "itiIn_times": task.state("exit_state") if sound else none,
    }


def _stimulus(task: TaskData, triggers: dict[str, np.ndarray], no_go: np.ndarray) -> dict[str, np.ndarray]:
    """When the screen changed, from the photodiode on BNC1: the first change after each trigger and before the next."""
    fronts = task.events("BNC1High", "BNC1Low")
    freeze = task.version >= WITH_FREEZE
    on, off, frozen = (triggers[f"stim{name}Trigger_times"] for name in ("On", "Off", "Freeze"))
    found = {name: np.full(len(task), np.nan) for name in ("stimOn_times", "stimOff_times", "stimFreeze_times")}
    for trial, times in enumerate(fronts):
        shown = times[(times > on[trial]) & (times < (frozen if freeze else off)[trial])]
        hidden = times[times > off[trial]] if task.version >= WITH_SOUND else times[:0]
        last = times[(times > frozen[trial]) & (times < off[trial])] if freeze else times[times <= off[trial]]
        found["stimOn_times"][trial] = shown[0] if shown.size else np.nan
        found["stimOff_times"][trial] = hidden[0] if hidden.size else np.nan
        found["stimFreeze_times"][trial] = last[-1] if last.size and not no_go[trial] else np.nan
    return found


def _onsets(task: TaskData) -> list[np.ndarray]:
    """Sound onsets on BNC2, those that a card reported twice made one."""
    return [times[np.diff(times, prepend=-np.inf) >= SAME_ONSET_S] for times in task.events("BNC2High")]


def _go_cues(task: TaskData) -> np.ndarray:
    highs, lows = task.events("BNC2High"), task.events("BNC2Low")
    return np.array([high[0] if high.size else low[0] - TONE_S if low.size else np.nan for high, low in zip(highs, lows, strict=True)])


def _feedback_times(task: TaskData) -> np.ndarray:
    """Onset of the reward, or of the error sound: as the sound card reported it, or where it did not yet the state."""
    reward = task.state("reward")
    if task.version < WITH_SOUND:
        return np.fmin(np.fmin(reward, task.state("error")), task.state("no_go"))
    sounds = np.array([onsets[-1] if onsets.size >= 2 else np.nan for onsets in _onsets(task)])
    return np.where(np.isnan(reward), sounds, reward)


def _outcomes(task: TaskData) -> np.ndarray:
    entered = np.array([~np.isnan(task.state(name)) for name in OUTCOMES])
    if (wrong := np.flatnonzero(entered.sum(axis=0) != 1)).size:
        raise BehaviourError(
            f"{task.path}: trial {wrong[0]} entered {entered[:, wrong[0]].sum()} of the states {', '.join(OUTCOMES)}, it must be one",
            "times that are NaN, or a session that was stopped in the middle of a trial; mend that trial's line or remove it",
        )
    return np.array(list(OUTCOMES.values()))[entered.argmax(axis=0)]


def _contrast(trial: dict) -> float:
    value = trial["contrast"]
    return float(value["value"] if isinstance(value, dict) else value)


def _included(task: TaskData) -> np.ndarray:
    included = np.ones(len(task), dtype=bool)
    if task.version >= WITH_SOUND and task.settings.get("SUBJECT_DISENGAGED_TRIGGERED"):
        included[int(task.settings["SUBJECT_DISENGAGED_TRIALNUM"]) - 1 :] = False
    return included


def _repeated(trial: dict) -> bool | None:
    if "debias_trial" in trial:
        return bool(trial["debias_trial"])
    return trial["contrast"].get("type") == "RepeatContrast" if isinstance(trial["contrast"], dict) else None


def _count_up(repeated: np.ndarray) -> np.ndarray:
    """How often in a row each trial has been repeated by now."""
    total = np.cumsum(repeated)
    return total - np.maximum.accumulate(np.where(repeated, 0, total))
