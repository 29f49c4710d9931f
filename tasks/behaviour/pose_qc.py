"""Quality of a camera's pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour import pose, video
from ranvier.tasks.behaviour.camera_times import TIMES
from ranvier.tasks.behaviour.pose import POSE, SEEN, Pose
from ranvier.tasks.behaviour.video import VIDEO

if TYPE_CHECKING:
    import pandas as pd

#: One row a keypoint.
KEYPOINTS = "{collection}/_iblqc_{camera}Camera.keypoints.pqt"
#: What is in the mouth most of the time is not missed.
HIDDEN = "tongue"
#: Part of the frames that may be bad, for PASS and for WARNING.
MISSING, JUMPS, OUTSIDE, SWAPS = (0.05, 0.2), (0.005, 0.02), (0.01, 0.05), (0.001, 0.01)
#: A step between frames is a jump from this part of the video's width on.
FAR = 0.15
#: Two keypoints have changed places where that would make their steps shorter by this factor.
SHORTER = 0.5
PICTURES = 8


@dataclass(frozen=True)
class Found:
    """What is wrong with each keypoint, parts of the frames, shape (n_keypoints,); `swaps` by the pair."""

    missing: np.ndarray
    jumps: np.ndarray
    outside: np.ndarray
    likelihood: np.ndarray
    swaps: dict[str, float]


@task(
    version="1.0.0",
    per="camera",
    inputs=[Input(POSE), Input(TIMES), Input(VIDEO, required=False)],
    outputs=[Output(KEYPOINTS, at_least=1)],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=3600, memory_per_gb=4),
    packages=("av", "numpy", "pandas"),
    priority=45,
)
def pose_qc(job: Job, backend: str = "onnx", likelihood: float = SEEN) -> None:
    """Whether keypoints are likely, there, steady, in the picture and not taken for one another; and frames to see it by.

    Parameters
    ----------
    job
        The job.
    backend
        Whose pose: that of the task `pose_estimation`, or ``dlc`` or ``lightningPose``, where these are among the session's files.
    likelihood
        From which on a keypoint counts as seen.

    Raises
    ------
    PoseError
        If the pose is none, or another video's.
    """
    from ranvier.tasks.behaviour import pose_figures

    path, film = job.input(POSE), video.inspect(video.of_job(job))
    whole = pose.read_for(path, film.n_frames, f"frames in {film.path.name}")
    seen = whole.seen(likelihood)
    found = examine(whole, seen, film.width, film.height)
    job.save(KEYPOINTS, table(whole.keypoints, found))
    note_checks(job, whole.keypoints, found)
    times = np.load(job.input(TIMES))
    job.qc("frames_minus_times", len(whole) - times.size, "PASS" if len(whole) == times.size else "FAIL")
    shown = sample(film)
    title = f"{job.device} camera: {path.name}"
    sheet = pose_figures.contact_sheet(shown, seen, title)
    job.figure(f"pose_{job.device}", sheet, "Keypoints on frames that are spread over the video")
    plots = pose_figures.quality(whole, seen, times, found, title)
    job.figure(f"pose_quality_{job.device}", plots, "Likelihood of each keypoint over the video, and the course of x and y")


def examine(whole: Pose, seen: Pose, width: int, height: int) -> Found:
    """Measure what is wrong with each keypoint; `seen` is `whole` without what is unlikely."""
    there = np.isfinite(seen.xy[..., 0])
    steps = np.linalg.norm(np.diff(seen.xy, axis=0), axis=2)
    outside = ((seen.xy < -0.5) | (seen.xy > np.array([width, height]) - 0.5)).any(axis=2)
    return Found(
        missing=1 - there.mean(axis=0),
        jumps=(steps > FAR * width).mean(axis=0) if len(steps) else np.zeros(there.shape[1]),
        outside=outside.sum(axis=0) / np.maximum(there.sum(axis=0), 1),
        likelihood=np.median(whole.likelihood, axis=0),
        swaps={f"{a}/{b}": swapped(seen.of(a), seen.of(b)) for a, b in pose.sides(seen.keypoints)},
    )


def swapped(a: np.ndarray, b: np.ndarray) -> float:
    """Part of the steps after which two keypoints seem to have changed places, each course of shape (n_frames, 2)."""
    if len(a) < 2:
        return 0.0
    (a0, a1), (b0, b1) = ((course[:-1], course[1:]) for course in (a, b))
    apart = np.linalg.norm(a0 - b0, axis=1)
    stayed = np.linalg.norm(a1 - a0, axis=1) + np.linalg.norm(b1 - b0, axis=1)
    changed = np.linalg.norm(b1 - a0, axis=1) + np.linalg.norm(a1 - b0, axis=1)
    return float(((changed < SHORTER * stayed) & (stayed > apart)).mean())


def table(keypoints: tuple[str, ...], found: Found) -> pd.DataFrame:
    """One row a keypoint."""
    import pandas as pd

    measures = {name: getattr(found, name) for name in ("likelihood", "missing", "jumps", "outside")}
    return pd.DataFrame({"keypoint": list(keypoints), **measures})


def note_checks(job: Job, keypoints: tuple[str, ...], found: Found) -> None:
    """The worst keypoint decides each check."""
    always = np.array([not name.startswith(HIDDEN) for name in keypoints])
    names = np.array(keypoints)
    if always.any():
        job.qc("median_likelihood", round(float(np.median(found.likelihood[always])), 3))
        _note(job, "missing", names[always], found.missing[always], MISSING)
    never = [str(name) for name in names[found.missing == 1]]
    job.qc("never_seen", ", ".join(never) or "none", "FAIL" if never else "PASS")
    _note(job, "jumps", names, found.jumps, JUMPS)
    _note(job, "outside", names, found.outside, OUTSIDE)
    if found.swaps:
        _note(job, "swaps", np.array(list(found.swaps)), np.array(list(found.swaps.values())), SWAPS)


def _note(job: Job, check: str, names: np.ndarray, parts: np.ndarray, limits: tuple[float, float]) -> None:
    worst = int(parts.argmax())
    part = float(parts[worst])
    job.qc(check, f"{names[worst]}: {part:.4f}", "PASS" if part <= limits[0] else "WARNING" if part <= limits[1] else "FAIL")


def sample(film: video.Video) -> list[tuple[int, np.ndarray]]:
    """A few frames that are spread over the video, with their numbers."""
    frames = [(number, image.copy()) for number, image in video.sampled_frames(film, PICTURES)]
    return [frames[index] for index in np.unique(np.linspace(0, len(frames) - 1, PICTURES).astype(int))]
