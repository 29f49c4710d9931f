"""The wheel's position over the session, and the movements in it.

Radians, anticlockwise positive, seconds on Bpod's clock; the convention is IBL's
(https://docs.internationalbrainlab.org/loading_examples/loading_wheel_data.html).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranvier.tasks.behaviour import encoder
from ranvier.tasks.behaviour.bpod import TaskData

COUNTS = 1024  #: of the encoder in a turn
STEP = 2 * np.pi / COUNTS
#: A zero that the wheel reaches slower than this, in the direction it was turning, is a place and no reset, rad/s.
RESET_RAD_S = 10.0
RATE = 1000.0  #: Hz, at which movements are looked for
WINDOW_S, MIN_GAP_S, MIN_DURATION_S = 0.2, 0.1, 0.05
#: Displacement within the window that is a movement, and the one that marks its onset, in counts.
MOVED, ONSET = 8.0, 1.5
#: A movement of a trial counts from here, rad: about a third of the way to the threshold.
LARGE_RAD = 0.1
MIN_QUIESCENCE_S = 0.2
#: Speeds that differ by this part of them are the same.
SAME_SPEED = 1e-6
#: Part of the trials with a response that may lack wheel samples on the way to it.
MISSING = 0.1


@dataclass(frozen=True)
class Wheel:
    """Position of the wheel: rad at s, shapes (n_samples,); `dropped` lines of the file were no records."""

    times: np.ndarray
    position: np.ndarray
    dropped: int = 0


@dataclass(frozen=True)
class Moves:
    """Movements of the wheel: onset and offset (s, shape (n, 2)), largest excursion (rad), and when it was fastest (s), shapes (n,)."""

    intervals: np.ndarray
    peak_amplitude: np.ndarray
    peak_velocity_times: np.ndarray


def read_wheel(task: TaskData, events: Path, positions: Path) -> Wheel:
    """The wheel's position from the encoder's two files.

    Raises
    ------
    EncoderError
        If the files cannot be read, do not belong to the trials, or lack what the trials must have had.
    """
    noted = encoder.read(events, span_s=float(task.ends[-1] - task.starts[0]))
    read = encoder.read(positions, milliseconds=noted.milliseconds)
    times = encoder.onto_bpod(noted, task, events)(read.times)
    position = -read.values * STEP
    resets, sure = (np.zeros(0, int), False) if read.milliseconds else _resets(times, position, task)
    zeros = np.flatnonzero(position == 0)
    starts = task.starts
    if sure:
        zeros = zeros[(times[zeros] >= starts[-1]) | (times[zeros] <= starts[0])]
    zeros = zeros[(zeros > 0) & (zeros < position.size - 1)]
    jumps = np.zeros_like(position)
    for reset in (resets if sure else np.flatnonzero(position == 0), zeros[~_passing(times, position, zeros)]):
        jumps[reset] = position[reset - 1]
    wheel = _merged(times, np.unwrap(position) + np.cumsum(jumps), read.dropped)
    _check_covers(wheel, task, positions)
    return wheel


def find_moves(wheel: Wheel) -> Moves:
    """Movements of the wheel.

    Notes
    -----
    The position is sampled at 1 kHz. A movement is where it changes by more than 8 counts within 200 ms; gaps below 100 ms do not divide
    it, and what lasts less than 50 ms is none. Its onset is the last sample within 1.5 counts of where it began. Method: the International
    Brain Laboratory, "Standardized and reproducible measurement of decision-making in mice", doi 10.7554/eLife.63711, appendix 3.
    """
    from scipy.ndimage import maximum_filter1d, minimum_filter1d
    from scipy.signal import convolve
    from scipy.signal.windows import gaussian

    times = np.arange(wheel.times[0], wheel.times[-1], 1 / RATE)
    times = times[times <= wheel.times[-1]]
    position = np.interp(times, wheel.times, wheel.position)
    count, size = _count(wheel.position), round(WINDOW_S * RATE)
    ahead = dict(size=size, origin=-(size // 2), mode="nearest")
    moving = maximum_filter1d(position, **ahead) - minimum_filter1d(position, **ahead) > MOVED * count
    moving = np.concatenate([[False], moving])
    moving[-1] = False
    starts, stops = _edges(moving)
    for stop, start in zip(stops[:-1], starts[1:], strict=True):
        if (start - stop) / RATE < MIN_GAP_S:
            moving[stop : start + 1] = True
    starts, stops = _edges(moving)
    starts = np.array([_onset(position, start, size, ONSET * count) for start in starts], dtype=int)
    starts, stops = _apart(times, starts, stops)
    speed = np.abs(convolve(np.diff(position, prepend=0.0), gaussian(10, 1.8), mode="same"))
    amplitudes = [position[a + np.abs(position[a:b] - position[a]).argmax()] - position[a] for a, b in zip(starts, stops, strict=True)]
    fastest = np.array([a + _fastest(speed[a:b]) for a, b in zip(starts, stops, strict=True)], dtype=int)
    return Moves(np.column_stack([times[starts], times[stops]]), np.array(amplitudes, dtype=float), times[fastest])


def min_quiescence(task: TaskData) -> np.ndarray:
    """For how long the wheel must be still before a stimulus at least, s: one number, or one a trial."""
    return np.atleast_1d(np.asarray(task.settings.get("QUIESCENT_PERIOD") or MIN_QUIESCENCE_S, dtype=float))[: len(task)]


def first_movements(moves: Moves, go_cues: np.ndarray, feedback: np.ndarray, quiescence: float | np.ndarray) -> np.ndarray:
    """Onset of the first large movement of each trial, between the end of the quiescent period and feedback, s; NaN for none."""
    large = np.abs(moves.peak_amplitude) >= LARGE_RAD
    onsets = moves.intervals[large, 0]
    first = np.full(go_cues.shape, np.nan)
    index = np.searchsorted(onsets, go_cues - quiescence, side="right")
    there = index < onsets.size
    first[there] = onsets[index[there]]
    first[~(first < feedback)] = np.nan
    return first


def _resets(times: np.ndarray, position: np.ndarray, task: TaskData) -> tuple[np.ndarray, bool]:
    """Samples at which the state machine set the encoder to zero, and whether all were found where they had to be."""
    found, sure, last = [], True, position.size - 1
    for trial, entries in enumerate(task.state_entries("reset_rotary_encoder", "reset2_rotary_encoder")):
        for sample in np.unique(np.searchsorted(times, entries) - 1):
            if sample < 0:
                continue
            if position[sample] != 0 and sample < last:
                # encoders may reset one sample late, or to a neighbour of zero
                if position[sample + 1] == 0 or position[sample] <= STEP or abs(position[sample + 1]) <= STEP:
                    sample += 1
                elif 0 < trial < len(task) - 1:
                    sure = False
            found.append(sample)
    return np.unique(np.array(found, dtype=int)), sure


def _passing(times: np.ndarray, position: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Which of these zeros the wheel only passed through: it turned round there, slowly."""
    before, after = position[samples] - position[samples - 1], position[samples + 1] - position[samples]
    speed = np.abs(before / (np.finfo(float).eps + times[samples] - times[samples - 1]))
    return (np.abs(np.sign(after) - np.sign(before)) == 2) & (speed < RESET_RAD_S)


