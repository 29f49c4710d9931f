"""A mouse that turns a wheel: trials of IBL's task with known choices, times and wheel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranvier.simulate.damage import SimulationError
from ranvier.simulate.truth import read_truth, write_truth

CONTRASTS = (1.0, 0.25, 0.125, 0.0625, 0.0)
#: Of the encoder in a turn, and the turn that moves the stimulus by its 35 degrees: 62 mm wheel, gain of 4 degrees/mm.
COUNTS, THRESHOLD_RAD = 1024, 35 / 4 * 2 / 62
STEP = 2 * np.pi / COUNTS
TICK_S = 1e-4  #: Bpod's
RATE = 1000.0  #: Hz, of the true wheel
REWARD_UL, TONE_S, CORRECT_S, ERROR_S, ITI_S = 2.0, 0.1, 1.0, 2.0, 0.5
#: Psychometric function of the mouse: bias and threshold (% contrast), lapses.
BIAS, THRESHOLD, LAPSE = 5.0, 18.0, 0.06
LONGEST_TRIAL_S = 7.0


@dataclass(frozen=True)
class Behaviour:
    """What the mouse did, on the session's clock (s), one row a trial, and the wheel.

    Attributes
    ----------
    starts, stim_on, go_cue, movement, response, feedback, stim_off, ends
        Times, shape (n_trials,).
    position, contrast
        Of the stimulus: degrees, negative left; 0 to 1.
    probability_left, choice, correct, quiescence
        Probability of a stimulus on the left; 1 for a turn that brings it rightward, -1 the other; whether rewarded; s.
    wheel_times, wheel_position
        Position of the wheel, rad anticlockwise, at 1 kHz.
    """

    starts: np.ndarray
    stim_on: np.ndarray
    go_cue: np.ndarray
    movement: np.ndarray
    response: np.ndarray
    feedback: np.ndarray
    stim_off: np.ndarray
    ends: np.ndarray
    position: np.ndarray
    contrast: np.ndarray
    probability_left: np.ndarray
    choice: np.ndarray
    correct: np.ndarray
    quiescence: np.ndarray
    wheel_times: np.ndarray
    wheel_position: np.ndarray

    def __len__(self) -> int:
        return self.starts.size

    def save(self, session_path: Path) -> Path:
        """Write it below the session folder."""
        return write_truth(self, session_path, "behaviour")


def load_behaviour(session_path: Path | str) -> Behaviour:
    """Read what the mouse of a simulated session did.

    Raises
    ------
    SimulationError
        If there is no such truth.
    """
    return read_truth(Behaviour, session_path, "behaviour", "only sessions that were simulated with behaviour have it")


def make_behaviour(duration_s: float, seed: int) -> Behaviour:
    """As many trials as fit into the time, with blocks of 20 % and 80 % after ninety balanced trials.

    Parameters
    ----------
    duration_s
        Length of the session, s.
    seed
        The same seed gives the same mouse.

    Raises
    ------
    SimulationError
        If not a single trial fits.
    """
    from scipy.special import erf

    rng = np.random.default_rng((seed, 77))
    most = max(int(duration_s / 2), 1)
    left = _blocks(most, rng)
    contrast = rng.choice(CONTRASTS, most)
    position = np.where(rng.random(most) < left, -35.0, 35.0)
    signed = 100 * contrast * np.sign(position)
    right = LAPSE + (1 - 2 * LAPSE) * (erf((signed - BIAS) / THRESHOLD) + 1) / 2
    choice = np.where(rng.random(most) < right, -1, 1)
    correct = choice == -np.sign(position)
    quiescence = _ticks(rng.uniform(0.4, 0.7, most))
    reaction = 0.15 + rng.gamma(3, 0.05 + 0.1 * (1 - contrast))
    turn = rng.uniform(0.15, 0.5, most)
    starts, rows = [1.0], []
    for trial in range(most):
        stim_on = starts[-1] + 0.001 + quiescence[trial]
        go_cue = stim_on + 0.035
        movement = go_cue + reaction[trial]
        response = movement + turn[trial] * _crossing()
        stim_off = response + 0.001 + (CORRECT_S if correct[trial] else ERROR_S)
        rows.append([stim_on, go_cue, movement, response, response + 0.002, stim_off, stim_off + ITI_S])
        starts.append(rows[-1][-1] + 0.05)
        if starts[-1] > duration_s - 0.5:
            rows.pop()
            break
    if not rows:
        raise SimulationError(f"no trial fits into {duration_s:g} s", f"simulate {LONGEST_TRIAL_S:g} s or more with behaviour")
    n, times = len(rows), _ticks(np.array(rows)).T
    movement, stim_off = times[2], times[5]
    wheel_times = np.arange(0, duration_s, 1 / RATE)
    wheel = _wheel(wheel_times, movement, turn[:n], -choice[:n], stim_off, rng)
    return Behaviour(
        starts=_ticks(np.array(starts[:n])),
        **dict(zip(("stim_on", "go_cue", "movement", "response", "feedback", "stim_off", "ends"), times, strict=True)),
        position=position[:n],
        contrast=contrast[:n],
        probability_left=left[:n],
        choice=choice[:n],
        correct=correct[:n],
        quiescence=quiescence[:n],
        wheel_times=wheel_times,
        wheel_position=wheel,
    )


def _ticks(times: np.ndarray) -> np.ndarray:
    return np.round(times / TICK_S) * TICK_S


def _blocks(count: int, rng: np.random.Generator) -> np.ndarray:
    left, side = [0.5] * 90, rng.choice([0.2, 0.8])
    while len(left) < count:
        left += [side] * int(rng.integers(20, 100))
        side = 1 - side
    return np.array(left[:count])


#: How far a turn goes, in thresholds.
OVERSHOOT = 1.5


def _turn(part: np.ndarray) -> np.ndarray:
    """A minimum-jerk movement from 0 to 1."""
    part = np.clip(part, 0, 1)
    return part**3 * (10 - 15 * part + 6 * part**2)


def _crossing() -> float:
    """Part of a turn after which the threshold is passed."""
    parts = np.linspace(0, 1, 10_001)
    return float(np.interp(1 / OVERSHOOT, _turn(parts), parts))


def _wheel(
    times: np.ndarray, onsets: np.ndarray, turn: np.ndarray, sign: np.ndarray, offs: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Turns of the trials, and some between them."""
    idle = rng.random(onsets.size) < 0.5
    begin = np.concatenate([onsets, offs[idle] - 0.5])
    length = np.concatenate([turn, rng.uniform(0.1, 0.4, idle.sum())])
    size = np.concatenate([sign * THRESHOLD_RAD * OVERSHOOT, rng.normal(0, 0.5, idle.sum())])
    wheel = np.zeros_like(times)
    for start, span, far in zip(begin, length, size, strict=True):
        first, last = np.searchsorted(times, (start, start + span))
        wheel[first:last] += far * _turn((times[first:last] - start) / span)
        wheel[last:] += far
    return wheel
