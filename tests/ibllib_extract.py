"""What ibllib makes of a session, for tests: run by a Python that has ibllib, ``python ibllib_extract.py request.json result.npz``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def extracted(session: Path, collection: str, wheel: bool) -> tuple[Any, dict[str, Any]]:
    """The extractor of a session and what it made; the trials alone where ibllib ends with an IndexError on the wheel."""
    from ibllib.io.extractors import training_wheel
    from ibllib.io.extractors.bpod_trials import get_bpod_extractor

    if not wheel:
        nothing = np.zeros(0)
        training_wheel.Wheel._extract = lambda self: (*[nothing] * 5, *[np.full(len(self.bpod_trials), np.nan)] * 2)
    extractor = get_bpod_extractor(session, task_collection=collection)
    made, _ = extractor.extract(task_collection=collection, save=False)
    return extractor, made if isinstance(made, dict) else dict(zip(extractor.var_names, made, strict=True))


def behaviour(session: Path, collection: str, *, wheel: bool = True) -> dict[str, np.ndarray]:
    """Trials, wheel and movements."""
    _, named = extracted(session, collection, wheel)
    table = named.pop("table", None)
    columns = {} if table is None else {f"table.{name}": table[name].to_numpy() for name in table.columns}
    return columns | {name: np.asarray(values) for name, values in named.items() if values is not None}


def task_qc(session: Path, collection: str, *, wheel: bool = True) -> dict[str, np.ndarray]:
    """Which trials pass each check of the task (no values where it was not done), and the outcome, by name."""
    from ibllib.io.raw_data_loaders import load_bpod_fronts
    from ibllib.qc.task_extractors import TaskQCExtractor
    from ibllib.qc.task_metrics import TaskQC
    from one.api import ONE

    extractor, made = extracted(session, collection, wheel)
    read = TaskQCExtractor(session)
    read.data, read.settings, read.wheel_encoding = read.rename_data(made), extractor.settings, "X1"
    read.frame_ttls, read.audio_ttls = load_bpod_fronts(session, task_collection=collection)
    qc = TaskQC(session, one=ONE(mode="local", cache_dir=session.parents[4] / "one"))
    qc.extractor = read
    qc.compute()
    outcomes = qc.compute_session_status(use_custom=False)[2]
    passed = {name: np.zeros(0) if each is None else np.asarray(each, float) for name, each in qc.passed.items()}
    values = {f"passed.{name.removeprefix('_task_')}": each for name, each in passed.items()}
    return values | {f"outcome.{name.removeprefix('_task_')}": np.array(outcome.name) for name, outcome in outcomes.items()}


def camera(session: Path, request: dict) -> dict[str, np.ndarray]:
    """Times of a camera's frames, by the DAQ's edges or by Bpod."""
    from ibllib.io.extractors import camera as extractors

    if request["sync"] is None:
        extractor = extractors.CameraTimestampsBpod(session)
        times, _ = extractor.extract(video_path=request["n_frames"], task_collection=request["collection"], save=False)
    else:
        sync = {name: np.asarray(values) for name, values in request["sync"].items()}
        extractor = extractors.CameraTimestampsFPGA(request["camera"], session)
        times, _ = extractor.extract(sync=sync, chmap=request["channels"], video_path=request["n_frames"], save=False)
    return {"times": np.asarray(times)}


def animals(folder: Path, asked: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Stage of training of each animal, and the psychometric fit of psychofit within our limits."""
    import pandas as pd
    import psychofit
    from brainbox.behavior import training
    from one.alf.io import AlfBunch

    stages, fits = [], []
    for each in asked:
        np.random.seed(0)
        trials = {date: AlfBunch.from_df(pd.read_parquet(folder / f"{each['number']}_{date}.pqt")) for date in each["days"]}
        stages.append(training.get_training_status(trials, list(each["days"].values()), each["rig"], each["late"])[0])
        part, contrast, n = training.compute_performance(training.concatenate_trials(trials), prob_right=True)
        limits = {"parmin": np.array([-100.0, 1, 0, 0]), "parmax": np.array([100.0, 100, 0.5, 0.5])}
        start = np.array([0.0, 20, 0.05, 0.05])
        fits.append(psychofit.mle_fit_psycho(np.vstack([contrast, n, part]), "erf_psycho_2gammas", start, **limits, nfits=5)[0])
    return {"stage": np.array(stages), "fit": np.array(fits)}


def main() -> None:
    """Read the request, extract, write."""
    request = json.loads(Path(sys.argv[1]).read_text())
    session = Path(request["session"])
    if "camera" in request:
        found = camera(session, request)
    elif "animals" in request:
        found = animals(session, request["animals"])
    else:
        make = task_qc if request.get("qc") else behaviour
        found = make(session, request["collection"], wheel=request.get("wheel", True))
    np.savez(sys.argv[2], **found)


if __name__ == "__main__":
    main()
