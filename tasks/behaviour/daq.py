"""What the DAQ card saw of the rig's TTLs: the session's clock, which probes, cameras and Bpod share."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranvier.tasks.behaviour.bpod import BehaviourError, TaskData
from ranvier.tasks.behaviour.encoder import Clock

if TYPE_CHECKING:
    from ranvier.job import Job

DAQ = "raw_ephys_data/*.nidq.*"
#: Analogue channel 0 counts as this line, as in IBL's maps of channels.
ANALOGUE = 16
#: Lines of an IBL rig without a ``nidq.wiring.json``
#: (International Brain Laboratory, "Behavior, Appendix 3: IBL protocol for setting up the behavioral training rig").
LINES = {"left_camera": 0, "right_camera": 1, "body_camera": 2, "imec_sync": 3, "frame2ttl": 4, "audio": 7, "bpod": ANALOGUE}
#: An analogue signal is high from so many volts above its floor on, the level below which it is for a tenth of the time.
HIGH_V, FLOOR_PERCENTILE = 1.2, 10
#: Pulses that IBL's state machines send, by their length, s: shorter ones begin a trial, longer ones the time between two; the valve's lie
#: between (ibllib 4.1.0, `ephys_fpga.FpgaTrials.get_bpod_event_times`).
TRIAL_S, BETWEEN_S = 2.33e-4, 0.4
#: Trial starts of Bpod and of the DAQ may differ in number by this many, at either end.
MAX_SHIFT = 5
#: Instants of both clocks belong together within this, s, once their drift is taken out.
MATCH_S = 0.005
#: What is read at once; the floor of an analogue signal is that of such a piece.
_PIECE_S = 100.0
_COPY = "copy the file from the rig again"
_log = logging.getLogger("ranvier.task")


class DaqError(BehaviourError):
    """The DAQ's files cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Daq:
    """Edges on the DAQ's lines.

    Attributes
    ----------
    path
        The ``.nidq.bin`` or ``.nidq.cbin``.
    lines
        Number of the line by the name of what is plugged in; from 16 on they are analogue channels.
    rising, falling
        Times of the edges by line, s.
    """

    path: Path
    lines: dict[str, int]
    rising: dict[int, np.ndarray]
    falling: dict[int, np.ndarray]

    def times_of(self, name: str) -> np.ndarray:
        """When a signal rose, s, shape (n,); empty where it is not connected."""
        return self.rising.get(self.lines.get(name, -1), np.zeros(0))

    def lengths_of(self, name: str) -> np.ndarray:
        """How long each pulse of a signal was, s, shape (n,); infinite for one that did not end."""
        rose, fell = self.times_of(name), self.falling.get(self.lines.get(name, -1), np.zeros(0))
        ends = np.append(fell, np.inf)[np.searchsorted(fell, rose, side="right")]
        return ends - rose


@dataclass(frozen=True)
class _Form:
    """How the samples of a file are laid out, by its meta: channels in the order of SpikeGLX, MN, MA, XA, then digital words."""

    rate: float
    n_channels: int
    first_analogue: int
    n_analogue: int
    n_words: int
    volts_per_count: float


def of_job(job: Job) -> Daq | None:
    """What the DAQ of a job's session saw; None where there was none. Its task declares `DAQ` as an input."""
    return read(job.files(DAQ))


def read(paths: Sequence[Path]) -> Daq | None:
    """Read the digital lines, and the analogue channels that are wired, of a SpikeGLX ``.nidq.bin`` or a compressed ``.nidq.cbin``.

    Raises
    ------
    DaqError
        If the meta is malformed, or a compressed file is not whole.
    """
    binary = next((path for suffix in (".nidq.bin", ".nidq.cbin") for path in paths if path.name.endswith(suffix)), None)
    meta = next((path for path in paths if path.name.endswith(".nidq.meta")), None)
    if binary is None or meta is None:
        return None
    form = _read_meta(meta)
    wiring = next((path for path in paths if path.name.endswith(".nidq.wiring.json")), None)
    lines = _wired(wiring) if wiring else LINES
    analogue = sorted({line for line in lines.values() if ANALOGUE <= line < ANALOGUE + min(form.n_analogue, 16)})
    if not (form.n_words or analogue) or binary.stat().st_size < 2 * form.n_channels:
        return None
    pieces = _compressed(binary, form) if binary.suffix == ".cbin" else _plain(binary, form)
    return Daq(binary, lines, *_edges((_levels(piece, form, analogue) for piece in pieces), form.rate))


def bpod_clock(task: TaskData, daq: Daq | None) -> Clock | None:
    """How the clock of a protocol's Bpod becomes the session's, as `clock_of` does it."""
    return clock_of(task.starts, daq, task.path, task.state("exit_state"))


def clock_of(starts: np.ndarray, daq: Daq | None, path: Path, between: np.ndarray | None = None) -> Clock | None:
    """How Bpod's clock becomes the session's: by the starts of trials, or the times between them, which the DAQ sees on its line ``bpod``.

    Parameters
    ----------
    starts
        Of the trials, s on Bpod's clock, shape (n_trials,).
    daq
        What the DAQ saw; None where there was none.
    path
        Bpod's file, for the messages.
    between
        When the time between two trials began, s on Bpod's clock, shape (n_trials,); NaN where it did not.

    Returns
    -------
    Clock or None
        None where Bpod is not connected to the DAQ: then its clock is the session's.

    Raises
    ------
    DaqError
        If the DAQ saw other trials than Bpod.
    """
    seen = daq.times_of("bpod") if daq else np.zeros(0)
    if daq is None or seen.size < 2:
        return None
    lengths = daq.lengths_of("bpod")
    candidates = [(starts, seen), (starts, seen[lengths < TRIAL_S])]
    if between is not None:
        candidates.append((between[np.isfinite(between)], seen[lengths >= BETWEEN_S]))
    for theirs, ours in candidates:
        if (clock := _matched(theirs, ours)) is not None:
            return clock
    told = f"{seen.size} pulses on line {daq.lines['bpod']} of {daq.path}, {starts.size} trials in {path}"
    raise DaqError(f"{told}: their times do not fit", "is it another session's file? See the wiring")


