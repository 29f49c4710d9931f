"""A two-photon microscope that records simulated cells and leaves its files behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ranvier.simulate.cell_truth import CellTruth
from ranvier.simulate.cells import GAIN, OFFSET, TAU_S, Scene, make_scene
from ranvier.simulate.damage import SimulationError

SYNC = "raw_sync_data"
#: Channel of the sync signals that is high while a frame of the first field of view is scanned; the next field of view has the next one.
FIRST_CHANNEL = 4
START_S = 1.5
PIXEL_UM = 1.2
FRAMES_PER_FILE = 500


@dataclass(frozen=True)
class Movie:
    """What a simulated microscope is to record of each field of view.

    Parameters
    ----------
    n_frames
        Frames of each plane.
    shape
        Height and width, px.
    n_planes
        Planes that are scanned in turn, frame by frame.
    n_cells
        Cells over all planes.
    frame_rate
        Frames a second, over all planes, Hz.
    drift
        Whether the tissue moves: up to 3 px, and its lines by up to 1 px more or less.
    scanimage
        Whether the TIFF files have the headers that ScanImage writes, with the time of each frame.
    """

    n_frames: int = 900
    shape: tuple[int, int] = (128, 128)
    n_planes: int = 1
    n_cells: int = 20
    frame_rate: float = 30.0
    drift: bool = True
    scanimage: bool = False


def check_movie(movie: Movie) -> None:
    """Refuse a movie that cannot be simulated."""
    if movie.n_frames < 20 or movie.n_planes < 1 or movie.n_cells < movie.n_planes or movie.frame_rate <= 0:
        told = f"{movie.n_frames} frames of {movie.n_planes} planes with {movie.n_cells} cells at {movie.frame_rate:g} Hz"
        raise SimulationError(f"{told} cannot be simulated", "simulate 20 frames or more, and a cell or more for each plane")
    if min(movie.shape) < 64:
        raise SimulationError(f"{movie.shape[0]} x {movie.shape[1]} pixels are too few", "simulate 64 x 64 or more")


def record_fov(
    path: Path, name: str, index: int, movie: Movie, *, seed: int, kinds: set[str], progress: Callable[[float], None]
) -> CellTruth:
    """Write the files of one field of view, its sync signal and its truth.

    Parameters
    ----------
    path
        The session folder.
    name
        Of the field of view, such as ``FOV_00``.
    index
        Its number; the files are in ``raw_imaging_data_<number>``.
    movie
        What to record.
    seed
        The same seed gives the same bytes.
    kinds
        What is to be wrong with it.
    progress
        Called with the fraction that is done.
    """
    scene = make_scene(
        shape=movie.shape,
        n_planes=movie.n_planes,
        n_cells=movie.n_cells,
        n_volumes=movie.n_frames,
        rate=movie.frame_rate / movie.n_planes,
        seed=seed,
        drift=movie.drift,
    )
    folder = path / collection(index)
    (folder / "reference").mkdir(parents=True)
    times = _frame_times(movie, seed)
    stem = f"{path.parent.name}_{int(path.name)}_{path.parent.parent.name}_2P_00001"
    kept = keep_frames(kinds, len(times), movie.n_planes)
    _write_movie(folder, stem, movie, _frames(scene, kept, "constant_frames" in kinds, progress), times[kept] - START_S)
    _write_reference(folder / "reference" / "referenceImage.raw.tif", scene)
    _write_sync(path / SYNC, FIRST_CHANNEL + index, times)
    truth = CellTruth(scene.masks, scene.planes, scene.dff, scene.spikes, scene.drift, times[:: movie.n_planes])
    truth.save(path, name)
    damage_movie(kinds, sorted(folder.glob("*.tif")))
    progress(1.0)
    return truth


def describe_fov(index: int, movie: Movie) -> dict[str, Any]:
    """What the description of the session says of a field of view."""
    return {
        "collection": collection(index),
        "sync_channel": FIRST_CHANNEL + index,
        "frame_rate": movie.frame_rate,
        "planes": movie.n_planes,
        "channels": 1,
        "indicator": "GCaMP6f",
        "tau": TAU_S,
        "pixel_size_um": PIXEL_UM,
        "cell_diameter_um": 12.0,
    }


def collection(index: int) -> str:
    """Folder of a field of view's raw data."""
    return f"raw_imaging_data_{index:02d}"


