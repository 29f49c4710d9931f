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
#: What can be wrong with the whole session.
SESSION_DAMAGES = {
    "wrong_description": "the description names a kind of device that nobody knows",
    "missing_description": "the rig wrote no description",
}
DAMAGES = {**PROBE_DAMAGES, **SESSION_DAMAGES}

Damage = str | Sequence[str] | Mapping[str, str | Sequence[str]] | None


class SimulationError(RanvierError):
    """A session cannot be simulated as asked; the message says why."""


def damages_of(damage: Damage, probes: Sequence[str]) -> tuple[dict[str, set[str]], set[str]]:
    """Sort out what is to go wrong where.

    Parameters
    ----------
    damage
        One kind, several, or kinds by the name of the probe. Kinds that are not given to one probe befall every probe.
    probes
        Names of the session's probes.

    Returns
    -------
    dict, set
        Kinds by probe, and the session's own kinds.

    Raises
    ------
    SimulationError
        For a kind or a probe that there is not.
    """
    by_probe = damage if isinstance(damage, Mapping) else dict.fromkeys(probes, damage or ())
    if unknown := set(by_probe) - set(probes):
        raise SimulationError(f"no probe {', '.join(sorted(unknown))} to damage", f"the session has {', '.join(probes)}")
    kinds = {probe: {kinds} if isinstance(kinds, str) else set(kinds) for probe, kinds in by_probe.items()}
    everything = set().union(*kinds.values())
    if unknown := everything - set(DAMAGES):
        raise SimulationError(f"unknown damage {', '.join(sorted(unknown))}", f"use one of {', '.join(DAMAGES)}")
    return {probe: kinds.get(probe, set()) & set(PROBE_DAMAGES) for probe in probes}, everything & set(SESSION_DAMAGES)


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
