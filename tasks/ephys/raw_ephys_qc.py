"""Quality of a probe's raw traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.ephys.recording import AP_BINARY, AP_CHUNKS, AP_META, of_job, open_recording, use_cores

if TYPE_CHECKING:
    from spikeinterface import BaseRecording

RMS = "{collection}/_iblqc_ephysChannels.apRMS.npy"
LABELS = "{collection}/_iblqc_ephysChannels.labels.npy"
FREQS = "{collection}/_iblqc_ephysSpectralDensityAP.freqs.npy"
POWER = "{collection}/_iblqc_ephysSpectralDensityAP.power.npy"

#: Median RMS of the destriped AP band, uV, above which a recording is too noisy: RIGOR, International Brain Laboratory et al.,
#: "Reproducibility of in vivo electrophysiological measurements in mice", doi 10.7554/eLife.100840.
NOISY_UV = 40.0
#: Part of the channels that may be dead or noisy before a person should look; above a third SpikeInterface's detection itself is in doubt.
BAD_WARNING, BAD_FAIL = 0.1, 1 / 3
WELCH_SAMPLES = 1024


@dataclass(frozen=True)
class RawQuality:
    """What the raw traces look like.

    Attributes
    ----------
    rms
        RMS of each channel, V, shape (2, n_channels): first row raw, second row destriped.
    labels
        0 good, 1 dead, 2 noisy, 3 outside the brain; shape (n_channels,).
    freqs
        Hz, shape (n_freqs,).
    power
        Power spectral density of the destriped traces, V^2/Hz, shape (n_freqs, n_channels).
    """

    rms: np.ndarray
    labels: np.ndarray
    freqs: np.ndarray
    power: np.ndarray


@task(
    version="1.0.0",
    per="probe",
    inputs=[Input(AP_BINARY), Input(AP_META), Input(AP_CHUNKS, required=False)],
    outputs=[Output(RMS, at_least=2), Output(LABELS, at_least=1), Output(FREQS, at_least=2), Output(POWER, at_least=2)],
    resources=Resources(cpu=1, memory_gb=4, timeout_s=3600),
    packages=("spikeinterface",),
    priority=80,  # it takes little, and whoever waits for the session wants to know early whether it is good
)
def raw_ephys_qc(job: Job, seed: int = 0) -> None:
    """Noise, spectrum and bad channels of a probe's AP band, from seconds spread over the recording.

    Parameters
    ----------
    job
        The job.
    seed
        Of the choice of chunks for the bad channels.

    Notes
    -----
    File names, shapes and units are IBL's. A probe that gave nothing is CRITICAL; the other thresholds are constants of this module.
    """
    from ranvier.tasks.ephys import figures, preprocessing

    use_cores(job.cpu)
    raw = of_job(job)
    recording = open_recording(raw, job.scratch)
    job.progress(0.1, "labelling channels")
    rms = preprocessing.channel_rms(recording)
    labels = preprocessing.label_channels(recording, rms, seed=seed)
    job.progress(0.4, "measuring noise and spectra")
    quality = measure(recording, labels)
    for path, values in ((RMS, quality.rms), (LABELS, quality.labels), (FREQS, quality.freqs), (POWER, quality.power)):
        job.save(path, values)
    note_checks(job, quality)
    job.progress(0.8, "drawing")
    figure = figures.raw_quality(recording, preprocessing.destripe_all(recording, labels), quality, title=f"{job.device}: raw quality")
    job.figure("raw_quality", figure, "Noise by depth, spectrum of the good channels, and the traces before and after destriping")


def measure(recording: BaseRecording, labels: np.ndarray) -> RawQuality:
    """RMS and spectra from one-second windows that are spread evenly over the recording.

    Parameters
    ----------
    recording
        The raw recording.
    labels
        Of its channels.
    """
    from scipy.signal import welch

    from ranvier.tasks.ephys.preprocessing import destripe_all, window_starts

    clean = destripe_all(recording, labels)
    rms, spectra = [], []
    for start in window_starts(recording.get_num_samples(), recording.sampling_frequency):
        window = dict(start_frame=start, end_frame=start + int(recording.sampling_frequency), return_in_uV=True)
        before, after = (np.asarray(traces.get_traces(**window), dtype=np.float64) * 1e-6 for traces in (recording, clean))
        freqs, power = welch(after, fs=recording.sampling_frequency, nperseg=WELCH_SAMPLES, axis=0)
        rms.append([before.std(axis=0), np.sqrt(np.mean(after**2, axis=0))])
        spectra.append(power)
    return RawQuality(np.median(rms, axis=0), labels, freqs, np.mean(spectra, axis=0))


def note_checks(job: Job, quality: RawQuality) -> None:
    """Turn what was measured into quality checks."""
    from ranvier.tasks.ephys.preprocessing import DEAD, NOISY, OUTSIDE, SILENT_UV

    raw, clean = np.median(quality.rms, axis=1) * 1e6
    bad = np.isin(quality.labels, (DEAD, NOISY))
    if raw < SILENT_UV:
        job.log.error("%s is silent: %.1f uV RMS is less than an amplifier's own noise; was it plugged in and powered?", job.device, raw)
        job.qc("signal", f"silent: {raw:.1f} uV RMS is less than an amplifier's own noise", "CRITICAL")
    else:
        job.qc("signal", "present", "PASS")
    job.qc("rms_raw_uv", round(raw, 2))
    job.qc("rms_destriped_uv", round(clean, 2), "FAIL" if clean > NOISY_UV else "PASS")
    job.qc("bad_channels", int(bad.sum()), "FAIL" if bad.mean() > BAD_FAIL else "WARNING" if bad.mean() > BAD_WARNING else "PASS")
    job.qc("outside_channels", int(np.sum(quality.labels == OUTSIDE)))
