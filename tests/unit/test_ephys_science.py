"""The small decisions of the ephys tasks, on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ranvier.tasks.ephys.alf_export import cluster_uuids
from ranvier.tasks.ephys.motion import Drift, reason_against
from ranvier.tasks.ephys.preprocessing import window_starts
from ranvier.tasks.ephys.quality import judge


def test_size_of_the_drift_is_that_of_the_depth_that_moves_most() -> None:
    still, moving = np.zeros(1000), np.linspace(-20, 20, 1000)
    empty = np.array([])
    drift = Drift(None, np.arange(1000.0), np.array([0.0, 400.0]), np.column_stack([still, moving]), empty, empty, empty)
    assert drift.range_um == pytest.approx(40 * 0.98)


@pytest.mark.parametrize(
    ("n_channels", "seconds", "words"), [(16, 60, "16 channels over"), (64, 5, "5 s are too short"), (64, 60, "")], ids=str
)
def test_motion_is_looked_for_where_it_can_be_found(n_channels: int, seconds: float, words: str) -> None:
    from probeinterface import generate_multi_columns_probe
    from spikeinterface.core import NumpyRecording

    recording = NumpyRecording([np.zeros((int(seconds * 100), n_channels), dtype=np.int16)], 100.0)
    probe = generate_multi_columns_probe(num_columns=2, num_contact_per_column=n_channels // 2, xpitch=32, ypitch=20)
    probe.set_device_channel_indices(np.arange(n_channels))
    recording.set_probe(probe)
    assert reason_against(recording).startswith(words)
    assert bool(reason_against(recording)) is bool(words)


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, 1),
        ({"contamination": 0.11}, 2 / 3),
        ({"noise_cutoff": 6.0}, 1),
        ({"noise_cutoff": 6.0, "noise_ratio": 0.2}, 2 / 3),
        ({"amp_median": 40e-6}, 2 / 3),
        ({"contamination": np.nan}, 2 / 3),
        ({"contamination": 0.5, "noise_cutoff": np.nan, "noise_ratio": np.nan, "amp_median": 10e-6}, 0),
    ],
    ids=str,
)
def test_label_is_the_part_of_the_criteria_that_a_unit_meets(change: dict[str, float], label: float) -> None:
    good = {"contamination": 0.1, "sliding_contamination": 0.3, "noise_cutoff": 1.0, "noise_ratio": 0.05, "amp_median": 80e-6}
    table = judge(pd.DataFrame([good | change]))
    assert table["label"][0] == pytest.approx(label)
    assert table["slidingRP_viol"][0] == 0


def test_windows_lie_inside_the_recording_and_are_not_too_many() -> None:
    assert window_starts(60_000, 30_000.0).tolist() == [10_000, 20_000]
    hour = window_starts(3600 * 30_000, 30_000.0)
    assert hour.size == 30
    assert hour[0] > 0
    assert hour[-1] + 30_000 < 3600 * 30_000


def test_uuids_follow_the_spikes_not_the_numbering() -> None:
    samples = np.array([5, 9, 20, 21])
    arrays = {"spikes.samples": samples, "spikes.clusters": np.array([0, 1, 0, 1]), "clusters.channels": np.zeros(2)}
    swapped = arrays | {"spikes.clusters": np.array([1, 0, 1, 0])}
    first, second = (cluster_uuids(each, "mouse/2026-11-22/001/probe00")["uuids"].tolist() for each in (arrays, swapped))
    assert first == second[::-1]
    assert cluster_uuids(arrays, "mouse/2026-11-22/001/probe01")["uuids"].tolist() != first
