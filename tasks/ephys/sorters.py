"""Spike sorters: which there are, and how each is run on traces that are clean already."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranvier.errors import RanvierError

if TYPE_CHECKING:
    from spikeinterface import BaseRecording, BaseSorting

CPU_SORTER, GPU_SORTER = "spykingcircus2", "kilosort4"

#: What each sorter must not do again, as the traces it gets are filtered, referenced and, where there was motion, corrected.
ALREADY_DONE: dict[str, dict[str, Any]] = {
    "spykingcircus2": {"apply_preprocessing": False, "apply_motion_correction": False},
    "mountainsort5": {"filter": False},
    "kilosort4": {"do_CAR": False, "do_correction": False},
}


class SorterError(RanvierError):
    """The sorter that was asked for cannot run here; the message says which can."""


def recommended() -> str:
    """The sorter for this machine: Kilosort4 where it is installed beside a GPU, else SpykingCircus2."""
    if find_spec("kilosort") and find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            return GPU_SORTER
    return CPU_SORTER


def check(sorter: str) -> None:
    """Make sure that a sorter can run here.

    Raises
    ------
    SorterError
        If it is not installed, or wants a GPU that is not there.
    """
    from spikeinterface.sorters import installed_sorters

    if sorter not in (installed := installed_sorters()):
        raise SorterError(f"the sorter {sorter!r} is not installed", f"installed are {', '.join(installed)}")
    if sorter == GPU_SORTER and recommended() != GPU_SORTER:
        raise SorterError("kilosort4 needs a GPU, and this worker sees none", f"set sorter = {CPU_SORTER!r}, or give the task gpu = 1")


def run(recording: BaseRecording, sorter: str, folder: Path, parameters: dict[str, Any]) -> tuple[BaseSorting, dict[str, Any]]:
    """Run a sorter on destriped traces.

    Parameters
    ----------
    recording
        Destriped traces.
    sorter
        Its name in SpikeInterface.
    folder
        For its files; must not be there yet.
    parameters
        Its own parameters, where they are to differ from its defaults.

    Returns
    -------
    spikeinterface.BaseSorting, dict
        The units that have spikes, and all the parameters that were used.
    """
    from spikeinterface.curation import remove_excess_spikes
    from spikeinterface.sorters import get_default_sorter_params, run_sorter

    defaults = get_default_sorter_params(sorter)
    used = defaults | ALREADY_DONE.get(sorter, {}) | parameters
    if unknown := set(used) - set(defaults):
        raise SorterError(f"{sorter} has no parameter {', '.join(sorted(unknown))}", f"it has {', '.join(defaults)}")
    sorting = run_sorter(sorter, recording, folder=folder, verbose=False, raise_error=True, **used)
    return remove_excess_spikes(sorting.remove_empty_units(), recording), used
