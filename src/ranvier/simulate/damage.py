"""What goes wrong on rigs, done on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ranvier.errors import RanvierError

#: What can be wrong with one probe.
PROBE_DAMAGES = {
    "missing_meta": "the .ap.meta was not copied",
    "malformed_meta": "the .ap.meta was cut off while it was written",
    "truncated_bin": "the copy of the .ap.bin stopped short of its end",
    "silent_probe": "the headstage gave nothing but the last bit's flicker",
    "dead_channels": "every sixteenth channel is dead",
}
#: What can be wrong with one camera.
CAMERA_DAMAGES = {
    "missing_video": "the video was not copied",
    "truncated_video": "the copy of the video stopped half way",
    "black_video": "the lens cap was on",
    "frozen_video": "the camera gave one frame again and again",
    "dropped_frames": "frames were lost, and the camera's counter says which",
    "lost_frames": "frames were lost, and nothing says which",
    "late_recording": "the camera ran before its frames were written, so that the first TTLs have none",
}
#: What can be wrong with the files of a behavioural protocol.
TASK_DAMAGES = {
    "encoder_cut": "the encoder's positions end in the middle of the session",
    "nan_times": "the start of a trial is no number",
    "trials_cut": "the last trial was cut off while it was written",
}
#: What can be wrong with one field of view.
FOV_DAMAGES = {
    "truncated_tiff": "the copy of the last .tif stopped short of its end",
    "constant_frames": "the shutter was closed: every frame is the same",
    "missing_plane": "one of the planes was not written",
    "missing_frames": "some frames were lost between scanner and disk",
}
#: What can be wrong with the whole session.
SESSION_DAMAGES = {
    "wrong_description": "the description names a kind of device that nobody knows",
    "missing_description": "the rig wrote no description",
}
DAMAGES = {**PROBE_DAMAGES, **FOV_DAMAGES, **CAMERA_DAMAGES, **TASK_DAMAGES, **SESSION_DAMAGES}

Damage = str | Sequence[str] | Mapping[str, str | Sequence[str]] | None


class SimulationError(RanvierError):
    """A session cannot be simulated as asked; the message says why."""


def damages_of(
    damage: Damage, probes: Sequence[str], fovs: Sequence[str] = (), cameras: Sequence[str] = ()
) -> tuple[dict[str, set[str]], set[str]]:
    """Sort out what is to go wrong where.

    Parameters
    ----------
    damage
        One kind, several, or kinds by the name of the device. Kinds that are not given to one befall every device that can have them.
    probes, fovs, cameras
        Names of the session's probes, fields of view and cameras.

    Returns
    -------
    dict, set
        Kinds by device, and the session's own kinds.

    Raises
    ------
    SimulationError
        For a kind or a device that there is not.
    """
    devices = [*probes, *fovs, *cameras]
    by_device = damage if isinstance(damage, Mapping) else dict.fromkeys(devices or [""], damage or ())
    if unknown := set(by_device) - {*devices, ""}:
        raise SimulationError(f"no device {', '.join(sorted(unknown))} to damage", f"the session has {', '.join(devices)}")
    kinds = {device: {kinds} if isinstance(kinds, str) else set(kinds) for device, kinds in by_device.items()}
    everything = set().union(*kinds.values())
    if unknown := everything - set(DAMAGES):
        raise SimulationError(f"unknown damage {', '.join(sorted(unknown))}", f"use one of {', '.join(DAMAGES)}")
    possible = [(probes, PROBE_DAMAGES), (fovs, FOV_DAMAGES), (cameras, CAMERA_DAMAGES)]
    by_name = {name: kinds.get(name, set()) & set(known) for names, known in possible for name in names}
    return by_name, everything & {*SESSION_DAMAGES, *TASK_DAMAGES}


def damage_files(kinds: set[str], meta: Path, binary: Path) -> None:
    """Damage the files of a probe that were written whole."""
    if "truncated_bin" in kinds:
        with binary.open("r+b") as file:
            file.truncate(int(binary.stat().st_size * 0.6) - 1)
    if "malformed_meta" in kinds:
        text = meta.read_text()
        meta.write_text(text[: text.index("nSavedChans=") + len("nSaved")])
    if "missing_meta" in kinds:
        meta.unlink()
