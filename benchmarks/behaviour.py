"""What the behaviour tasks cost: ``python benchmarks/behaviour.py --help``.

Trials and wheel of a session of 1,000 trials, quality control of a camera, and its pose by the shipped model; CPU and wall seconds of
this process, imports apart. The video is shorter than an hour: what grows with its length is counted, and carried over to an hour.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ranvier.simulate.cameras import HEIGHT, WIDTH, film
from ranvier.simulate.mouse import make_behaviour
from ranvier.simulate.task_files import write_task
from ranvier.tasks.behaviour import behaviour_figures, bpod, camera_qc, performance, pose_model, task_qc, trials_table, video, wheel_trace
from ranvier.tasks.behaviour.pose_estimation import estimate
from ranvier.tasks.behaviour.video_compression import ffmpeg

HOUR_S, RATE = 3600, 60


def timed(name: str, call: Callable[[], Any]) -> tuple[Any, float]:
    """Call, and print what it took; the CPU seconds are returned, too."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    result = call()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{name:44} {cpu:8.2f} {time.perf_counter() - began:8.2f}", flush=True)
    return result, cpu


def measure_trials(folder: Path, n_trials: int, seed: int) -> None:
    """Trials, wheel, movements and checks of a session."""
    did = make_behaviour(n_trials * 3.2 + 10, seed)
    write_task(folder, did, "2026-01-15T12:00:00", set())
    data, events, positions = (next(folder.glob(f"_iblrig_{name}.raw*")) for name in ("taskData", "encoderEvents", "encoderPositions"))
    task, read = timed("read the trials", lambda: bpod.read(data, list(folder.glob("*Settings*"))))
    found, extracted = timed("table of the trials", lambda: trials_table.extract(task))
    wheel, traced = timed("position of the wheel", lambda: wheel_trace.read_wheel(task, events, positions))
    moves, moved = timed("movements of the wheel", lambda: wheel_trace.find_moves(wheel))
    found.table["firstMovement_times"] = wheel_trace.first_movements(moves, found["goCue_times"], found["feedback_times"], 0.2)
    _, checked = timed("checks of the task", lambda: task_qc.checks(found, task, wheel))
    _, assessed = timed("performance and psychometric fit", lambda: performance.assess(found.table))
    timed("figures (not counted)", lambda: (behaviour_figures.wheel(wheel, moves, ""), behaviour_figures.performance(_assessed(found), "")))
    total = read + extracted + traced + moved + checked + assessed
    wrong = np.count_nonzero(found["choice"] != did.choice)
    print(f"{len(task)} trials, {wheel.times.size} wheel samples: {total:.2f} CPU s (aim: 2); {wrong} choices differ from the truth\n")


def _assessed(found: trials_table.Trials) -> performance.Performance:
    return performance.assess(found.table)


def measure_camera(folder: Path, minutes: float, width: int, seed: int) -> None:
    """Quality control of a camera's video, h264 at 60 Hz."""
    folder.mkdir()
    film(folder, "left", minutes * 60, seed, set(), rate=RATE)
    raw, path = folder / "raw_video_data/_iblrig_leftCamera.raw.avi", folder / "left.mp4"
    scale = ["-vf", f"scale={width}:{width * HEIGHT // WIDTH}"]
    ffmpeg([], raw, [*scale, "-c:v", "libx264", "-preset", "veryfast", "-crf", "29", "-pix_fmt", "yuv420p"], path, 2)
    found, counted = timed("count the frames", lambda: video.inspect(path))
    _, sampled = timed(f"measure {camera_qc.SAMPLES} frames", lambda: camera_qc.look(found, camera_qc.SAMPLES))
    piece = round(camera_qc.PIECE_S * RATE)
    _, held = timed("movement in 20 s", lambda: sum(1 for _ in video.grey_frames(found, found.n_frames // 2, piece)))
    decoded, whole = timed("decode all", lambda: video.count_decoded(path))
    hour = counted * HOUR_S * RATE / found.n_frames + sampled + held
    print(f"{found.width} x {found.height}, {decoded} frames, decoding {decoded / whole:.0f} frames/s")
    part = hour / HOUR_S
    print(f"an hour at {RATE} Hz, carried over from {minutes:g} minutes: {hour:.0f} CPU s, {part:.4f} of real time (aim: well under 0.1)")


def measure_pose(folder: Path, seconds: float, seed: int) -> None:
    """Decoding and pose by the shipped model, on one thread."""
    folder.mkdir()
    film(folder, "left", seconds, seed, set(), rate=RATE)
    raw, model = folder / "raw_video_data/_iblrig_leftCamera.raw.avi", pose_model.open_model(pose_model.SHIPPED)
    for width, height in ((128, 128), (640, 512)):
        path = folder / f"{width}.mp4"
        ffmpeg([], raw, ["-vf", f"scale={width}:{height}", "-c:v", "libx264", "-crf", "29", "-pix_fmt", "yuv420p"], path, 2)
        found = video.inspect(path)
        _, spent = timed(f"decode and pose, {width} x {height}", lambda found=found: estimate(found, model, lambda *_: None))
        print(f"{found.n_frames} frames, {found.n_frames / spent:.0f} frames/s a core (aim at 128 x 128: 500)")


def main() -> None:
    """Simulate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--pose-seconds", type=float, default=60)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    import scipy.ndimage
    import scipy.optimize
    import scipy.signal
    import scipy.special  # noqa: F401

    print(f"{'':44} {'CPU s':>8} {'wall s':>8}")
    with tempfile.TemporaryDirectory(prefix="ranvier-benchmark-") as folder:
        measure_trials(Path(folder) / "task", wanted.trials, wanted.seed)
        measure_camera(Path(folder) / "camera", wanted.minutes, wanted.width, wanted.seed)
        measure_pose(Path(folder) / "pose", wanted.pose_seconds, wanted.seed)


if __name__ == "__main__":
    main()
