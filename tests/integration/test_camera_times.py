"""Which frame was when: TTLs, the camera's own count, and the sounds that it saw on a pin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import caller, simulated

from ranvier.job import Job
from ranvier.settings import Settings, load
from ranvier.simulate.task_files import bpod_time
from ranvier.tasks.behaviour import bpod
from ranvier.tasks.behaviour.camera_times import camera_times
from ranvier.tasks.behaviour.video import VideoError

VIDEOS, RAW = "raw_video_data", "raw_task_data_00"
TIMES = "alf/_ibl_leftCamera.times.npy"
RunTask = Callable[..., Job]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunTask:
    settings: Settings = load(tmp_path_factory.mktemp("home"))
    return caller(tmp_path_factory.mktemp("jobs"), settings)


def outcome(job: Job, check: str) -> tuple[object, str]:
    return job.checks[check]["value"], job.checks[check]["outcome"]


@pytest.mark.parametrize("newer", [False, True])
def test_sounds_tell_where_a_late_recording_begins(run: RunTask, tmp_path: Path, newer: bool) -> None:
    session = simulated(tmp_path, cameras=("left",), duration_s=30.0, damage="late_recording")
    folder, film = session.path / VIDEOS, session.films["left"]
    if newer:
        count, pins = (folder / f"_iblrig_leftCamera.{name}.bin" for name in ("frame_counter", "GPIO"))
        columns = np.zeros((film.frame_times.size, 4), np.int64)
        columns[:, 2], columns[:, 3] = np.fromfile(count) + 16_696_704, np.fromfile(pins)
        columns.tofile(folder / "_iblrig_leftCamera.frameData.bin")
        count.unlink()
        pins.unlink()
    job = run(camera_times, session.path, "left")
    np.testing.assert_allclose(np.load(job.staging / TIMES), film.frame_times, atol=1e-4)
    assert outcome(job, "sounds_agree") == (1.0, "PASS")
    assert outcome(job, "ttl_surplus") == (45, "PASS")


def test_without_sounds_a_late_recording_is_a_guess_that_fails(run: RunTask, tmp_path: Path) -> None:
    session = simulated(tmp_path, cameras=("left",), duration_s=30.0, damage="late_recording")
    pins = session.path / VIDEOS / "_iblrig_leftCamera.GPIO.bin"
    np.zeros(session.films["left"].frame_times.size).tofile(pins)
    job = run(camera_times, session.path, "left")
    assert outcome(job, "ttl_surplus") == (45, "FAIL")
    assert "sounds_agree" not in job.checks
    rng = np.random.default_rng(0)
    np.where(rng.random(session.films["left"].frame_times.size) < 0.1, 2.0**28, 0.0).tofile(pins)
    job = run(camera_times, session.path, "left")
    assert outcome(job, "sounds_agree") == (0.0, "WARNING")
    assert outcome(job, "ttl_surplus") == (45, "FAIL")


def test_a_daq_that_ends_before_the_camera_leaves_frames_without_ttl(run: RunTask, tmp_path: Path) -> None:
    session = simulated(tmp_path, cameras=("left",), duration_s=30.0)
    (binary,) = (session.path / "raw_ephys_data").glob("*.nidq.bin")
    with binary.open("r+b") as file:
        file.truncate(binary.stat().st_size * 9 // 10 // 4 * 4)
    job = run(camera_times, session.path, "left")
    np.testing.assert_allclose(np.load(job.staging / TIMES), session.films["left"].frame_times, atol=5e-3)
    n_lost, state = outcome(job, "frames_without_ttl")
    assert (80 < n_lost < 100, state) == (True, "WARNING")


def test_bpod_sees_ttls_during_trials_only(run: RunTask, tmp_path: Path) -> None:
    session = simulated(tmp_path, cameras=("left",), duration_s=30.0, sync=False)
    did, film = session.behaviour, session.films["left"]
    assert did is not None
    path = session.path / RAW / "_iblrig_taskData.raw.jsonable"
    task = bpod.read(path)
    frames = bpod_time(film.ttl_times)
    for trial, begin, end in zip(task.trials, task.starts, task.ends - 0.2, strict=True):
        inside = frames[(frames >= begin) & (frames < end)]
        trial["behavior_data"]["Events timestamps"]["Port1In"] = (inside - begin).tolist()
    folder = session.path / "raw_behavior_data"
    folder.mkdir()
    (folder / path.name).write_text("".join(json.dumps(trial) + "\n" for trial in task.trials))
    job = run(camera_times, session.path, "left")
    found = np.load(job.staging / TIMES)
    np.testing.assert_allclose(found, frames, atol=5e-3)
    assert outcome(job, "sounds_agree") == (1.0, "PASS")
    assert job.checks["frames_without_ttl"]["outcome"] == "WARNING"


@pytest.mark.parametrize("name", ["GPIO", "frame_counter"])
def test_a_file_of_the_camera_that_is_cut_off_is_named(run: RunTask, tmp_path: Path, name: str) -> None:
    session = simulated(tmp_path, cameras=("left",), duration_s=10.0)
    path = session.path / VIDEOS / f"_iblrig_leftCamera.{name}.bin"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(VideoError, match=rf"Camera\.{name}\.bin is malformed: its \d+ bytes are no whole number of frames"):
        run(camera_times, session.path, "left")
