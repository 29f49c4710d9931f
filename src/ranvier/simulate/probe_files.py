"""The files that SpikeGLX writes for a Neuropixels 1.0 probe and for the DAQ card beside it.

Fields and their meaning: https://billkarsh.github.io/SpikeGLX/#metadata-guides
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from probeinterface import Probe

    from ranvier.simulate.neurons import Neurons

READOUT_CHANNELS = 384
SYNC_CHANNEL = 768  #: SpikeGLX counts 384 AP, then 384 LF, then the sync word
SYNC_BIT = 6
DAQ_SYNC_BIT = 3
PULSE_S = 0.002  #: of the other lines' pulses
DAQ_VOLTS, DAQ_COUNTS = 5, 2**15
#: Of the analogue channels: the level of a signal that is low and of one that is high, and the noise, V.
LOW_V, HIGH_V, NOISE_V = 0.15, 4.8, 0.01
AP_GAIN, LF_GAIN = 500, 250
ADC_VOLTS, ADC_COUNTS = 0.6, 512
MICROVOLTS_PER_COUNT = ADC_VOLTS / ADC_COUNTS / AP_GAIN * 1e6
#: Noise that all channels share, such as the animal's chewing and the reference's own: what the common reference removes.
COMMON_NOISE_UV = 4.0
#: What a channel that is not connected shows: the last bit changes now and then.
FLICKER_UV = 0.8
MARGIN_MS = 40.0  #: of the phase shift, on either side of a chunk
FFT_LENGTH = 2**16  #: of a chunk with its margins: a length that is quick to transform

Meta = dict[str, Any]


@dataclass(frozen=True)
class Writing:
    """How the traces of one probe are turned into counts."""

    seed: int
    sync: bool = True
    silent: bool = False
    dead_channels: tuple[int, ...] = ()


def probe_meta(name: str, *, n_channels: int, rate: float, created: str, serial: int, port: int) -> Meta:
    """Fields of an ``.ap.meta``, but for those that tell of the finished file.

    Parameters
    ----------
    name
        Name of the binary file.
    n_channels
        Channels that are saved, counted from the tip.
    rate
        Sampling rate, Hz.
    created
        Local time, ISO 8601.
    serial, port
        Of the probe and of where it is plugged in.
    """
    channels = range(n_channels)
    names = [f"AP{c};{c}:{c}" for c in channels] + [f"SY0;{SYNC_CHANNEL}:{n_channels}"]
    return {
        "acqApLfSy": f"{READOUT_CHANNELS},{READOUT_CHANNELS},1",
        "appVersion": "20201103",
        "fileCreateTime": created,
        "fileName": name,
        "firstSample": 0,
        "gateMode": "Immediate",
        "imAiRangeMax": ADC_VOLTS,
        "imAiRangeMin": -ADC_VOLTS,
        "imCalibrated": "true",
        "imDatApi": "3.31",
        "imDatPrb_pn": "NP1000",
        "imDatPrb_port": port,
        "imDatPrb_slot": 2,
        "imDatPrb_sn": serial,
        "imDatPrb_type": 0,
        "imSampRate": f"{rate:g}",
        "nSavedChans": n_channels + 1,
        "snsApLfSy": f"{n_channels},0,1",
        "snsSaveChanSubset": f"0:{n_channels - 1},{SYNC_CHANNEL}",
        "syncSourceIdx": 3,
        "syncSourcePeriod": 1,
        "typeImEnabled": 1,
        "typeNiEnabled": 1,
        "typeThis": "imec",
        "userNotes": "simulated by Ranvier",
        "~imroTbl": _table(f"0,{READOUT_CHANNELS}", (f"{c} 0 0 {AP_GAIN} {LF_GAIN} 1" for c in range(READOUT_CHANNELS))),
        "~snsChanMap": _table(f"{READOUT_CHANNELS},{READOUT_CHANNELS},1", names),
        "~snsShankMap": _table("1,2,480", (f"0:{c % 2}:{c // 2}:1" for c in channels)),
    }


def daq_meta(name: str, *, rate: float, created: str, n_analogue: int = 0) -> Meta:
    """Fields of a ``.nidq.meta`` with analogue channels and one digital word, but for those that tell of the finished file."""
    channels = [f"XA{channel};{channel}:{channel}" for channel in range(n_analogue)] + [f"XD0;{n_analogue}:{n_analogue}"]
    return {
        "acqMnMaXaDw": f"0,0,{n_analogue},1",
        "appVersion": "20201103",
        "fileCreateTime": created,
        "fileName": name,
        "firstSample": 0,
        "nSavedChans": n_analogue + 1,
        "niAiRangeMax": DAQ_VOLTS,
        "niAiRangeMin": -DAQ_VOLTS,
        "niDev1ProductName": "PXIe-6341",
        "niMAGain": 1,
        "niMNGain": 200,
        "niSampRate": f"{rate:g}",
        "niXDBytes1": 1,
        "niXDChans1": "0:7",
        "snsMnMaXaDw": f"0,0,{n_analogue},1",
        "snsSaveChanSubset": "all",
        "syncSourceIdx": 3,
        "syncSourcePeriod": 1,
        "typeThis": "nidq",
        "userNotes": "simulated by Ranvier",
        "~snsChanMap": _table(f"0,0,{n_analogue},1,1", channels),
    }


def read_geometry(folder: Path, meta: Meta) -> Probe:
    """The probe as every reader will see it: from the meta itself."""
    from probeinterface import read_spikeglx

    draft = folder / "draft.ap.meta"
    write_meta(draft, meta)
    try:
        return read_spikeglx(draft)
    finally:
        draft.unlink()


def write_meta(path: Path, meta: Meta) -> None:
    """Write a meta file, fields in SpikeGLX's order: by name, the tables last."""
    path.write_text("".join(f"{key}={meta[key]}\n" for key in sorted(meta, key=lambda key: (key.startswith("~"), key.lower()))))


