"""What the Bpod state machine of an IBL rig wrote: one JSON object a trial, and the settings of the task."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.errors import RanvierError

if TYPE_CHECKING:
    from ranvier.job import Job

TASK_DATA = "{collection}/_iblrig_taskData.raw*.jsonable"
TASK_SETTINGS = "{collection}/_iblrig_taskSettings.raw*.json"
#: Of a rig that does not say which version it runs: the newest.
UNKNOWN_VERSION = (100, 0, 0)
_COPY = "copy the file from the rig again"
_log = logging.getLogger("ranvier.task")


class BehaviourError(RanvierError, ValueError):
    """The files of a behavioural protocol cannot be what they should; the message names the file, the hint what to do."""


@dataclass(frozen=True)
class TaskData:
    """The trials of one protocol.

    Attributes
    ----------
    path
        The file that they were read from.
    trials
        Each trial as the rig wrote it.
    settings
        Of the task; empty where the rig left none.
    version
        Of iblrig, which decides what the states mean.
    starts, ends
        Of the trials, s on Bpod's clock, shape (n_trials,).
    """

    path: Path
    trials: list[dict[str, Any]]
    settings: dict[str, Any]
    version: tuple[int, ...]
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.trials)

    def state(self, name: str, edge: int = 0) -> np.ndarray:
        """When a state was entered (edge 0) or left (edge 1) first in each trial, s, shape (n_trials,); NaN where it was not."""
        times = [trial["behavior_data"]["States timestamps"].get(name) or [[math.nan, math.nan]] for trial in self.trials]
        return np.array([each[0][edge] for each in times], dtype=float) + self.starts

    def state_entries(self, *names: str) -> list[np.ndarray]:
        """Every entry into any of the states, s, one sorted array a trial."""
        kept = []
        for trial, start in zip(self.trials, self.starts, strict=True):
            states = trial["behavior_data"]["States timestamps"]
            entries = np.array([entry[0] for name in names for entry in states.get(name, [])], dtype=float)
            kept.append(np.sort(entries[~np.isnan(entries)]) + start)
        return kept

    def events(self, *names: str) -> list[np.ndarray]:
        """Times of the events of these names, s, one sorted array a trial."""
        kept = []
        for trial, start in zip(self.trials, self.starts, strict=True):
            events = trial["behavior_data"]["Events timestamps"]
            kept.append(np.sort(np.array([time for name in names for time in events.get(name, [])], dtype=float)) + start)
        return kept

    def column(self, name: str, default: Any = math.nan) -> np.ndarray:
        """A value that each trial has, shape (n_trials,)."""
        return np.array([trial.get(name, default) for trial in self.trials])


def of_job(job: Job) -> TaskData:
    """The trials of the protocol that a job is for; its task declares `TASK_DATA` and `TASK_SETTINGS` as inputs."""
    folder = job.session_path / job.values["collection"]
    return read(only(job.files(TASK_DATA), folder, "_iblrig_taskData.raw.jsonable"), job.files(TASK_SETTINGS))


def only(paths: Sequence[Path], folder: Path, kind: str) -> Path:
    """The one file of a kind.

    Raises
    ------
    BehaviourError
        If there is none, or more than one.
    """
    if not paths:
        raise BehaviourError(f"{folder} has no {kind}", _COPY)
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise BehaviourError(f"{folder} has {len(paths)} files {kind}: {names}", "keep one a protocol; move the others elsewhere")
    return paths[0]


def read(path: Path, settings: Sequence[Path] = ()) -> TaskData:
    """Read the trials of a protocol.

    Parameters
    ----------
    path
        ``_iblrig_taskData.raw.jsonable``.
    settings
        ``_iblrig_taskSettings.raw.json``, where there is one.

    Raises
    ------
    BehaviourError
        If a file cannot be read, has a line that is no trial before its last one, or a trial without a time.

    Notes
    -----
    The last line may have been cut off when the session was stopped; then that trial is left out.
    """
    lines = [(number, line) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip()]
    trials = []
    for number, line in lines:
        try:
            trials.append(_trial(line))
        except ValueError as error:
            if number != lines[-1][0] or not trials:
                raise BehaviourError(f"{path}: line {number} is no trial: {error}", _COPY) from None
            _log.warning("%s: the last trial was cut off while it was written and is left out", path.name)
    if not trials:
        raise BehaviourError(f"{path} holds no trial", "was the session stopped at once? Remove the protocol from the description")
    content = _settings(settings[0]) if settings else {}
    times = {name: np.array([trial["behavior_data"][f"{name} timestamp"] for trial in trials], float) for name in _TIMES}
    for name, values in times.items():
        if not np.isfinite(values).all():
            wrong = int(np.flatnonzero(~np.isfinite(values))[0])
            raise BehaviourError(f"{path}: trial {wrong} has {name.lower()} time {values[wrong]}, not a number of seconds", _COPY)
    zero = times["Bpod start"]
    return TaskData(path, trials, content, rig_version(content), times["Trial start"] - zero, times["Trial end"] - zero)


def rig_version(settings: dict[str, Any]) -> tuple[int, ...]:
    """Version of iblrig that the settings name, such as (7, 2, 1)."""
    stated = str(settings.get("IBLRIG_VERSION") or settings.get("IBLRIG_VERSION_TAG") or "")
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", stated)
    return tuple(int(part or 0) for part in found.groups()) if found else UNKNOWN_VERSION


_TIMES = ("Bpod start", "Trial start", "Trial end")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BehaviourError(f"{path} cannot be read: {error}", _COPY) from error


def _settings(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise BehaviourError(f"{path} is not JSON: {error}", _COPY) from None
    return content if isinstance(content, dict) else {}


def _trial(line: str) -> dict[str, Any]:
    trial = json.loads(line)
    machine = trial.get("behavior_data") if isinstance(trial, dict) else None
    if not isinstance(machine, dict):
        raise ValueError("it has no behavior_data")
    if missing := [name for name in (*(f"{each} timestamp" for each in _TIMES), "States timestamps") if name not in machine]:
        raise ValueError(f"its behavior_data lack {', '.join(missing)}")
    machine.setdefault("Events timestamps", {})
    return trial
