"""Vouch for the raw files of a field of view."""

from __future__ import annotations

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.imaging import existing, frame_times, movie
from ranvier.tasks.imaging.frame_times import HEADER_TIMES, SYNC_CHANNELS, SYNC_POLARITIES, SYNC_TIMES
from ranvier.tasks.imaging.movie import BRUKER_HEADER, MOVIES, SBX_HEADER

#: What the microscope wrote besides: pictures taken before and after, stacks in depth, IBL's description of the recording.
REFERENCE = "{collection}/reference/*.tif"
META = "{collection}/*rawImagingData.meta.json"
BESIDES = (SBX_HEADER, REFERENCE, META, HEADER_TIMES)


@task(
    version="1.0.0",
    per="fov",
    inputs=[
        Input(pattern, required=False)
        for pattern in (*MOVIES, *BESIDES, BRUKER_HEADER, existing.TRACES, SYNC_TIMES, SYNC_CHANNELS, SYNC_POLARITIES)
    ],
    outputs=[
        *(Output(pattern, in_place=True, required=False) for pattern in (*MOVIES, *BESIDES)),
        Output(existing.TRACES, in_place=True, required=False, register=False),
    ],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=7200),
    packages=("tifffile",),
    priority=90,
)
def raw_imaging_registration(job: Job) -> None:
    """Check that the raw files of a field of view are whole and fit each other and the sync signals, and register them.

    Parameters
    ----------
    job
        The job.

    Raises
    ------
    ImagingError
        If there is no movie, if a file is cut off, if planes or channels contradict the description, or if the number of frames is not that
        of the frame pulses.

    Notes
    -----
    A movie in which nothing ever changes is CRITICAL; it is registered all the same. Where there is no movie and a folder of suite2p's,
    there is nothing to check.
    """
    if not movie.movie_files(job) and job.files(existing.TRACES):
        job.qc("movie", "not there, but a folder of suite2p's", "WARNING")
        return
    raw = movie.of_job(job)
    times = frame_times.of_job(job, raw)
    job.log.info("%d files, %d frames of %d x %d pixels, %d planes", len(raw.files), raw.n_frames, raw.height, raw.width, raw.n_planes)
    for name, value in (("n_frames", raw.n_frames), ("n_planes", raw.n_planes), ("n_channels", raw.n_channels)):
        job.qc(name, value)
    job.qc("picture_px", f"{raw.height} x {raw.width}")
    job.qc("duration_s", round(raw.n_volumes / times.rate, 3))
    job.qc("unfinished_volume", raw.n_frames % raw.n_planes, "WARNING" if raw.n_frames % raw.n_planes else "PASS")
    frame_times.note_checks(job, raw, times)
    note_signal(job, raw)


def note_signal(job: Job, raw: movie.Movie) -> None:
    """Look at some frames: whether there is light, and whether it is too much."""
    samples = raw.samples()
    if is_constant(samples):
        job.log.error("%s shows nothing: its frames are all the same; was the shutter open and the detector on?", job.device)
        job.qc("signal", "constant: every frame is the same", "CRITICAL")
    else:
        job.qc("signal", "present", "PASS")
    top = np.iinfo(samples.dtype).max if samples.dtype.kind in "iu" else np.inf
    saturated = float(np.mean(samples >= top))
    job.qc("saturated_part", round(saturated, 6), "WARNING" if saturated > 1e-3 else "PASS")


def is_constant(samples: np.ndarray) -> bool:
    """Whether pictures of a movie are all the same, as no camera of light can give them."""
    return len(samples) > 1 and not np.any(samples != samples[0])
