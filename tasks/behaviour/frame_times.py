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
    """Times of the frames (s, shape (n_frames,)), where they came from, and how many more TTLs there were than frames."""

    times: np.ndarray
    source: str
    surplus: int = 0


def from_ttls(ttls: np.ndarray, n_frames: int, counter: np.ndarray | None, where: str) -> FrameTimes:
    """Give each frame its TTL.

    Parameters
    ----------
    ttls
        One a frame that was taken, s, shape (n_ttls,).
    n_frames
        Frames in the video.
    counter
        Number of each frame of the video by the camera's own count, shape (n_frames,); None where the camera did not count.
    where
        What to call it in messages.

    Raises
    ------
    VideoError
        If TTLs and frames differ by more than the end of a recording explains and there is no counter that tells which are lost.
    """
    surplus = ttls.size - n_frames
    if counter is not None and counter.size == n_frames and int(counter[-1] - counter[0]) < ttls.size:
        index = (counter - counter[0]).astype(int)
        if (np.diff(index) > 0).all():
            return FrameTimes(ttls[index], "TTL", surplus)
    if abs(surplus) >= FEW:
        raise VideoError(
            f"{where}: {ttls.size} TTLs, but {n_frames} frames in the video, and no frame counter tells which are "
            f"{'lost' if surplus > 0 else 'without a TTL'}",
            "copy the video again if its copy stopped early; see whether the camera's TTL is on the line that the wiring names",
        )
    if surplus >= 0:
        return FrameTimes(ttls[:n_frames], "TTL", surplus)
    step = np.median(np.diff(ttls))
    return FrameTimes(np.concatenate([ttls, ttls[-1] + step * np.arange(1, -surplus + 1)]), "TTL", surplus)


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


def frame_counter(paths: Sequence[Path]) -> np.ndarray | None:
    """The camera's own count of its frames, from ``frame_counter.bin`` or ``frameData.bin``; None where there is neither."""
    for path in paths:
        if path.name.endswith(".frameData.bin"):
            return np.fromfile(path, np.int64).reshape(-1, 4)[:, 2]
        if path.name.endswith(".frame_counter.bin"):
            return np.fromfile(path, np.float64)
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
