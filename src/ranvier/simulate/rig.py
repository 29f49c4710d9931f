"""A rig that records simulated neurons, a mouse at its task and cameras, and leaves its files behind."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ranvier.session import READY_FLAG, Session
from ranvier.simulate import probe_files, task_files
from ranvier.simulate.cameras import COLLECTION as VIDEOS
from ranvier.simulate.cameras import FRAME_RATE, LINES, Film, film
from ranvier.simulate.cell_truth import CellTruth
from ranvier.simulate.damage import Damage, SimulationError, damage_files, damages_of
from ranvier.simulate.microscope import SYNC, Movie, check_movie, describe_fov, record_fov
from ranvier.simulate.mouse import Behaviour, make_behaviour
from ranvier.simulate.neurons import SAMPLING_RATE, make_neurons
from ranvier.simulate.truth import Truth

DESCRIPTION = "_ibl_experiment.description.yaml"
RAW = "raw_ephys_data"
UNITS_PER_CHANNEL = 5 / 16
BPOD_LINE, AUDIO_LINE = 7, 5  #: of the DAQ
#: Seconds, a day.
LONGEST_S = 86_400
#: Characters that the database gives a subject's nickname.
LONGEST_NICKNAME = 64

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
    cells
        The truth by the name of the field of view, likewise.
    behaviour
        What the mouse did, where that was simulated.
    films
        What the cameras took, by their names.
    """

    path: Path
    truth: dict[str, Truth] = field(default_factory=dict)
    cells: dict[str, CellTruth] = field(default_factory=dict)
    behaviour: Behaviour | None = None
    films: dict[str, Film] = field(default_factory=dict)


def simulate_session(
    root: Path | str,
    subject: str = "mouse_01",
    date: dt.date | str | None = None,
    number: int = 1,
    *,
    probes: Sequence[str] = ("probe00",),
    fovs: Sequence[str] = (),
    movie: Movie | None = None,
    duration_s: float = 60.0,
    n_channels: int = 384,
    n_units: int | None = None,
    seed: int = 0,
    drift: bool = False,
    sync: bool = True,
    behaviour: bool = False,
    analogue_bpod: bool = False,
    cameras: Sequence[str] = (),
    damage: Damage = None,
    ready: bool = True,
    progress: Progress | None = None,
) -> SimulatedSession:
    """Write a session as rigs leave it: Neuropixels 1.0 recordings and two-photon movies with known neurons, behaviour with known trials.

    Parameters
    ----------
    root
        Folder of the lab's subjects, ``.../<lab>/Subjects``.
    subject, date, number
        Of the session; the date is today's when omitted.
    probes
        Names of the probes. Each has neurons of its own. None are needed where there is something else.
    fovs
        Names of the fields of view of a two-photon microscope, such as ``FOV_00``. Each has cells of its own.
    movie
        What is recorded of each of them; 900 frames of 128 x 128 px with 20 cells when omitted.
    duration_s
        Length of the probes' recordings, s.
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
    behaviour
        Whether a mouse does IBL's task, with as many trials as fit: Bpod's and the rotary encoder's files.
    analogue_bpod
        Whether Bpod is on the DAQ's first analogue channel, as on IBL's rigs, with a pulse for each start of a trial, reward and time
        between two trials; else it is on a digital line, with the starts alone.
    cameras
        Among ``left``, ``right`` and ``body``: each films the mouse.
    damage
        What is to be wrong with the session, see `DAMAGES`: one kind, several, or kinds by the name of the probe, field of view or camera.
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
    _check_neurons(subject, n_units, seed)
    date = dt.date.today() if date is None else dt.date.fromisoformat(str(date))
    path = Path(root).expanduser().absolute() / subject / date.isoformat() / f"{number:03d}"
    if Session.parse(path).subject != subject:
        raise SimulationError(f"{subject!r} cannot be a subject's folder", "use letters, digits, '_', '-' and '.'")
    by_device, of_session = damages_of(damage, probes, fovs, cameras)
    _check(path, (*probes, *fovs), probes, duration_s, n_channels, others=behaviour or bool(cameras))
    _check_cameras(cameras)
    movie = movie or Movie()
    check_movie(movie)
    did = make_behaviour(duration_s, seed) if behaviour else None
    path.mkdir(parents=True)
    recorder = _Recorder(
        path, f"{date}T12:00:00", duration_s, n_channels, n_units or max(1, round(n_channels * UNITS_PER_CHANNEL)), drift, sync
    )
    session = SimulatedSession(path, behaviour=did)
    for index, probe in enumerate(probes):
        tell = _share(progress, index, len(probes) + len(fovs), probe)
        session.truth[probe] = recorder.record(probe, index, seed + 1000 * index, by_device[probe], tell)
    for index, fov in enumerate(fovs):
        tell = _share(progress, len(probes) + index, len(probes) + len(fovs), fov)
        session.cells[fov] = record_fov(path, fov, index, movie, seed=seed + 1000 * index, kinds=by_device[fov], progress=tell)
    if did is not None:
        did.save(path)
        task_files.write_task(path / task_files.COLLECTION, did, recorder.created, of_session)
    for camera in cameras:
        session.films[camera] = film(path, camera, duration_s, seed, by_device[camera], did)
    if has_daq := bool(probes or cameras or behaviour):
        recorder.record_daq(did, session.films, analogue_bpod)
    if "missing_description" not in of_session:
        described = {fov: describe_fov(index, movie) for index, fov in enumerate(fovs)}
        devices = _devices(probes, described, cameras, wrong="wrong_description" in of_session)
        content = _description(devices, has_daq and (sync or bool(probes)), behaviour)
        (path / DESCRIPTION).write_text(yaml.safe_dump(content, sort_keys=False))
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

    def record_daq(self, did: Behaviour | None, films: dict[str, Film], analogue_bpod: bool) -> None:
        """Write the DAQ card's files, which hold the signals that the devices are synchronised with."""
        (self.path / RAW).mkdir(exist_ok=True)
        binary = self.path / RAW / "_spikeglx_ephysData_g0_t0.nidq.bin"
        lines = {f"{camera}_camera": LINES[camera] for camera in films}
        pulses = {LINES[camera]: each.ttl_times for camera, each in films.items()}
        analogue: list[np.ndarray] = []
        if did is not None:
            lines["audio"], pulses[AUDIO_LINE] = AUDIO_LINE, task_files.sounds(did)
        if did is not None and analogue_bpod:
            analogue = [task_files.bpod_pulses(did)]
        elif did is not None:
            lines["bpod"], pulses[BPOD_LINE] = BPOD_LINE, did.starts
        meta = probe_files.daq_meta(binary.name, rate=SAMPLING_RATE, created=self.created, n_analogue=len(analogue))
        probe_files.write_daq(binary, meta, self.duration_s if self.sync else 0.0, pulses, analogue)
        if lines or analogue:
            pins = [{"PIN": f"P0.{line}", "LABEL": name} for name, line in {**lines, "imec_sync": probe_files.DAQ_SYNC_BIT}.items()]
            others = [{"PIN": f"AI{channel}", "LABEL": "bpod"} for channel in range(len(analogue))]
            wiring = {"SYSTEM": "3B", "SYNC_WIRING_DIGITAL": pins, "SYNC_WIRING_ANALOG": others}
            binary.with_suffix(".wiring.json").write_text(json.dumps(wiring, indent=1))


