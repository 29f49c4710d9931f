"""What suite2p found as ALF objects: mpci, mpciROIs, mpciMeanImage, and suite2p's own folder as a zip.

Names, shapes and units are IBL's (https://docs.internationalbrainlab.org, "Loading Multi-photon Calcium Imaging Data").
"""

from __future__ import annotations

import hashlib
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.imaging.extraction import Plane
from ranvier.tasks.imaging.movie import ImagingError

if TYPE_CHECKING:
    import pandas as pd

    from ranvier.job import Job

#: A `sparse.GCXS` by its parts, as `sparse.save_npz` keeps it. The library itself compiles for seconds in every new process.
SparseMasks = dict[str, Any]

FOLDER = "alf/{fov}"
ACTIVITY = ("ROIActivityF", "ROINeuropilActivityF", "ROIActivityDeconvolved")
ROI_ARRAYS = ("stackPos", "mpciROITypes", "cellClassifier")
MASKS = ("masks", "neuropilMasks")
ARCHIVE = f"{FOLDER}/_suite2p_ROIData.raw.zip"
ROI_TYPES = ("no cell", "cell")
#: Of suite2p's folder these are not kept: frames can be made again from the raw movie and the registration.
LEFT_OUT = (".bin", ".log")


@dataclass(frozen=True)
class Regions:
    """Regions of interest of all planes, one after the other.

    Attributes
    ----------
    activity
        Fluorescence, neuropil's fluorescence and deconvolved activity by name, each of shape (n_volumes, n_rois).
    arrays
        ``stackPos`` (y, x, plane), ``mpciROITypes`` (1 a cell), ``cellClassifier`` (probability of a cell), one row a region.
    masks
        ``masks`` (weight of each pixel) and ``neuropilMasks``, sparse, shape (n_rois, height, width).
    planes
        Plane of each region.
    stat
        suite2p's own description of each.
    """

    activity: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]
    masks: dict[str, SparseMasks]
    planes: np.ndarray
    stat: list[dict[str, np.ndarray]]

    @property
    def n_rois(self) -> int:
        """Number of regions."""
        return len(self.stat)


def together(planes: Sequence[Plane], shape: tuple[int, int]) -> Regions:
    """Put the regions of all planes together.

    Parameters
    ----------
    planes
        What suite2p found in each.
    shape
        Height and width of a picture, px.

    Raises
    ------
    ImagingError
        If a region lies outside a picture of that shape.
    """
    stat = [each for plane in planes for each in plane.stat]
    numbers = np.concatenate([np.full(len(plane.stat), plane.number) for plane in planes])
    is_cell = np.concatenate([plane.is_cell for plane in planes])
    traces = ("fluorescence", "neuropil", "spikes")
    return Regions(
        activity={
            name: np.concatenate([getattr(plane, trace) for plane in planes]).T.astype(np.float32)
            for name, trace in zip(ACTIVITY, traces, strict=True)
        },
        arrays={
            "stackPos": np.array([(*each["med"], number) for each, number in zip(stat, numbers, strict=True)], dtype=np.int64).reshape(
                -1, 3
            ),
            "mpciROITypes": is_cell[:, 0].astype(np.int64),
            "cellClassifier": is_cell[:, 1].astype(np.float64),
        },
        masks=sparse_masks(stat, shape),
        planes=numbers,
        stat=stat,
    )