def keep_frames(kinds: set[str], n_frames: int, n_planes: int) -> np.ndarray:
    """Indices of the frames that reach the disk."""
    index = np.arange(n_frames)
    if "missing_plane" in kinds and n_planes > 1:
        return index[index % n_planes != n_planes - 1]
    if "missing_frames" in kinds:
        return index[index % 40 != 20]
    return index


def _frames(scene: Scene, kept: np.ndarray, constant: bool, progress: Callable[[float], None]) -> Iterator[np.ndarray]:
    """The frames that reach the disk, one at a time."""
    wanted, number, total = set(kept.tolist()), 0, scene.drift.shape[0] * scene.drift.shape[1]
    for block in scene.frames():
        for frame in block:
            if number in wanted:
                yield np.full_like(frame, int(OFFSET)) if constant else frame
            number += 1
        progress(0.95 * number / total)


def damage_movie(kinds: set[str], files: Sequence[Path]) -> None:
    """Damage files that were written whole."""
    if "truncated_tiff" in kinds:
        with files[-1].open("r+b") as file:
            file.truncate(int(files[-1].stat().st_size * 0.6) - 1)


def _write_movie(folder: Path, stem: str, movie: Movie, frames: Iterator[np.ndarray], times: np.ndarray) -> None:
    """Write frames, so many to a file; `times` are those since the start of the scanner, s."""
    from tifffile import TiffWriter

    software = _scanimage_header(movie) if movie.scanimage else "ranvier simulate"
    for start in range(0, len(times), FRAMES_PER_FILE):
        with TiffWriter(folder / f"{stem}_{start // FRAMES_PER_FILE + 1:05d}.tif", bigtiff=movie.scanimage) as file:
            for number, frame in enumerate(islice(frames, FRAMES_PER_FILE), start):
                words = f"frameNumbers = {number + 1}\nframeTimestamps_sec = {times[number]:.9f}\n" if movie.scanimage else None
                file.write(frame, contiguous=False, description=words, software=software, metadata=None)


def _scanimage_header(movie: Movie) -> str:
    """The fields of ScanImage's header that readers look at."""
    rate, planes = movie.frame_rate, movie.n_planes
    zs = " ".join(str(20 * plane) for plane in range(planes))
    fields = {
        "LINE_FORMAT_VERSION": 1,
        "VERSION_MAJOR": 2022,
        "hChannels.channelSave": 1,
        "hFastZ.enable": "true" if planes > 1 else "false",
        "hRoiManager.linesPerFrame": movie.shape[0],
        "hRoiManager.pixelsPerLine": movie.shape[1],
        "hRoiManager.scanFrameRate": rate,
        "hRoiManager.scanVolumeRate": rate / planes,
        "hStackManager.actualNumSlices": planes,
        "hStackManager.zs": f"[{zs}]" if planes > 1 else zs,
    }
    return "\n".join(f"SI.{name} = {value}" for name, value in fields.items())


def _write_reference(path: Path, scene: Scene) -> None:
    """The picture of the tissue without drift, noise and activity that is taken before a session."""
    from tifffile import imwrite

    from ranvier.simulate.cells import MARGIN, REST

    inside = scene.background[:, MARGIN:-MARGIN, MARGIN:-MARGIN].copy()
    for mask, plane in zip(scene.masks, scene.planes, strict=True):
        inside[plane] += REST * mask
    imwrite(path, (inside * GAIN + OFFSET).astype(np.int16))


def _frame_times(movie: Movie, seed: int) -> np.ndarray:
    """When each frame begins, on the session's clock, s: the scanner is a little faster than it says."""
    jitter = np.random.default_rng(seed + 2).normal(0, 1e-5, movie.n_frames * movie.n_planes)
    return START_S + np.arange(len(jitter)) / (movie.frame_rate * 1.0002) + jitter


def _write_sync(folder: Path, channel: int, times: np.ndarray) -> None:
    """Add one channel's pulses to the session's sync signals, as IBL's ``sync`` object has them."""
    width = 0.5 * float(np.median(np.diff(times)))
    new = {
        "times": np.column_stack([times, times + width]).ravel(),
        "polarities": np.tile(np.array([1, -1], dtype=np.int8), len(times)),
        "channels": np.full(2 * len(times), channel, dtype=np.int16),
    }
    folder.mkdir(exist_ok=True)
    paths = {name: folder / f"_ibl_sync.{name}.npy" for name in new}
    together = {name: np.concatenate([np.load(path), new[name]]) if path.exists() else new[name] for name, path in paths.items()}
    order = np.argsort(together["times"], kind="stable")
    for name, path in paths.items():
        np.save(path, together[name][order])