def write_probe(
    binary: Path, meta: Meta, neurons: Neurons, shifts: np.ndarray, writing: Writing, progress: Callable[[float], None]
) -> Path:
    """Write an ``.ap.bin`` and its ``.ap.meta``, a few seconds of the recording at a time.

    Parameters
    ----------
    binary
        File to write; the meta is put beside it.
    meta
        What `probe_meta` gave.
    neurons
        What the probe sees.
    shifts
        How much later than the first channel of its ADC each channel is sampled, in samples, shape (n_channels,).
    writing
        How traces become counts.
    progress
        Told the fraction that is written.

    Returns
    -------
    pathlib.Path
        The meta file.
    """
    return _write(binary, meta, float(meta["imSampRate"]), _count_chunks(neurons, shifts, writing, progress))


def write_daq(
    binary: Path, meta: Meta, duration_s: float, pulses: Mapping[int, np.ndarray] | None = None, analogue: Sequence[np.ndarray] = ()
) -> Path:
    """Write a ``.nidq.bin`` with the sync square wave, pulses of other lines and of analogue channels, and its meta.

    Parameters
    ----------
    binary, meta
        File to write, and what `daq_meta` gave.
    duration_s
        Length, s.
    pulses
        Times (s) at which other lines rise, by line, shape (n,): each stays high for 2 ms; or begins and ends, shape (n, 2).
    analogue
        When each pulse of an analogue channel begins and ends, s, one array of shape (n, 2) a channel.

    Returns
    -------
    pathlib.Path
        The meta file.
    """
    rate = float(meta["niSampRate"])
    word = square_wave(np.arange(round(duration_s * rate)), rate, DAQ_SYNC_BIT)
    for line, times in (pulses or {}).items():
        intervals = times if times.ndim == 2 else np.column_stack([times, times + PULSE_S])
        for start, stop in np.ceil(np.round(intervals * rate, 3)).astype(int):
            word[start:stop] |= 1 << line
    signals = [_analogue(word.size, rate, intervals, seed) for seed, intervals in enumerate(analogue)]
    return _write(binary, meta, rate, iter([np.column_stack([*signals, word])]))


def _analogue(n_samples: int, rate: float, intervals: np.ndarray, seed: int) -> np.ndarray:
    """Counts of an analogue channel with pulses."""
    volts = LOW_V + np.random.default_rng(seed).normal(0, NOISE_V, n_samples)
    for start, stop in np.ceil(np.round(intervals * rate, 3)).astype(int):
        volts[start:stop] += HIGH_V - LOW_V
    return np.round(volts / DAQ_VOLTS * DAQ_COUNTS).astype(np.int16)


def square_wave(samples: np.ndarray, rate: float, bit: int) -> np.ndarray:
    """The 1 Hz sync signal at the given sample indices: int16, the bit is high in the first half of each second."""
    high = (samples % rate) < rate / 2
    return (high * (1 << bit)).astype(np.int16)


def _count_chunks(neurons: Neurons, shifts: np.ndarray, writing: Writing, progress: Callable[[float], None]) -> Iterator[np.ndarray]:
    """Counts of the ADC with the sync word as last column, chunk by chunk."""
    from spikeinterface.preprocessing import phase_shift

    # SpikeInterface's phase shift aligns channels that were sampled one after the other; the opposite shifts undo that.
    recording = phase_shift(neurons.recording, inter_sample_shift=-shifts, margin_ms=MARGIN_MS)
    n_samples, rate = recording.get_num_samples(), recording.sampling_frequency
    step = FFT_LENGTH - 2 * int(MARGIN_MS * rate / 1000)
    for start in range(0, n_samples, step):
        stop = min(start + step, n_samples)
        rng = np.random.default_rng((writing.seed, start))
        if writing.silent:
            microvolts = rng.normal(0, FLICKER_UV, (stop - start, shifts.size))
        else:
            microvolts = recording.get_traces(start_frame=start, end_frame=stop) + rng.normal(0, COMMON_NOISE_UV, (stop - start, 1))
            microvolts[:, list(writing.dead_channels)] = rng.normal(0, FLICKER_UV, (stop - start, len(writing.dead_channels)))
        counts = np.clip(np.round(microvolts / MICROVOLTS_PER_COUNT), -ADC_COUNTS, ADC_COUNTS - 1).astype(np.int16)
        samples = np.arange(start, stop)
        word = square_wave(samples, rate, SYNC_BIT) if writing.sync else np.zeros(samples.size, np.int16)
        yield np.column_stack([counts, word])
        progress(stop / n_samples)


def _write(binary: Path, meta: Meta, rate: float, chunks: Iterator[np.ndarray]) -> Path:
    digest = hashlib.sha1(usedforsecurity=False)
    n_samples = 0
    with binary.open("wb") as file:
        for chunk in chunks:
            content = chunk.tobytes()
            digest.update(content)
            file.write(content)
            n_samples += len(chunk)
    path = binary.with_suffix(".meta")
    finished = {"fileSHA1": digest.hexdigest().upper(), "fileSizeBytes": binary.stat().st_size, "fileTimeSecs": n_samples / rate}
    write_meta(path, meta | finished)
    return path


def _table(header: str, entries: Any) -> str:
    return f"({header})" + "".join(f"({entry})" for entry in entries)
