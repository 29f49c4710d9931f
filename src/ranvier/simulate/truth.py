"""What was really there, and how much of it a spike sorting found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ranvier.simulate.damage import SimulationError

if TYPE_CHECKING:
    import pandas as pd

#: Folder below the session. It is hidden and its files have no ALF names, so that nothing registers them.
FOLDER = ".ranvier_truth"
#: A unit counts as found at this accuracy, as in SpikeInterface's and SpikeForest's comparisons.
FOUND = 0.8
SIMULATED_ONLY = "only sessions that ranvier simulate wrote have a truth"

T = TypeVar("T")


def write_truth(made: Any, session_path: Path, name: str) -> Path:
    """Write a truth, a dataclass of arrays and numbers, below the session folder."""
    path = session_path / FOLDER / f"{name}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **asdict(made))
    return path


def read_truth(kind: type[T], session_path: Path | str, name: str, hint: str) -> T:
    """Read what `write_truth` wrote; numbers come back as arrays without dimensions.

    Raises
    ------
    SimulationError
        If it is not there; the hint says who has one.
    """
    path = Path(session_path) / FOLDER / f"{name}.npz"
    if not path.exists():
        raise SimulationError(f"{path} is not there", hint)
    with np.load(path) as content:
        return kind(**{field.name: content[field.name] for field in fields(kind)})  # type: ignore[arg-type]  # a dataclass


@dataclass(frozen=True)
class Truth:
    """The truth about one probe.

    Attributes
    ----------
    sampling_rate
        Hz.
    spike_samples, spike_units
        Sample and unit of each spike, shape (n_spikes,), sorted by sample.
    unit_positions
        x and y of each unit, um, shape (n_units, 2).
    drift_times, drift_um
        Displacement of the tissue along the probe, s and um, shape (n_times,).
    """

    sampling_rate: float
    spike_samples: np.ndarray
    spike_units: np.ndarray
    unit_positions: np.ndarray
    drift_times: np.ndarray
    drift_um: np.ndarray

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.unit_positions)

    def save(self, session_path: Path, probe: str) -> Path:
        """Write it below the session folder."""
        return write_truth(self, session_path, probe)


@dataclass(frozen=True)
class Score:
    """How a sorting compares with the truth.

    Attributes
    ----------
    units
        One row a true unit: ``unit``, ``depth_um``, ``n_spikes``, ``accuracy``, ``recall``, ``precision``, and ``cluster``, the one that
        matches it best (-1 for none).
    n_clusters
        Clusters that the sorter reported.
    """

    units: pd.DataFrame
    n_clusters: int

    @property
    def n_units(self) -> int:
        """True units."""
        return len(self.units)

    @property
    def n_found(self) -> int:
        """True units that were found, at an accuracy above 0.8."""
        return int((self.units["accuracy"] > FOUND).sum())

    @property
    def mean_accuracy(self) -> float:
        """Mean over all true units; a unit that was missed counts as 0."""
        return float(self.units["accuracy"].mean())

    def __str__(self) -> str:
        return f"{self.n_found} of {self.n_units} units found, mean accuracy {self.mean_accuracy:.2f}, {self.n_clusters} clusters"


def load_truth(session_path: Path | str, probe: str = "probe00") -> Truth:
    """Read the truth about a probe of a simulated session.

    Raises
    ------
    SimulationError
        If there is none.
    """
    read = read_truth(Truth, session_path, probe, SIMULATED_ONLY)
    return replace(read, sampling_rate=float(read.sampling_rate))


def score(session_path: Path | str, probe: str = "probe00", sorter: str = "spykingcircus2") -> Score:
    """Compare the ALF output of a spike sorting with the truth.

    Parameters
    ----------
    session_path
        A simulated session.
    probe
        Name of the probe.
    sorter
        Name of the sorter: the folder below ``alf/<probe>``.

    Raises
    ------
    SimulationError
        If the session has no truth, or no such sorting.

    Notes
    -----
    Accuracy is hits / (hits + misses + false positives) within 0.4 ms, units matched by the Hungarian method, 0 for a unit without a match
    of 0.5 or more: `spikeinterface.comparison.compare_sorter_to_ground_truth`.
    """
    from spikeinterface.comparison import compare_sorter_to_ground_truth
    from spikeinterface.core import NumpySorting

    known = load_truth(session_path, probe)
    folder = Path(session_path) / "alf" / probe / sorter
    samples, clusters = _load_spikes(folder)
    true = NumpySorting.from_samples_and_labels([known.spike_samples], [known.spike_units], known.sampling_rate, np.arange(known.n_units))
    found = NumpySorting.from_samples_and_labels([samples], [clusters], known.sampling_rate)
    comparison = compare_sorter_to_ground_truth(true, found, exhaustive_gt=True)
    table = comparison.get_performance().astype(float).reset_index(drop=True)[["accuracy", "recall", "precision"]]
    table.insert(0, "unit", np.arange(known.n_units))
    table.insert(1, "depth_um", known.unit_positions[:, 1])
    table.insert(2, "n_spikes", np.bincount(known.spike_units, minlength=known.n_units))
    table["cluster"] = comparison.hungarian_match_12.to_numpy().astype(int)
    return Score(table, len(np.unique(clusters)))


def _load_spikes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    paths = [folder / f"spikes.{attribute}.npy" for attribute in ("samples", "clusters")]
    if missing := [path for path in paths if not path.exists()]:
        raise SimulationError(f"{missing[0]} is not there", "sort the spikes first")
    samples, clusters = (np.load(path) for path in paths)
    return samples.astype(np.int64), clusters.astype(np.int64)
