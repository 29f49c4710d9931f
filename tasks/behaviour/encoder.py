"""The rotary encoder's files: events of the state machine and positions of the wheel, both with the encoder's own clock."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranvier.tasks.behaviour.bpod import BehaviourError, TaskData

if TYPE_CHECKING:
    import pandas as pd

EVENTS = "{collection}/_iblrig_encoderEvents.raw*.ssv"
POSITIONS = "{collection}/_iblrig_encoderPositions.raw*.ssv"
#: The state machine tells the encoder when it enters closed loop by this event.
CLOSED_LOOP = 3
#: Two pulses belong together if the time since the one before is the same to this, s.
MATCH_S = 0.005
#: No pulse may lie further than this from the line between the two clocks, s.
RESIDUAL_S = 0.002
MATCHED_WHOLE, MATCHED_SHIFTED, MAX_SHIFT = 0.99, 0.8, 5
WRAP = 2.0**32
#: A file of microseconds spans at least so many seconds, or this part of the session.
SHORTEST_S, PART = 20.0, 0.03
#: Characters of the time stamp that older rigs put at the end of a line; a shorter one was cut off.
STAMP_LENGTH = 33
_log = logging.getLogger("ranvier.task")


class EncoderError(BehaviourError):
    """The wheel's files cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class EncoderFile:
    """A file of the rotary encoder.

    Attributes
    ----------
    times
        s on the encoder's clock, shape (n,), increasing.
    values
        Number of the event, or position in counts, shape (n,).
    dropped
        Lines that were no records.
    milliseconds
        Whether the encoder counted milliseconds, as old firmware did.
    """

    times: np.ndarray
    values: np.ndarray
    dropped: int
    milliseconds: bool


def read(path: Path, *, span_s: float | None = None, milliseconds: bool | None = None) -> EncoderFile:
    """Read a file of events or positions, of older rigs (a word first, the computer's time last) or newer ones.

    Parameters
    ----------
    path
        The file.
    span_s
        How long the file must reach, s: a newer file that spans a small part of it counts milliseconds. Where this is not known, one
        that would span less than 20 s does.
    milliseconds
        Whether a newer file counts milliseconds, where that is known. Older files tell by their time stamps.

    Raises
    ------
    EncoderError
        If it cannot be read, or holds fewer than two records.

    Notes
    -----
    Lines that are no records are left out, as are repeated ones. The encoder counts microseconds in 32 bits: where it began anew, 2**32 are
    added. A first sample from before the encoder's clock was set, and two neighbours in the wrong order, are put right.
    """
    try:
        with path.open(errors="replace") as file:
            older = file.readline()[:1].isalpha()
        table, n_lines = _records(path, older)
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}", "copy the file from the rig again") from error
    if len(table) < 2:
        raise EncoderError(f"{path} holds {len(table)} records in {n_lines} lines", "it was cut off or never written; copy it again")
    ticks, values, kept = _in_order(table["time"].to_numpy(float), table["value"].to_numpy(float), path.name)
    if older:
        stamps = table["stamp"].to_numpy(str)[kept]
        whole = np.char.str_len(stamps) == STAMP_LENGTH
        ticks, values, stamps = ticks[whole], values[whole], stamps[whole]
        slow = ticks.size > 1 and ticks[-1] / (_seconds_between(stamps[0], stamps[-1]) + 1e-6) < 1e5
    else:
        least = SHORTEST_S if span_s is None else span_s * PART
        slow = milliseconds if milliseconds is not None else ticks[-1] - ticks[0] < least * 1e6
    if ticks.size < 2:
        raise EncoderError(f"{path} holds {ticks.size} whole records in {n_lines} lines", "copy the file from the rig again")
    dropped = n_lines - ticks.size
    if dropped:
        _log.warning("%s: %d of %d lines are no records, or repeat one; they are left out", path.name, dropped, n_lines)
    return EncoderFile(ticks * (1e-3 if slow else 1e-6), values, dropped, bool(slow))


