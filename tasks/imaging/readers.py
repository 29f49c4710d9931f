"""Files of two-photon movies: TIFF (plain and ScanImage's), HDF5, Scanbox's .sbx, and binary pictures without a header."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.imaging.movie import COPY, ImagingError

if TYPE_CHECKING:
    from tifffile import TiffFile

_TIME = re.compile(r"frameTimestamps_sec\s*=\s*([-\d.eE+]+)")
_SLICES = ("hStackManager.actualNumSlices", "hStackManager.numSlices")


@dataclass(frozen=True)
class Reader:
    """One open file.

    Attributes
    ----------
    path
        The file.
    n_images
        Its pictures: frames of all planes and channels.
    shape
        Height and width of a picture, px.
    read
        Gives pictures from one index up to another, shape (n, height, width).
    facts
        What the file itself says: ``frame_rate`` (Hz, over all planes), ``planes``, ``channels``, where it does.
    times
        When each picture begins, s; empty where the file does not say.
    """

    path: Path
    n_images: int
    shape: tuple[int, int]
    read: Callable[[int, int], np.ndarray]
    facts: dict[str, float] = field(default_factory=dict)
    times: np.ndarray = field(default_factory=lambda: np.empty(0))


def open_tiff(path: Path, description: dict[str, Any]) -> Reader:
    """A TIFF file, ScanImage's with its headers.

    Raises
    ------
    ImagingError
        If it cannot be read or ends before its last picture.
    """
    from tifffile import TiffFile, TiffFileError

    try:
        with _complaints() as said, TiffFile(path) as file:
            header = _header(file)
            file.pages.useframes = not header  # only whole pages have the words that ScanImage writes beside each picture
            pages = list(file.pages)
            series = file.series[0] if file.series else None
            cut = said or _ends_early(pages, path.stat().st_size)
            if not pages or cut:
                raise ImagingError(f"{path} is cut off or damaged: {'; '.join(said) or f'it ends before picture {len(pages)} does'}", COPY)
            if len({page.shape for page in pages}) > 1 or len(pages[0].shape) != 2:
                raise ImagingError(f"{path}: its pictures are not all of one size in grey", "keep reference pictures elsewhere than movies")
            shape = (int(pages[0].shape[0]), int(pages[0].shape[1]))
            count = _in_one_block(series, len(pages))
            facts, times = (_facts(header), _page_times(pages)) if header else ({}, np.empty(0))
            block = _block(path, file, count, shape, pages)
    except (TiffFileError, OSError, ValueError, IndexError, KeyError) as error:
        if isinstance(error, ImagingError):
            raise
        raise ImagingError(f"{path} is no TIFF that can be read: {error}", COPY) from error
    return Reader(path, count, shape, block, facts, times)


def open_hdf5(path: Path, description: dict[str, Any]) -> Reader:
    """The pictures of an HDF5 file: a data set of (frames, y, x), (frames, planes, y, x) or (frames, planes, channels, y, x).

    Raises
    ------
    ImagingError
        If it cannot be read, or if nobody can tell which of its data sets is the movie.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            key = description.get("key") or _only_movie(file, path)
            if key not in file:
                raise ImagingError(f"{path} has no data set {key!r}", f"it has {', '.join(file)}; say which in the description, as `key`")
            dims = file[key].shape
    except OSError as error:
        raise ImagingError(f"{path} cannot be read: {error}", COPY) from error
    if not 3 <= len(dims) <= 5:
        raise ImagingError(
            f"{path}: {key} has {len(dims)} dimensions", "it must be (frames, y, x), (frames, planes, y, x) or with channels"
        )
    each = int(np.prod(dims[1:-2], dtype=int))

    def read(start: int, stop: int) -> np.ndarray:
        with h5py.File(path, "r") as file:
            whole = file[key][start // each : -(-stop // each)]
        return whole.reshape(-1, *dims[-2:])[start % each :][: stop - start]

    facts = {name: float(size) for name, size in zip(("planes", "channels"), dims[1:-2], strict=False)}
    return Reader(path, dims[0] * each, (dims[-2], dims[-1]), read, facts)


def open_sbx(path: Path, description: dict[str, Any]) -> Reader:
    """Scanbox's pictures, which it stores upside down in brightness, with their ``.mat``.

    Raises
    ------
    ImagingError
        If the ``.mat`` is missing or malformed, or if the file is no whole number of frames.

    Notes
    -----
    After sbxreader 0.2 (the reader that suite2p asks for, and then calls wrongly): samples are 65535 less the brightness, channels vary
    fastest, then columns, lines and planes.
    """
    from sbxreader import sbx_get_metadata

    header = path.with_suffix(".mat")
    if not header.exists():
        raise ImagingError(f"{header} is missing", "copy it from the rig; without it nobody knows the size of the pictures")
    try:
        meta = sbx_get_metadata(str(path))
        channels, planes = int(meta["num_channels"]), int(meta["num_planes"])
        height, width = (int(size) for size in meta["frame_size"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ImagingError(f"{header} cannot be read: {error}", COPY) from error
    frames = _whole(path, 2 * channels * height * width)
    stored = np.memmap(path, np.uint16, "r", shape=(frames, height, width, channels))

    def read(start: int, stop: int) -> np.ndarray:
        part = np.moveaxis(np.asarray(stored[start // channels : -(-stop // channels)]), 3, 1)
        return (65_535 - part).reshape(-1, height, width)[start % channels :][: stop - start]

    facts = {"planes": float(planes), "channels": float(channels), "frame_rate": float(meta["frame_rate"]) * planes}
    return Reader(path, frames * channels, (height, width), read, facts)


def open_binary(path: Path, description: dict[str, Any]) -> Reader:
    """Pictures one after the other without a header, such as suite2p's own ``data.bin``.

    Raises
    ------
    ImagingError
        If the description does not say the ``shape`` of a picture, or if the file is no whole number of pictures.
    """
    shape = description.get("shape")
    if not isinstance(shape, list) or len(shape) != 2:
        raise ImagingError(f"{path} has no header", "say `shape: [height, width]` (and `dtype`, if not int16) in the session's description")
    height, width = (int(size) for size in shape)
    try:
        kind = np.dtype(str(description.get("dtype", "int16")))
    except TypeError:
        raise ImagingError(f"{path}: dtype {description['dtype']!r} is unknown", "say one such as int16 or uint16") from None
    count = _whole(path, kind.itemsize * height * width)
    stored = np.memmap(path, kind, "r", shape=(count, height, width))
    return Reader(path, count, (height, width), lambda start, stop: np.asarray(stored[start:stop]))


#: How a file is opened, by its ending.
OPENERS: dict[str, Callable[[Path, dict[str, Any]], Reader]] = {
    ".tif": open_tiff,
    ".tiff": open_tiff,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".sbx": open_sbx,
    ".raw": open_binary,
    ".bin": open_binary,
    ".dat": open_binary,
}


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs while a file is read: it stops at what is damaged, and says so only there."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _ends_early(pages: list[Any], size: int) -> bool:
    """Whether a picture lies beyond the end of the file, or the chain of pictures leads there."""
    ends = (offset + count for page in pages for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True))
    return any(end > size for end in ends)


def _in_one_block(series: Any, n_pages: int) -> int:
    """Number of pictures; ImageJ describes more than 4 GB of them by one page."""
    if n_pages > 1 or series is None or series.ndim < 3:
        return n_pages
    return int(np.prod(series.shape[:-2]))


def _block(path: Path, file: TiffFile, count: int, shape: tuple[int, int], pages: list[Any]) -> Callable[[int, int], np.ndarray]:
    """How pictures are read: straight from the disk where they lie there one after the other, uncompressed."""
    from tifffile import imread

    kind = np.dtype(f"{file.byteorder}{np.dtype(pages[0].dtype).char}")
    size = kind.itemsize * shape[0] * shape[1]
    starts = np.array([page.dataoffsets[0] for page in pages])
    step = int(starts[1] - starts[0]) if len(pages) > 1 else size
    plain = all(page.compression == 1 and page.is_contiguous for page in pages[:2]) and np.all(np.diff(starts) == step) and step >= size
    if not plain:
        return lambda start, stop: imread(path, key=range(start, stop)).reshape(-1, *shape)
    strided: dict[str, Any] = dict(dtype=np.uint8, shape=((count - 1) * step + size,), offset=int(starts[0]), mode="r")

    def read(start: int, stop: int) -> np.ndarray:
        content = np.memmap(path, **strided)
        rows = np.lib.stride_tricks.as_strided(content[start * step :], (stop - start, size), (step, 1))
        return rows.copy().view(kind).reshape(-1, *shape)

    return read


def _header(file: TiffFile) -> dict[str, Any]:
    """Fields of ScanImage's header; empty for other files."""
    fields = (file.scanimage_metadata or {}).get("FrameData") or _lines(str(file.pages.first.tags.valueof("Software") or ""))
    return fields if any(name.startswith("SI.") for name in fields) else {}


def _page_times(pages: list[Any]) -> np.ndarray:
    """Time of each picture as ScanImage wrote it beside it, s; empty where one has none."""
    matches = [
        _TIME.search(getattr(page, "description", "")) for page in pages
    ]  # of ScanImage before 2016 tifffile guesses where pages are
    times = np.array([float(match[1]) for match in matches if match])
    return times if len(times) == len(pages) else np.empty(0)


def _facts(header: dict[str, Any]) -> dict[str, float]:
    facts: dict[str, float] = {}
    if rate := header.get("SI.hRoiManager.scanFrameRate"):
        facts["frame_rate"] = float(rate)
    if (saved := header.get("SI.hChannels.channelSave")) is not None:
        facts["channels"] = float(np.size(saved)) if not isinstance(saved, str) else float(len(saved.strip("[]").replace(";", " ").split()))
    slices = next((header[f"SI.{name}"] for name in _SLICES if header.get(f"SI.{name}")), 1)
    volumes = str(header.get("SI.hFastZ.enable", "false")).lower() in ("true", "1")
    return facts | {"planes": float(slices) if volumes else 1.0}


def _lines(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _only_movie(file: Any, path: Path) -> str:
    movies = [name for name, item in file.items() if getattr(item, "ndim", 0) >= 3]
    if len(movies) != 1:
        raise ImagingError(
            f"{path} has {len(movies)} data sets that could be the movie: {', '.join(movies) or 'none'}",
            "say which in the description, as `key`",
        )
    return str(movies[0])


def _whole(path: Path, size: int) -> int:
    """How many pieces of a size a file has.

    Raises
    ------
    ImagingError
        If they are no whole number, or none.
    """
    count, rest = divmod(path.stat().st_size, size)
    if rest or not count:
        raise ImagingError(f"{path} has {path.stat().st_size} bytes, which is no whole number of frames of {size} bytes", COPY)
    return count
