"""A spike sorting as ALF objects: spikes, clusters, templates, channels.

Names, units and shapes are those that IBL's loaders read (https://docs.internationalbrainlab.org, "Spike sorting").
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from spikeinterface import BaseRecording, BaseSorting, SortingAnalyzer

#: Channels around the largest one that are kept of a waveform, as IBL does.
WAVEFORM_CHANNELS = 32
MS_BEFORE, MS_AFTER = 1.0, 2.0
VOLTS = 1e-6

Arrays = dict[str, np.ndarray]


def analyse(sorting: BaseSorting, recording: BaseRecording, *, seed: int) -> SortingAnalyzer:
    """Templates, amplitudes and positions of a sorting.

    Parameters
    ----------
    sorting
        Units with their spikes.
    recording
        Destriped traces, moved back where there was motion.
    seed
        Of the choice of spikes that templates are the mean of.
    """
    from spikeinterface import create_sorting_analyzer

    analyzer = create_sorting_analyzer(sorting, recording, format="memory", sparse=False)
    analyzer.compute("random_spikes", seed=seed)
    analyzer.compute("templates", ms_before=MS_BEFORE, ms_after=MS_AFTER)
    analyzer.compute("spike_amplitudes")
    analyzer.compute("spike_locations", method="center_of_mass")
    analyzer.compute("template_metrics", metric_names=["peak_to_trough_duration"])
    return analyzer


def alf_arrays(analyzer: SortingAnalyzer, positions: np.ndarray, labels: np.ndarray, kept: np.ndarray) -> Arrays:
    """The sorting as arrays by their ALF name, such as ``spikes.times``.

    Parameters
    ----------
    analyzer
        What `analyse` returned.
    positions
        x and y of all channels, um, shape (n_channels, 2).
    labels
        Of all channels, shape (n_channels,).
    kept
        Indices of the channels that were sorted, shape (n_sorted,).

    Returns
    -------
    dict of np.ndarray
        ``spikes.*`` sorted by time, one row a spike: times (s), samples, amps (V, of the peak), depths (um from the lowest site), clusters,
        templates. ``clusters.*`` one row a cluster: amps (V, median of its spikes), channels (row in ``channels``), depths (um),
        peakToTrough (ms), waveforms (V, (n, n_samples, 32), the largest channel first), waveformsChannels. ``templates.*``: amps (V, peak
        to peak), waveforms, waveformsChannels. ``channels.*`` one row a channel of the probe: localCoordinates (um), rawInd, labels.
    """
    spikes = _spikes(analyzer)
    clusters = _clusters(analyzer, spikes, kept)
    templates = {name: clusters[f"clusters.{name}"] for name in ("waveforms", "waveformsChannels")}
    largest = templates["waveforms"][:, :, 0]  # the waveforms' channels begin with the largest
    return {
        **spikes,
        **clusters,
        "templates.amps": np.ptp(largest, axis=1).astype(np.float32),
        **{f"templates.{name}": values for name, values in templates.items()},
        "channels.localCoordinates": positions.astype(np.float32),
        "channels.rawInd": np.arange(len(positions), dtype=np.int32),
        "channels.labels": labels.astype(np.int8),
    }


def cluster_uuids(arrays: Arrays, namespace: str) -> pd.DataFrame:
    """A UUID for each cluster, in the column ``uuids``: the same spikes of the same probe have the same one.

    Parameters
    ----------
    arrays
        What `alf_arrays` returned.
    namespace
        What tells this probe of this session from all others.
    """
    import pandas as pd

    space = uuid.uuid5(uuid.NAMESPACE_URL, namespace)
    samples, clusters = arrays["spikes.samples"], arrays["spikes.clusters"]
    trains = (samples[clusters == cluster] for cluster in range(len(arrays["clusters.channels"])))
    return pd.DataFrame({"uuids": [str(uuid.uuid5(space, hashlib.sha256(train.tobytes()).hexdigest())) for train in trains]})


def _spikes(analyzer: SortingAnalyzer) -> Arrays:
    vector = analyzer.sorting.to_spike_vector()
    amplitudes = analyzer.get_extension("spike_amplitudes").get_data()
    locations = analyzer.get_extension("spike_locations").get_data()
    clusters = vector["unit_index"].astype(np.int32)
    return {
        "spikes.times": vector["sample_index"] / analyzer.sampling_frequency,
        "spikes.samples": vector["sample_index"].astype(np.int64),
        "spikes.amps": np.abs(amplitudes).astype(np.float64) * VOLTS,
        "spikes.depths": np.asarray(locations["y"], dtype=np.float64),
        "spikes.clusters": clusters,
        "spikes.templates": clusters,
    }


def _clusters(analyzer: SortingAnalyzer, spikes: Arrays, kept: np.ndarray) -> Arrays:
    templates = analyzer.get_extension("templates").get_templates() * VOLTS
    peaks = np.argmax(np.max(np.abs(templates), axis=1), axis=1)
    nearest = _nearest_channels(analyzer.get_channel_locations(), peaks)
    waveforms = np.take_along_axis(templates, nearest[:, None, :], axis=2)
    spans = analyzer.get_extension("template_metrics").get_data()["peak_to_trough_duration"].to_numpy(dtype=float)
    return {
        "clusters.amps": _medians(spikes["spikes.amps"], spikes["spikes.clusters"], len(peaks)),
        "clusters.channels": kept[peaks].astype(np.int32),
        "clusters.depths": _medians(spikes["spikes.depths"], spikes["spikes.clusters"], len(peaks)),
        "clusters.peakToTrough": spans * 1e3,
        "clusters.waveforms": waveforms.astype(np.float32),
        "clusters.waveformsChannels": kept[nearest].astype(np.int32),
    }


def _nearest_channels(positions: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """For each peak channel the channels in order of their distance from it, itself first; shape (n_units, 32 or fewer)."""
    distances = np.linalg.norm(positions[peaks, None, :] - positions[None, :, :], axis=2)
    return np.argsort(distances, axis=1, kind="stable")[:, :WAVEFORM_CHANNELS]


def _medians(values: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    return np.array([np.median(values[groups == group]) for group in range(n_groups)])
