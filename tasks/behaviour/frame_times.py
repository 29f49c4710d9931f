"""When the frames of a camera were taken: from TTLs, from what the camera wrote beside its video, or from the video's header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranvier.tasks.behaviour.video import VideoError

#: TTLs that may be too many or too few without a counter that says which: the camera is stopped while a frame is on its way.
FEW = 5
#: Bits of a Spinnaker camera's time stamp: seconds, cycles of 1/8000 s, offsets of 1/3072 of a cycle.
SECOND_BITS, CYCLE_BITS, OFFSET_BITS = 7, 13, 12
CYCLES, OFFSETS = 8000, 3072
_COPY = "copy the file from the rig again"


@dataclass(frozen=True)
class FrameTimes:
    """When the frames were taken.

    Attributes
    ----------
    times
        Of the frames, s, shape (n_frames,).
    source
        ``TTL``, ``camera`` or ``header``.
    surplus
        How many more TTLs there were than frames.
    without_ttl
        Frames before the first and after the last TTL, whose times go on at the camera's rate.
    told
        Whether sounds tell which TTL is the first frame's.
    guessed
        TTLs that were left out at the beginning, though nothing says that it were these.
    """

    times: np.ndarray
    source: str
    surplus: int = 0
    without_ttl: int = 0
    told: bool = False
    guessed: int = 0


def from_ttls(
    ttls: np.ndarray, n_frames: int, number: np.ndarray | None, where: str, *, first: int | None = None, ends_early: bool = False
) -> FrameTimes:
    """Give each frame its TTL.

    Parameters
    ----------
    ttls
        One a frame that was taken, s, shape (n_ttls,).
    n_frames
        Frames in the video.
    number
        Of each frame of the video by the camera's own count, the first being 0, shape (n_frames,); None where the camera did not count.
    where
        What to call it in messages.
    first
        Number of the TTL that belongs to the first frame, negative where it came before them; None where nothing tells.
    ends_early
        Whether TTLs end before the camera does, as Bpod's do after the last trial.

    Raises
    ------
    VideoError
        If TTLs and frames differ by more than the end of a recording explains, and there is neither a counter that tells which are lost
        nor a sound that tells where they begin.
    """
    index, surplus = np.arange(n_frames) if number is None else number, ttls.size - n_frames
    if first is not None:
        index = index + first
        return FrameTimes(_at(ttls, index), "TTL", surplus, int(((index < 0) | (index >= ttls.size)).sum()), told=True)
    spare = ttls.size - 1 - int(index[-1])
    if number is not None and spare >= 0:
        begin = spare if spare >= FEW else 0
        return FrameTimes(ttls[index + begin], "TTL", surplus, guessed=begin)
    if spare >= FEW or (spare <= -FEW and not ends_early):
        told = f"of the {index[-1] + 1} that the camera counted; the others are without a TTL"
        lost = f"and no frame counter tells which are {'lost' if surplus > 0 else 'without a TTL'}"
        raise VideoError(
            f"{where}: {ttls.size} TTLs, but {n_frames} frames in the video, {lost if number is None else told}",
            "copy the video again if its copy stopped early; see whether the camera's TTL is on the line that the wiring names",
        )
    return FrameTimes(_at(ttls, index), "TTL", surplus, int((index >= ttls.size).sum()))


def _at(ttls: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Times of the TTLs of these numbers; before the first and after the last they go on at the median interval."""
    step = np.median(np.diff(ttls))
    within = np.clip(index, 0, ttls.size - 1)
    return ttls[within] + (index - within) * step


def bridged(trials: Sequence[np.ndarray]) -> np.ndarray:
    """TTLs that Bpod saw during trials, and those between two trials, when it was blind, as evenly spaced as the camera's rate allows.

    Parameters
    ----------
    trials
        Times in each trial, s, sorted; trials in which there are none are passed over.
    """
    seen = np.concatenate([np.zeros(0), *trials])
    if seen.size < 2:
        return seen
    gaps = np.diff(seen)
    missing = np.maximum(np.round(gaps / np.median(gaps)).astype(int) - 1, 0)
    index = np.concatenate([[0], np.cumsum(missing + 1)])
    return np.interp(np.arange(index[-1] + 1), index, seen)


