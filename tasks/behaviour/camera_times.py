"""Times of a camera's frames on the session's clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour import daq, frame_times, video
from ranvier.tasks.behaviour.daq import DAQ
from ranvier.tasks.behaviour.frame_times import FrameTimes
from ranvier.tasks.behaviour.video import VIDEO

TIMES = "alf/_ibl_{camera}Camera.times.npy"
COUNTS = "{collection}/_iblrig_{camera}Camera.fram*.bin"
STAMPS = "{collection}/_iblrig_{camera}Camera.timestamps*.ssv"
BPOD = "raw_behavior_data/_iblrig_taskData.raw*.jsonable"
#: Part of the frames that may be lost.
DROPPED_PASS, DROPPED_WARNING = 0.001, 0.01


@task(
    version="1.1.0",
    per="camera",
    inputs=[
        Input(VIDEO, required=False),
        Input(COUNTS, required=False),
        Input(STAMPS, required=False),
        Input(DAQ, required=False),
        Input(BPOD, required=False),
    ],
    outputs=[Output(TIMES, at_least=1)],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=3600),
    packages=("av", "numpy"),
    priority=60,
)
def camera_times(job: Job) -> None:
    """When each frame of a camera's video was taken.

    The first of these that there is: the camera's TTLs on the DAQ; those that Bpod saw on port 1, where the training rig's camera is
    plugged in; the camera's own time stamps; the video's header.

    Raises
    ------
    VideoError
        If the video cannot be read, or its frames cannot be matched with the TTLs.
    """
    found = video.inspect(video.of_job(job))
    counter = frame_times.frame_counter(job.files(COUNTS))
    taken = _ttl_times(job, found.n_frames, counter) or _own_times(job, found)
    frame_times.check(taken.times, f"times of {found.path.name}")
    job.save(TIMES, taken.times)
    job.qc("source", taken.source, "PASS" if taken.source == "TTL" else "WARNING")
    job.qc("ttl_surplus", taken.surplus, "PASS" if taken.surplus == 0 else "WARNING")
    if taken.times.size < 2:
        return
    gaps = np.diff(taken.times)
    dropped = int(np.maximum(np.round(gaps / np.median(gaps)) - 1, 0).sum())
    part = dropped / taken.times.size
    job.qc("dropped_frames", dropped, "PASS" if part <= DROPPED_PASS else "WARNING" if part <= DROPPED_WARNING else "FAIL")
    rate, stated = 1 / float(np.median(gaps)), float(job.description.get("fps") or found.rate)
    job.qc("frame_rate_hz", round(rate, 3), "PASS" if abs(rate - stated) < 1 else "FAIL")


def _ttl_times(job: Job, n_frames: int, counter: np.ndarray | None) -> FrameTimes | None:
    seen = daq.of_job(job)
    line = f"{job.device}_camera"
    if seen and (ttls := seen.times_of(line)).size > 1:
        return frame_times.from_ttls(ttls, n_frames, counter, f"line {line!r} of {seen.path.name}")
    if job.device == "left" and job.files(BPOD):
        from ranvier.tasks.behaviour import bpod

        ttls = np.concatenate(bpod.read(job.files(BPOD)[0]).events("Port1In"))
        if ttls.size > 1:
            return frame_times.from_ttls(np.sort(ttls), n_frames, counter, "port 1 of Bpod")
    return None


def _own_times(job: Job, found: video.Video) -> FrameTimes:
    stamped = [*job.files(STAMPS), *(path for path in job.files(COUNTS) if path.name.endswith(".frameData.bin"))]
    if not stamped:
        job.log.warning("%s: no TTL and no time stamps; the times are those of a camera that kept to %g Hz", found.path.name, found.rate)
        return FrameTimes(np.arange(found.n_frames) / found.rate, "header")
    taken = frame_times.from_ttls(frame_times.camera_clock(stamped[0]), found.n_frames, None, stamped[0].name)
    return replace(taken, source="camera")
