"""Spike sorters: which there are, and how each is run on traces that are clean already."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranvier.errors import RanvierError

if TYPE_CHECKING:
    from spikeinterface import BaseRecording, BaseSorting

CPU_SORTER, GPU_SORTER = "spykingcircus2", "kilosort4"

#: What a sorter must not do again. SpykingCircus2 keeps its own band-pass: its upper edge at 7 kHz finds units that are lost without it.
ALREADY_DONE: dict[str, dict[str, Any]] = {
    "spykingcircus2": {"apply_motion_correction": False},
    "mountainsort5": {"filter": False},
    "kilosort4": {"do_CAR": False, "do_correction": False},
}
#: What sorters warn of among themselves, and nobody else can act on.
FOREIGN_WARNINGS = (r"get_template_peak_shift_on_main_channel\(\)", "The extractor is not serializable to file")


class SorterError(RanvierError):
    """The sorter that was asked for cannot run here; the message says which can."""


def recommended() -> str:
    """The sorter for this machine: Kilosort4 where it is installed beside a GPU, else SpykingCircus2."""
    if find_spec("kilosort") and find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            return GPU_SORTER
    return CPU_SORTER


def settle(sorter: str, parameters: dict[str, Any], *, seed: int) -> dict[str, Any]:
    """All parameters that a sorter is to run with; wrong ones are found before hours of work.

    Parameters
    ----------
    sorter
        Its name in SpikeInterface.
    parameters
        Its own parameters, where they are to differ from its defaults.
    seed
        For sorters that take one.

    Raises
    ------
    SorterError
        If the sorter is not installed, wants a GPU that is not there, or has no such parameter.
    """
    from spikeinterface.sorters import get_default_sorter_params, installed_sorters

    if sorter not in (installed := installed_sorters()):
        raise SorterError(f"the sorter {sorter!r} is not installed", f"installed are {', '.join(installed)}")
    if sorter == GPU_SORTER and recommended() != GPU_SORTER:
        raise SorterError("kilosort4 needs a GPU, and this worker sees none", f"set sorter = {CPU_SORTER!r}, or give the task gpu = 1")
    defaults = get_default_sorter_params(sorter)
    if unknown := set(parameters) - set(defaults):
        raise SorterError(f"{sorter} has no parameter {', '.join(sorted(unknown))}", f"it has {', '.join(defaults)}")
    return defaults | ALREADY_DONE.get(sorter, {}) | ({"seed": seed} if "seed" in defaults else {}) | parameters


def run(recording: BaseRecording, sorter: str, folder: Path, parameters: dict[str, Any]) -> BaseSorting:
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
        What `settle` returned.

    Returns
    -------
    spikeinterface.BaseSorting
        The units that have spikes.
    """
    from spikeinterface.curation import remove_excess_spikes
    from spikeinterface.sorters import run_sorter

    with warnings.catch_warnings():
        for message in FOREIGN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        sorting = run_sorter(sorter, recording, folder=folder, verbose=False, raise_error=True, **parameters)
    return remove_excess_spikes(sorting.remove_empty_units(), recording)
