"""What a running task holds in its hand: its resolved inputs, a scratch folder, and the ways to hand results back.

It runs in the attempt's child process, which may be a Python environment with nothing of Ranvier's other dependencies, so third-party
packages are imported where they are used.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ranvier.declare import QC_OUTCOMES, fill
from ranvier.errors import RanvierError


class JobError(RanvierError):
    """The task asked for something that its declaration does not have; the message says what to declare."""


@dataclass
class Job:
    """The one argument that every task takes first.

    Attributes
    ----------
    session_path
        The session folder.
    device
        Name of the probe, camera, field of view or protocol of this instance, such as ``probe00``; empty for a session's task.
    description
        What the acquisition description says of that device (a dict, with ``collection`` among its keys).
    inputs
        Resolved input files by the pattern under which they were declared.
    parameters
        Every parameter with its value.
    scratch
        An empty folder on the file system of the session, for intermediate files; removed after the attempt.
    staging
        Where outputs are written before they are checked and moved into the session; use `output` or `save`.
    cpu, gpu
        Cores and GPUs that this attempt may use.
    tool
        Python interpreter of the environment that the task names as its ``tool``; empty where it names none.
    log
        Logger; what it writes shows in the attempt's log and in Prefect.
    """

    session_path: Path
    device: str
    description: dict[str, Any]
    inputs: dict[str, list[Path]]
    outputs: list[str]
    parameters: dict[str, Any]
    values: dict[str, Any]
    scratch: Path
    staging: Path
    cpu: int = 1
    gpu: float = 0
    tool: str = ""
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("ranvier.task"))
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: list[dict[str, str]] = field(default_factory=list)
    notify: Callable[[dict[str, Any]], None] | None = None

    def input(self, pattern: str | None = None) -> Path:
        """The one file of an input.

        Parameters
        ----------
        pattern
            The pattern as it was declared; may be omitted where the task has one input only.

        Raises
        ------
        JobError
            If no such input is declared, or if it does not match exactly one file.
        """
        files = self.files(pattern)
        if len(files) != 1:
            found = ", ".join(path.name for path in files) or "none"
            raise JobError(f"input {pattern or next(iter(self.inputs))!r} must be one file, found {found} in {self.session_path}")
        return files[0]

    def files(self, pattern: str | None = None) -> list[Path]:
        """All files of an input, sorted; empty where an optional input is not there."""
        if pattern is None and len(self.inputs) == 1:
            return next(iter(self.inputs.values()))
        if pattern not in self.inputs:
            raise JobError(f"no input {pattern!r} is declared; declared are {', '.join(self.inputs) or 'none'}")
        return self.inputs[pattern]

    def output(self, path: str) -> Path:
        """Where to write an output file.

        Parameters
        ----------
        path
            Path below the session folder; placeholders are filled in. It must match a declared output.

        Returns
        -------
        pathlib.Path
            A path in the staging area, whose folder exists. The file appears in the session when the attempt is committed.
        """
        relative = fill(path, self.values)
        if not any(fnmatch.fnmatchcase(relative, declared) for declared in self.outputs):
            raise JobError(f"{relative!r} is not among the declared outputs ({', '.join(self.outputs)}); declare it with Output(...)")
        target = self.staging / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def save(self, path: str, data: Any) -> Path:
        """Write data to an output file, in the format that its extension names: npy, pqt, csv, tsv, json, yaml, txt.

        Parameters
        ----------
        path
            As for `output`.
        data
            An array for npy, a pandas data frame for pqt, csv and tsv, a JSON-like value for json and yaml, a string for txt.

        Returns
        -------
        pathlib.Path
            The file in the staging area.
        """
        target = self.output(path)
        writer = _WRITERS.get(target.suffix)
        if writer is None:
            raise JobError(f"cannot save {target.suffix!r} files; write it yourself to job.output({path!r}), or use {', '.join(_WRITERS)}")
        writer(target, data)
        return target

    def qc(self, check: str, value: Any, outcome: str = "NOT_SET") -> None:
        """Note the result of a quality check.

        Parameters
        ----------
        check
            Name of the check, such as ``noise_rms``; the task and the device are put before it.
        value
            What was measured: a number, a string, a boolean or None.
        outcome
            ``PASS``, ``WARNING``, ``FAIL``, ``CRITICAL``, or ``NOT_SET`` for a value without a verdict.
        """
        if outcome not in QC_OUTCOMES:
            raise JobError(f"QC outcome {outcome!r} is unknown; use one of {', '.join(QC_OUTCOMES)}")
        value = value.item() if hasattr(value, "item") else value
        self.checks[check] = {"value": value, "outcome": outcome}
        self.log.info("QC %s = %s (%s)", check, value, outcome)

    def figure(self, name: str, figure: Any, caption: str = "") -> Path:
        """Keep a matplotlib figure; it is shown with the session and stays in its ``figures`` folder.

        Parameters
        ----------
        name
            Short name, such as ``raster``.
        figure
            A ``matplotlib.figure.Figure``.
        caption
            One sentence: what is to be seen.
        """
        if not re.fullmatch(r"[\w-]+", name):
            raise JobError(f"figure name {name!r} is not letters, digits, '_' and '-'")
        target = self.staging / "figures" / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, dpi=120, bbox_inches="tight")
        self.figures.append({"name": name, "caption": caption})
        return target

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell how far the task is, from 0 to 1; shown with the task while it runs."""
        fraction = min(max(float(fraction), 0.0), 1.0) if fraction == fraction else 0.0  # NaN is not equal to itself
        if self.notify is not None:
            self.notify({"progress": round(fraction, 4), "message": message})
        self.log.info("%3.0f %% %s", 100 * fraction, message)


def _save_npy(target: Path, data: Any) -> None:
    import numpy as np

    np.save(target, np.asarray(data), allow_pickle=False)


def _save_yaml(target: Path, data: Any) -> None:
    import yaml

    target.write_text(yaml.safe_dump(data, sort_keys=False))


_WRITERS = {
    ".npy": _save_npy,
    ".pqt": lambda target, data: data.to_parquet(target),
    ".csv": lambda target, data: data.to_csv(target, index=False),
    ".tsv": lambda target, data: data.to_csv(target, index=False, sep="\t"),
    ".json": lambda target, data: target.write_text(json.dumps(data, indent=1)),
    ".yaml": _save_yaml,
    ".txt": lambda target, data: target.write_text(data),
}
