"""The video of a camera: found, checked, counted, and read as grey frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranvier.tasks.behaviour.bpod import BehaviourError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from ranvier.job import Job

VIDEO = "{collection}/_iblrig_{camera}Camera.raw.*"
MP4 = "{collection}/_iblrig_{camera}Camera.raw.mp4"
SUFFIXES = (".mp4", ".avi", ".mkv", ".mov")
_COPY = "copy the file from the rig again"


class VideoError(BehaviourError):
    """A video cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Video:
    """What a video's header and its packets say.

    Attributes
    ----------
    path
        The file.
    codec
        Name of the codec, such as ``h264``.
    width, height
        Pixels.
    rate
        Frames a second, by the header.
    n_frames
        Frames in the file, counted.
    seekable
        Frame numbers from which reading can begin, shape (n,).
    """

    path: Path
    codec: str
    width: int
    height: int
    rate: float
    n_frames: int
    seekable: np.ndarray

    @property
    def duration_s(self) -> float:
        """Length by the header's rate, s."""
        return self.n_frames / self.rate


def of_job(job: Job) -> Path:
    """The video to read of the camera that a job is for: the compressed one where there is one. Its task declares `VIDEO` as an input.

    Raises
    ------
    VideoError
        If there is none.
    """
    found = sorted((path for path in job.files(VIDEO) if path.suffix in SUFFIXES), key=lambda path: (path.suffix != ".mp4", path.name))
    return only(found[:1], job.session_path / job.values["collection"], job.device)


def only(found: Sequence[Path], folder: Path, camera: str) -> Path:
    """The one video of a camera.

    Raises
    ------
    VideoError
        If there is none, or more than one.
    """
    if len(found) > 1:
        raise VideoError(f"{folder} has {len(found)} videos of the camera {camera!r}: {', '.join(path.name for path in found)}", "keep one")
    if not found:
        raise VideoError(
            f"{folder} has no video _iblrig_{camera}Camera.raw.mp4 or .avi, though the description names the camera {camera!r}",
            "copy it from the rig, or take the camera out of the description",
        )
    return found[0]


def inspect(path: Path) -> Video:
    """Read a video's header and count its frames, without decoding them.

    Raises
    ------
    VideoError
        If it cannot be read: a file whose copy stopped early has no index, or ends in the middle of a frame.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = _stream(container, path)
            numbers, keys, broken = 0, [], False
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                if packet.is_keyframe:
                    keys.append(numbers)
                numbers, broken = numbers + 1, broken or packet.is_corrupt
            rate = float(stream.average_rate or 0)
            stated = stream.frames
            video = Video(path, stream.codec_context.name, stream.width, stream.height, rate, numbers, np.array(keys, dtype=int))
    except (av.FFmpegError, OSError, EOFError) as error:
        raise VideoError(f"{path} cannot be read as video: {error}; its copy may have stopped early", _COPY) from error
    if stated and numbers < stated:
        raise VideoError(f"{path} holds {numbers} of the {stated} frames that its header promises: its copy stopped early", _COPY)
    if broken or not numbers or rate <= 0:
        raise VideoError(f"{path} is cut off: {numbers} whole frames at {rate:g} Hz", _COPY)
    return video


def count_decoded(path: Path) -> int:
    """Number of frames that can really be decoded.

    Raises
    ------
    VideoError
        If decoding fails on the way.
    """
    return sum(1 for _ in _decoded(path))


def grey_frames(video: Video, first: int, count: int) -> Iterator[np.ndarray]:
    """Consecutive frames as grey images, uint8, shape (height, width).

    Parameters
    ----------
    video
        What `inspect` returned.
    first
        Number of the first frame.
    count
        How many.
    """
    start = int(video.seekable[np.searchsorted(video.seekable, first, side="right") - 1]) if video.seekable.size else 0
    for number, frame in enumerate(_decoded(video.path, (start + 0.5) / video.rate if start else 0.0), start):
        if number >= first + count:
            return
        if number >= first:
            yield luma(frame)


def scaled_frames(video: Video, width: int, height: int) -> Iterator[np.ndarray]:
    """Every frame as a grey image of another size, uint8, shape (height, width); pixels that become one are averaged, black is 0."""
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    for frame in _decoded(video.path):
        yield luma(reformatter.reformat(frame, width, height, format="gray", interpolation="AREA"))


def sampled_frames(video: Video, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Frames that are spread over the video, with their numbers: those from which reading can begin, so that few are decoded."""
    chosen = video.seekable[np.unique(np.linspace(0, video.seekable.size - 1, count).astype(int))]
    if chosen.size < count / 4 and video.n_frames <= count * 4:
        yield from enumerate(luma(frame) for frame in _decoded(video.path))
        return
    import av

    with av.open(str(video.path)) as container:
        stream = _stream(container, video.path)
        stream.thread_type = "NONE"
        for number in chosen:
            container.seek(_position(stream, (number + 0.5) / video.rate), stream=stream, backward=True)
            try:
                frame = next(container.decode(stream))
            except (av.FFmpegError, StopIteration) as error:
                raise VideoError(f"{video.path} cannot be decoded at frame {number}: {error}", _COPY) from error
            yield int(number), luma(frame)


def luma(frame: VideoFrame) -> np.ndarray:
    """The grey image of a frame: its luma plane where it has one, which costs nothing."""
    if not frame.format.name.startswith(("yuv", "gray", "nv12")) or frame.format.components[0].bits != 8:
        return frame.to_ndarray(format="gray")
    plane = frame.planes[0]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[: frame.height, : frame.width]


def _decoded(path: Path, from_s: float = 0.0) -> Iterator[VideoFrame]:
    import av

    try:
        with av.open(str(path)) as container:
            stream = _stream(container, path)
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = 1
            if from_s > 0:
                container.seek(_position(stream, from_s), stream=stream, backward=True)
            yield from container.decode(stream)
    except (av.FFmpegError, OSError, EOFError) as error:
        raise VideoError(f"{path} cannot be decoded: {error}", _COPY) from error


def _position(stream: VideoStream, seconds: float) -> int:
    """Where to seek, in the stream's own units; a seek goes to the last key frame that is not later."""
    return round(seconds / float(stream.time_base or 1)) + (stream.start_time or 0)


def _stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        raise VideoError(f"{path} holds no video", _COPY)
    return container.streams.video[0]
