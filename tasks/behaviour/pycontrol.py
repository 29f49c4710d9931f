"""Trials of any pyControl task, from its log: ``.tsv`` of version 2, ``.txt`` of the versions before.

Their form: https://pycontrol.readthedocs.io, "pyControl data".
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.behaviour.bpod import BehaviourError

if TYPE_CHECKING:
    import pandas as pd

HEADER = ["time", "type", "subtype", "content"]
#: Columns of the table for the trial itself.
BEGIN, END = "trial_begin", "trial_end"
_COPY = "copy the file from the rig again"


@dataclass
class Log:
    """What a log tells: when states were entered and events happened, by name; values of variables, in order; all in s."""

    moments: dict[str, list[float]] = field(default_factory=dict)
    variables: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    end: float = 0.0

    def note(self, time: float, name: str) -> None:
        """A state was entered, or an event happened."""
        self.moments.setdefault(name, []).append(time)


def read(path: Path, begins: str) -> pd.DataFrame:
    """Read what happened in each trial, one row a trial.

    Parameters
    ----------
    path
        The ``.tsv`` or ``.txt``.
    begins
        Name of the state or event with which a trial begins.

    Returns
    -------
    pandas.DataFrame
        When each state was first entered and each event first happened in the trial, s on pyControl's clock, by its name; NaN where it was
        not. The value that each variable had at the trial's end, as far as it was printed or set by then. ``trial_begin`` and
        ``trial_end``, which is the next one's begin.

    Raises
    ------
    BehaviourError
        If the file is no such log, or if nothing of that name is in it.
    """
    import pandas as pd

    try:
        log = (_read_tsv if path.suffix == ".tsv" else _read_txt)(path.read_text().splitlines())
    except (OSError, ValueError, KeyError, IndexError, StopIteration) as error:
        raise BehaviourError(f"{path} is no log of pyControl: {type(error).__name__}: {error}", _COPY) from error
    if begins not in log.moments:
        known = ", ".join(sorted(log.moments)) or "nothing"
        raise BehaviourError(f"{path}: no trial begins with {begins!r}; in it are {known}", "mend 'trial' in the description")
    starts = np.array(log.moments[begins])
    columns: dict[str, Any] = _variables(log, starts)
    columns |= {name: _first(np.array(times), starts) for name, times in log.moments.items()}
    return pd.DataFrame({**columns, BEGIN: starts, END: np.append(starts[1:], log.end)})


def is_log(path: Path) -> bool:
    """Whether a ``.tsv`` is a log of pyControl, not a table of trials; a ``.txt`` always is."""
    with path.open(errors="replace") as file:
        return path.suffix == ".txt" or file.readline().rstrip("\n").split("\t") == HEADER


def _read_tsv(lines: list[str]) -> Log:
    log = Log()
    for line in lines[1:]:
        stamp, kind, _, content = line.split("\t", 3)
        log.end = float(stamp)
        if kind in ("state", "event"):
            log.note(log.end, content)
        elif kind == "variable":
            log.variables.append((log.end, json.loads(content)))
    return log


def _read_txt(lines: list[str]) -> Log:
    """Lines of letter, time in ms and content; states and events have numbers, which lines S and E name."""
    log = Log()
    heads = [json.loads(next(line[2:] for line in lines if line[:2] == start)) for start in ("S ", "E ")]
    names = {number: name for head in heads for name, number in head.items()}
    for letter, rest in ((line[0], line[2:]) for line in lines if line[:2] in ("D ", "V ", "P ")):
        stamp, _, content = rest.partition(" ")
        log.end = int(stamp) / 1000
        if letter == "D":
            log.note(log.end, names[int(content)])
        elif letter == "V":
            name, _, value = content.partition(" ")
            log.variables.append((log.end, {name: _value(value)}))
        elif content.startswith("{"):
            log.variables.append((log.end, json.loads(content)))
    return log


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # a word, or what else a task's author had as a value
        return text


def _first(times: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The first of these times in each trial, NaN for none."""
    found = np.full(starts.size, np.nan)
    trial = np.searchsorted(starts, times, side="right") - 1
    inside, first = np.unique(trial, return_index=True)
    found[inside[inside >= 0]] = times[first[inside >= 0]]
    return found


def _variables(log: Log, starts: np.ndarray) -> dict[str, Any]:
    """The last value of each variable up to the end of each trial; None before it was known."""
    columns: dict[str, list[Any]] = {}
    ends = np.append(starts[1:], np.inf)
    for time, values in log.variables:
        for name, value in values.items():
            column = columns.setdefault(name, [None] * starts.size)
            first = int(np.searchsorted(ends, time, side="right"))
            column[first:] = [value] * (starts.size - first)
    return columns