def sparse_masks(stat: Sequence[dict[str, np.ndarray]], shape: tuple[int, int]) -> dict[str, SparseMasks]:
    """Masks of regions and of their neuropil, sparse, shape (n_rois, height, width).

    Raises
    ------
    ImagingError
        If a region lies outside the picture.
    """
    own = [np.asarray(each["ypix"], dtype=np.int64) * shape[1] + each["xpix"] for each in stat]
    around = [np.asarray(each["neuropil_mask"], dtype=np.int64) for each in stat]
    widest = max(int(np.max(each["xpix"])) for each in stat)
    if widest >= shape[1] or max(pixels.max(initial=0) for pixels in (*own, *around)) >= shape[0] * shape[1]:
        told = f"regions of interest lie outside a picture of {shape[0]} x {shape[1]} pixels"
        raise ImagingError(told, "say its true `shape` in the description")
    weights = [np.asarray(each["lam"], dtype=np.float32) for each in stat]
    return {
        "masks": _stacked(own, weights, shape),
        "neuropilMasks": _stacked(around, [np.ones(len(pixels), dtype=bool) for pixels in around], shape),
    }


def _stacked(pixels: list[np.ndarray], values: list[np.ndarray], shape: tuple[int, int]) -> SparseMasks:
    """One picture a region, from its pixels (counted line by line) and their values."""
    orders = [np.argsort(each, kind="stable") for each in pixels]
    return {
        "format": np.array("gcxs"),
        "data": np.concatenate([each[order] for each, order in zip(values, orders, strict=True)]),
        "indices": np.concatenate([each[order] for each, order in zip(pixels, orders, strict=True)]),
        "indptr": np.concatenate([[0], np.cumsum([len(each) for each in pixels])]),
        "compressed_axes": np.array([0]),
        "shape": np.array([len(pixels), *shape]),
        "fill_value": values[0].dtype.type(0),
    }


def roi_uuids(regions: Regions, namespace: str) -> pd.DataFrame:
    """A UUID for each region, in the column ``uuids``: the same pixels of the same field of view have the same one.

    Parameters
    ----------
    regions
        The regions.
    namespace
        What tells this field of view of this session from all others.
    """
    import pandas as pd

    space = uuid.uuid5(uuid.NAMESPACE_URL, namespace)
    pixels = (
        np.array([*each["ypix"], *each["xpix"], plane], dtype=np.int64) for each, plane in zip(regions.stat, regions.planes, strict=True)
    )
    return pd.DataFrame({"uuids": [str(uuid.uuid5(space, hashlib.sha256(each.tobytes()).hexdigest())) for each in pixels]})


def save_regions(job: Job, regions: Regions) -> None:
    """Write regions of interest and their activity as ALF objects."""
    import pandas as pd

    for name, values in regions.activity.items():
        job.save(f"{FOLDER}/mpci.{name}.npy", values)
    for name, values in regions.arrays.items():
        job.save(f"{FOLDER}/mpciROIs.{name}.npy", values)
    for name, mask in regions.masks.items():
        with job.output(f"{FOLDER}/mpciROIs.{name}.sparse_npz").open("wb") as file:
            np.savez_compressed(file, **mask)
    session = "/".join(job.session_path.parts[-3:])
    job.save(f"{FOLDER}/mpciROIs.uuids.csv", roi_uuids(regions, f"{session}/{job.device}"))
    job.save(f"{FOLDER}/mpciROITypes.names.tsv", pd.DataFrame({"roi_values": range(len(ROI_TYPES)), "roi_labels": ROI_TYPES}))


def save_archive(job: Job, planes: Sequence[Plane]) -> None:
    """Keep suite2p's own folder as a zip, without the frames.

    Notes
    -----
    One plane's files are at the zip's root, as IBL's loaders expect; several planes have a folder each. Unpacked, suite2p's GUI opens
    ``stat.npy``.
    """
    with zipfile.ZipFile(job.output(ARCHIVE), "w", zipfile.ZIP_DEFLATED) as archive:
        for plane in planes:
            inside = "" if len(planes) == 1 else f"plane{plane.number}/"
            for path in sorted(plane.folder.iterdir()):
                if path.is_file() and path.suffix not in LEFT_OUT:
                    archive.write(path, inside + path.name)


def read_archive(path: Path, folder: Path) -> Path:
    """Unpack a kept suite2p folder; returns where its ``stat.npy`` (of the first plane) is."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return sorted(folder.rglob("stat.npy"))[0]
