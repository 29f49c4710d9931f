"""What a microphone heard: spectrogram, onsets of the go cue, and the sound compressed without loss."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour.bpod import BehaviourError

SOUND = "*/_iblrig_micData.raw*.wav"
FLAC = "*/_iblrig_micData.raw*.flac"
SPECTROGRAM, ONSETS = "*/_iblmic_audioSpectrogram.*.npy", "*/_iblmic_audioOnsetGoCue.times_mic.npy"
#: Spectra of so many samples, their mean over this time, s.
SAMPLES, WINDOW_S = 1024, 0.5
#: Onsets are looked for in steps of this, s; a tone is above the background by this factor, for this long, s.
STEP_S, ABOVE, LASTS_S = 0.002, 20.0, 0.03
#: Half of the band around the tone, Hz.
BAND_HZ = 300.0
SILENT = 1e-5  #: of full scale
CLIPPED = 0.999
_COPY = "copy the file from the rig again"


class AudioError(BehaviourError):
    """A sound file cannot be used; the message names the file and the reason."""


@task(
    version="1.0.0",
    inputs=[Input(SOUND)],
    outputs=[Output(SPECTROGRAM, at_least=1), Output(ONSETS), Output(SOUND, in_place=True), Output(FLAC, required=False)],
    resources=Resources(cpu=1, memory_gb=3, timeout_s=3600, memory_per_gb=1),
    packages=("numpy", "scipy", "imageio-ffmpeg"),
    priority=30,
)
def audio(job: Job, tone_hz: float = 5000.0) -> None:
    """Spectrogram, go cues and a FLAC of each microphone's file; one for all protocols of a session.

    Parameters
    ----------
    job
        The job.
    tone_hz
        Frequency of the go cue.

    Raises
    ------
    AudioError
        If a file is cut off or is no sound.

    Notes
    -----
    Times are the microphone's own, from the beginning of its file. The rig's file stays where it is.
    """
    from ranvier.tasks.behaviour import behaviour_figures

    for path in job.files(SOUND):
        folder = path.parent.name
        rate, sound = read(path)
        job.progress(0.1, f"spectrogram of {path.name}")
        freqs, times, power = spectrogram(sound, rate)
        onsets = tone_onsets(sound, rate, tone_hz)
        job.save(f"{folder}/_iblmic_audioSpectrogram.frequencies.npy", freqs)
        job.save(f"{folder}/_iblmic_audioSpectrogram.times_mic.npy", times)
        job.save(f"{folder}/_iblmic_audioSpectrogram.power.npy", power)
        job.save(f"{folder}/_iblmic_audioOnsetGoCue.times_mic.npy", onsets)
        note_checks(job, folder, sound, onsets)
        figure = behaviour_figures.sound(freqs, times, power, onsets)
        job.figure(f"sound_{folder}", figure, "Spectrogram of the microphone, with the go cues that were heard")
        job.progress(0.7, "compressing")
        compress(job, path, job.output(f"{folder}/{path.stem}.flac"))


def read(path: Path) -> tuple[float, np.ndarray]:
    """Sampling rate (Hz) and samples of a WAV's first channel, as it holds them, shape (n_samples,).

    Raises
    ------
    AudioError
        If it is cut off, empty or no WAV.
    """
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*prematurely.*")
            warnings.filterwarnings("ignore", message=".*not understood.*")
            rate, sound = wavfile.read(path, mmap=True)
    except (ValueError, OSError, wavfile.WavFileWarning) as error:
        raise AudioError(f"{path} cannot be read as WAV: {error}", _COPY) from error
    if not sound.size:
        raise AudioError(f"{path} holds no sound", _COPY)
    return float(rate), sound if sound.ndim == 1 else sound[:, 0]


def full_scale(sound: np.ndarray) -> float:
    """Largest value that the samples' type can hold."""
    return float(np.iinfo(sound.dtype).max) if np.issubdtype(sound.dtype, np.integer) else 1.0


def spectrogram(sound: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean power spectral density in windows of half a second.

    Returns
    -------
    freqs, times, power
        Hz, s (middles of the windows), and full scale squared per Hz; shapes (n_freqs,), (n_times,), (n_times, n_freqs).
    """
    from scipy.signal import welch

    length, samples = round(WINDOW_S * rate), min(SAMPLES, sound.size)
    starts = np.arange(0, max(sound.size - length, 0) + 1, length)
    scale = full_scale(sound)
    rows = []
    for start in starts:
        freqs, power = welch(np.asarray(sound[start : start + length], float) / scale, fs=rate, nperseg=samples)
        rows.append(power.astype(np.float32))
    return freqs, (starts + length / 2) / rate, np.array(rows)


def tone_onsets(sound: np.ndarray, rate: float, tone_hz: float) -> np.ndarray:
    """When a tone began, s, shape (n_onsets,): where the power in its band rises far above the background."""
    from scipy.signal import butter, sosfiltfilt

    if tone_hz + BAND_HZ >= rate / 2:
        return np.zeros(0)
    band = butter(3, (tone_hz - BAND_HZ, tone_hz + BAND_HZ), "bandpass", fs=rate, output="sos")
    step, margin = max(round(STEP_S * rate), 1), round(0.05 * rate)
    block, scale, powers = step * 5000, full_scale(sound), []
    for start in range(0, sound.size, block):
        begin, end = max(start - margin, 0), min(start + block + margin, sound.size)
        if end - begin < 64:
            continue
        heard = sosfiltfilt(band, np.asarray(sound[begin:end], float) / scale)[start - begin : start - begin + block]
        powers.append(np.square(heard[: heard.size // step * step].reshape(-1, step)).mean(axis=1))
    power = np.concatenate(powers) if powers else np.zeros(0)
    loud = np.concatenate([[False], power > ABOVE * max(float(np.median(power)) if power.size else 0.0, 1e-12), [False]])
    rises, falls = np.flatnonzero(~loud[:-1] & loud[1:]), np.flatnonzero(loud[:-1] & ~loud[1:])
    return rises[(falls - rises) * STEP_S >= LASTS_S] * step / rate


def note_checks(job: Job, folder: str, sound: np.ndarray, onsets: np.ndarray) -> None:
    """Whether anything was heard, and whether it was too loud."""
    highest = float(np.abs(np.asarray(sound[:: max(1, sound.size // 5_000_000)], float)).max()) / full_scale(sound)
    job.qc(f"{folder}_sound", round(highest, 5), "CRITICAL" if highest < SILENT else "WARNING" if highest > CLIPPED else "PASS")
    job.qc(f"{folder}_go_cues", len(onsets), "PASS" if len(onsets) else "WARNING")


def compress(job: Job, path: Path, target: Path) -> None:
    """Write a FLAC and keep it only if it decodes to the same samples."""
    _ffmpeg("-i", str(path), "-c:a", "flac", str(target))
    if _samples_hash(path) == _samples_hash(target):
        job.qc("flac", round(path.stat().st_size / target.stat().st_size, 2), "PASS")
    else:
        job.log.warning("%s cannot be kept as FLAC without loss (it is not 16 or 24 bit); it stays a WAV", path.name)
        target.unlink()
        job.qc("flac", "would lose bits", "WARNING")


def _samples_hash(path: Path) -> str:
    return _ffmpeg("-i", str(path), "-c:a", "pcm_s32le", "-f", "hash", "-hash", "sha256", "-")


def _ffmpeg(*arguments: str) -> str:
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise AudioError(f"ffmpeg could not convert {arguments[1]}: {done.stderr.strip()[-400:]}", _COPY)
    return done.stdout
