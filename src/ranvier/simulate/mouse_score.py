"""How much of what a simulated mouse did was found: its trials, its wheel, and where its keypoints were in a camera's picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranvier.acquisition import alf_folder
from ranvier.simulate.cameras import load_film
from ranvier.simulate.damage import SimulationError
from ranvier.simulate.face import KEYPOINTS
from ranvier.simulate.mouse import load_behaviour
from ranvier.simulate.task_files import COLLECTION

#: A trial is the one that begins within this of it, s.
SAME_S = 0.005
#: From this likelihood on a keypoint counts as seen.
SEEN = 0.5


@dataclass(frozen=True)
class BehaviourScore:
    """How trials and wheel compare with the truth.

    Attributes
    ----------
    n_trials, n_found
        True trials, and those of which start, choice and outcome were found.
    n_rows
        Trials in the table.
    feedback_ms
        Median distance of the feedback's time from the true one, over the trials that were found.
    wheel_rad
        Distance from the true position of the wheel below which 95 % of the samples are, a constant apart.
    """

    n_trials: int
    n_found: int
    n_rows: int
    feedback_ms: float
    wheel_rad: float

    def __str__(self) -> str:
        trials = f"{self.n_found} of {self.n_trials} trials found, {self.n_rows} in the table, feedback {self.feedback_ms:.1f} ms off"
        return f"{trials}; the wheel within {self.wheel_rad:.3f} rad"


@dataclass(frozen=True)
class FilmScore:
    """How a camera's pose compares with the truth.

    Attributes
    ----------
    n_frames
        Frames.
    median_px, most_px
        Distance from the true place, median and 95 %, of keypoints that are to be seen and were seen.
    seen
        Part of the keypoints that are to be seen which were seen.
    made_up
        Part of those that are not to be seen which were seen.
    """

    n_frames: int
    median_px: float
    most_px: float
    seen: float
    made_up: float

    def __str__(self) -> str:
        error = f"{self.n_frames} frames, keypoints {self.median_px:.1f} px off, 95 % within {self.most_px:.1f} px"
        return f"{error}; {self.seen:.1%} of those shown were seen, {self.made_up:.1%} of those hidden"


def score_behaviour(session_path: Path | str) -> BehaviourScore:
    """Compare trials and wheel of a simulated session with the truth.

    Raises
    ------
    SimulationError
        If the session has no such truth, or if its trials and wheel were not extracted.
    """
    import pandas as pd

    did, folder = load_behaviour(session_path), Path(session_path) / alf_folder(COLLECTION)
    table = pd.read_parquet(_there(folder / "_ibl_trials.table.pqt", "trials"))
    times, position = (np.load(_there(folder / f"_ibl_wheel.{name}.npy", "wheel")) for name in ("timestamps", "position"))
    apart = np.abs(table["intervals_0"].to_numpy()[:, None] - did.starts)
    row = apart.argmin(axis=0)
    same = table.iloc[row].reset_index(drop=True)
    found = apart.min(axis=0) < SAME_S
    found &= (same["choice"] == did.choice).to_numpy() & ((same["feedbackType"] == 1) == did.correct).to_numpy()
    late = np.abs(same["feedback_times"].to_numpy() - did.feedback)[found]
    error = position - np.interp(times, did.wheel_times, did.wheel_position)
    return BehaviourScore(
        n_trials=len(did),
        n_found=int(found.sum()),
        n_rows=len(table),
        feedback_ms=float(np.median(late)) * 1e3 if late.size else np.nan,
        wheel_rad=float(np.percentile(np.abs(error - np.median(error)), 95)),
    )


def score_film(session_path: Path | str, camera: str, backend: str = "onnx") -> FilmScore:
    """Compare the pose in a camera's video of a simulated session with the truth.

    Parameters
    ----------
    session_path
        A simulated session.
    camera
        Its name.
    backend
        Whose pose: the file's attribute.

    Raises
    ------
    SimulationError
        If the session has no such truth, or no such pose of as many frames.
    """
    import pandas as pd

    truth = load_film(session_path, camera).keypoints
    path = _there(Path(session_path) / "alf" / f"_ibl_{camera}Camera.{backend}.pqt", "pose_estimation")
    table = pd.read_parquet(path)
    if len(table) != len(truth):
        raise SimulationError(f"{path} has {len(table)} rows for {len(truth)} frames", "run the task pose_estimation again")
    x, y, likelihood = (table[[f"{name}_{column}" for name in KEYPOINTS]].to_numpy(float) for column in ("x", "y", "likelihood"))
    shown, seen = np.isfinite(truth[..., 0]), likelihood >= SEEN
    distance = np.hypot(x - truth[..., 0], y - truth[..., 1])[shown & seen]
    return FilmScore(
        n_frames=len(truth),
        median_px=float(np.median(distance)) if distance.size else np.nan,
        most_px=float(np.percentile(distance, 95)) if distance.size else np.nan,
        seen=float(seen[shown].mean()) if shown.any() else np.nan,
        made_up=float(seen[~shown].mean()) if not shown.all() else 0.0,
    )


def _there(path: Path, task: str) -> Path:
    if not path.exists():
        raise SimulationError(f"{path} is not there", f"run the task {task} first")
    return path
