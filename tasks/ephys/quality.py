"""Quality metrics of sorted units, from their ALF files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from spikeinterface import BaseRecording, SortingAnalyzer

#: After IBL's three criteria (International Brain Laboratory 2022, "Spike sorting pipeline", doi 10.6084/m9.figshare.19705522). Theirs for
#: the contamination is the bound that 90 % confidence gives, which takes thousands of spikes; here the estimate itself decides (Llobet et
#: al. 2022, doi 10.1101/2022.02.08.479192), and the bound stands beside it.
MAX_CONTAMINATION = 0.1
MAX_NOISE_CUTOFF, MAX_NOISE_RATIO = 5.0, 0.1
MIN_AMPLITUDE_UV = 50.0
CRITERIA = ("contamination_pass", "noise_cutoff_pass", "amp_pass")

#: Metrics of SpikeInterface, by the columns they give, and IBL's names for those columns.
METRICS = (
    "num_spikes",
    "firing_rate",
    "presence_ratio",
    "isi_violation",
    "rp_violation",
    "sliding_rp_violation",
    "amplitude_cutoff",
    "amplitude_median",
    "noise_cutoff",
    "snr",
)
COLUMNS = {
    "num_spikes": "spike_count",
    "firing_rate": "firing_rate",
    "presence_ratio": "presence_ratio",
    "isi_violations_ratio": "isi_violations_ratio",
    "rp_contamination": "contamination",
    "sliding_rp_violation": "sliding_contamination",
    "amplitude_cutoff": "missed_spikes_est",
    "amplitude_median": "amp_median",
    "noise_cutoff": "noise_cutoff",
    "noise_ratio": "noise_ratio",
    "snr": "snr",
}
PRESENCE_BIN_S = 60.0
MIN_PRESENCE_BINS = 10

Units = dict[str, np.ndarray]


def load_units(folder: Path) -> Units:
    """The arrays of a sorting by their ALF name, such as ``spikes.times``."""
    return {path.stem: np.load(path) for path in sorted(folder.glob("*.*.npy"))}


def measure(units: Units, recording: BaseRecording, *, seed: int) -> pd.DataFrame:
    """Metrics of every unit.

    Parameters
    ----------
    units
        What `load_units` returned.
    recording
        The raw recording.
    seed
        Of the choice of chunks for the noise levels.

    Returns
    -------
    pandas.DataFrame
        One row a cluster: ``cluster_id``, ``spike_count``, ``firing_rate`` (Hz), ``presence_ratio``, ``isi_violations_ratio``,
        ``contamination``, ``sliding_contamination`` and ``missed_spikes_est`` (NaN where there are too few spikes), ``amp_median`` (V),
        ``noise_cutoff``, ``noise_ratio``, ``snr``; ``slidingRP_viol`` (1 where the bound of the contamination is low enough, as in IBL's
        tables), ``contamination_pass``, ``noise_cutoff_pass``, ``amp_pass``, and ``label``, the mean of these three: 1 where a unit passes.
    """
    analyzer = as_analyzer(units, recording, seed)
    bin_s = min(PRESENCE_BIN_S, recording.get_duration() / MIN_PRESENCE_BINS)
    parameters = {"presence_ratio": {"bin_duration_s": bin_s}}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Amplitude cutoff set to NaN")  # said in the docstring
        analyzer.compute("quality_metrics", metric_names=list(METRICS), metric_params=parameters)
    table = analyzer.get_extension("quality_metrics").get_data()[list(COLUMNS)].rename(columns=COLUMNS)
    table = table.reset_index(drop=True).astype({"spike_count": np.int64})
    table["amp_median"] = table["amp_median"].abs() * 1e-6
    table.insert(0, "cluster_id", np.arange(len(table)))
    return judge(table)


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """Add to a table of metrics which criteria each unit meets, and its label."""
    table["slidingRP_viol"] = (table["sliding_contamination"] <= MAX_CONTAMINATION).astype(int)
    table["contamination_pass"] = (table["contamination"] <= MAX_CONTAMINATION).astype(int)
    table["noise_cutoff_pass"] = ((table["noise_cutoff"] < MAX_NOISE_CUTOFF) | (table["noise_ratio"] < MAX_NOISE_RATIO)).astype(int)
    table["amp_pass"] = (table["amp_median"] > MIN_AMPLITUDE_UV * 1e-6).astype(int)
    table["label"] = table[list(CRITERIA)].mean(axis=1)
    return table


def as_analyzer(units: Units, recording: BaseRecording, seed: int) -> SortingAnalyzer:
    """SpikeInterface's view of a sorting, made from its ALF arrays; its traces are not read but for the noise levels."""
    from spikeinterface.core import NumpySorting, get_noise_levels
    from spikeinterface.sortingcomponents.tools import create_sorting_analyzer_with_existing_templates

    from ranvier.tasks.ephys.preprocessing import destripe_all

    clean = destripe_all(recording, units["channels.labels"])
    n_units = len(units["clusters.channels"])
    sorting = NumpySorting.from_samples_and_labels(
        [units["spikes.samples"]], [units["spikes.clusters"]], recording.sampling_frequency, unit_ids=np.arange(n_units)
    )
    return create_sorting_analyzer_with_existing_templates(
        sorting,
        clean,
        dense_templates(units, clean),
        remove_empty=False,
        noise_levels=get_noise_levels(clean, return_in_uV=True, random_slices_kwargs={"seed": seed}),
        spike_amplitudes=-units["spikes.amps"] * 1e6,
        amplitude_scalings=units["spikes.amps"] / units["clusters.amps"][units["spikes.clusters"]],
    )


def dense_templates(units: Units, recording: BaseRecording) -> Any:
    """Templates over all channels, uV, from the channels that the ALF arrays keep of each."""
    from spikeinterface.core import Templates

    from ranvier.tasks.ephys.alf_export import MS_BEFORE

    waveforms, channels = units["templates.waveforms"], units["templates.waveformsChannels"]
    dense = np.zeros((*waveforms.shape[:2], recording.get_num_channels()), dtype=np.float32)
    for unit, kept in enumerate(channels):
        dense[unit][:, kept] = waveforms[unit] * 1e6
    return Templates(
        templates_array=dense,
        sampling_frequency=recording.sampling_frequency,
        nbefore=int(MS_BEFORE * recording.sampling_frequency / 1000),
        is_in_uV=True,
        channel_ids=recording.channel_ids,
        unit_ids=np.arange(len(dense)),
        probe=recording.get_probe(),
    )