def camera_clock(path: Path) -> np.ndarray:
    """Time stamps that the camera wrote, s from its first frame, shape (n,).

    Parameters
    ----------
    path
        ``_iblrig_*Camera.timestamps.ssv`` of older rigs, with the computer's time and the camera's counter of 128 s, or
        ``_iblrig_*Camera.frameData.bin`` of newer ones, four 64-bit numbers a frame.

    Raises
    ------
    VideoError
        If the file is cut off or holds what is no time.
    """
    try:
        if path.suffix == ".bin":
            stamps = np.fromfile(path, np.int64).reshape(-1, 4)[:, 1]
        else:
            stamps = np.array([line.split()[-1] for line in path.read_text().splitlines() if line.strip()], dtype=np.int64)
    except (OSError, ValueError, IndexError) as error:
        raise VideoError(f"{path} is malformed: {error}", _COPY) from error
    if stamps.size < 2:
        raise VideoError(f"{path} holds {stamps.size} time stamps", _COPY)
    seconds = (stamps >> (CYCLE_BITS + OFFSET_BITS)) & (2**SECOND_BITS - 1)
    cycles, offsets = (stamps >> OFFSET_BITS) & (2**CYCLE_BITS - 1), stamps & (2**OFFSET_BITS - 1)
    times = seconds + (cycles + offsets / OFFSETS) / CYCLES
    turns = np.cumsum(np.diff(times, prepend=times[0]) < -(2 ** (SECOND_BITS - 1)))
    return times + turns * 2**SECOND_BITS - times[0]


def frame_numbers(paths: Sequence[Path], n_frames: int) -> np.ndarray | None:
    """Number of each frame by the camera's own count, the first being 0, from ``frame_counter.bin`` or ``frameData.bin``.

    Returns
    -------
    numpy.ndarray or None
        Shape (n_frames,). None where the camera did not count, or where its count is not that of this video. A count that is up to four
        longer than the video is its own: the last frames are lost when a camera is stopped.

    Raises
    ------
    VideoError
        If the file is cut off.
    """
    counted = embedded(paths, "frame_counter", 2)
    if counted is None or not 0 <= counted.size - n_frames < FEW or not n_frames:
        return None
    number = (counted - counted[0]).astype(int)[:n_frames]
    return number if (np.diff(number) > 0).all() else None


def embedded(paths: Sequence[Path], name: str, column: int) -> np.ndarray | None:
    """What the camera saved with each frame, shape (n,): ``<name>.bin`` of doubles, or a column of ``frameData.bin`` of 64-bit integers.

    Raises
    ------
    VideoError
        If the file is cut off.
    """
    for path in paths:
        whole = ".frameData" in path.name
        if not whole and f"Camera.{name}" not in path.name:
            continue
        if path.stat().st_size % (32 if whole else 8):
            raise VideoError(f"{path} is malformed: its {path.stat().st_size} bytes are no whole number of frames", _COPY)
        return np.fromfile(path, np.int64).reshape(-1, 4)[:, column] if whole else np.fromfile(path, np.float64)
    return None


def check(times: np.ndarray, where: str) -> None:
    """Refuse times that are no numbers or do not increase.

    Raises
    ------
    VideoError
        If there are such.
    """
    if (wrong := np.flatnonzero(~np.isfinite(times))).size:
        raise VideoError(f"{where}: frame {wrong[0]} has the time {times[wrong[0]]}", _COPY)
    if (wrong := np.flatnonzero(np.diff(times) <= 0)).size:
        raise VideoError(f"{where}: frame {wrong[0] + 1} is not later than the one before it", _COPY)
