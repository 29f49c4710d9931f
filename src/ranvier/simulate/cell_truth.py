"""Which cells were really there, and how much of them an extraction found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranvier.simulate.damage import SimulationError
from ranvier.simulate.truth import SIMULATED_ONLY, read_truth, write_truth

if TYPE_CHECKING:
    import pandas as pd

#: A region of interest is a cell's when their centres are so close, px: Neurofinder's criterion.
NEAR_PX = 5.0
#: Part of the neuropil that is taken off a cell's fluorescence, as suite2p does before it deconvolves.
NEUROPIL_PART = 0.7


@dataclass(frozen=True)
class CellTruth:
    """The truth about one field of view.

    Attributes
    ----------
    masks
        Weight of each pixel of each cell, where it lies without drift, shape (n_cells, height, width).
    planes
        Plane of each cell, shape (n_cells,).
    dff
        dF/F of each cell in each volume, shape (n_cells, n_volumes).
    spikes
        Its spikes, same shape.
    drift
        Rigid displacement of each frame, y and x, px, shape (n_volumes, n_planes, 2).
    times
        When each volume begins, on the session's clock, s, shape (n_volumes,).
    """

    masks: np.ndarray
    planes: np.ndarray
    dff: np.ndarray
    spikes: np.ndarray
    drift: np.ndarray
    times: np.ndarray

    def save(self, session_path: Path, fov: str) -> Path:
        """Write it below the session folder."""
        return write_truth(self, session_path, fov)


@dataclass(frozen=True)
class CellScore:
    """How an extraction compares with the truth.

    Attributes
    ----------
    cells
        One row a true cell: ``cell``, ``plane``, ``roi`` (row in ``mpciROIs``, -1 where it was not found), ``distance_px`` between the
        centres, ``trace_correlation`` with the true dF/F, ``spike_correlation`` of the deconvolved trace with the true spikes.
    n_rois
        Regions of interest that were called cells.
    """

    cells: pd.DataFrame
    n_rois: int

    @property
    def n_found(self) -> int:
        """True cells that were found."""
        return int((self.cells["roi"] >= 0).sum())

    @property
    def recall(self) -> float:
        """Part of the true cells that was found."""
        return self.n_found / len(self.cells)

    @property
    def precision(self) -> float:
        """Part of what was called a cell that is one; 0 where nothing was."""
        return self.n_found / self.n_rois if self.n_rois else 0.0

    @property
    def trace_correlation(self) -> float:
        """Median over the cells that were found."""
        return float(self.cells["trace_correlation"].median())

    def __str__(self) -> str:
        found = f"{self.n_found} of {len(self.cells)} cells found, {self.n_rois} regions called cells"
        return f"{found}: recall {self.recall:.2f}, precision {self.precision:.2f}, trace correlation {self.trace_correlation:.2f}"


def load_cells(session_path: Path | str, fov: str = "FOV_00") -> CellTruth:
    """Read the truth about a field of view of a simulated session.

    Raises
    ------
    SimulationError
        If there is none.
    """
    return read_truth(CellTruth, session_path, fov, SIMULATED_ONLY)


def score_cells(session_path: Path | str, fov: str = "FOV_00") -> CellScore:
    """Compare the ALF output of an extraction with the truth.

    Parameters
    ----------
    session_path
        A simulated session.
    fov
        Name of the field of view: the folder below ``alf``.

    Raises
    ------
    SimulationError
        If the session has no truth, or no such extraction.

    Notes
    -----
    What was called a cell and what is one are matched by the Hungarian method on the distance of their centres, within 5 px, once the whole
    picture has been moved to where most agrees: registration puts frames where the brightest ones lie, not where the tissue rests. The
    fluorescence is that of the region less 0.7 of its neuropil.
    """
    import pandas as pd

    truth = load_cells(session_path, fov)
    found = _load_regions(Path(session_path) / "alf" / fov)
    is_cell = np.flatnonzero(found["types"] == 1)
    matched, distances = _match(truth, found["positions"][is_cell])
    rows = []
    for cell in range(len(truth.masks)):
        roi = int(is_cell[matched[cell]]) if matched[cell] >= 0 else -1
        row = {"cell": cell, "plane": int(truth.planes[cell]), "roi": roi, "distance_px": distances[cell]}
        light = found["F"][:, roi] - NEUROPIL_PART * found["Fneu"][:, roi]
        row["trace_correlation"] = _correlation(light, truth.dff[cell]) if roi >= 0 else np.nan
        row["spike_correlation"] = _correlation(found["spikes"][:, roi], truth.spikes[cell]) if roi >= 0 else np.nan
        rows.append(row)
    return CellScore(pd.DataFrame(rows), len(is_cell))


def _load_regions(folder: Path) -> dict[str, np.ndarray]:
    names = {
        "types": "mpciROIs.mpciROITypes.npy",
        "positions": "mpciROIs.stackPos.npy",
        "F": "mpci.ROIActivityF.npy",
        "Fneu": "mpci.ROINeuropilActivityF.npy",
        "spikes": "mpci.ROIActivityDeconvolved.npy",
    }
    if missing := [folder / name for name in names.values() if not (folder / name).exists()]:
        raise SimulationError(f"{missing[0]} is not there", "run suite2p first")
    return {key: np.load(folder / name) for key, name in names.items()}


def _match(truth: CellTruth, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of `positions` (y, x, plane) for each true cell, -1 where there is none, and the distance, px."""
    from scipy.optimize import linear_sum_assignment

    centres = _centres(truth.masks)
    apart = np.linalg.norm(centres[:, None, :] - (positions[None, :, :2] - _shift(truth, centres, positions)), axis=2)
    apart[truth.planes[:, None] != positions[None, :, 2]] = np.inf
    rows, columns = linear_sum_assignment(np.minimum(apart, 10 * NEAR_PX))
    matched, distances = np.full(len(centres), -1), np.full(len(centres), np.nan)
    near = apart[rows, columns] <= NEAR_PX
    matched[rows[near]], distances[rows[near]] = columns[near], apart[rows, columns][near]
    return matched, distances


def _centres(masks: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: masks.shape[1], : masks.shape[2]]
    weights = masks.sum(axis=(1, 2))
    return np.column_stack([(masks * axis).sum(axis=(1, 2)) / weights for axis in (y, x)])


def _shift(truth: CellTruth, centres: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Shift of the registered picture, y and x, px, no further than the tissue itself moved: where most centres agree."""
    reach = np.abs(truth.drift).max(axis=(0, 1)) + 0.5 if truth.drift.any() else np.zeros(2)
    between = positions[None, :, :2] - centres[:, None, :]
    near = between[np.all(np.abs(between) <= reach, axis=2)]
    if not reach.any() or not len(near):
        return np.zeros(2)
    support = (np.linalg.norm(near[:, None, :] - near[None, :, :], axis=2) <= 1.5).sum(axis=1)
    best = np.linalg.norm(near - near[np.argmax(support)], axis=1) <= 1.5
    return np.median(near[best], axis=0)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    n = min(len(one), len(other))
    return float(np.corrcoef(one[:n], other[:n])[0, 1]) if n > 1 and np.std(one[:n]) and np.std(other[:n]) else 0.0
