"""Times of a camera's frames on the session's clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour import daq, frame_times, gpio, video
from ranvier.tasks.behaviour.daq import DAQ
from ranvier.tasks.behaviour.frame_times import FrameTimes
from ranvier.tasks.behaviour.video import VIDEO

TIMES = "alf/_ibl_{camera}Camera.times.npy"
COUNTS = "{collection}/_iblrig_{camera}Camera.fram*.bin"
PINS = "{collection}/_iblrig_{camera}Camera.GPIO*.bin"
STAMPS = "{collection}/_iblrig_{camera}Camera.timestamps*.ssv"
BPOD = "raw_behavior_data/_iblrig_taskData.raw*.jsonable"
#: Part of the frames that may be lost.
DROPPED_PASS, DROPPED_WARNING = 0.001, 0.01
#: Part of the sounds that the camera saw which must be the DAQ's, to a frame.
SOUNDS_AGREE = 0.9


@task(
    version="1.2.0",
    per="camera",
    inputs=[
        Input(VIDEO, required=False),
        Input(COUNTS, required=False),
        Input(PINS, required=False),
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
    plugged in; the camera's own time stamps; the video's header. Which TTL is the first frame's is told by the sounds of the task, where
    the camera has them on its own pin.

    Raises
    ------
    VideoError
        If the video cannot be read, or its frames cannot be matched with the TTLs.
    """
    found = video.inspect(video.of_job(job))
    taken = _ttl_times(job, found.n_frames) or _own_times(job, found)
    frame_times.check(taken.times, f"times of {found.path.name}")
    job.save(TIMES, taken.times)
    job.qc("source", taken.source, "PASS" if taken.source == "TTL" else "WARNING")
    job.qc("ttl_surplus", taken.surplus, "FAIL" if taken.guessed else "PASS" if taken.told or taken.surplus == 0 else "WARNING")
    job.qc("frames_without_ttl", taken.without_ttl, "WARNING" if taken.without_ttl else "PASS")
    if taken.times.size < 2:
        return
    gaps = np.diff(taken.times)
    dropped = int(np.maximum(np.round(gaps / np.median(gaps)) - 1, 0).sum())
    part = dropped / taken.times.size
    job.qc("dropped_frames", dropped, "PASS" if part <= DROPPED_PASS else "WARNING" if part <= DROPPED_WARNING else "FAIL")
    rate, stated = 1 / float(np.median(gaps)), float(job.description.get("fps") or found.rate)
    job.qc("frame_rate_hz", round(rate, 3), "PASS" if abs(rate - stated) < 1 else "FAIL")


def _ttl_times(job: Job, n_frames: int) -> FrameTimes | None:
    seen = daq.of_job(job)
    line = f"{job.device}_camera"
    if seen and (ttls := seen.times_of(line)).size > 1:
        return _matched(job, n_frames, ttls, seen.times_of("audio"), f"line {line!r} of {seen.path.name}")
    if job.device == "left" and job.files(BPOD):
        from ranvier.tasks.behaviour import bpod

        trials = bpod.read(job.files(BPOD)[0])
        ttls = frame_times.bridged(trials.events("Port1In"))
        if ttls.size > 1:
            sounds = np.concatenate(trials.events("BNC2High"))
            return _matched(job, n_frames, ttls, sounds, "port 1 of Bpod", ends_early=True)
    return None


def _matched(job: Job, n_frames: int, ttls: np.ndarray, sounds: np.ndarray, where: str, *, ends_early: bool = False) -> FrameTimes:
    number = frame_times.frame_numbers(job.files(COUNTS), n_frames)
    pins = gpio.pins([*job.files(PINS), *job.files(COUNTS)])
    found = None
    if pins is not None and pins[:, gpio.SOUND_PIN].any():
        found = gpio.anchor(ttls, sounds, np.arange(n_frames) if number is None else number, pins[:, gpio.SOUND_PIN])
        agree = round(found.agree, 3) if found else 0.0
        job.qc("sounds_agree", agree, "PASS" if agree >= SOUNDS_AGREE else "WARNING")
    return frame_times.from_ttls(ttls, n_frames, number, where, first=found.first_ttl if found else None, ends_early=ends_early)


def _own_times(job: Job, found: video.Video) -> FrameTimes:
    stamped = [*job.files(STAMPS), *(path for path in job.files(COUNTS) if path.name.endswith(".frameData.bin"))]
    if not stamped:
        job.log.warning("%s: no TTL and no time stamps; the times are those of a camera that kept to %g Hz", found.path.name, found.rate)
        return FrameTimes(np.arange(found.n_frames) / found.rate, "header")
    taken = frame_times.from_ttls(frame_times.camera_clock(stamped[0]), found.n_frames, None, stamped[0].name)
    return replace(taken, source="camera")
