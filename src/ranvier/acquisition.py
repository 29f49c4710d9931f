"""What was recorded in a session: read from the rig's description, else inferred from the files.

The description is IBL's ``_ibl_experiment.description.yaml``, so that IBL rigs are drop-in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ranvier.errors import RanvierError
from ranvier.session import Session

DESCRIPTION = "_ibl_experiment.description.yaml"

#: What each kind of device in the description fans out into; None for kinds that are known, and that no task fans out over.
KINDS: dict[str, str | None] = {
    "neuropixel": "probe",
    "cameras": "camera",
    "mesoscope": "fov",
    "two_photon": "fov",
    "microphone": None,
    "widefield": None,
    "neurophotometrics": None,
}
_KNOWN_KEYS = {"devices", "tasks", "sync", "procedures", "projects", "version", "inferred"}


class AcquisitionError(RanvierError):
    """The description of a session cannot be read at all."""


@dataclass
class Acquisition:
    """What was recorded.

    Attributes
    ----------
    devices
        For ``probe``, ``camera``, ``fov`` and ``protocol``: the description of each by its name; each has a ``collection``.
    projects, procedures
        As described.
    task_protocol
        Names of the behavioural protocols, joined by ``/``.
    problems
        What is wrong with the description and does not stop the rest, in words.
    inferred
        Whether there was no description, so that the files had to tell.
    """

    devices: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    projects: list[str] = field(default_factory=list)
    procedures: list[str] = field(default_factory=list)
    task_protocol: str = ""
    problems: list[str] = field(default_factory=list)
    inferred: bool = False
    content: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The devices over which a task that is ``per=kind`` fans out; for ``session`` a single nameless one."""
        return {"": {}} if kind == "session" else self.devices.get(kind, {})


def read(session: Session) -> Acquisition:
    """What was recorded in a session.

    Raises
    ------
    AcquisitionError
        If there is a description that is not YAML or not a mapping.
    """
    path = session.path / DESCRIPTION
    if not path.exists() or path.stat().st_size == 0:
        return infer(session)
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        hint = "mend the file, or remove it and the files themselves will tell"
        raise AcquisitionError(f"{path} is not valid YAML: {error}", hint) from None
    if not isinstance(content, dict):
        raise AcquisitionError(f"{path} holds {type(content).__name__}, not a mapping", "see any IBL rig's description for its form")
    return parse(content, str(path))


def parse(content: dict[str, Any], source: str) -> Acquisition:
    """Make sense of a description; what makes none becomes one of the `problems`.

    Parameters
    ----------
    content
        The description as YAML gives it.
    source
        Where it came from, for the problems' wording.
    """
    found = Acquisition(content=content, inferred=bool(content.get("inferred")))
    found.projects = _strings(content.get("projects"))
    found.procedures = _strings(content.get("procedures"))
    for key in sorted(map(str, set(content) - _KNOWN_KEYS)):
        found.problems.append(f"{source}: key {key!r} is unknown and ignored")
    _parse_devices(content.get("devices") or {}, found, source)
    _parse_protocols(content.get("tasks") or [], found, source)
    return found


def infer(session: Session) -> Acquisition:
    """Tell what was recorded from the folders and file names that rigs use."""
    devices: dict[str, dict[str, Any]] = {}
    probes = {path.parent.name for path in session.path.glob("raw_ephys_data/probe*/*.ap.*bin")}
    if probes:
        devices["neuropixel"] = {probe: {"collection": f"raw_ephys_data/{probe}"} for probe in sorted(probes)}
    videos = session.path.glob("raw_video_data*/*Camera.raw.*")
    cameras = {match[1]: path.parent.name for path in videos if (match := _CAMERA.search(path.name))}
    if cameras:
        devices["cameras"] = {camera: {"collection": collection} for camera, collection in sorted(cameras.items())}
    stacks = sorted(path.name for path in session.path.glob("raw_imaging_data_*") if path.is_dir())
    if stacks:
        devices["two_photon"] = {f"FOV_{name.rpartition('_')[2]}": {"collection": name} for name in stacks}
    folders = [path.name for path in sorted(session.path.glob("raw_task_data_*")) if path.is_dir()]
    if any(session.path.glob("raw_behavior_data/_iblrig_taskData.raw*.jsonable")):
        folders.insert(0, "raw_behavior_data")  # the only protocol of older IBL rigs
    protocols = [{"unknown": {"collection": folder}} for folder in folders]
    return parse({"version": "1.0.0", "inferred": True, "devices": devices, "tasks": protocols}, str(session.path))


def write(session: Session, acquisition: Acquisition) -> Path:
    """Write an inferred description down, so that it can be seen and corrected."""
    path = session.path / DESCRIPTION
    head = "# Inferred from the files, as the rig left no description; correct it where it is wrong.\n"
    written = path.with_suffix(".new")
    written.write_text(head + yaml.safe_dump(acquisition.content))
    written.replace(path)
    return path


def alf_folder(collection: str) -> str:
    """Folder of the results of a behavioural protocol, by the folder of its raw data: ``alf/task_00`` for ``raw_task_data_00``."""
    number = re.fullmatch(r"raw_task_data_(\d+)", collection)
    return f"alf/task_{number[1]}" if number else "alf"


_CAMERA = re.compile(r"_iblrig_(\w+?)Camera\.raw\.")


def _strings(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value or []
    return [str(item) for item in values]


def _parse_devices(devices: Any, found: Acquisition, source: str) -> None:
    if not isinstance(devices, dict):
        found.problems.append(f"{source}: 'devices' must be a mapping of kinds, it is {type(devices).__name__}; no device was read")
        return
    for kind, entries in devices.items():
        if kind not in KINDS:
            found.problems.append(f"{source}: device kind {kind!r} is unknown (known: {', '.join(KINDS)}); its data are left alone")
        elif not isinstance(entries, dict):
            found.problems.append(f"{source}: devices.{kind} must map names to descriptions; it was left out")
        elif target := KINDS[kind]:
            for name, entry in entries.items():
                _parse_device(target, f"devices.{kind}.{name}", str(name), entry, found, source)


def _parse_device(target: str, where: str, name: str, entry: Any, found: Acquisition, source: str) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("collection"), str):
        found.problems.append(f"{source}: {where} has no 'collection', the folder of its data; it was left out")
    elif entry["collection"].startswith("/") or ".." in entry["collection"].split("/"):
        found.problems.append(f"{source}: {where}: collection {entry['collection']!r} leaves the session folder; it was left out")
    elif not re.fullmatch(r"\w[\w.-]*", name):
        found.problems.append(f"{source}: {where}: a device's name is letters, digits, '_', '-' and '.'; it was left out")
    else:
        found.devices.setdefault(target, {})[name] = entry


def _parse_protocols(tasks: Any, found: Acquisition, source: str) -> None:
    names: list[str] = []
    for index, item in enumerate(tasks if isinstance(tasks, list) else [tasks]):
        if not isinstance(item, dict) or len(item) != 1:
            found.problems.append(f"{source}: tasks[{index}] must map one protocol's name to its description; it was left out")
            continue
        protocol, entry = next(iter(item.items()))
        names.append(str(protocol))
        _parse_device("protocol", f"tasks[{index}]", f"{protocol}_{index:02d}", entry, found, source)
    found.task_protocol = "/".join(names)
