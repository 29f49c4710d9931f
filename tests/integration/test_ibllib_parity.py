"""Trials, wheel and frame times held against ibllib 4.1.0 on the same files.

Only where ``RANVIER_IBLLIB_PYTHON`` names a Python that has it: ``python -m venv E && E/bin/pip install ibllib==4.1.0``, then
``RANVIER_IBLLIB_PYTHON=E/bin/python pytest tests/integration/test_ibllib_parity.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import PROTOCOL, caller, simulated

from ranvier.job import Job
from ranvier.settings import load
from ranvier.simulate import SimulatedSession
from ranvier.simulate.task_files import bpod_time
from ranvier.tasks.behaviour import bpod, daq
from ranvier.tasks.behaviour.camera_times import camera_times
from ranvier.tasks.behaviour.encoder import EncoderError
from ranvier.tasks.behaviour.trials import trials
from ranvier.tasks.behaviour.wheel import wheel

PYTHON = os.environ.get("RANVIER_IBLLIB_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="no ibllib to compare with: RANVIER_IBLLIB_PYTHON names no Python that has it")
SCRIPT = Path(__file__).parents[1] / "ibllib_extract.py"
RAW, VIDEOS = "raw_task_data_00", "raw_video_data"
#: Ours by ibllib's name.
BESIDE = {"quiescence": "quiescencePeriod"}
WHEEL = {"wheel_timestamps": "wheel.timestamps", "wheel_position": "wheel.position", "wheelMoves_intervals": "wheelMoves.intervals"}
WHEEL |= {f"wheelMoves_{name}": f"wheelMoves.{name}" for name in ("peakAmplitude", "peakVelocity_times")}
RunTask = Callable[..., Job]
Found = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunTask:
    return caller(tmp_path_factory.mktemp("jobs"), load(tmp_path_factory.mktemp("home")))


@pytest.fixture
def ibllib(tmp_path: Path) -> Callable[..., Found]:
    """What ibllib extracts."""

    def extract(session: Path, **asked: Any) -> Found:
        request, result = tmp_path / "request.json", tmp_path / "result.npz"
        request.write_text(json.dumps({"session": str(session), **asked}))
        command = [str(PYTHON), str(SCRIPT), str(request), str(result)]
        done = subprocess.run(command, env=dict(os.environ, HOME=str(tmp_path)), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        with np.load(result, allow_pickle=True) as content:
            return dict(content)

    return extract


def ours(job: Job) -> Found:
    """What a task wrote, by attribute; the trials' table column by column."""
    found: Found = {}
    for path in job.staging.rglob("_ibl_*"):
        name = path.name.removeprefix("_ibl_").rpartition(".")[0]
        if path.suffix == ".pqt":
            found |= {f"table.{column}": values.to_numpy() for column, values in pd.read_parquet(path).items()}
        else:
            found[name.removeprefix("trials.")] = np.load(path)
    return found


def compare(theirs: Found, made: Found, names: dict[str, str], atol: float = 1e-6) -> float:
    """Largest difference of all; values that are no numbers must be the same ones."""
    worst = 0.0
    for name, own in names.items():
        a, b = np.asarray(theirs[name], float), np.asarray(made[own], float)
        np.testing.assert_allclose(b, a, rtol=0, atol=atol, err_msg=name)
        worst = max(worst, float(np.nanmax(np.abs(a - b), initial=0)))
    return worst


def shared(theirs: Found, made: Found, without: tuple[str, ...] = ()) -> dict[str, str]:
    names = {name: BESIDE.get(name, name) for name in theirs}
    return {name: own for name, own in names.items() if own in made and name not in without}


def real(real_data: Path, tmp_path: Path, name: str) -> Path:
    path = tmp_path / "lab/Subjects/m1/2026-01-15/001"
    shutil.copytree(real_data / "behaviour" / name, path)
    return path


#: Columns that are ours on purpose where the rig is older than iblrig 5 (docs/decisions.md): nothing told when the stimulus went off, and
#: these two samples have another session's wheel.
OLD = ("stimOff_times", "table.firstMovement_times")


@pytest.mark.parametrize(("name", "differ"), [("session_training_ge5", ()), ("session_training_lt5", OLD), ("session_biased_lt5", OLD)])
def test_trials_of_real_rigs(
    run: RunTask, ibllib: Callable[..., Found], real_data: Path, tmp_path: Path, name: str, differ: tuple[str, ...]
) -> None:
    path = real(real_data, tmp_path, name)
    theirs = ibllib(path, collection="raw_behavior_data", wheel=name != "session_biased_lt5")
    made = ours(run(trials, path, "unknown_00"))
    names = shared(theirs, made, differ)
    assert {name for name in theirs if name.startswith("table.")} <= {*names, *differ}
    print(f"{name}: {', '.join(names)}: {compare(theirs, made, names):.1e}")


def test_wheel_of_a_real_rig(run: RunTask, ibllib: Callable[..., Found], real_data: Path, tmp_path: Path) -> None:
    path = real(real_data, tmp_path, "session_training_ge5")
    print(f"{compare(ibllib(path, collection='raw_behavior_data'), ours(run(wheel, path, 'unknown_00')), WHEEL):.1e}")


