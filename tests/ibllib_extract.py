"""What ibllib makes of a session, for tests: run by a Python that has ibllib, ``python ibllib_extract.py request.json result.npz``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def behaviour(session: Path, collection: str, *, wheel: bool = True) -> dict[str, np.ndarray]:
    """Trials, wheel and movements; the trials alone where ibllib ends with an IndexError on the wheel."""
    from ibllib.io.extractors import training_wheel
    from ibllib.io.extractors.bpod_trials import get_bpod_extractor

    if not wheel:
        nothing = np.zeros(0)
        training_wheel.Wheel._extract = lambda self: (*[nothing] * 5, *[np.full(len(self.bpod_trials), np.nan)] * 2)
    extractor = get_bpod_extractor(session, task_collection=collection)
    made, _ = extractor.extract(task_collection=collection, save=False)
    named = made if isinstance(made, dict) else dict(zip(extractor.var_names, made, strict=True))
    table = named.pop("table", None)
    columns = {} if table is None else {f"table.{name}": table[name].to_numpy() for name in table.columns}
    return columns | {name: np.asarray(values) for name, values in named.items() if values is not None}


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


def main() -> None:
    """Read the request, extract, write."""
    request = json.loads(Path(sys.argv[1]).read_text())
    session = Path(request["session"])
    found = camera(session, request) if "camera" in request else behaviour(session, request["collection"], wheel=request.get("wheel", True))
    np.savez(sys.argv[2], **found)


if __name__ == "__main__":
    main()
