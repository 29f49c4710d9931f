"""The raw movie of a field of view: its files checked against each other and against the description, and read frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.errors import RanvierError

if TYPE_CHECKING:
    from ranvier.job import Job
    from ranvier.tasks.imaging.readers import Reader

#: Where movies are; everything that is not there is left out. A `.mat` is Scanbox's header, an `.xml` Bruker's.
ENDINGS = ("tif", "tiff", "h5", "hdf5", "sbx", "raw", "bin", "dat", "isxd", "mesc")
MOVIES = tuple(f"{{collection}}/*.{ending}" for ending in ENDINGS)
SBX_HEADER, BRUKER_HEADER = "{collection}/*.mat", "{collection}/*.xml"
COPY = "copy the file from the rig again"


class ImagingError(RanvierError, ValueError):
    """The files of a field of view cannot be what its description says; the message names the file, the hint what to do."""


@dataclass(frozen=True)
class Movie:
    """A field of view as its files and its description have it.

    Attributes
    ----------
    readers
        One a file, in the order of their names.
    height, width
        Of a frame, px.
    n_planes, n_channels
        Frames are scanned plane by plane; each has so many channels, which follow each other in the files.
    frame_rate
        Frames a second, over all planes, Hz.
    channel
        The one whose activity is extracted, from 0.
    header_times
        Start of each frame as the files have it, s, empty where they have none.
    """

    readers: tuple[Reader, ...]
    height: int
    width: int
    n_planes: int
    n_channels: int
    frame_rate: float
    channel: int = 0
    header_times: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def files(self) -> list[Path]:
        """The files of the movie."""
        return [reader.path for reader in self.readers]

    @property
    def n_images(self) -> int:
        """Pictures in all files: frames times channels."""
        return sum(reader.n_images for reader in self.readers)

    @property
    def n_frames(self) -> int:
        """Frames over all planes."""
        return self.n_images // self.n_channels

    @property
    def n_volumes(self) -> int:
        """Frames of each plane; a last volume that was not finished does not count."""
        return self.n_frames // self.n_planes

    @property
    def volume_rate(self) -> float:
        """Frames of one plane a second, Hz."""
        return self.frame_rate / self.n_planes

    def images(self, start: int, stop: int) -> np.ndarray:
        """Pictures `start` to `stop` as the files have them, across the files' borders; shape (n, height, width)."""
        parts, first = [], 0
        for reader in self.readers:
            low, high = max(start - first, 0), min(stop - first, reader.n_images)
            if low < high:
                parts.append(reader.read(low, high))
            first += reader.n_images
        return np.concatenate(parts) if parts else np.empty((0, self.height, self.width))

    def volumes(self, at_a_time: int = 200) -> Iterator[np.ndarray]:
        """All finished volumes, shape (n, n_planes, n_channels, height, width), int16 as suite2p takes them.

        Notes
        -----
        As suite2p's own reader does, unsigned 16 bit and 32 bit pictures are halved so that they fit into 16 bit with a sign.
        """
        step = self.n_planes * self.n_channels
        for start in range(0, self.n_volumes, at_a_time):
            stop = min(start + at_a_time, self.n_volumes)
            block = as_int16(self.images(start * step, stop * step))
            yield block.reshape(-1, self.n_planes, self.n_channels, self.height, self.width)

    def samples(self, count: int = 40) -> np.ndarray:
        """Pictures of the functional channel and first plane, spread evenly over the movie; shape (n, height, width)."""
        step = self.n_planes * self.n_channels
        chosen = np.unique(np.linspace(0, self.n_volumes - 1, count).astype(int)) * step + self.channel
        return np.concatenate([self.images(index, index + 1) for index in chosen])


def as_int16(images: np.ndarray) -> np.ndarray:
    """Pictures as int16; unsigned and longer integers are halved first, as suite2p does."""
    if images.dtype in (np.uint16, np.int32, np.uint32):
        images = images // 2
    return images.astype(np.int16, copy=False)


def of_job(job: Job) -> Movie:
    """The checked movie of the field of view that a job is for; its task declares `MOVIES` as inputs."""
    return open_movie(movie_files(job), job.description, str(job.session_path / job.values["collection"]))


def movie_files(job: Job) -> list[Path]:
    """The movie's files, of whatever kind."""
    return [path for pattern in MOVIES for path in job.files(pattern)]


