"""Trials of any protocol from a table, from Bpod's ``.mat`` or from pyControl's log, by a mapping in the acquisition description.

tasks:
- my_task:
collection: raw_task_data_00
columns: {stimOn_times: stim_onset_s, choice: response, feedbackType: [reward, timeout]}
values: {choice: {left: 1, right: -1, none: 0}, feedbackType: {reward: 1, timeout: -1, none: 0}}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.behaviour import bpod_mat, pycontrol
from ranvier.tasks.behaviour.bpod import BehaviourError, only

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "intervals_0", "intervals_1", "goCue_times", "response_times", "choice", "stimOn_times", "contrastLeft", "contrastRight",
    "feedback_times", "feedbackType", "rewardVolume", "probabilityLeft", "firstMovement_times",
)  # fmt: skip
SUFFIXES = (".csv", ".tsv", ".mat", ".txt")
#: The word for a trial in which none of several columns has a time.
NONE = "none"


@dataclass(frozen=True)
class PlainTrials:
    """IBL's columns of a table; where it came from; and of Bpod's files when each trial began on its clock, s, shape (n_trials,)."""

    table: pd.DataFrame
    path: Path
    bpod_starts: np.ndarray | None


def read(paths: Sequence[Path], description: dict[str, Any], folder: Path) -> PlainTrials:
    """Read the trials, times in s: of a table on the session's clock, else on that of Bpod or pyControl.

    Parameters
    ----------
    paths
        The files of the protocol's folder.
    description
        Of the protocol: ``columns`` gives the file's column for each of IBL's, or several, of which that with the earliest time in a trial
        gives its name; ``values`` numbers for words, by column; ``file`` the file's name where there are several; ``trial`` the state or
        event of pyControl with which a trial begins.
    folder
        Where they were looked for, for the messages.

    Raises
    ------
    BehaviourError
        If there is not one file, or if the mapping does not fit it.
    """
    import pandas as pd

    wanted = str(description.get("file", f"table of trials ({', '.join(SUFFIXES)})"))
    path = only([each for each in paths if description.get("file") in (None, each.name)], folder, wanted)
    mapping, words = dict(description["columns"]), dict(description.get("values") or {})
    if unknown := set(mapping) - set(COLUMNS):
        raise BehaviourError(f"columns of the description: {', '.join(sorted(unknown))} unknown", f"use {', '.join(COLUMNS)}")
    raw = _raw(path, description)
    if missing := [theirs for each in mapping.values() for theirs in ([each] if isinstance(each, str) else each) if theirs not in raw]:
        raise BehaviourError(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, raw))}", "mend the mapping")
    table = pd.DataFrame({ours: _numbers(_column(raw, mapping[ours], path), words.get(ours), path) for ours in COLUMNS if ours in mapping})
    if table.empty:
        raise BehaviourError(f"{path} holds no trial", "remove the protocol from the description, or name another file")
    for name in table:
        if name.startswith("intervals") and not np.isfinite(table[name]).all():
            raise BehaviourError(
                f"{path}: {mapping[name]} of trial {int(np.flatnonzero(~np.isfinite(table[name]))[0])} is no time", "mend it"
            )
    return PlainTrials(table, path, raw[bpod_mat.STARTS].to_numpy(float) if path.suffix == ".mat" else None)


def _raw(path: Path, description: dict[str, Any]) -> pd.DataFrame:
    """What the file has of each trial, by its own names."""
    import pandas as pd

    if path.suffix == ".mat":
        return bpod_mat.read(path)
    if path.suffix != ".csv" and pycontrol.is_log(path):
        if not description.get("trial"):
            raise BehaviourError(f"{path} is a log of pyControl: what does a trial begin with?", "say so in the description: trial: STATE")
        return pycontrol.read(path, str(description["trial"]))
    try:
        return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    except (ValueError, OSError) as error:
        raise BehaviourError(f"{path} cannot be read as a table: {error}", "mend the file, or name another in the description") from error


def _column(raw: pd.DataFrame, theirs: str | list[str], path: Path) -> pd.Series:
    """A column, or of several the name of that which has the earliest time."""
    import pandas as pd

    if isinstance(theirs, str):
        return raw[theirs]
    times = pd.DataFrame({name: _numbers(raw[name], None, path) for name in theirs})
    return times.fillna(np.inf).idxmin(axis=1).where(times.notna().any(axis=1), NONE).rename("/".join(theirs))


def _numbers(values: pd.Series, words: dict[str, float] | None, path: Path) -> np.ndarray:
    import pandas as pd

    if words:
        if unknown := set(values.dropna().astype(str)) - set(map(str, words)):
            raise BehaviourError(
                f"{path}: {values.name} has {', '.join(sorted(unknown))}, which 'values' does not name", "mend the mapping"
            )
        values = values.astype(str).map({str(word): number for word, number in words.items()})
    try:
        return pd.to_numeric(values).to_numpy(float)
    except (ValueError, TypeError) as error:
        raise BehaviourError(f"{path}: {values.name} is not numbers: {error}", "give numbers for the words in 'values'") from None