def _check_cameras(cameras: Sequence[str]) -> None:
    if set(cameras) - set(LINES) or len(set(cameras)) != len(cameras):
        raise SimulationError(f"cameras {', '.join(cameras)} cannot be simulated", f"use each of {', '.join(LINES)} once at most")


def _check(path: Path, devices: Sequence[str], probes: Sequence[str], duration_s: float, n_channels: int, *, others: bool) -> None:
    if path.exists():
        raise SimulationError(f"{path} is there already", "choose another number, or remove the folder")
    if not (devices or others) or len(set(devices)) != len(devices):
        raise SimulationError(f"probes and fields of view {', '.join(devices) or '(none)'}: one or more different names are needed")
    if not 4 <= n_channels <= probe_files.READOUT_CHANNELS:
        raise SimulationError(f"{n_channels} channels: a Neuropixels 1.0 probe saves 4 to {probe_files.READOUT_CHANNELS}")
    if not 2 <= duration_s <= LONGEST_S:
        raise SimulationError(f"{duration_s:g} s cannot be simulated", f"simulate 2 s to {LONGEST_S} s")
    there = next(folder for folder in path.parents if folder.exists())
    free, needed = shutil.disk_usage(there).free, 2 * SAMPLING_RATE * duration_s * (n_channels + 1) * len(probes)
    if needed > free:
        raise SimulationError(f"{needed / 1e9:.0f} GB do not fit into the {free / 1e9:.0f} GB that are free at {there}", "simulate less")


def _check_neurons(subject: str, n_units: int | None, seed: int) -> None:
    if len(subject) > LONGEST_NICKNAME:
        raise SimulationError(f"{subject!r} is too long for a subject", f"use {LONGEST_NICKNAME} characters or less")
    if not 0 <= seed < 2**63:
        raise SimulationError(f"seed {seed} cannot be used", "use 0 or a greater number below 2**63")
    if n_units is not None and n_units < 1:
        raise SimulationError(f"{n_units} neurons cannot be simulated", "simulate one or more")


def _devices(probes: Sequence[str], fovs: dict[str, Any], cameras: Sequence[str], *, wrong: bool) -> dict[str, Any]:
    devices: dict[str, Any] = {}
    if probes:
        devices["neuropixel"] = {probe: {"collection": f"{RAW}/{probe}", "sync_label": "imec_sync", "version": "NP1.0"} for probe in probes}
    if fovs:
        devices["two_photon"] = fovs
    if cameras:
        said = {"collection": VIDEOS, "fps": FRAME_RATE, "simulated": True}
        devices["cameras"] = {each: {**said, "sync_label": f"{each}_camera"} for each in cameras}
    if wrong:
        devices["theremin"] = {"theremin00": {"collection": "raw_theremin_data"}}
    return devices


def _description(devices: dict[str, Any], has_daq: bool, behaviour: bool) -> dict[str, Any]:
    sync: dict[str, Any] = {}
    if has_daq:
        sync = {"nidq": {"collection": RAW, "extension": "bin", "acquisition_software": "spikeglx"}}
    elif "two_photon" in devices:
        sync = {"daq": {"collection": SYNC, "extension": "npy"}}
    elif behaviour:
        sync = {"bpod": {"collection": task_files.COLLECTION}}
    tasks = [{task_files.PROTOCOL: {"collection": task_files.COLLECTION, "sync_label": "bpod"}}] if behaviour else []
    procedures = {"neuropixel": "Ephys recording with acute probe(s)", "two_photon": "Imaging"}
    return {
        "version": "1.0.0",
        "projects": [],
        "procedures": [name for kind, name in procedures.items() if kind in devices] or ["Behavior training/tasks"],
        "devices": devices,
        "sync": sync,
        "tasks": tasks,
    }


def _share(progress: Progress | None, index: int, total: int, probe: str) -> Callable[[float], None]:
    """A probe's own progress, as a part of the whole session's."""
    return lambda fraction: progress((index + fraction) / total, f"{probe} recorded") if progress else None
