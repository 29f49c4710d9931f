"""Keypoints of the mouse in every frame of a camera's video."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour import pose_model, video
from ranvier.tasks.behaviour.pose import SEEN, Pose, not_chosen
from ranvier.tasks.behaviour.pose_sidecar import PoseModelError
from ranvier.tasks.behaviour.video import VIDEO, Video, VideoError

if TYPE_CHECKING:
    from ranvier.tasks.behaviour.pose_model import PoseModel

FOUND = "alf/_ibl_{camera}Camera.onnx.pqt"
#: Mean grey value below which a frame shows nothing.
BLACK = 5.0


def no_model(description: dict[str, Any], parameters: dict[str, Any]) -> str:
    """Why a camera gets no pose: nobody has chosen a model, and the one that comes with Ranvier knows simulated mice only."""
    if parameters["model"] or description.get("simulated"):
        return ""
    return not_chosen("pose_estimation")


@task(
    version="1.0.0",
    per="camera",
    inputs=[Input(VIDEO, required=False)],
    outputs=[Output(FOUND, at_least=1)],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=7200, timeout_per_gb_s=14400),
    packages=("av", "numpy", "onnxruntime"),
    priority=50,
    left_out=no_model,
)
def pose_estimation(job: Job, model: str = "") -> None:
    """Where the keypoints are in every frame of a camera's video, by an ONNX model.

    Parameters
    ----------
    job
        The job.
    model
        Path of the ONNX file, in which ``{camera}`` stands for the camera's name; its sidecar lies beside it. Without one, a camera that
        the description says is ``simulated`` gets the model that comes with Ranvier, which knows simulated mice only, and any other none.

    Raises
    ------
    PoseModelError
        If no model is chosen, or if the model or its sidecar cannot be used, or is one of several animals or views.
    VideoError
        If the video cannot be decoded, or is black.
    """
    if reason := no_model(job.description, {"model": model}):
        raise PoseModelError(reason)
    found = video.inspect(video.of_job(job))
    used = pose_model.open_model(model_path(model, job.device), job.cpu, (found.height, found.width))
    places = estimate(found, used, job.progress)
    seen = Pose(used.sidecar.keypoints, places[..., :2], places[..., 2])
    job.save(FOUND, seen.table())
    job.log.info("%s: %s", used.path, used.sidecar.about or "of unknown origin")
    if used.sidecar.synthetic:
        job.log.warning("this model was trained on simulated mice: of a real mouse its keypoints mean nothing; set `model`")
    job.qc("model", used.path.name, "WARNING" if used.sidecar.synthetic else "PASS")
    job.qc("seen", round(float((seen.likelihood >= SEEN).mean()), 4))


def model_path(given: str, camera: str) -> Path:
    """The model that the lab's settings name for a camera."""
    return Path(given.replace("{camera}", camera)).expanduser() if given else pose_model.SHIPPED


def estimate(found: Video, model: PoseModel, tell: Callable[[float, str], None]) -> np.ndarray:
    """Run a model over a whole video.

    Parameters
    ----------
    found
        What `ranvier.tasks.behaviour.video.inspect` returned.
    model
        An opened model.
    tell
        Called with the fraction that is done.

    Returns
    -------
    numpy.ndarray
        x and y in pixels of the video, and likelihood; shape (n_frames, n_keypoints, 3).

    Raises
    ------
    VideoError
        If other than the counted frames come out of the video, or if nothing is to be seen in any.
    """
    frames = video.scaled_frames(found, model.width, model.height)
    parts, done, told, brightest = [], 0, 0, 0.0
    while batch := list(islice(frames, model.batch)):
        pictures = np.stack(batch)
        parts.append(model.predict(pictures))
        brightest = max(brightest, float(pictures.mean(axis=(1, 2)).max()))
        done += len(batch)
        if done - told > found.n_frames / 20:
            told = done
            tell(done / found.n_frames, f"{done} of {found.n_frames} frames")
    if done != found.n_frames:
        raise VideoError(f"{found.path} has {found.n_frames} frames, of which {done} can be decoded", "copy the file from the rig again")
    if brightest < BLACK:
        raise VideoError(
            f"{found.path} is black (mean grey value {brightest:.1f} at most): no pose can be found in it",
            "was the light on and the lens free? take the camera out of the description if its video is of no use",
        )
    places = np.concatenate(parts)
    scale = np.array([found.width / model.width, found.height / model.height])
    shift = 0.5 if model.sidecar.cells_centred else 0.0  # what counts from the first pixel does so in the video, too
    places[..., :2] = (places[..., :2] + shift) * scale - shift
    return places