def onto_bpod(events: EncoderFile, task: TaskData, path: Path) -> Clock:
    """How the encoder's clock becomes Bpod's, from the times of closed loop that both noted.

    Parameters
    ----------
    events
        The encoder's events.
    task
        The trials.
    path
        Of the events, for the messages.

    Raises
    ------
    EncoderError
        If there are too few events, or if they are not those of these trials.
    """
    encoder = events.times[events.values == CLOSED_LOOP][:-1]  # the last trial may have been stopped in the middle
    bpod = task.state("closed_loop")
    if encoder.size < 2:
        raise EncoderError(f"{path} has {encoder.size} events of closed loop, too few to find Bpod's clock", _CUT)
    ours, theirs = _paired(encoder, bpod)
    if ours.size < 2:
        raise EncoderError(f"{path}: its {encoder.size} events are not at the times of the {bpod.size} trials in {task.path.name}", _CUT)
    line = np.polyfit(theirs, ours, 1)
    worst = float(np.abs(np.polyval(line, theirs) - ours).max())
    if worst >= RESIDUAL_S:
        raise EncoderError(f"{path}: its clock does not run along Bpod's, one event is {worst * 1e3:.1f} ms off", _CUT)
    return Clock(ours, theirs)


@dataclass(frozen=True)
class Clock:
    """One clock in terms of another, from instants that are known on both, shapes (n,)."""

    source: np.ndarray
    target: np.ndarray

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """Times on the other clock, linear between the instants and beyond them."""
        index = np.clip(np.searchsorted(self.source, times) - 1, 0, self.source.size - 2)
        slope = (self.target[index + 1] - self.target[index]) / (self.source[index + 1] - self.source[index])
        return self.target[index] + (times - self.source[index]) * slope


_CUT = "the file was cut off or is another session's; copy it from the rig again"


def _records(path: Path, older: bool) -> tuple[pd.DataFrame, int]:
    import pandas as pd

    columns = ["word", "time", "value", "stamp", "rest"] if older else ["time", "value", "rest"]
    if older and "Events" in path.name:
        columns = ["word", "time", "machine", "value", "stamp", "rest"]
    wanted = ["time", "value", *(["stamp"] if older else [])]
    table = pd.read_csv(
        path, sep=" ", names=columns, usecols=wanted, dtype=str, on_bad_lines="skip", encoding_errors="replace", index_col=False
    )
    with path.open("rb") as file:
        n_lines = sum(1 for line in file if line.strip())
    for name in ("time", "value"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table.dropna().drop_duplicates(), n_lines


def _in_order(ticks: np.ndarray, values: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ticks made to increase, their values, and which rows they are."""
    ticks, rows = ticks.copy(), np.arange(ticks.size)
    first = 0
    for index in np.flatnonzero(np.diff(ticks) < 0):
        back = ticks[index] - ticks[index + 1]
        if index <= 1:
            first = int(index) + 1
        elif back > WRAP * 2**-0.2:
            ticks[index + 1 :] += WRAP
        elif ticks[index + 1] > ticks[index - 1]:
            ticks[[index, index + 1]] = ticks[[index + 1, index]]
            rows[[index, index + 1]] = rows[[index + 1, index]]
        elif back > 0:
            _log.warning("%s: times are not in order", name)
            order = np.argsort(ticks, kind="stable")
            ticks, rows = ticks[order], rows[order]
            break
    return ticks[first:], values[rows[first:]], rows[first:]


def _seconds_between(first: str, last: str) -> float:
    """Whole seconds between two time stamps of an older rig."""
    begin, end = (np.datetime64(stamp[:25], "us") for stamp in (first, last))
    return float(((end - begin) // np.timedelta64(1, "s")).astype(int) % 86_400)


def _paired(encoder: np.ndarray, bpod: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The instants that are the same on both clocks: begun together, ended together, or else shifted by a few pulses."""
    if (bpod[-1] - bpod[0]) > 900 * (encoder[-1] - encoder[0]):
        encoder = encoder * 1e3
    size = min(encoder.size, bpod.size)
    for ours, theirs in ((encoder[:size], bpod[:size]), (encoder[-size:], bpod[-size:])):
        if (same := _same(ours, theirs)).mean() > MATCHED_WHOLE:
            return _without_breaks(ours, theirs, same)
    best: tuple[float, tuple[np.ndarray, np.ndarray]] = (MATCHED_SHIFTED, (encoder[:0], bpod[:0]))
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        ours, theirs = encoder[max(shift, 0) :], bpod[max(-shift, 0) :]
        size = min(ours.size, theirs.size)
        if size > 1 and (part := (same := _same(ours[:size], theirs[:size])).mean()) > best[0]:
            best = (part, _without_breaks(ours[:size], theirs[:size], same))
    return best[1]


def _same(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(ours) - np.diff(theirs)) < MATCH_S


def _without_breaks(ours: np.ndarray, theirs: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    broken = np.flatnonzero(~same)
    out = np.unique(np.concatenate([broken, broken + 1]))
    return np.delete(ours, out), np.delete(theirs, out)
