"""Motion energy in regions of a camera's video that are found from the pose."""

from __future__ import annotations

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour import pose, video
from ranvier.tasks.behaviour.camera_times import TIMES
from ranvier.tasks.behaviour.pose import POSE, SEEN, Pose
from ranvier.tasks.behaviour.pose_features import NOSE, PAWS, PUPIL
from ranvier.tasks.behaviour.video import VIDEO, Video

#: One column a region; IBL's two files hold the whisker pad's.
ENERGY = "alf/_ranvier_{camera}Camera.motionEnergy.pqt"
PAD_ENERGY, PAD_PLACE = "alf/{camera}Camera.ROIMotionEnergy.npy", "alf/{camera}ROIMotionEnergy.position.npy"
PAD, WHOLE = "whiskerPad", "frame"
#: Of the whole frame every so many-th pixel along each axis is looked at.
STEP = 4

#: x and y of the first pixel, width, height.
Box = tuple[int, int, int, int]


@task(
    version="1.1.0",
    per="camera",
    inputs=[Input(POSE), Input(TIMES), Input(VIDEO, required=False)],
    outputs=[Output(ENERGY, at_least=1), Output(PAD_ENERGY, at_least=1, required=False), Output(PAD_PLACE, at_least=4, required=False)],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=7200, timeout_per_gb_s=3600, memory_per_gb=4),
    packages=("av", "numpy", "pandas"),
    priority=40,
)
def motion_energy(job: Job, backend: str = "onnx", likelihood: float = SEEN, names: dict[str, str] | None = None) -> None:
    """How much the picture changes from frame to frame at the whisker pad, where the paws are, and as a whole.

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
        If the pose is none, or another video's.
    """
    import pandas as pd

    from ranvier.tasks.behaviour import pose_figures

    path, film = job.input(POSE), video.inspect(video.of_job(job))
    whole = pose.read_for(path, film.n_frames, f"frames in {film.path.name}")
    boxes = regions(whole.seen(likelihood).called(names or {}), film)
    energy = measure(film, boxes)
    job.save(ENERGY, pd.DataFrame({name: values.astype(np.float32) for name, values in energy.items()}))
    if PAD in boxes:
        job.save(PAD_ENERGY, energy[PAD])
        x, y, width, height = boxes[PAD]
        job.save(PAD_PLACE, np.array([width, height, x, y]))
    job.qc("regions", ", ".join(boxes) or "none", "PASS" if boxes else "WARNING")
    figure = pose_figures.energy(next(iter(video.grey_frames(film, film.n_frames // 2, 1))), boxes, np.load(job.input(TIMES)), energy)
    job.figure(f"motion_energy_{job.device}", figure, "Regions in the middle frame, and how much each changes from frame to frame")


def regions(seen: Pose, film: Video) -> dict[str, Box]:
    """Where to look; regions of which the keypoints are not seen are left out.

    Notes
    -----
    The whisker pad is that of the International Brain Laboratory: between the nose and the pupil's middle, half as wide and a third as high
    as they are apart. The paws' region holds them in 98 of 100 frames.
    """
    boxes: dict[str, Box | None] = {}
    if seen.has(NOSE, *PUPIL):
        nose = np.median(_known(seen.of(NOSE)), axis=0)
        eye = np.median(_known(np.concatenate([seen.of(name) for name in PUPIL])), axis=0)
        (x, y), apart = (nose + eye) / 2, float(np.linalg.norm(nose - eye))
        boxes[PAD] = _box(film, x - apart / 4, y, x + apart / 4, y + apart / 3)
    if seen.has(*PAWS):
        low, high = np.percentile(_known(np.concatenate([seen.of(name) for name in PAWS])), (1, 99), axis=0)
        boxes["paws"] = _box(film, *(low - 0.05 * film.width), *(high + 0.05 * film.width))
    return {name: box for name, box in boxes.items() if box is not None}


def _known(places: np.ndarray) -> np.ndarray:
    """Places that are known, shape (n, 2); one that is not, where none is."""
    known = places[np.isfinite(places).all(axis=1)]
    return known if len(known) else np.full((1, 2), np.nan)


def _box(film: Video, left: float, top: float, right: float, bottom: float) -> Box | None:
    """The part of a rectangle that is in the picture; None where nothing of it is, or where it is unknown."""
    if not np.isfinite([left, top, right, bottom]).all():
        return None
    x0, x1 = (int(np.clip(round(edge), 0, film.width)) for edge in (left, right))
    y0, y1 = (int(np.clip(round(edge), 0, film.height)) for edge in (top, bottom))
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def measure(film: Video, boxes: dict[str, Box]) -> dict[str, np.ndarray]:
    """Mean absolute difference to the frame before, grey values, shape (n_frames,); NaN for the first frame.

    Parameters
    ----------
    film
        The video.
    boxes
        The regions. The whole frame, of which every fourth pixel along each axis is looked at, is added to them.
    """
    parts = {name: (slice(y, y + height), slice(x, x + width)) for name, (x, y, width, height) in boxes.items()}
    parts[WHOLE] = (slice(None, None, STEP), slice(None, None, STEP))
    energy = {name: np.full(film.n_frames, np.nan) for name in parts}
    before: dict[str, np.ndarray] = {}
    for number, image in enumerate(video.grey_frames(film, 0, film.n_frames)):
        for name, part in parts.items():
            now = image[part].astype(np.int16)
            if name in before:
                energy[name][number] = np.abs(now - before[name]).mean()
            before[name] = now
    return energy
