"""Movement of the tissue along the probe: whether to look for it, how large it is, whether to correct it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spikeinterface import BaseRecording
    from spikeinterface.core.motion import Motion

#: Presets of SpikeInterface: DREDge needs PyTorch; the other is its forerunner, which does not.
WITH_TORCH, WITHOUT_TORCH = "dredge_fast", "nonrigid_fast_and_accurate"
#: Below these there are too few spikes at too few depths to register one second with another.
MIN_CHANNELS, MIN_SPAN_UM, MIN_DURATION_S = 32, 300.0, 20.0
#: Motion is corrected above half the 20 um between the rows of a Neuropixels probe: below it a template changes less than it does from one
#: spike to the next, and the interpolation costs more than it gives.
CORRECT_ABOVE_UM = 10.0


@dataclass(frozen=True)
class Drift:
    """Motion as it was estimated.

    Attributes
    ----------
    motion
        SpikeInterface's own, for the correction.
    times, depths
        Bin centres, s and um, shapes (n_times,) and (n_depths,).
    um
        Displacement of the tissue, um, shape (n_times, n_depths).
    peak_times, peak_depths, peak_amps
        The peaks that it was estimated from: s, um, uV.
    """

    motion: Motion
    times: np.ndarray
    depths: np.ndarray
    um: np.ndarray
    peak_times: np.ndarray
    peak_depths: np.ndarray
    peak_amps: np.ndarray

    @property
    def range_um(self) -> float:
        """Size of the drift: 1st to 99th percentile over time, at the depth where it is largest, um."""
        low, high = np.percentile(self.um, (1, 99), axis=0)
        return float(np.max(high - low))


def default_preset() -> str:
    """The best preset that this environment can run."""
    return WITH_TORCH if find_spec("torch") else WITHOUT_TORCH


def reason_against(recording: BaseRecording) -> str:
    """Why motion cannot be estimated from this recording; empty where it can."""
    depths = recording.get_channel_locations()[:, 1]
    span = float(np.ptp(depths))
    if recording.get_num_channels() < MIN_CHANNELS or span < MIN_SPAN_UM:
        return (
            f"{recording.get_num_channels()} channels over {span:.0f} um are too few ({MIN_CHANNELS} over {MIN_SPAN_UM:.0f} um are needed)"
        )
    if recording.get_duration() < MIN_DURATION_S:
        return f"{recording.get_duration():.0f} s are too short ({MIN_DURATION_S:.0f} s are needed)"
    return ""


def estimate(recording: BaseRecording, preset: str) -> Drift:
    """Estimate the motion.

    Parameters
    ----------
    recording
        Destriped, not whitened.
    preset
        One of SpikeInterface's, such as ``dredge_fast`` (Windolf et al. 2025, "DREDge", doi 10.1038/s41592-025-02614-5).
    """
    from spikeinterface.preprocessing import compute_motion

    motion, found = compute_motion(recording, preset=preset, output_motion_info=True)
    peaks = found["peaks"]
    gain = float(recording.get_channel_gains()[0])
    return Drift(
        motion=motion,
        times=np.asarray(motion.temporal_bins_s[0]),
        depths=np.asarray(motion.spatial_bins_um),
        um=np.asarray(motion.displacement[0]),
        peak_times=peaks["sample_index"] / recording.sampling_frequency,
        peak_depths=np.asarray(found["peak_locations"]["y"]),
        peak_amps=np.abs(peaks["amplitude"]) * gain,
    )


def correct(recording: BaseRecording, drift: Drift, preset: str) -> BaseRecording:
    """Move the traces back to where the tissue was; lazy, float32."""
    from spikeinterface.preprocessing.motion import motion_options_preset
    from spikeinterface.sortingcomponents.motion import interpolate_motion

    options = motion_options_preset[preset]["interpolate_motion_kwargs"] | {"border_mode": "force_extrapolate"}  # loses no channel
    return interpolate_motion(recording.astype("float32"), drift.motion, **options)
