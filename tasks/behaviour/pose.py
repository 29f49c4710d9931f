"""The pose that one camera saw: x, y and likelihood of each keypoint, one row a frame; in one format, whatever model found it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranvier.tasks.behaviour.bpod import BehaviourError

if TYPE_CHECKING:
    import pandas as pd

#: Of any back end: ``onnx`` is Ranvier's, ``dlc`` and ``lightningPose`` are IBL's names, ``sleap`` is in their manner.
POSE = "alf/_ibl_{camera}Camera.{backend}.pqt"
COLUMNS = ("x", "y", "likelihood")
#: From this likelihood on a keypoint counts as seen.
SEEN = 0.5


class PoseError(BehaviourError):
    """A pose cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Pose:
    """Where the keypoints are.

    Attributes
    ----------
    keypoints
        Their names.
    xy
        Pixels of the video, the middle of the first being 0; shape (n_frames, n_keypoints, 2).
    likelihood
        0 to 1, shape (n_frames, n_keypoints).
    """

    keypoints: tuple[str, ...]
    xy: np.ndarray
    likelihood: np.ndarray

    def __len__(self) -> int:
        return len(self.xy)

    def has(self, *names: str) -> bool:
        """Whether it has all of these keypoints."""
        return set(names) <= set(self.keypoints)

    def of(self, name: str) -> np.ndarray:
        """Course of one keypoint, shape (n_frames, 2)."""
        return self.xy[:, self.keypoints.index(name)]

    def seen(self, likelihood: float) -> Pose:
        """The same with NaN where a keypoint is less likely than that."""
        return replace(self, xy=np.where((self.likelihood >= likelihood)[..., None], self.xy, np.nan))

    def called(self, names: Mapping[str, str]) -> Pose:
        """The same with other names of keypoints; `names` has the new one: the one that it has here.

        Raises
        ------
        PoseError
            If it has no such keypoint.
        """
        if unknown := sorted(set(names.values()) - set(self.keypoints)):
            raise PoseError(f"the pose has no keypoint {', '.join(unknown)}", f"it has {', '.join(self.keypoints)}; mend `names`")
        new = {old: name for name, old in names.items()}
        return replace(self, keypoints=tuple(new.get(name, name) for name in self.keypoints))

    def table(self) -> pd.DataFrame:
        """As it is written: ``<keypoint>_x``, ``<keypoint>_y``, ``<keypoint>_likelihood``, float32."""
        import pandas as pd

        values = np.dstack([self.xy, self.likelihood]).astype(np.float32).reshape(len(self), -1)
        return pd.DataFrame(values, columns=[f"{name}_{column}" for name in self.keypoints for column in COLUMNS])


def not_chosen(task: str) -> str:
    """Why a task makes no pose as long as nobody has chosen a model for it."""
    return f"no pose model is chosen; `model` of [tasks.{task}] in config.toml names one"


def read(path: Path) -> Pose:
    """Read a pose, of any back end.

    Raises
    ------
    PoseError
        If the file has not x, y and likelihood of one keypoint or more.
    """
    import pandas as pd

    table = pd.read_parquet(path)
    names = [name.removesuffix("_likelihood") for name in table.columns if name.endswith("_likelihood")]
    wanted = [f"{name}_{column}" for name in names for column in COLUMNS]
    if not names or (lacking := sorted(set(wanted) - set(table.columns))):
        told = f"lacks {', '.join(lacking)}" if names else f"has the columns {', '.join(map(str, table.columns)) or '(none)'}"
        raise PoseError(f"{path} is no pose: it {told}", "it needs <keypoint>_x, <keypoint>_y and <keypoint>_likelihood of each keypoint")
    values = table[wanted].to_numpy(float).reshape(len(table), len(names), len(COLUMNS))
    return Pose(tuple(names), values[..., :2], values[..., 2])


def read_for(path: Path, n_frames: int, of: str) -> Pose:
    """Read the pose of a video that has so many frames; `of` says in words what was counted.

    Raises
    ------
    PoseError
        If the file is no pose, or has another number of rows.
    """
    pose = read(path)
    if len(pose) != n_frames:
        raise PoseError(f"{path} has {len(pose)} rows, but there are {n_frames} {of}", "it is of another video: estimate the pose again")
    return pose


def sides(keypoints: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of keypoints of which the one is left and the other right, by the ends of their names."""
    return [(name, other) for name in keypoints if name.endswith("_l") and (other := f"{name[:-1]}r") in keypoints]


def smooth(values: np.ndarray, rate: float, window_s: float, gap_s: float) -> np.ndarray:
    """Bridge short gaps and smooth.

    Parameters
    ----------
    values
        Shape (n_frames,), with NaN where nothing was seen.
    rate
        Frames a second.
    window_s
        Length of the window, s.
    gap_s
        Longest gap that is bridged, by a straight line, s; longer ones stay NaN.

    Returns
    -------
    numpy.ndarray
        Same shape. Each run of values is fitted by third order polynomials in a sliding window (Savitzky and Golay 1964,
        doi 10.1021/ac60214a047); runs that are shorter than the window stay as they are.
    """
    from scipy.signal import savgol_filter

    filled, window = bridge(values, round(gap_s * rate)), max(5, round(window_s * rate) // 2 * 2 + 1)
    for start, stop in runs(np.isfinite(filled)):
        if stop - start >= window:
            filled[start:stop] = savgol_filter(filled[start:stop], window, 3)
    return filled


def bridge(values: np.ndarray, longest: int) -> np.ndarray:
    """Fill gaps of so many frames at most that have values on both sides."""
    filled, there = values.astype(float), np.isfinite(values)
    if not there.any():
        return filled
    at = np.arange(values.size)
    line = np.interp(at, at[there], filled[there])
    for start, stop in runs(~there):
        if start > 0 and stop < values.size and stop - start <= longest:
            filled[start:stop] = line[start:stop]
    return filled


def runs(true: np.ndarray) -> list[tuple[int, int]]:
    """First frame, and first frame after it, of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
