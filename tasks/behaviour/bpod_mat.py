"""Trials of any protocol that Bpod's MATLAB program ran, from the ``SessionData`` that it saves.

Its form: https://sites.google.com/site/bpoddocumentation, "Bpod data structure".
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.behaviour.bpod import BehaviourError

if TYPE_CHECKING:
    import pandas as pd

#: When each trial began, s on Bpod's clock.
STARTS = "TrialStartTimestamp"
_COPY = "copy the file from the rig again"


def read(path: Path) -> pd.DataFrame:
    """Read what Bpod knows of each trial, one row a trial.

    Parameters
    ----------
    path
        The ``.mat``.

    Returns
    -------
    pandas.DataFrame
        ``States.<name>`` and ``States.<name>.end``, when a state was first entered and left, and ``Events.<name>``, when an event first
        happened, s on Bpod's clock; NaN where it was not. Besides, by its own name, whatever ``SessionData`` has of one number a trial;
        below ``Custom`` as ``Custom.<name>``.

    Raises
    ------
    BehaviourError
        If the file cannot be read, or holds no trials of Bpod.
    """
    import pandas as pd

    data = _session_data(path)
    try:
        trials = _listed(data["RawEvents"]["Trial"])
        starts = np.atleast_1d(np.asarray(data[STARTS], float))[: len(trials)]
        moments = [dict(_moments(trial)) for trial in trials]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BehaviourError(f"{path}: its SessionData is not Bpod's: {type(error).__name__}: {error}", _COPY) from error
    if not trials or len(starts) != len(trials):
        raise BehaviourError(f"{path} has {len(trials)} trials and {len(starts)} times at which one began", _COPY)
    table = pd.DataFrame(moments).add(starts, axis=0)
    return pd.concat([table, pd.DataFrame(dict(_one_a_trial(data, len(trials))))], axis=1)


def _session_data(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, simplify_cells=True)
    except NotImplementedError as error:
        raise BehaviourError(f"{path} is a MATLAB file of version 7.3", "save it again with save(file, 'SessionData', '-v7')") from error
    except (OSError, ValueError, TypeError, EOFError, zlib.error, MatReadError) as error:
        raise BehaviourError(f"{path} cannot be read as a MATLAB file: {error}", _COPY) from error
    if not isinstance(content.get("SessionData"), dict):
        names = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise BehaviourError(f"{path} holds {names}, not the SessionData that Bpod saves", "name another file in the description")
    return dict(content["SessionData"])


def _listed(trials: Any) -> list[dict[str, Any]]:
    """The trials as a list: a single one is not in a cell array any more."""
    return [trials] if isinstance(trials, dict) else list(trials)


def _moments(trial: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """First moments of a trial's states and events, s from its start."""
    for name, times in trial["States"].items():
        first = np.asarray(times, float).reshape(-1, 2)[0]
        yield f"States.{name}", first[0]
        yield f"States.{name}.end", first[1]
    for name, times in (trial.get("Events") or {}).items():
        yield f"Events.{name}", np.atleast_1d(np.asarray(times, float))[0]


def _one_a_trial(data: dict[str, Any], n_trials: int) -> Iterator[tuple[str, np.ndarray]]:
    """Whatever there is of one number a trial, or of more; Bpod makes room for the next trial in advance."""
    custom = data.get("Custom")
    nested = {f"Custom.{name}": value for name, value in custom.items()} if isinstance(custom, dict) else {}
    for name, value in {**data, **nested}.items():
        values = np.atleast_1d(value) if isinstance(value, int | float | np.ndarray) else np.zeros(0)
        if name != "nTrials" and values.ndim == 1 and values.dtype.kind in "biuf" and values.size >= n_trials:
            yield name, values[:n_trials]
