"""Keypoints of the mouse in every frame of a camera's video, by DeepLabCut in a Python environment of its own."""

from __future__ import annotations

from ranvier import Input, Output, task
from ranvier.job import Job
from ranvier.tasks.behaviour import pose_elsewhere
from ranvier.tasks.behaviour.video import VIDEO

FOUND = "alf/_ibl_{camera}Camera.dlc.pqt"


@task(
    version="1.0.0",
    per="camera",
    inputs=[Input(VIDEO, required=False)],
    outputs=[Output(FOUND, at_least=1)],
    resources=pose_elsewhere.RESOURCES,
    tool="deeplabcut",
    packages=("deeplabcut", "torch"),
    priority=50,
    left_out=pose_elsewhere.left_out("pose_deeplabcut"),
)
def pose_deeplabcut(job: Job, model: str = "", shuffle: int = 1) -> None:
    """Where the keypoints are in every frame of a camera's video, by DeepLabCut.

    Parameters
    ----------
    job
        The job.
    model
        Path of the project's folder or its ``config.yaml``, in which ``{camera}`` stands for the camera's name.
    shuffle
        Which of the project's shuffles.

    Raises
    ------
    PoseModelError
        If the project is not there, or is one of several animals.
    PoseError
        If DeepLabCut fails, or leaves something that is no pose of this video.
    VideoError
        If the video cannot be read.
    """
    job.save(FOUND, pose_elsewhere.estimate(job, pose_elsewhere.DEEPLABCUT, model, str(shuffle)).table())
