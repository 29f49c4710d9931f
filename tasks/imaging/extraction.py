"""suite2p itself: the movie written as its binaries, one folder a plane, and each plane run from there."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from ranvier.tasks.imaging.movie import Movie
from ranvier.tasks.imaging.settings import load_suite2p

#: suite2p refuses fewer, and says itself that below 200 its results mean little.
MIN_VOLUMES, FEW_VOLUMES = 10, 200
#: What suite2p and PyTorch warn of among themselves, and nobody else can act on.
FOREIGN_WARNINGS = (
    "Sparse invariant checks are implicitly disabled",
    "Sparse CSR tensor support is in beta",
    "The 'warn' method is deprecated",
)


@dataclass(frozen=True)
class Plane:
    """What suite2p found in one plane.

    Attributes
    ----------
    folder
        suite2p's own folder of the plane.
    number
        Of the plane, from 0.
    ops, registration
        suite2p's ``ops`` and what its registration gave (``xoff``, ``yoff``, ``badframes``, ``meanImg``, ...).
    stat
        One dict a region of interest; empty where there is none.
    fluorescence, neuropil, spikes
        Shape (n_rois, n_volumes).
    is_cell
        Whether each region is a cell, and how probably, shape (n_rois, 2).
    """

    folder: Path
    number: int
    ops: dict[str, Any]
    registration: dict[str, Any]
    stat: np.ndarray
    fluorescence: np.ndarray
    neuropil: np.ndarray
    spikes: np.ndarray
    is_cell: np.ndarray

    def frames(self) -> np.ndarray:
        """The registered frames, on disk; int16, shape (n_volumes, height, width)."""
        shape = (int(self.ops["nframes"]), int(self.ops["Ly"]), int(self.ops["Lx"]))
        return np.memmap(self.folder / "data.bin", np.int16, "r", shape=shape)


def write_planes(movie: Movie, folder: Path, settings: dict[str, Any], progress: Callable[[float], None]) -> list[Path]:
    """Write a movie as suite2p's binaries.

    Parameters
    ----------
    movie
        The movie.
    folder
        A fresh folder: suite2p would silently go on with binaries that lie there.
    settings
        What `settings.settle` returned.
    progress
        Called with the fraction that is written.

    Returns
    -------
    list of Path
        The file ``db.npy`` of each plane.
    """
    from suite2p import default_db
    from suite2p.io import init_dbs

    both = movie.n_channels > 1
    names = [str(path) for path in movie.files]
    made = init_dbs(
        dict(
            default_db(),
            data_path=[str(folder)],
            save_path0=str(folder),
            nplanes=movie.n_planes,
            nchannels=2 if both else 1,
            file_list=names,
        )
    )
    order = [movie.channel, *([1 - movie.channel if movie.n_channels == 2 else (movie.channel + 1) % movie.n_channels] if both else [])]
    sums = np.zeros((movie.n_planes, len(order), movie.height, movie.width))
    outputs = [[open(db[key], "wb") for key in ("reg_file", "reg_file_chan2")[: len(order)]] for db in made]  # noqa: SIM115
    try:
        done = 0
        for block in movie.volumes():
            for plane, files in enumerate(outputs):
                for place, channel in enumerate(order):
                    files[place].write(np.ascontiguousarray(block[:, plane, channel]).tobytes())
            sums += block[:, :, order].sum(axis=0, dtype=np.float64)
            done += len(block)
            progress(done / movie.n_volumes)
    finally:
        for files in outputs:
            for file in files:
                file.close()
    for db, means in zip(made, sums / movie.n_volumes, strict=True):
        db |= {"Ly": movie.height, "Lx": movie.width, "nframes": movie.n_volumes, "nframes_per_folder": np.array([movie.n_volumes])}
        db |= dict(zip(("meanImg", "meanImg_chan2"), means.astype(np.float32), strict=False))
        np.save(db["db_path"], np.array(db, dtype=object))
        np.save(db["settings_path"], np.array(settings, dtype=object))
    return [Path(db["db_path"]) for db in made]


def run_planes(planes: list[Path], cores: int, progress: Callable[[float], None]) -> list[Plane]:
    """Run suite2p on planes whose binaries are written, as many at a time as there are cores.

    Parameters
    ----------
    planes
        What `write_planes` returned.
    cores
        Cores to use.
    progress
        Called with the fraction of the planes that are done.
    """
    at_once = min(cores, len(planes))
    threads = max(cores // at_once, 1)
    if at_once == 1:
        for number, plane in enumerate(planes):
            run_plane(plane, threads)
            progress((number + 1) / len(planes))
    else:
        with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
            for number, _ in enumerate(pool.map(run_plane, planes, [threads] * len(planes))):
                progress((number + 1) / len(planes))
    return [load_plane(plane.parent, number) for number, plane in enumerate(planes)]


def run_plane(db_path: Path, threads: int) -> None:
    """Run suite2p on one plane; its results stay in its folder."""
    suite2p = load_suite2p(db_path.parents[2] / "home")
    import torch

    torch.set_num_threads(threads)
    db, settings = (np.load(db_path.with_name(name), allow_pickle=True).item() for name in ("db.npy", "settings.npy"))
    try:
        with warnings.catch_warnings():
            for message in FOREIGN_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            suite2p.run_plane(db=db, settings=settings, db_path=str(db_path))
    except ValueError as error:
        if "no ROIs were found" not in str(error):
            raise
    else:
        keep_neuropil(db_path.with_name("stat.npy"), (int(db["Ly"]), int(db["Lx"])), settings["extraction"])


def keep_neuropil(path: Path, shape: tuple[int, int], settings: dict[str, Any]) -> None:
    """Add to each region of ``stat.npy`` the pixels of its neuropil, as suite2p did before version 1, by its own function.

    Parameters
    ----------
    path
        The file.
    shape
        Height and width of a picture, px.
    settings
        Those of the extraction, with which suite2p made the masks.
    """
    from suite2p.extraction.masks import create_masks

    stat = np.load(path, allow_pickle=True)
    if not len(stat):
        return
    names = ("lam_percentile", "allow_overlap", "inner_neuropil_radius", "min_neuropil_pixels", "circular_neuropil")
    _, around = create_masks(stat, *shape, neuropil_extract=True, **{name: settings[name] for name in names})
    for each, pixels in zip(stat, around, strict=True):
        each["neuropil_mask"] = pixels
    np.save(path, stat)


def load_plane(folder: Path, number: int = 0) -> Plane:
    """Read what suite2p left in a plane's folder: of a run here, or of one that somebody made elsewhere.

    Notes
    -----
    A folder without ``ops.npy``, as some are shared, is one without pictures: only regions and traces are there.
    """
    n_rois, found = 0, {}
    for name in ("F", "Fneu", "spks", "iscell"):
        if (path := folder / f"{name}.npy").exists():
            found[name] = np.load(path)
            n_rois = len(found[name])
    stat = np.load(folder / "stat.npy", allow_pickle=True) if n_rois else np.empty(0, dtype=object)
    ops = _item(folder / "ops.npy") or {
        **_item(folder / "settings.npy"),
        **_item(folder / "db.npy"),
        **_item(folder / "detect_outputs.npy"),
    }
    empty = np.empty((n_rois, 0), dtype=np.float32)
    return Plane(
        folder=folder,
        number=number,
        ops=ops,
        registration=_item(folder / "reg_outputs.npy") or ops,
        stat=stat,
        fluorescence=found.get("F", empty),
        neuropil=found.get("Fneu", empty),
        spikes=found.get("spks", empty),
        is_cell=found.get("iscell", np.zeros((n_rois, 2))),
    )


def _item(path: Path) -> dict[str, Any]:
    return dict(np.load(path, allow_pickle=True).item()) if os.path.exists(path) else {}
