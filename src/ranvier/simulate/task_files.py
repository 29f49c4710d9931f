"""The files that an IBL rig (iblrig 7) writes for a session of its choice task: Bpod's trials, the encoder's two files, the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ranvier.simulate.mouse import COUNTS, REWARD_UL, STEP, TONE_S, Behaviour

PROTOCOL = "_iblrig_tasks_biasedChoiceWorld"
COLLECTION = "raw_task_data_00"
VERSION = "7.2.1"
#: The encoder's clock: it runs this much faster than Bpod's, and began so long before it, s.
ENCODER_DRIFT, ENCODER_OFFSET_S = 30e-6, 3.7
#: Bpod began so long after the session's clock, s, and runs slower by this part.
BPOD_OFFSET_S, BPOD_DRIFT = 0.5, 12e-6
SCREEN_S = 0.03  #: of the screen behind its trigger
EXIT_S = SCREEN_S + 0.005  #: from the end of the stimulus to the time between two trials
SOUND_S = 2e-4  #: of the go cue behind its trigger
#: What Bpod sends at the start of a trial and for a reward, s.
START_PULSE_S, VALVE_PULSE_S = 1e-4, 0.06


def bpod_time(session: np.ndarray) -> np.ndarray:
    """Bpod's clock at times of the session's."""
    return (session - BPOD_OFFSET_S) * (1 - BPOD_DRIFT)


def write_task(folder: Path, did: Behaviour, created: str, kinds: set[str]) -> None:
    """Write the files of the protocol into its folder.

    Parameters
    ----------
    folder
        Is made.
    did
        What the mouse did.
    created
        Local time, ISO 8601.
    kinds
        Of `ranvier.simulate.damage.TASK_DAMAGES`.
    """
    folder.mkdir(parents=True)
    trials = [_trial(did, index) for index in range(len(did))]
    if "nan_times" in kinds:
        trials[len(trials) // 2]["behavior_data"]["Trial start timestamp"] = float("nan")
    text = "".join(json.dumps(trial) + "\n" for trial in trials)
    if "trials_cut" in kinds:
        text = text[: -len(json.dumps(trials[-1])) // 2]
    (folder / "_iblrig_taskData.raw.jsonable").write_text(text)
    (folder / "_iblrig_taskSettings.raw.json").write_text(json.dumps(_settings(created), indent=1))
    events, positions = encoder_lines(did)
    if "encoder_cut" in kinds:
        whole = "".join(positions)
        positions = [whole[: len(whole) // 2 - 3]]
    (folder / "_iblrig_encoderEvents.raw.ssv").write_text("".join(events))
    (folder / "_iblrig_encoderPositions.raw.ssv").write_text("".join(positions))


def bpod_pulses(did: Behaviour) -> np.ndarray:
    """What Bpod sends to the DAQ on an IBL rig: begin and end of each pulse, on the session's clock, s, shape (n, 2)."""
    rewards = did.feedback[did.correct]
    begins = [(did.starts, did.starts + START_PULSE_S), (rewards, rewards + VALVE_PULSE_S), (did.stim_off + EXIT_S, did.ends)]
    pulses = np.concatenate([np.column_stack(each) for each in begins])
    return pulses[np.argsort(pulses[:, 0])]


def sounds(did: Behaviour) -> np.ndarray:
    """Begin and end of each sound, go cues and errors, on the session's clock, s, shape (n, 2)."""
    begins = np.sort(np.concatenate([did.go_cue + SOUND_S, did.feedback[~did.correct]]))
    return np.column_stack([begins, begins + TONE_S])