def open_movie(files: Sequence[Path], description: dict[str, Any], folder: str) -> Movie:
    """Open the files of a field of view and hold them against each other and the description.

    Parameters
    ----------
    files
        Its movie's files; those of one format.
    description
        What the acquisition description says of it: ``frame_rate`` (Hz, over all planes), ``planes``, ``channels``, ``functional_channel``
        (from 1), ``key`` (of the data set in an HDF5 file), ``shape`` and ``dtype`` (of a binary without a header); ``reader`` and
        ``reader_options`` of what roiextractors reads.
    folder
        Where the files were looked for, for the messages.

    Raises
    ------
    ImagingError
        If there is no movie or more than one kind, if a file is cut off, if pictures differ in size, or if planes, channels or frame rate
        contradict the description or are nowhere to be found.
    """
    from ranvier.tasks.imaging import readers

    if not files:
        hint = f"copy it from the rig, or unpack imaging.frames.tar.bz2; known are {', '.join(readers.OPENERS)}"
        raise ImagingError(f"{folder} has no movie", hint)
    opened = _opened(files, description, folder)
    if len(sizes := {reader.shape for reader in opened}) > 1:
        told = ", ".join(f"{reader.path.name} {reader.shape[0]} x {reader.shape[1]}" for reader in opened)
        raise ImagingError(
            f"{folder}: the files' pictures differ in size: {told}", "keep one recording a folder; move the others elsewhere"
        )
    height, width = sizes.pop()
    channels = _agreed("channels", description, opened, 1)
    movie = Movie(
        readers=opened,
        height=height,
        width=width,
        n_planes=int(_agreed("planes", description, opened, 1)),
        n_channels=int(channels),
        frame_rate=float(_agreed("frame_rate", description, opened, 0)),
        channel=int(description.get("functional_channel", 1)) - 1,
        header_times=_header_times(opened, int(channels)),
    )
    check(movie, folder)
    return movie


def _opened(files: Sequence[Path], description: dict[str, Any], folder: str) -> tuple[Reader, ...]:
    from ranvier.tasks.imaging import readers, roi_reader

    if description.get("reader"):
        return (roi_reader.open_with_roiextractors(files, description, Path(folder)),)
    kinds = sorted({path.suffix for path in files})
    if foreign := [kind for kind in kinds if kind not in readers.OPENERS]:
        hint = "name one in the description as `reader`, see docs/imaging.md; or save the movie as TIFF or HDF5"
        raise ImagingError(f"{folder}: movies of the kind {', '.join(foreign)} are read by a reader of roiextractors only", hint)
    if len({readers.OPENERS[kind] for kind in kinds}) > 1:
        raise ImagingError(
            f"{folder} has movies of several kinds: {', '.join(kinds)}", "keep one recording a folder; move the others elsewhere"
        )
    return tuple(readers.OPENERS[path.suffix](path, description) for path in sorted(files))


def check(movie: Movie, folder: str) -> None:
    """Refuse a movie whose numbers do not fit.

    Raises
    ------
    ImagingError
        See `open_movie`.
    """
    if movie.frame_rate <= 0:
        raise ImagingError(
            f"{folder}: the frame rate is unknown", "say `frame_rate` (Hz) of this field of view in the session's description"
        )
    if not 0 <= movie.channel < movie.n_channels:
        raise ImagingError(
            f"{folder}: functional_channel {movie.channel + 1} of {movie.n_channels} channels", "mend the session's description"
        )
    if movie.n_images % movie.n_channels:
        raise ImagingError(f"{folder}: {movie.n_images} pictures are no whole number of frames of {movie.n_channels} channels", COPY)
    if movie.n_volumes < 1:
        raise ImagingError(f"{folder}: {movie.n_frames} frames are not one volume of {movie.n_planes} planes", COPY)


def _agreed(name: str, description: dict[str, Any], opened: Sequence[Reader], default: float) -> float:
    """What the description says and the files say; where both do, they must agree (to 1 %)."""
    said = description.get(name)
    for reader in opened:
        own = reader.facts.get(name)
        if own is None:
            continue
        if said is None:
            said = own
        elif abs(float(said) - own) > 0.01 * abs(own):
            raise ImagingError(
                f"{reader.path} has {name} = {own:g}, the description of the session has {float(said):g}",
                "a plane or channel is missing from the file, or the description is another recording's; mend the one that is wrong",
            )
    return default if said is None else float(said)


def _header_times(opened: Sequence[Reader], n_channels: int) -> np.ndarray:
    times = [reader.times for reader in opened]
    return np.concatenate(times)[::n_channels] if all(len(each) for each in times) else np.empty(0)