def _merged(times: np.ndarray, position: np.ndarray, dropped: int) -> Wheel:
    """Samples of one instant made one."""
    times, position = times.copy(), position.copy()
    twice = np.flatnonzero(np.diff(times) <= 0)
    position[twice] = (position[twice] + position[twice + 1]) / 2
    times[twice] = (times[twice] + times[twice + 1]) / 2
    return Wheel(np.delete(times, twice + 1), np.delete(position, twice + 1), dropped)


def _check_covers(wheel: Wheel, task: TaskData, path: Path) -> None:
    """A response is a turn of the wheel: refuse a file that has no samples before more than a few of them."""
    begun, ended = task.state("closed_loop"), task.state("closed_loop", 1)
    turned = np.isnan(task.state("no_go"))
    lacking = turned & (np.searchsorted(wheel.times, begun) == np.searchsorted(wheel.times, ended))
    if lacking.sum() > MISSING * turned.sum():
        first = int(np.flatnonzero(lacking)[0])
        raise encoder.EncoderError(
            f"{path} has no positions in {lacking.sum()} of the {turned.sum()} trials with a response, beginning with trial {first}; "
            f"it ends at {wheel.times[-1]:.1f} s of {task.ends[-1]:.1f} s",
            "the file was cut off, or is another session's; copy it from the rig again",
        )


def _fastest(speed: np.ndarray) -> int:
    """The first sample that is as fast as any: the wheel moves in counts, so that many are, and rounding must not choose among them."""
    return int(np.argmax(speed >= speed.max() * (1 - SAME_SPEED)))


def _count(position: np.ndarray) -> float:
    """Radians of one count: the encoder is read at one, two or four edges of its signals."""
    counts = STEP / np.array([4, 2, 1])
    return float(counts[np.argmin(np.abs(counts - np.median(np.abs(np.diff(position)))))])


def _edges(moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.flatnonzero(~moving[:-1] & moving[1:]), np.flatnonzero(moving[:-1] & ~moving[1:])


def _onset(position: np.ndarray, start: int, size: int, threshold: float) -> int:
    still = np.flatnonzero(np.abs(position[start : start + size] - position[start]) <= threshold)
    return start + int(still[-1])


def _apart(times: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Movements that last long enough, those with too small a gap between them made one."""
    lasting = times[stops] - times[starts] >= MIN_DURATION_S
    starts, stops = starts[lasting], stops[lasting]
    gap = times[starts[1:]] - times[stops[:-1]] >= MIN_GAP_S
    return starts[np.concatenate([[True], gap])[: starts.size]], stops[np.concatenate([gap, [True]])[: stops.size]]
