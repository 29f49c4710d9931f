"""Movies of other microscopes (Bruker, Thorlabs, Micro-Manager, Femtonics, Inscopix, ...), read by roiextractors where it is installed.

The description names one of its readers (https://roiextractors.readthedocs.io), as ``reader``, and what it needs as ``reader_options``.
"""

from __future__ import annotations

import inspect
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.imaging.movie import ImagingError
from ranvier.tasks.imaging.readers import Reader

if TYPE_CHECKING:
    from roiextractors import ImagingExtractor


def open_with_roiextractors(files: Sequence[Path], description: dict[str, Any], folder: Path) -> Reader:
    """The movie of a folder by a reader of roiextractors.

    Parameters
    ----------
    files
        The movie's files.
    description
        Of the field of view: ``reader``, and ``reader_options``, which are passed on. The folder or its files need not be among them.
    folder
        Where the files are.

    Raises
    ------
    ImagingError
        If roiextractors is not installed or has no such reader, or if that reader cannot read what is there.
    """
    reader, options = _reader_named(str(description["reader"])), dict(description.get("reader_options") or {})
    alias = Path(tempfile.mkdtemp(prefix="ranvier-movie-"))
    try:
        movie: ImagingExtractor = reader(**_places(reader, files, folder, alias, options) | options)
        weakref.finalize(movie, shutil.rmtree, alias, ignore_errors=True)
        shape = tuple(int(size) for size in movie.get_image_shape())
        planes = int(movie.get_num_planes()) if len(movie.get_sample_shape()) > 2 else 1
        count, rate = int(movie.get_num_samples()), float(movie.get_sampling_frequency() or 0)
        starts = movie.get_native_timestamps()
    except Exception as error:  # each reader has errors of its own, AssertionErrors among them
        shutil.rmtree(alias)
        raise _unreadable(folder, reader, error) from error

    def read(start: int, stop: int) -> np.ndarray:
        try:
            pictures = np.asarray(movie.get_series(start // planes, -(-stop // planes)))
        except Exception as error:
            raise _unreadable(folder, reader, error) from error
        if planes > 1:
            pictures = np.moveaxis(pictures, -1, 1)
        return pictures.reshape(-1, *shape)[start % planes :][: stop - start]

    facts = {"planes": float(planes), "channels": 1.0} | ({"frame_rate": rate * planes} if rate else {})
    each = np.arange(planes) / (rate * planes) if rate else np.zeros(1)
    times = np.empty(0) if starts is None else (np.asarray(starts, float)[:, None] + each).ravel()
    return Reader(files[0], count * planes, (shape[0], shape[1]), read, facts, times)


def _unreadable(folder: Path, reader: type[ImagingExtractor], error: Exception) -> ImagingError:
    told = f"{folder} cannot be read by roiextractors' {reader.__name__}: {type(error).__name__}: {error}"
    return ImagingError(told, "mend `reader` and `reader_options` in the description, or copy the files again")


def _reader_named(name: str) -> type[ImagingExtractor]:
    try:
        from roiextractors.extractorlist import imaging_extractor_dict
    except ImportError as error:
        told = f"the description asks for roiextractors' {name}, and roiextractors is not installed"
        raise ImagingError(told, "pip install roiextractors, or save the movie as TIFF or HDF5") from error
    known = {each.__name__: each for each in imaging_extractor_dict.values()} | dict(imaging_extractor_dict)
    if name not in known:
        raise ImagingError(f"roiextractors has no reader {name!r}", f"say one of {', '.join(sorted(set(imaging_extractor_dict)))}")
    return known[name]


def _places(reader: type[ImagingExtractor], files: Sequence[Path], folder: Path, alias: Path, options: dict[str, Any]) -> dict[str, Any]:
    """What a reader wants of these: one file, all files or the folder."""
    wanted = [name for name in inspect.signature(reader.__init__).parameters if name not in options]
    if "folder_path" in wanted and "file_paths" not in wanted:
        return {"folder_path": _as_the_rig_named_it(folder, alias)}
    if "file_paths" in wanted:
        return {"file_paths": sorted(files)}
    if len(files) != 1:
        raise ValueError(f"it reads one file, here are {len(files)}: {', '.join(path.name for path in files)}")
    return {"file_path": files[0]}


def _as_the_rig_named_it(folder: Path, alias: Path) -> Path:
    """The folder under the name of the one ``.xml`` in it, which Bruker's readers look for by the folder's name."""
    headers = [path for path in folder.glob("*.xml") if not path.name.startswith(".")]
    if len(headers) != 1 or headers[0].stem == folder.name:
        return folder
    link = alias / headers[0].stem
    link.symlink_to(folder, target_is_directory=True)
    return link