def encoder_lines(did: Behaviour) -> tuple[list[str], list[str]]:
    """Lines of the encoder's events and positions: a position at each count that the wheel passes and at each reset."""
    resets = np.sort(np.concatenate([did.starts, did.go_cue]))
    counts = np.round(did.wheel_position / -STEP).astype(int)
    changed = np.flatnonzero(np.diff(counts)) + 1
    times = np.concatenate([did.wheel_times[changed], resets])
    order = np.argsort(times, kind="stable")
    at = np.searchsorted(did.wheel_times, resets, side="right") - 1
    zero = np.concatenate([[0], counts[at]])[np.searchsorted(resets, times, side="right")]
    values = np.concatenate([counts[changed], counts[at]]) - zero
    wrapped = (values + COUNTS // 2) % COUNTS - COUNTS // 2
    positions = [f"{tick} {value} \n" for tick, value in zip(_encoder_ticks(times[order]), wrapped[order], strict=True)]
    marks = [(did.stim_off, 1), (did.stim_on, 2), (did.go_cue, 3)]
    noted = sorted((tick, number) for moments, number in marks for tick in _encoder_ticks(moments))
    return [f"{tick} {number} \n" for tick, number in noted], positions


def _encoder_ticks(session: np.ndarray) -> list[int]:
    return np.round((bpod_time(session) + ENCODER_OFFSET_S) * (1 + ENCODER_DRIFT) * 1e6).astype(int).tolist()


def _trial(did: Behaviour, index: int) -> dict[str, Any]:
    begin = did.starts[index]
    at = {name: _since(begin, getattr(did, name)[index]) for name in ("stim_on", "go_cue", "response", "feedback", "stim_off", "ends")}
    correct = bool(did.correct[index])
    outcome, other = ("reward", "error") if correct else ("error", "reward")
    states: dict[str, list[list[float]]] = {
        "trial_start": [[0.0, 0.0001]],
        "reset_rotary_encoder": [[0.0001, 0.0002]],
        "quiescent_period": [[0.0002, at["stim_on"]]],
        "stim_on": [[at["stim_on"], at["go_cue"] - 0.0003]],
        "interactive_delay": [[at["go_cue"] - 0.0003, at["go_cue"] - 0.0002]],
        "play_tone": [[at["go_cue"] - 0.0002, at["go_cue"] - 0.0001]],
        "reset2_rotary_encoder": [[at["go_cue"], at["go_cue"] + 0.0001]],
        "closed_loop": [[at["go_cue"] + 0.0001, at["response"]]],
        f"freeze_{outcome}": [[at["response"], at["feedback"] - 0.0005]],
        outcome: [[at["feedback"] if correct else at["feedback"] - 0.0005, at["stim_off"] - 0.0001]],
        "hide_stim": [[at["stim_off"], at["stim_off"] + EXIT_S]],
        "exit_state": [[at["stim_off"] + EXIT_S, at["ends"]]],
        **{name: [[float("nan")] * 2] for name in (f"freeze_{other}", other, "no_go")},
    }
    states["correct"] = [[at["feedback"] + 0.01, at["stim_off"] - 0.0001]] if correct else [[float("nan")] * 2]
    heard = [at["go_cue"] + SOUND_S] if correct else [at["go_cue"] + SOUND_S, at["feedback"]]
    screen = [at["stim_on"] + SCREEN_S, at["response"] + SCREEN_S, at["stim_off"] + SCREEN_S]
    events = {"BNC2High": heard, "BNC2Low": [time + TONE_S for time in heard], "BNC1High": screen[::2], "BNC1Low": screen[1::2]}
    start = float(bpod_time(np.asarray(begin)))
    return {
        "trial_num": index + 1,
        "position": int(did.position[index]),
        "contrast": float(did.contrast[index]),
        "signed_contrast": float(did.contrast[index] * np.sign(did.position[index])),
        "stim_probability_left": float(did.probability_left[index]),
        "stim_phase": 0.0,
        "quiescent_period": float(did.quiescence[index]),
        "reward_amount": REWARD_UL,
        "trial_correct": correct,
        "behavior_data": {
            "Bpod start timestamp": 2.5,
            "Trial start timestamp": 2.5 + start,
            "Trial end timestamp": 2.5 + start + at["ends"],
            "States timestamps": states,
            "Events timestamps": events,
        },
    }


def _since(begin: float, moment: float) -> float:
    return (moment - begin) * (1 - BPOD_DRIFT)


def _settings(created: str) -> dict[str, Any]:
    return {
        "IBLRIG_VERSION_TAG": VERSION,
        "PYBPOD_PROTOCOL": PROTOCOL,
        "SESSION_DATETIME": created,
        "SESSION_NUMBER": "001",
        "QUIESCENT_PERIOD": 0.2,
        "STIM_GAIN": 4.0,
        "STIM_POSITIONS": [-35, 35],
        "SOUND_SAMPLE_FREQ": 96_000,
        "device_sound": {"OUTPUT": "harp"},
        "PYBPOD_SUBJECT_EXTRA": {},
    }
