"""From raw to clean traces: which channels are bad, and the removal of what is not neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spikeinterface import BaseRecording

#: Labels of channels, with IBL's numbers (ephysChannels.labels, channels.labels).
GOOD, DEAD, NOISY, OUTSIDE = 0, 1, 2, 3
LABELS = {"good": GOOD, "dead": DEAD, "noise": NOISY, "out": OUTSIDE}
#: RMS below which a channel is not connected: the input noise of a Neuropixels channel alone is 5 to 7 uV
#: (Jun et al. 2017, doi 10.1038/nature24636; Steinmetz et al. 2021, doi 10.1126/science.abf4588).
SILENT_UV = 2.0
HIGHPASS_HZ = 300.0
#: The coherence with neighbours needs neighbours on both sides: SpikeInterface's median filter spans 11 channels.
MIN_CHANNELS_FOR_COHERENCE = 22
MAX_WINDOWS = 30
CHUNK_S, SECONDS_PER_CHUNK = 0.3, 3.0


def window_starts(n_samples: int, rate: float) -> np.ndarray:
    """First samples of one-second windows spread evenly: one in ten seconds, 2 at least and 30 at most, none at the very ends."""
    count = int(np.clip(n_samples / rate / 10, 2, MAX_WINDOWS))
    return np.linspace(0, max(n_samples - int(rate), 0), count + 2)[1:-1].astype(int)


def channel_rms(recording: BaseRecording) -> np.ndarray:
    """RMS of each channel above 300 Hz, uV, shape (n_channels,): the median over windows that are spread evenly over the recording."""
    from spikeinterface.preprocessing import highpass_filter

    filtered = highpass_filter(recording, freq_min=HIGHPASS_HZ, dtype="float32")
    second = int(recording.sampling_frequency)
    starts = window_starts(recording.get_num_samples(), recording.sampling_frequency)
    windows = (filtered.get_traces(start_frame=start, end_frame=start + second, return_in_uV=True) for start in starts)
    return np.median([window.std(axis=0) for window in windows], axis=0)


def label_channels(recording: BaseRecording, rms: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Tell good channels from dead and noisy ones and from those outside the brain.

    Parameters
    ----------
    recording
        The raw recording.
    rms
        What `channel_rms` returned; a channel below 2 uV is dead whatever its neighbours do.
    seed
        Of the choice of chunks.

    Returns
    -------
    np.ndarray
        0 good, 1 dead, 2 noisy, 3 outside the brain; int8, shape (n_channels,).

    Notes
    -----
    Coherence with neighbours and high-frequency power, IBL's method (International Brain Laboratory 2022, "Spike sorting pipeline",
    doi 10.6084/m9.figshare.19705522) in `spikeinterface.preprocessing.detect_bad_channels`.
    """
    from spikeinterface.preprocessing import detect_bad_channels

    labels = np.where(rms < SILENT_UV, DEAD, GOOD).astype(np.int8)
    if len(labels) < MIN_CHANNELS_FOR_COHERENCE or np.mean(labels == DEAD) > 1 / 3:
        return labels
    n_chunks = int(np.clip(recording.get_duration() / SECONDS_PER_CHUNK, 5, 100))
    _, names = detect_bad_channels(recording, chunk_duration_s=CHUNK_S, num_random_chunks=n_chunks, seed=seed)
    found = np.array([LABELS[name] for name in names], dtype=np.int8)
    return np.where(labels == DEAD, labels, found)


def destripe_all(recording: BaseRecording, labels: np.ndarray) -> BaseRecording:
    """Take out of the raw traces what is not neurons; lazy, float32, all channels.

    Parameters
    ----------
    recording
        The raw recording.
    labels
        Of its channels, from `label_channels`.

    Returns
    -------
    spikeinterface.BaseRecording
        In turn: the channels' different sampling instants are put right (phase shift), what is below 300 Hz is filtered out, dead and noisy
        channels are interpolated from their neighbours, and the median of the channels inside the brain is subtracted.
    """
    from spikeinterface import preprocessing

    clean = preprocessing.astype(recording, "float32")
    if "inter_sample_shift" in recording.get_property_keys():
        clean = preprocessing.phase_shift(clean)
    clean = preprocessing.highpass_filter(clean, freq_min=HIGHPASS_HZ)
    bad = recording.channel_ids[(labels == DEAD) | (labels == NOISY)]
    if 0 < bad.size < len(labels):
        clean = preprocessing.interpolate_bad_channels(clean, bad)
    inside = recording.channel_ids[labels != OUTSIDE]
    return preprocessing.common_reference(clean, operator="median", reference="global", ref_channel_ids=list(inside))


def destripe(recording: BaseRecording, labels: np.ndarray) -> BaseRecording:
    """As `destripe_all`, without the channels outside the brain."""
    return destripe_all(recording, labels).select_channels(recording.channel_ids[labels != OUTSIDE])


def is_silent(rms: np.ndarray) -> bool:
    """Whether the probe as a whole gave nothing."""
    return bool(np.median(rms) < SILENT_UV)
