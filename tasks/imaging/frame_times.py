"""When the frames of a field of view were taken: from the session's sync signals, the files' headers, or the frame rate, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranvier.tasks.imaging.movie import ImagingError, Movie

if TYPE_CHECKING:
    from ranvier.job import Job

#: IBL's ``sync`` object: times (s, on the session's clock), channels, polarities (1 rising, -1 falling) of every edge.
SYNC_TIMES, SYNC_CHANNELS, SYNC_POLARITIES = (f"raw_*_data/*sync.{name}.npy" for name in ("times", "channels", "polarities"))
#: The times that IBL's rigs write down from ScanImage's headers.
HEADER_TIMES = "{collection}/*rawImagingData.times_scanImage.npy"
#: A scanner that is stopped in a frame has given its pulse and not written it.
UNFINISHED = 1
#: Frames may be so much shorter or longer than they were said to be before a person should look.
RATE_TOLERANCE = 0.02


@dataclass(frozen=True)
class FrameTimes:
    """When volumes were taken.

    Attributes
    ----------
    times
        Start of each volume, s, shape (n_volumes,).
    source
        ``sync``, ``header`` (the microscope's own clock) or ``frame rate`` (neither was there).
    n_extra
        Pulses without a frame, at the end.
    rate
        Volumes a second as measured, Hz.
    """

    times: np.ndarray
    source: str
    n_extra: int
    rate: float


def of_job(job: Job, movie: Movie) -> FrameTimes:
    """Times of the field of view that a job is for; its task declares `SYNC_TIMES` and so on as inputs."""
    channel = job.description.get("sync_channel")
    if channel is not None:
        pulses = read_pulses(
            job.files(SYNC_TIMES), job.files(SYNC_CHANNELS), job.files(SYNC_POLARITIES), int(channel), str(job.session_path)
        )
        return from_pulses(pulses, movie, job.device, int(channel))
    if job.files(HEADER_TIMES):
        return from_header(np.load(job.files(HEADER_TIMES)[0]), movie, str(job.files(HEADER_TIMES)[0]))
    if len(movie.header_times):
        return from_header(movie.header_times, movie, str(movie.files[0]))
    return FrameTimes(np.arange(movie.n_volumes) / movie.volume_rate, "frame rate", 0, movie.volume_rate)


def read_pulses(times: list[Path], channels: list[Path], polarities: list[Path], channel: int, session: str) -> np.ndarray:
    """Rising edges of one channel of the sync signals, s.

    Raises
    ------
    ImagingError
        If there is not one sync object, or if its arrays do not fit each other.
    """
    if not len(times) == len(channels) == len(polarities) == 1:
        told = ", ".join(path.name for path in [*times, *channels, *polarities]) or "none"
        hint = "copy raw_sync_data from the rig, or take sync_channel out of the description: then the headers give the times"
        raise ImagingError(f"{session}: frames are on sync channel {channel}, but one set of sync signals is needed, found {told}", hint)
    edges, lines, directions = (np.load(found[0]) for found in (times, channels, polarities))
    if not len(edges) == len(lines) == len(directions):
        raise ImagingError(
            f"{times[0]} has {len(edges)} edges, {len(lines)} channels and {len(directions)} polarities", "copy raw_sync_data again"
        )
    pulses = edges[(lines == channel) & (directions > 0)]
    if not np.all(np.isfinite(pulses)) or np.any(np.diff(pulses) <= 0):
        raise ImagingError(f"{times[0]}: the times of channel {channel} do not increase", "copy raw_sync_data from the rig again")
    return pulses


def from_pulses(pulses: np.ndarray, movie: Movie, fov: str, channel: int) -> FrameTimes:
    """Give each frame its pulse.

    Parameters
    ----------
    pulses
        Start of each frame, over all planes, s.
    movie
        The movie.
    fov, channel
        For the messages.

    Raises
    ------
    ImagingError
        If there are fewer pulses than frames, or more than the one of a frame that was not finished: nobody can tell which frames lack.
    """
    extra = len(pulses) - movie.n_frames
    if not 0 <= extra <= UNFINISHED:
        what = f"{fov} has {movie.n_frames} frames, but {len(pulses)} frame pulses on sync channel {channel}"
        if movie.n_planes > 1 and movie.n_frames * movie.n_planes == len(pulses) * (movie.n_planes - 1):
            what += f": exactly one of the {movie.n_planes} planes is missing"
        hint = "frames were lost, a file or a plane was not copied, or the sync is another recording's; copy the session from the rig again"
        raise ImagingError(what, hint)
    times = pulses[: movie.n_volumes * movie.n_planes : movie.n_planes]
    return FrameTimes(times, "sync", extra, measured_rate(times, movie))


def from_header(times: np.ndarray, movie: Movie, source: str) -> FrameTimes:
    """Give each frame the time that the microscope wrote down.

    Raises
    ------
    ImagingError
        If there are not as many as frames, or if they do not increase.
    """
    if len(times) < movie.n_frames:
        raise ImagingError(f"{source} has {len(times)} frame times for {movie.n_frames} frames", "copy it from the rig again")
    times = np.asarray(times, dtype=float)[: movie.n_volumes * movie.n_planes : movie.n_planes]
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise ImagingError(f"{source}: the frame times do not increase", "copy it from the rig again")
    return FrameTimes(times, "header", 0, measured_rate(times, movie))


def measured_rate(times: np.ndarray, movie: Movie) -> float:
    """Volumes a second by the median interval, Hz; the stated one where there is a single volume."""
    return float(1 / np.median(np.diff(times))) if len(times) > 1 else movie.volume_rate


def note_checks(job: Job, movie: Movie, found: FrameTimes) -> None:
    """Turn the frame times into quality checks."""
    job.qc("frame_times", found.source, "WARNING" if found.source == "frame rate" else "PASS")
    job.qc("extra_pulses", found.n_extra, "WARNING" if found.n_extra else "PASS")
    off = abs(found.rate / movie.volume_rate - 1)
    job.qc("frame_rate_hz", round(found.rate, 4), "PASS" if off <= RATE_TOLERANCE else "FAIL")
    gaps = int(np.sum(np.diff(found.times) > 1.5 / found.rate))
    job.qc("gaps", gaps, "WARNING" if gaps else "PASS")