@pytest.mark.parametrize("name", ["session_training_lt5", "session_biased_lt5"])
def test_a_wheel_of_another_session_is_refused(run: RunTask, real_data: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(EncoderError):
        run(wheel, real(real_data, tmp_path, name), "unknown_00")


@pytest.mark.parametrize("version", ["7.2.1", "8.15.2"])
def test_a_simulated_mouse(run: RunTask, ibllib: Callable[..., Found], tmp_path: Path, version: str) -> None:
    path = simulated(tmp_path, duration_s=240.0, sync=False).path
    settings = path / RAW / "_iblrig_taskSettings.raw.json"
    content = json.loads(settings.read_text())
    settings.write_text(
        json.dumps(
            content
            | {
                "IBLRIG_VERSION_TAG": version,
                "IBLRIG_VERSION": version,
                "RIG_NAME": "rig",
                "ALYX_USER": "someone",
                "SESSION_START_TIME": "2026-01-15T12:00:00",
            }
        )
    )
    theirs = ibllib(path, collection=RAW)
    made = ours(run(trials, path, PROTOCOL)) | ours(run(wheel, path, PROTOCOL))
    names = shared(theirs, made)
    assert {name for name in theirs if name.startswith("table.")} <= set(names)
    moves = {name: own for name, own in WHEEL.items() if "Velocity" not in name}  # of equally fast samples ibllib's rounding chooses
    print(f"{', '.join(names)}: {compare(theirs, made, names):.1e}; {', '.join(moves)}: {compare(theirs, made, moves):.1e}")


def stamp(session: SimulatedSession) -> None:
    """Write the camera's own time stamps, which ibllib needs beside the pins."""
    times = 100 + session.films["left"].frame_times
    cycles = np.floor(times % 1 * 8000).astype(int)
    offsets = np.floor((times % 1 * 8000 - cycles) * 3072).astype(int)
    lines = (times.astype(int) % 128 << 25) | (cycles << 12) | offsets
    path = session.path / VIDEOS / "_iblrig_leftCamera.timestamps.ssv"
    path.write_text("".join(f"2020-08-19T12:42:57.7903616-04:00 {line} \n" for line in lines))


@pytest.mark.parametrize("damage", [None, "dropped_frames", "late_recording"])
def test_frame_times_by_the_daq(run: RunTask, ibllib: Callable[..., Found], tmp_path: Path, damage: str | None) -> None:
    session = simulated(tmp_path, cameras=("left",), duration_s=60.0, damage=damage)
    stamp(session)
    seen = daq.read(sorted((session.path / "raw_ephys_data").glob("*.nidq.*")))
    assert seen is not None
    channels = {"left_camera": 0, "right_camera": 1, "body_camera": 2, "audio": 5}
    fronts = [(time, sign, line) for line in (0, 5) for sign, edges in ((1, seen.rising), (-1, seen.falling)) for time in edges[line]]
    fronts = [each for each in fronts if each[2] == 0 or each[0] > session.films["left"].frame_times[0]]  # ibllib pairs the first sounds
    times, signs, lines = (list(column) for column in zip(*sorted(fronts), strict=True))
    sync = {"times": times, "polarities": signs, "channels": lines}
    n_frames = session.films["left"].frame_times.size
    theirs = ibllib(session.path, camera="left", sync=sync, channels=channels, n_frames=n_frames)
    found = np.load(run(camera_times, session.path, "left").staging / "alf/_ibl_leftCamera.times.npy")
    np.testing.assert_allclose(found, theirs["times"], atol=1e-6)


def test_frame_times_by_bpod(run: RunTask, ibllib: Callable[..., Found], tmp_path: Path) -> None:
    session = simulated(tmp_path, cameras=("left",), duration_s=60.0, sync=False)
    path = session.path / RAW / "_iblrig_taskData.raw.jsonable"
    task, frames = bpod.read(path), bpod_time(session.films["left"].ttl_times)
    for trial, begin, end in zip(task.trials, task.starts, task.ends - 0.2, strict=True):
        seen = frames[(frames >= begin) & (frames < end)]
        trial["behavior_data"]["Events timestamps"] |= {"Port1In": (seen - begin).tolist(), "Port1Out": (seen - begin + 0.005).tolist()}
    text = "".join(json.dumps(trial) + "\n" for trial in task.trials)
    path.unlink()
    (session.path / RAW).rename(session.path / "raw_behavior_data")
    (session.path / "raw_behavior_data" / path.name).write_text(text)
    stamp(session)
    theirs = ibllib(session.path, camera="left", sync=None, collection="raw_behavior_data", n_frames=frames.size)
    found = np.load(run(camera_times, session.path, "left").staging / "alf/_ibl_leftCamera.times.npy")
    inside = (frames > task.starts[0]) & (frames < task.ends[-1])
    np.testing.assert_allclose(found[inside], theirs["times"][inside], atol=2e-3)
    np.testing.assert_allclose(found, frames, atol=5e-3)
