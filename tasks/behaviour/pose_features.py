"""What a camera's pose says of the mouse: size of the pupil, speed of the paws, place of the nose, licks."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour import pose
from ranvier.tasks.behaviour.camera_times import TIMES
from ranvier.tasks.behaviour.pose import POSE, SEEN, Pose, PoseError

FEATURES = "alf/_ibl_{camera}Camera.features.pqt"
LICKS = "alf/_ranvier_{camera}Licks.times.npy"
#: Around the pupil, one after the other.
PUPIL = ("pupil_top_r", "pupil_right_r", "pupil_bottom_r", "pupil_left_r")
NOSE, PAWS, TONGUE = "nose_tip", ("paw_l", "paw_r"), ("tongue_end_l", "tongue_end_r")
#: Windows of the smoothing, and the longest gap that it bridges, s.
PUPIL_S, MOVING_S, GAP_S = 0.5, 0.2, 0.15


@task(
    version="1.1.0",
    per="camera",
    inputs=[Input(POSE), Input(TIMES)],
    outputs=[Output(FEATURES, at_least=1), Output(LICKS, required=False)],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=3600, memory_per_gb=8),
    packages=("numpy", "pandas", "scipy"),
    priority=40,
)
def pose_features(job: Job, backend: str = "onnx", likelihood: float = SEEN, names: dict[str, str] | None = None) -> None:
    """Diameter of the pupil, speed of the paws, place of the nose, and when the mouse licked; those of which the model has the keypoints.

    Parameters
    ----------
    job
        The job.
    backend
        Whose pose, as for `pose_qc`.
    likelihood
        From which on a keypoint counts as seen.
    names
        What the pose calls keypoints that IBL calls otherwise, such as ``{"nose_tip": "snout"}``.

    Raises
    ------
    PoseError
        If the pose is none, is another video's, or has none of the keypoints that are needed.
    """
    import pandas as pd

    from ranvier.tasks.behaviour import pose_figures

    path, times = job.input(POSE), np.load(job.input(TIMES))
    seen = pose.read_for(path, times.size, "frame times").seen(likelihood).called(names or {})
    rate = 1 / float(np.median(np.diff(times))) if times.size > 1 else 1.0
    found = features(seen, rate)
    if not found and not seen.has(*TONGUE):
        raise PoseError(
            f"{path} has none of the keypoints that features are made from",
            f"say in `names` which are IBL's {', '.join((NOSE, *PUPIL, *PAWS, *TONGUE))}, or disable the task pose_features",
        )
    job.save(FEATURES, pd.DataFrame({name: values.astype(np.float32) for name, values in found.items()}, index=range(len(seen))))
    licks = times[lick_frames(seen)] if seen.has(*TONGUE) else None
    if licks is not None:
        job.save(LICKS, licks)
        job.qc("n_licks", licks.size)
    for name, values in found.items():
        part = float(np.isfinite(values).mean())
        job.qc(f"{name}_known", round(part, 4), "PASS" if part >= 0.9 else "WARNING" if part >= 0.5 else "FAIL")
    figure = pose_figures.features(times, found, licks, f"{job.device} camera")
    job.figure(f"pose_features_{job.device}", figure, "Pupil, paws, nose and licks over the session, and half a minute of them")


def features(seen: Pose, rate: float) -> dict[str, np.ndarray]:
    """Columns of the table, each of shape (n_frames,): pixels, or pixels a second; NaN where nothing is known.

    Parameters
    ----------
    seen
        The pose, NaN where a keypoint is not seen.
    rate
        Frames a second.
    """
    found: dict[str, np.ndarray] = {}
    if seen.has(*PUPIL):
        raw = pupil_diameter(seen)
        found |= {"pupilDiameter_raw": raw, "pupilDiameter_smooth": pose.smooth(raw, rate, PUPIL_S, GAP_S)}
    for paw in PAWS:
        if seen.has(paw):
            found[f"{paw.replace('_', 'Speed_')}"] = speed(seen.of(paw), rate)
    if seen.has(NOSE):
        found |= {f"nose_{axis}": pose.smooth(seen.of(NOSE)[:, index], rate, MOVING_S, GAP_S) for index, axis in enumerate("xy")}
    return found


def pupil_diameter(seen: Pose) -> np.ndarray:
    """Median of the diameters that each pair of the four points around the pupil gives, pixels; of two points at least.

    Notes
    -----
    On a circle points opposite each other are a diameter apart, neighbours by a square root of two less.
    """
    points = [seen.of(name) for name in PUPIL]
    factors = {(a, b): 1.0 if b - a == 2 else np.sqrt(2) for a, b in combinations(range(4), 2)}
    estimates = np.array([factor * np.linalg.norm(points[a] - points[b], axis=1) for (a, b), factor in factors.items()])
    known = np.isfinite(estimates).any(axis=0)
    diameter = np.full(len(seen), np.nan)
    diameter[known] = np.nanmedian(estimates[:, known], axis=0)
    return diameter


def speed(course: np.ndarray, rate: float) -> np.ndarray:
    """Speed along a smoothed course of shape (n_frames, 2), pixels a second, shape (n_frames,)."""
    smoothed = np.column_stack([pose.smooth(values, rate, MOVING_S, GAP_S) for values in course.T])
    if len(smoothed) < 2:
        return np.full(len(smoothed), np.nan)
    return np.linalg.norm(np.gradient(smoothed, axis=0), axis=1) * rate


def lick_frames(seen: Pose) -> np.ndarray:
    """Frames in which the tongue comes out: an end of it is seen that was not in the frame before."""
    out = np.isfinite(np.stack([seen.of(name)[:, 0] for name in TONGUE])).any(axis=0)
    return np.array([start for start, _ in pose.runs(out)], dtype=int)
