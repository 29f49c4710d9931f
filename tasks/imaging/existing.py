"""A folder that suite2p left, made or curated by somebody, beside the raw data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.imaging.extraction import Plane, load_plane
from ranvier.tasks.imaging.movie import ImagingError, Movie

if TYPE_CHECKING:
    from ranvier.job import Job

#: Where such a folder is looked for.
FOLDERS = "{collection}/suite2p/plane*/*.npy"
#: Of such a folder the one file that stands for it where nothing else is recorded: the others hold Python objects, which nobody checks.
TRACES = "{collection}/suite2p/plane*/F.npy"
#: The middle of a region's neuropil is nearer to it than this, px.
FAR_PX = 25.0
NEEDED = ("stat", "F", "Fneu", "spks", "iscell")


@dataclass(frozen=True)
class _Unread:
    """Stands for the movie's files, which nobody needs to read again."""

    path: Path
    n_images: int


def of_job(job: Job) -> list[Plane]:
    """Planes of the suite2p folder of the field of view that a job is for, none where there is no such folder.

    Raises
    ------
    ImagingError
        If a plane's folder lacks a file, or if its files do not belong together.
    """
    folders = sorted({path.parent for path in job.files(FOLDERS)}, key=lambda folder: int("".join(filter(str.isdigit, folder.name)) or 0))
    for folder in folders:
        if missing := [f"{name}.npy" for name in NEEDED if not (folder / f"{name}.npy").exists()]:
            raise ImagingError(f"{folder} lacks {', '.join(missing)}", "copy suite2p's whole folder, or remove it to have suite2p run here")
    planes = [load_plane(folder, number) for number, folder in enumerate(folders)]
    for plane in planes:
        check(plane)
    shortest = min((plane.fluorescence.shape[1] for plane in planes), default=0)
    return [cut(plane, shortest) for plane in planes]


def check(plane: Plane) -> None:
    """Refuse a folder whose files do not belong together.

    Raises
    ------
    ImagingError
        If they differ in the number of regions or frames.
    """
    shapes = {plane.fluorescence.shape, plane.neuropil.shape, plane.spikes.shape}
    if len(shapes) > 1 or len(plane.stat) != len(plane.fluorescence) or len(plane.is_cell) != len(plane.stat):
        told = f"{len(plane.stat)} regions in stat.npy, {len(plane.is_cell)} in iscell.npy, traces of {', '.join(map(str, sorted(shapes)))}"
        raise ImagingError(f"{plane.folder}: its files do not belong together: {told}", "copy suite2p's folder again")


def check_neuropil(planes: list[Plane], shape: tuple[int, int]) -> None:
    """Refuse a picture's shape with which the neuropil, whose pixels suite2p counts through the picture, lies far from its region.

    Raises
    ------
    ImagingError
        If it does.
    """
    apart = []
    for each in (region for plane in planes for region in plane.stat if len(region["neuropil_mask"])):
        y, x = np.divmod(np.asarray(each["neuropil_mask"]), shape[1])
        apart.append(np.hypot(np.median(y) - each["med"][0], np.median(x) - each["med"][1]))
    if apart and np.median(apart) > FAR_PX:
        told = f"with pictures of {shape[0]} x {shape[1]} pixels neuropil lies {np.median(apart):.0f} pixels from its region"
        raise ImagingError(f"{planes[0].folder}: {told}", "say the true `shape` in the description")


def cut(plane: Plane, n_volumes: int) -> Plane:
    """A plane with its first so many volumes: the last may have been scanned in some planes only."""
    traces = {name: getattr(plane, name)[:, :n_volumes] for name in ("fluorescence", "neuropil", "spikes")}
    return replace(plane, **traces)


def as_movie(planes: list[Plane], description: dict[str, Any]) -> Movie:
    """The movie that planes were extracted from, as far as its frame times need it; its pictures cannot be read.

    Raises
    ------
    ImagingError
        If neither suite2p's folder nor the description says how large a picture is, or how many there were a second.
    """
    ops, folder = planes[0].ops, planes[0].folder
    shape = (ops["Ly"], ops["Lx"]) if "Ly" in ops else description.get("shape")
    if shape is None:
        raise ImagingError(
            f"{folder} has no ops.npy that says how large a picture is", "copy it, or say `shape: [height, width]` in the description"
        )
    rate = ops["fs"] * len(planes) if "fs" in ops else description.get("frame_rate")
    if not rate:
        raise ImagingError(f"{folder} has no ops.npy that says the frame rate", "copy it, or say `frame_rate` (Hz) in the description")
    check_neuropil(planes, (int(shape[0]), int(shape[1])))
    frames = planes[0].fluorescence.shape[1] * len(planes)
    unread: Any = _Unread(folder / "F.npy", frames)
    return Movie((unread,), int(shape[0]), int(shape[1]), len(planes), 1, float(rate))


def pictures(planes: list[Plane]) -> np.ndarray | None:
    """Mean image of each plane, where suite2p's folder has them; shape (n_planes, height, width)."""
    images = [plane.registration.get("meanImg") for plane in planes]
    return None if any(image is None for image in images) else np.stack(images).astype(np.float64)  # type: ignore[arg-type]
