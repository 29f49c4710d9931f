"""Trials of any protocol from a CSV, by a mapping in the acquisition description.

tasks:
- my_task:
collection: raw_task_data_00
columns: {stimOn_times: stim_onset_s, choice: response, feedbackType: outcome}
values: {choice: {left: 1, right: -1, none: 0}}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.behaviour.bpod import BehaviourError, only

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "intervals_0", "intervals_1", "goCue_times", "response_times", "choice", "stimOn_times", "contrastLeft", "contrastRight",
    "feedback_times", "feedbackType", "rewardVolume", "probabilityLeft", "firstMovement_times",
)  # fmt: skip


def read(paths: Sequence[Path], description: dict[str, Any], folder: Path) -> pd.DataFrame:
    """Read a table of trials, times in s on the session's clock.

    Parameters
    ----------
    paths
        The CSV files of the protocol's folder.
    description
        Of the protocol: ``columns`` gives the file's column for each of IBL's; ``file`` its name where there are several; ``values``
        numbers for words, by column.
    folder
        Where they were looked for, for the messages.

    Raises
    ------
    BehaviourError
        If there is not one file, or if the mapping does not fit it.
    """
    import pandas as pd

    path = only([each for each in paths if description.get("file") in (None, each.name)], folder, str(description.get("file", "CSV")))
    mapping, words = dict(description["columns"]), dict(description.get("values") or {})
    if unknown := set(mapping) - set(COLUMNS):
        raise BehaviourError(f"columns of the description: {', '.join(sorted(unknown))} unknown", f"use {', '.join(COLUMNS)}")
    try:
        raw = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise BehaviourError(f"{path} cannot be read as CSV: {error}", "mend the file, or name another in the description") from error
    if missing := [theirs for theirs in mapping.values() if theirs not in raw]:
        raise BehaviourError(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, raw))}", "mend the mapping")
    table = pd.DataFrame({ours: _numbers(raw[mapping[ours]], words.get(ours), path) for ours in COLUMNS if ours in mapping})
    if table.empty:
        raise BehaviourError(f"{path} holds no trial", "remove the protocol from the description, or name another file")
    for name in table:
        if name.startswith("intervals") and not np.isfinite(table[name]).all():
            raise BehaviourError(
                f"{path}: {mapping[name]} of trial {int(np.flatnonzero(~np.isfinite(table[name]))[0])} is no time", "mend it"
            )
    return table


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
