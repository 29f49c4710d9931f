"""Compress the video of a camera, and make a small one for the website."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour import video
from ranvier.tasks.behaviour.video import MP4, VideoError

PROXY = "{collection}/_ranvier_{camera}Camera.proxy.mp4"


#: What rigs write and this compresses. An ``.mp4`` is no input: the one that the task has made would make it run again.
RAW = tuple(f"{{collection}}/_iblrig_{{camera}}Camera.raw.{suffix}" for suffix in ("avi", "mkv", "mov"))


@task(
    version="1.0.0",
    per="camera",
    inputs=[Input(pattern, required=False) for pattern in RAW],
    outputs=[
        *(Output(pattern, in_place=True, required=False) for pattern in (*RAW, MP4)),
        Output(MP4, required=False),
        Output(PROXY, required=False),
    ],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=7200, timeout_per_gb_s=3600, scratch_per_gb=1),
    packages=("av", "imageio-ffmpeg"),
    priority=65,
)
def video_compression(job: Job, crf: int = 29, preset: str = "slow", proxy_s: float = 20.0, proxy_width: int = 320) -> None:
    """Vouch for a camera's video, and compress it if the rig did not.

    Parameters
    ----------
    job
        The job.
    crf, preset
        Of x264; the defaults are IBL's.
    proxy_s, proxy_width
        Length (s) and width (pixels) of the clip for the website, taken from the middle; 0 s for none.

    Raises
    ------
    VideoError
        If there is no video, if it is cut off, or if the compressed one has another number of frames.

    Notes
    -----
    The rig's file stays where it is: this version removes no raw data.
    """
    raw = [path for pattern in RAW for path in job.files(pattern)]
    folder = job.session_path / job.values["collection"]
    made = folder / f"_iblrig_{job.device}Camera.raw.mp4"
    found = video.inspect(video.only(raw or [made] * made.exists(), folder, job.device))
    source = found.path
    told = (source.name, found.codec, found.width, found.height, found.rate, found.n_frames)
    job.log.info("%s: %s, %d x %d at %g Hz, %d frames", *told)
    job.qc("n_frames", found.n_frames)
    job.qc("codec", found.codec)
    if not raw:
        job.qc("compression", "the rig compresses")
    elif made.exists():
        check_made(found, made)
        job.qc("compression", "is there already")
    else:
        job.progress(0.1, "compressing")
        compress(job, found, crf, preset)
    if proxy_s > 0:
        start = max(0.0, (found.duration_s - proxy_s) / 2)
        scale = f"scale={proxy_width}:-2"
        seek = ["-ss", f"{start:.3f}", "-t", f"{proxy_s:g}"]
        ffmpeg(seek, source, ["-vf", scale, "-c:v", "libx264", "-preset", "veryfast", "-crf", "30", *_PLAYABLE], job.output(PROXY), job.cpu)


def check_made(found: video.Video, made: Path) -> None:
    """Hold an ``.mp4`` that is there against the rig's own file.

    Raises
    ------
    VideoError
        If it has another number of frames.
    """
    n_frames = video.inspect(made).n_frames
    if n_frames != found.n_frames:
        raise VideoError(f"{made} has {n_frames} frames, {found.path.name} beside it {found.n_frames}", "remove the one that is wrong")


def compress(job: Job, found: video.Video, crf: int, preset: str) -> None:
    """Compress a video and count what came out."""
    target = job.output(MP4)
    ffmpeg([], found.path, ["-c:v", "libx264", "-preset", preset, "-crf", str(crf), *_PLAYABLE], target, job.cpu)
    job.progress(0.8, "counting frames")
    n_frames = video.count_decoded(target)
    if n_frames != found.n_frames:
        target.unlink()
        raise VideoError(
            f"{found.path} has {found.n_frames} frames, but {n_frames} came out of its compression: the video was not replaced",
            "look at the video: it may be damaged or of a varying frame rate",
        )
    ratio = found.path.stat().st_size / target.stat().st_size
    job.qc("compression", round(ratio, 2))
    job.qc("frames_kept", n_frames, "PASS")


def ffmpeg(before: Sequence[str], source: Path, options: Sequence[str], target: Path, threads: int) -> None:
    """Run ffmpeg on one video.

    Raises
    ------
    VideoError
        With ffmpeg's own words, if it fails.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    quiet = ["-nostdin", "-hide_banner", "-loglevel", "error", "-y"]
    command = [get_ffmpeg_exe(), *quiet, *before, "-i", str(source), "-an", "-threads", str(threads), *options, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise VideoError(f"ffmpeg could not convert {source}: {done.stderr.strip()[-400:]}", "copy the file from the rig again")


_PLAYABLE = ("-pix_fmt", "yuv420p", "-fps_mode", "passthrough", "-movflags", "+faststart")