def _matched(theirs: np.ndarray, ours: np.ndarray) -> Clock | None:
    """One clock in terms of another, from instants that both noted, of which each may lack a few at either end; None where they do not fit.

    Of many instants it is clear which they are, so that ours may be those of other protocols, too, that ran before or after.
    """
    many = theirs.size > 2 * MAX_SHIFT
    last = max(ours.size - theirs.size, 0) * many + MAX_SHIFT
    best, offset = np.zeros(0, int), 0
    for shift in sorted(range(-MAX_SHIFT, last + 1), key=abs):
        both = np.arange(max(0, -shift), min(theirs.size, ours.size - shift))
        if both.size < max(2, (theirs.size - MAX_SHIFT) * many) or both.size <= best.size:
            continue
        good = np.abs(np.diff(theirs[both]) - np.diff(ours[both + shift])) < MATCH_S
        kept = np.unique(np.concatenate([np.flatnonzero(good), np.flatnonzero(good) + 1]))
        if good.mean() > 0.5 and kept.size > best.size:
            best, offset = both[kept], shift
    return Clock(theirs[best], ours[best + offset]) if best.size >= 2 else None


def _read_meta(meta: Path) -> _Form:
    fields = dict(line.split("=", 1) for line in meta.read_text().splitlines() if "=" in line)
    try:
        mn, ma, xa, words = map(int, fields["snsMnMaXaDw"].split(","))
        volts = float(fields["niAiRangeMax"]) / float(fields.get("niMaxInt", 32768)) if xa else 0.0
        return _Form(float(fields["niSampRate"]), int(fields["nSavedChans"]), mn + ma, xa, words, volts)
    except (KeyError, ValueError) as error:
        raise DaqError(f"{meta} is malformed: {error}", _COPY) from error


def _wired(path: Path) -> dict[str, int]:
    try:
        content = json.loads(path.read_text())
        digital = {pin["LABEL"]: int(pin["PIN"].rpartition(".")[2]) for pin in content["SYNC_WIRING_DIGITAL"] if pin.get("LABEL")}
        pins = content.get("SYNC_WIRING_ANALOG") or ()
        return digital | {pin["LABEL"]: ANALOGUE + int(pin["PIN"].removeprefix("AI")) for pin in pins if pin.get("LABEL")}
    except (ValueError, KeyError, TypeError) as error:
        raise DaqError(f"{path} is malformed: {type(error).__name__}: {error}", "see an IBL rig's for its form") from error


def _plain(binary: Path, form: _Form) -> Iterator[np.ndarray]:
    """Pieces of a file, shape (n_samples, n_channels)."""
    content = np.memmap(binary, np.int16, "r")
    samples = content[: content.size // form.n_channels * form.n_channels].reshape(-1, form.n_channels)
    step = round(_PIECE_S * form.rate)
    for start in range(0, len(samples), step):
        yield samples[start : start + step]


def _compressed(binary: Path, form: _Form) -> Iterator[np.ndarray]:
    """Pieces of a file that mtscomp has compressed."""
    from mtscomp import Reader

    header, reader = binary.with_suffix(".ch"), Reader(quiet=True)
    if not header.is_file():
        raise DaqError(f"{binary} cannot be decompressed: {header.name} is not there", "copy it, too")
    try:
        reader.open(binary, header)
        with contextlib.closing(reader):
            chunks = reader.iter_chunks()
            n_chunks = max(1, round(_PIECE_S * form.rate * reader.n_chunks / reader.n_samples))
            while some := list(islice(chunks, n_chunks)):
                yield np.concatenate([reader.read_chunk(*chunk) for chunk in some])
    except (OSError, ValueError, KeyError, AttributeError, AssertionError) as error:  # what mtscomp raises for files that are not whole
        raise DaqError(f"{binary} cannot be decompressed: {type(error).__name__}: {error}", _COPY) from error


def _levels(piece: np.ndarray, form: _Form, analogue: Sequence[int]) -> np.ndarray:
    """Which lines are high, a bit each, shape (n_samples,)."""
    digital = piece[:, form.n_channels - form.n_words].astype(np.uint16) if form.n_words else np.zeros(len(piece), np.uint16)
    levels = digital.astype(np.uint32)
    for line in analogue:
        signal = piece[:, form.first_analogue + line - ANALOGUE]
        high = signal >= np.percentile(signal, FLOOR_PERCENTILE) + HIGH_V / form.volts_per_count
        levels |= high.astype(np.uint32) << np.uint32(line)
    return levels


def _edges(pieces: Iterator[np.ndarray], rate: float) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Times at which each line rose, and at which it fell, s."""
    samples, rose, fell = [], [], []
    start, last = 0, np.zeros(0, np.uint32)
    for piece in pieces:
        levels = np.concatenate([last if last.size else piece[:1], piece])
        changed = np.flatnonzero(levels[1:] != levels[:-1])
        before, after = levels[changed], levels[changed + 1]
        samples.append(changed + start)
        rose.append(~before & after)
        fell.append(before & ~after)
        start, last = start + len(piece), piece[-1:]
    where, up, down = np.concatenate(samples), np.concatenate(rose), np.concatenate(fell)
    times = [{line: where[bits & np.uint32(1 << line) > 0] / rate for line in range(2 * ANALOGUE)} for bits in (up, down)]
    return times[0], times[1]
