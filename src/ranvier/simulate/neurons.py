"""Neurons beside a probe: traces, and the truth about them, from SpikeInterface's generators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from probeinterface import Probe
    from spikeinterface import BaseRecording

SAMPLING_RATE = 30_000.0
#: Drift: a triangle wave of this many um from peak to peak, beginning after a fifth of the recording.
DRIFT_UM = 40.0
DRIFT_RATE = 5.0
NOISE_UV = (6.0, 8.0)


@dataclass(frozen=True)
class Neurons:
    """What the probe sees, and what is really there.

    Attributes
    ----------
    recording
        Lazy traces in uV, float32; all channels sampled at the same instants.
    spike_samples, spike_units
        Sample and unit of each spike, shape (n_spikes,), sorted by sample.
    unit_positions
        x and y of each unit in the probe's plane where it lies without drift, um, shape (n_units, 2).
    drift_times, drift_um
        Displacement of the tissue along the probe, s and um, shape (n_times,).
    """

    recording: BaseRecording
    spike_samples: np.ndarray
    spike_units: np.ndarray
    unit_positions: np.ndarray
    drift_times: np.ndarray
    drift_um: np.ndarray


def make_neurons(probe: Probe, *, duration_s: float, n_units: int, seed: int, drift: bool) -> Neurons:
    """Put neurons beside a probe.

    Parameters
    ----------
    probe
        Geometry of the channels.
    duration_s
        Length, s.
    n_units
        Number of neurons.
    seed
        The same seed gives the same neurons and the same noise.
    drift
        Whether the tissue moves along the probe.

    Notes
    -----
    Firing rates are 2 to 8 Hz with a refractory period of 4 ms; noise is 6 to 8 uV, correlated over 25 um.
    """
    from spikeinterface.generation import generate_drifting_recording

    still, moving, sorting, extra = generate_drifting_recording(
        num_units=n_units,
        duration=duration_s,
        sampling_frequency=SAMPLING_RATE,
        probe=probe,
        generate_unit_locations_kwargs=dict(margin_um=0.0, minimum_z=5.0, maximum_z=40.0, minimum_distance=20.0),
        generate_displacement_vector_kwargs=_displacement(duration_s, DRIFT_UM if drift else 0.0),
        generate_noise_kwargs=dict(noise_levels=NOISE_UV, spatial_decay=25.0),
        extra_outputs=True,
        seed=seed,
    )
    spikes = sorting.to_spike_vector()
    displacement = extra["displacement_vectors"][:, 1, 0]
    return Neurons(
        recording=moving if drift else still,
        spike_samples=spikes["sample_index"].astype(np.int64),
        spike_units=spikes["unit_index"].astype(np.int64),
        unit_positions=extra["unit_locations"][:, :2].astype(np.float64),
        drift_times=np.arange(displacement.size) / DRIFT_RATE,
        drift_um=displacement.astype(np.float64),
    )


def _displacement(duration_s: float, peak_to_peak_um: float) -> dict[str, Any]:
    motion = dict(drift_mode="zigzag", non_rigid_gradient=None, t_start_drift=duration_s / 5, t_end_drift=None, period_s=duration_s * 0.8)
    return dict(
        displacement_sampling_frequency=DRIFT_RATE,
        drift_start_um=[0, peak_to_peak_um / 2],
        drift_stop_um=[0, -peak_to_peak_um / 2],
        drift_step_um=2,
        motion_list=[motion],
    )
