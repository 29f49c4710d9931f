"""Compress the raw movie of a field of view without loss."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.imaging.movie import BRUKER_HEADER, MOVIES, SBX_HEADER, ImagingError, movie_files

ARCHIVE = "{collection}/imaging.frames.tar.bz2"
CHUNK = 1 << 22


@task(
    version="1.0.0",
    per="fov",
    inputs=[Input(pattern, required=False) for pattern in (*MOVIES, SBX_HEADER, BRUKER_HEADER)],
    outputs=[Output(ARCHIVE)],
    # bzip2 writes some 10 MB a second on one core, and reads what it wrote at twice that
    resources=Resources(cpu=1, memory_gb=1, scratch_per_gb=1, timeout_s=3600, timeout_per_gb_s=1000),
    priority=20,
)
def raw_imaging_compression(job: Job) -> None:
    """Write the raw files of a field of view into one compressed archive, and hold each file in it against the original.

    Parameters
    ----------
    job
        The job.

    Raises
    ------
    ImagingError
        If there is no movie, or if what was written is not what was read.

    Notes
    -----
    The archive is the one that IBL's tools know; it holds the files as they are, with their headers. The originals stay where they are.
    """
    files = movie_files(job)
    if not files:
        raise ImagingError(f"{job.session_path / job.values['collection']} has no movie", "copy it from the rig")
    files += [*job.files(SBX_HEADER), *job.files(BRUKER_HEADER)]
    archive = job.output(ARCHIVE)
    digests = compress(files, archive, lambda part: job.progress(0.65 * part, "compressing"))
    job.progress(0.65, "verifying")
    verify(archive, digests)
    job.qc("verified_files", len(digests), "PASS")
    job.qc("compression_ratio", round(sum(path.stat().st_size for path in files) / archive.stat().st_size, 3))


def compress(files: Sequence[Path], archive: Path, progress: Callable[[float], None]) -> dict[str, str]:
    """Write files into an archive.

    Returns
    -------
    dict
        SHA-256 of each file's contents, as they were read, by its name.
    """
    digests: dict[str, str] = {}
    with tarfile.open(archive, "w:bz2") as content:
        for number, path in enumerate(files):
            with path.open("rb") as file:
                reading = _Reading(file)
                content.addfile(content.gettarinfo(path, path.name), reading)
            digests[path.name] = reading.digest.hexdigest()
            progress((number + 1) / len(files))
    return digests


def verify(archive: Path, digests: dict[str, str]) -> None:
    """Read an archive and hold each file in it against the original.

    Raises
    ------
    ImagingError
        If one is missing, too many, or other than the original.
    """
    found: dict[str, str] = {}
    try:
        with tarfile.open(archive, "r|bz2") as content:
            for member in content:
                stream = content.extractfile(member)
                found[member.name] = sha256(stream) if stream is not None else ""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ImagingError(
            f"{archive.name} cannot be read back: {error}", "is the disk sound? The originals are untouched; run it again"
        ) from error
    if wrong := sorted(name for name in set(found) | set(digests) if found.get(name) != digests.get(name)):
        raise ImagingError(f"{archive.name} does not hold {', '.join(wrong)} as on disk", "the originals are untouched; run it again")


def sha256(stream: IO[bytes]) -> str:
    """SHA-256 of what a stream gives."""
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


class _Reading:
    """A file that notes the SHA-256 of all that is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        content = self.file.read(size)
        self.digest.update(content)
        return content
