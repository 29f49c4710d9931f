"""What the DAQ card saw of the rig's TTLs: the session's clock, which probes, cameras and Bpod share."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranvier.tasks.behaviour.bpod import BehaviourError, TaskData
from ranvier.tasks.behaviour.encoder import Clock

if TYPE_CHECKING:
    from ranvier.job import Job

DAQ = "raw_ephys_data/*.nidq.*"
#: Digital lines of an IBL rig without a ``nidq.wiring.json``
#: (International Brain Laboratory, "Behavior, Appendix 3: IBL protocol for setting up the behavioral training rig").
LINES = {"left_camera": 0, "right_camera": 1, "body_camera": 2, "imec_sync": 3, "frame2ttl": 4, "audio": 7}
#: Trial starts of Bpod and of the DAQ may differ in number by this many, at either end.
MAX_SHIFT = 5
#: Instants of both clocks belong together within this, s, once their drift is taken out.
MATCH_S = 0.005
_CHUNK = 10_000_000
_log = logging.getLogger("ranvier.task")


class DaqError(BehaviourError):
    """The DAQ's files cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Daq:
    """Edges on the DAQ's digital lines.

    Attributes
    ----------
    path
        The ``.nidq.bin``.
    lines
        Number of the line by the name of what is plugged in.
    rising
        Times of the rising edges by line, s.
    """

    path: Path
    lines: dict[str, int]
    rising: dict[int, np.ndarray]

    def times_of(self, name: str) -> np.ndarray:
        """When a signal rose, s, shape (n,); empty where it is not connected."""
        return self.rising.get(self.lines.get(name, -1), np.zeros(0))


def of_job(job: Job) -> Daq | None:
    """What the DAQ of a job's session saw; None where there was none. Its task declares `DAQ` as an input."""
    return read(job.files(DAQ))


def read(paths: Sequence[Path]) -> Daq | None:
    """Read the digital lines of a SpikeGLX ``.nidq.bin``.

    Raises
    ------
    DaqError
        If the meta is malformed.

    Notes
    -----
    A compressed file (``.nidq.cbin``) and signals on analogue channels are not read; the times then stay on the device's own clock.
    """
    binary = next((path for path in paths if path.name.endswith(".nidq.bin")), None)
    meta = next((path for path in paths if path.name.endswith(".nidq.meta")), None)
    if binary is None or meta is None:
        return None
    fields = dict(line.split("=", 1) for line in meta.read_text().splitlines() if "=" in line)
    try:
        rate, n_channels = float(fields["niSampRate"]), int(fields["nSavedChans"])
        n_words = int(fields["snsMnMaXaDw"].split(",")[3])
    except (KeyError, ValueError, IndexError) as error:
        raise DaqError(f"{meta} is malformed: {error}", "copy the file from the rig again") from error
    if not n_words or binary.stat().st_size < 2 * n_channels:
        return None
    content = np.memmap(binary, np.int16, "r")
    words = content[: content.size // n_channels * n_channels].reshape(-1, n_channels)[:, n_channels - n_words]
    wiring = next((path for path in paths if path.name.endswith(".nidq.wiring.json")), None)
    return Daq(binary, _wired(wiring) if wiring else LINES, _rising(words, rate))


def bpod_clock(task: TaskData, daq: Daq | None) -> Clock | None:
    """How Bpod's clock becomes the session's: by the starts of trials, which the DAQ sees on its line ``bpod``.

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
    best = np.zeros(0, int)
    for shift in sorted(range(-MAX_SHIFT, MAX_SHIFT + 1), key=abs):
        ours = np.arange(max(0, -shift), min(len(task), seen.size - shift))
        if ours.size < 2:
            continue
        gaps = np.diff(task.starts[ours]) - np.diff(seen[ours + shift])
        if np.median(np.abs(gaps)) < MATCH_S and ours.size > best.size:
            good = np.abs(gaps) < MATCH_S
            kept = np.unique(np.concatenate([np.flatnonzero(good), np.flatnonzero(good) + 1]))
            best, offset = ours[kept], shift
    if best.size < 2:
        told = f"{seen.size} trial starts on line {daq.lines['bpod']} of {daq.path}, {len(task)} trials in {task.path}"
        raise DaqError(f"{told}: their times do not fit", "is it another session's file? See the wiring")
    return Clock(task.starts[best], seen[best + offset])


def _wired(path: Path) -> dict[str, int]:
    try:
        pins = json.loads(path.read_text())["SYNC_WIRING_DIGITAL"]
        return {pin["LABEL"]: int(pin["PIN"].rpartition(".")[2]) for pin in pins if pin.get("LABEL")}
    except (ValueError, KeyError, TypeError) as error:
        raise DaqError(f"{path} is malformed: {type(error).__name__}: {error}", "see an IBL rig's for its form") from error


def _rising(words: np.ndarray, rate: float) -> dict[int, np.ndarray]:
    samples, bits = [], []
    last = words[:1]
    for start in range(0, len(words), _CHUNK):
        chunk = np.concatenate([last, words[start : start + _CHUNK]]).astype(np.uint16)
        changed = np.flatnonzero(chunk[1:] != chunk[:-1])
        samples.append(changed + start)
        bits.append(~chunk[changed] & chunk[changed + 1])
        last = words[start + len(chunk) - 2 : start + len(chunk) - 1]
    where, rose = np.concatenate(samples), np.concatenate(bits)
    return {line: where[rose & (1 << line) > 0] / rate for line in range(16)}
