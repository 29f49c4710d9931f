"""A rig that records simulated neurons and leaves its files behind."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ranvier.session import READY_FLAG, Session
from ranvier.simulate import probe_files
from ranvier.simulate.damage import Damage, SimulationError, damage_files, damages_of
from ranvier.simulate.neurons import SAMPLING_RATE, make_neurons
from ranvier.simulate.truth import Truth

DESCRIPTION = "_ibl_experiment.description.yaml"
RAW = "raw_ephys_data"
UNITS_PER_CHANNEL = 5 / 16

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class SimulatedSession:
    """A session folder, and what is really in it.

    Attributes
    ----------
    path
        The session folder.
    truth
        The truth by the name of the probe; also in ``.ranvier_truth`` of the folder.
    """

    path: Path
    truth: dict[str, Truth] = field(default_factory=dict)


def simulate_session(
    root: Path | str,
    subject: str = "mouse_01",
    date: dt.date | str | None = None,
    number: int = 1,
    *,
    probes: Sequence[str] = ("probe00",),
    duration_s: float = 60.0,
    n_channels: int = 384,
    n_units: int | None = None,
    seed: int = 0,
    drift: bool = False,
    sync: bool = True,
    damage: Damage = None,
    ready: bool = True,
    progress: Progress | None = None,
) -> SimulatedSession:
    """Write a session of Neuropixels 1.0 recordings with known neurons, as a rig leaves it.

    Parameters
    ----------
    root
        Folder of the lab's subjects, ``.../<lab>/Subjects``.
    subject, date, number
        Of the session; the date is today's when omitted.
    probes
        Names of the probes. Each has neurons of its own.
    duration_s
        Length, s.
    n_channels
        Channels that are saved, counted from the tip, 384 at most.
    n_units
        Neurons per probe; 5 for 16 channels when omitted.
    seed
        The same seed gives the same bytes.
    drift
        Whether the tissue moves along the probe, by 40 um from peak to peak.
    sync
        Whether the 1 Hz sync signal is on (bit 6 of the probe's sync word, bit 3 of the DAQ's).
    damage
        What is to be wrong with the session, see `DAMAGES`: one kind, several, or kinds by the name of the probe.
    ready
        Whether to leave ``raw_session.flag``, the sign that everything has been copied; it is written last.
    progress
        Called with the fraction that is done and with what is being done.

    Returns
    -------
    SimulatedSession
        The folder and the truth.

    Raises
    ------
    SimulationError
        If the session folder is there already, or if something else was asked that cannot be.
    SessionPathError
        If the subject or the number do not make a session path.
    """
    date = dt.date.today() if date is None else dt.date.fromisoformat(str(date))
    path = Path(root).expanduser().absolute() / subject / date.isoformat() / f"{number:03d}"
    if Session.parse(path).subject != subject:
        raise SimulationError(f"{subject!r} cannot be a subject's folder", "use letters, digits, '_', '-' and '.'")
    by_probe, of_session = damages_of(damage, probes)
    _check(path, probes, duration_s, n_channels)
    path.mkdir(parents=True)
    recorder = _Recorder(
        path, f"{date}T12:00:00", duration_s, n_channels, n_units or max(1, round(n_channels * UNITS_PER_CHANNEL)), drift, sync
    )
    session = SimulatedSession(path)
    for index, probe in enumerate(probes):
        tell = _share(progress, index, len(probes), probe)
        session.truth[probe] = recorder.record(probe, index, seed + 1000 * index, by_probe[probe], tell)
    recorder.record_daq()
    if "missing_description" not in of_session:
        _write_description(path, probes, wrong="wrong_description" in of_session)
    if ready:
        (path / READY_FLAG).touch()
    return session


@dataclass(frozen=True)
class _Recorder:
    path: Path
    created: str
    duration_s: float
    n_channels: int
    n_units: int
    drift: bool
    sync: bool

    def record(self, name: str, index: int, seed: int, kinds: set[str], progress: Callable[[float], None]) -> Truth:
        """Write the files of one probe and its truth."""
        from spikeinterface.extractors.neuropixels_utils import get_neuropixels_sample_shifts_from_probe

        folder = self.path / RAW / name
        folder.mkdir(parents=True)
        binary = folder / f"_spikeglx_ephysData_g0_t0.imec{index}.ap.bin"
        serial = 18_005_000_000 + seed
        meta = probe_files.probe_meta(
            binary.name, n_channels=self.n_channels, rate=SAMPLING_RATE, created=self.created, serial=serial, port=index + 1
        )
        probe = probe_files.read_geometry(folder, meta)
        neurons = make_neurons(probe, duration_s=self.duration_s, n_units=self.n_units, seed=seed, drift=self.drift)
        dead = tuple(range(7, self.n_channels, 16)) if "dead_channels" in kinds else ()
        writing = probe_files.Writing(seed, self.sync, "silent_probe" in kinds, dead)
        shifts = get_neuropixels_sample_shifts_from_probe(probe)
        meta_path = probe_files.write_probe(binary, meta, neurons, shifts, writing, progress)
        truth = Truth(
            SAMPLING_RATE, neurons.spike_samples, neurons.spike_units, neurons.unit_positions, neurons.drift_times, neurons.drift_um
        )
        truth.save(self.path, name)
        damage_files(kinds, meta_path, binary)
        return truth

    def record_daq(self) -> None:
        """Write the DAQ card's files, which hold the signal that the probes are synchronised with."""
        binary = self.path / RAW / "_spikeglx_ephysData_g0_t0.nidq.bin"
        meta = probe_files.daq_meta(binary.name, rate=SAMPLING_RATE, created=self.created)
        probe_files.write_daq(binary, meta, self.duration_s if self.sync else 0.0)


def _check(path: Path, probes: Sequence[str], duration_s: float, n_channels: int) -> None:
    if path.exists():
        raise SimulationError(f"{path} is there already", "choose another number, or remove the folder")
    if not probes or len(set(probes)) != len(probes):
        raise SimulationError(f"probes {', '.join(probes) or '(none)'}: one or more different names are needed")
    if not 4 <= n_channels <= probe_files.READOUT_CHANNELS:
        raise SimulationError(f"{n_channels} channels: a Neuropixels 1.0 probe saves 4 to {probe_files.READOUT_CHANNELS}")
    if duration_s < 2:
        raise SimulationError(f"{duration_s} s is too short", "simulate 2 s or more")


def _write_description(path: Path, probes: Sequence[str], *, wrong: bool) -> None:
    devices: dict[str, Any] = {
        "neuropixel": {probe: {"collection": f"{RAW}/{probe}", "sync_label": "imec_sync", "version": "NP1.0"} for probe in probes}
    }
    if wrong:
        devices["theremin"] = {"theremin00": {"collection": "raw_theremin_data"}}
    content = {
        "version": "1.0.0",
        "projects": [],
        "procedures": ["Ephys recording with acute probe(s)"],
        "devices": devices,
        "sync": {"nidq": {"collection": RAW, "extension": "bin", "acquisition_software": "spikeglx"}},
        "tasks": [],
    }
    (path / DESCRIPTION).write_text(yaml.safe_dump(content, sort_keys=False))


def _share(progress: Progress | None, index: int, total: int, probe: str) -> Callable[[float], None]:
    """A probe's own progress, as a part of the whole session's."""
    return lambda fraction: progress((index + fraction) / total, f"{probe} recorded") if progress else None
