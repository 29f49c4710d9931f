"""Keypoints of the mouse in every frame of a camera's video, by sleap-nn in a Python environment of its own."""

from __future__ import annotations

from ranvier import Input, Output, task
from ranvier.job import Job
from ranvier.tasks.behaviour import pose_elsewhere
from ranvier.tasks.behaviour.video import VIDEO

FOUND = "alf/_ibl_{camera}Camera.sleap.pqt"


@task(
    version="1.0.0",
    per="camera",
    inputs=[Input(VIDEO, required=False)],
    outputs=[Output(FOUND, at_least=1)],
    resources=pose_elsewhere.RESOURCES,
    tool="sleap_nn",
    packages=("sleap-nn", "torch"),
    priority=50,
    left_out=pose_elsewhere.left_out("pose_sleap_nn"),
)
def pose_sleap_nn(job: Job, model: str = "") -> None:
    """Where the keypoints are in every frame of a camera's video, by sleap-nn.

    Parameters
    ----------
    job
        The job.
    model
        Path of the folder of a single-instance model, with its ``training_config.yaml``; ``{camera}`` in it stands for the camera's name.

    Raises
    ------
    PoseModelError
        If the model is not there, or is one of several animals.
    PoseError
        If sleap-nn fails, or leaves something that is no pose of this video.
    VideoError
        If the video cannot be read.
    """
    job.save(FOUND, pose_elsewhere.estimate(job, pose_elsewhere.SLEAP_NN, model).table())
