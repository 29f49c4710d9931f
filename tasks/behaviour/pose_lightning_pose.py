"""Keypoints of the mouse in every frame of a camera's video, by Lightning Pose in a Python environment of its own."""

from __future__ import annotations

from ranvier import Input, Output, task
from ranvier.job import Job
from ranvier.tasks.behaviour import pose_elsewhere
from ranvier.tasks.behaviour.video import VIDEO

FOUND = "alf/_ibl_{camera}Camera.lightningPose.pqt"


@task(
    version="1.0.0",
    per="camera",
    inputs=[Input(VIDEO, required=False)],
    outputs=[Output(FOUND, at_least=1)],
    resources=pose_elsewhere.RESOURCES,
    tool="lightning_pose",
    packages=("lightning-pose", "torch"),
    priority=50,
    left_out=pose_elsewhere.left_out("pose_lightning_pose"),
)
def pose_lightning_pose(job: Job, model: str = "") -> None:
    """Where the keypoints are in every frame of a camera's video, by Lightning Pose.

    Parameters
    ----------
    job
        The job.
    model
        Path of the folder of a training, with its ``config.yaml``, in which ``{camera}`` stands for the camera's name.

    Raises
    ------
    PoseModelError
        If the model is not there, or is one of several views.
    PoseError
        If Lightning Pose fails, or leaves something that is no pose of this video.
    VideoError
        If the video cannot be read.
    """
    job.save(FOUND, pose_elsewhere.estimate(job, pose_elsewhere.LIGHTNING_POSE, model).table())
