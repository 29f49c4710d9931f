"""Quality of a camera's video."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour import video
from ranvier.tasks.behaviour.camera_times import TIMES
from ranvier.tasks.behaviour.video import VIDEO, Video

#: One row a sampled frame: its number, brightness, sharpness and change since the frame sampled before it.
FRAMES = "{collection}/_iblqc_{camera}Camera.frames.pqt"
WHEEL = "alf/_ibl_wheel.*.npy"
TASK_WHEEL = "alf/task_*/_ibl_wheel.*.npy"
#: Checks of the International Brain Laboratory's camera quality control: mean grey value and its spread over the video, and the variance
#: of the Laplacian, which a blurred image lacks.
BRIGHT, SPREAD, SHARP = (40.0, 200.0), 20.0, 100.0
BLACK, STILL = 5.0, 0.01
SAMPLES, PICTURES = 200, 12
#: Length of the piece in which movement is held against the wheel, s, and the lag that is looked for, in frames.
PIECE_S, MAX_LAG, LAG_PASS, LAG_WARNING = 20.0, 30, 2, 5


@dataclass(frozen=True)
class Sampled:
    """Measures of sampled frames, shapes (n,): number, mean grey value, variance of the Laplacian, mean change; and a few of the frames."""

    number: np.ndarray
    brightness: np.ndarray
    sharpness: np.ndarray
    change: np.ndarray
    pictures: list[tuple[int, np.ndarray]]


@task(
    version="1.0.0",
    per="camera",
    inputs=[Input(VIDEO, required=False), Input(TIMES), Input(WHEEL, required=False), Input(TASK_WHEEL, required=False)],
    outputs=[Output(FRAMES, at_least=1)],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=3600),
    packages=("av", "numpy", "scipy"),
    priority=55,
)
def camera_qc(job: Job, samples: int = SAMPLES) -> None:
    """Brightness, focus, movement and timing of a camera's video, and a contact sheet.

    Parameters
    ----------
    job
        The job.
    samples
        Frames that are looked at.

    Raises
    ------
    VideoError
        If the video cannot be decoded.
    """
    import pandas as pd

    from ranvier.tasks.behaviour import camera_figures

    found = video.inspect(video.of_job(job))
    times = np.load(job.input(TIMES))
    looked = look(found, samples)
    measures = {name: getattr(looked, name) for name in ("number", "brightness", "sharpness", "change")}
    job.save(FRAMES, pd.DataFrame(measures))
    note_checks(job, found, looked, times)
    note_wheel(job, found, times)
    title = f"{job.device} camera"
    sheet = camera_figures.contact_sheet(looked, times, title)
    job.figure(f"contact_sheet_{job.device}", sheet, "Frames spread over the video, with the time of each")
    plots = camera_figures.quality(looked, times, title)
    job.figure(f"camera_quality_{job.device}", plots, "Brightness, focus and movement over the video, and the intervals between frames")


def look(found: Video, samples: int) -> Sampled:
    """Measure frames that are spread over the video."""
    from scipy.ndimage import laplace

    numbers: list[int] = []
    rows: list[tuple[float, float, float]] = []
    pictures: list[tuple[int, np.ndarray]] = []
    before: np.ndarray | None = None
    every = max(1, min(samples, found.seekable.size) // PICTURES)
    for index, (number, image) in enumerate(video.sampled_frames(found, samples)):
        frame = image.astype(np.float32)
        change = np.nan if before is None else float(np.abs(frame - before).mean())
        numbers.append(number)
        rows.append((frame.mean(), laplace(frame).var(), change))
        if index % every == 0 and len(pictures) < PICTURES:
            pictures.append((number, image.copy()))
        before = frame
    brightness, sharpness, change = np.array(rows, dtype=float).T
    return Sampled(np.array(numbers), brightness, sharpness, change, pictures)


def note_checks(job: Job, found: Video, looked: Sampled, times: np.ndarray) -> None:
    """Turn what was measured into quality checks."""
    mean, spread, sharp = looked.brightness.mean(), looked.brightness.std(), float(np.median(looked.sharpness))
    job.qc("resolution", f"{found.width} x {found.height}")
    if mean < BLACK:
        job.log.error("the video of the %s camera is black: mean grey value %.1f; was the light on and the lens free?", job.device, mean)
        job.qc("picture", f"black: mean grey value {mean:.1f}", "CRITICAL")
    elif looked.change.size > 1 and np.nanmax(looked.change) < STILL:
        job.log.error("the video of the %s camera is one frame again and again", job.device)
        job.qc("picture", "constant: no frame differs from the one before", "CRITICAL")
    else:
        job.qc("picture", "present", "PASS")
    fine = BRIGHT[0] < mean < BRIGHT[1] and spread < SPREAD
    job.qc("brightness", round(float(mean), 2), "PASS" if fine else "FAIL")
    job.qc("brightness_spread", round(float(spread), 2))
    job.qc("focus", round(sharp, 1), "PASS" if sharp > SHARP else "FAIL")
    difference = times.size - found.n_frames
    outcome = "PASS" if difference == 0 else "WARNING" if abs(difference) < 5 else "FAIL"
    job.qc("times_minus_frames", difference, outcome)
    good = bool(np.isfinite(times).all() and (np.diff(times) > 0).all())
    job.qc("times_increase", good, "PASS" if good else "FAIL")


def note_wheel(job: Job, found: Video, times: np.ndarray) -> None:
    """Hold the movement in the video against the wheel's, where there is a wheel and it moved."""
    files = {path.name.split(".")[1]: path for path in [*job.files(TASK_WHEEL), *job.files(WHEEL)]}
    if not {"timestamps", "position"} <= set(files):
        return
    at, position = (np.load(files[name]) for name in ("timestamps", "position"))
    first, count = busiest(times, at, position)
    if count < 4 * MAX_LAG or first + count > found.n_frames:
        return
    frames = [frame.astype(np.float32) for frame in video.grey_frames(found, first, count)]
    energy = np.array([np.abs(after - before).mean() for before, after in pairwise(frames)])
    speed = np.abs(np.diff(np.interp(times[first : first + count], at, position)))
    if energy.std() == 0 or speed.std() == 0:
        return
    lag, strength = best_lag(energy, speed)
    outcome = "NOT_SET" if strength < 0.2 else "PASS" if abs(lag) <= LAG_PASS else "WARNING" if abs(lag) <= LAG_WARNING else "FAIL"
    job.qc("wheel_lag_frames", lag, outcome)
    job.qc("wheel_correlation", round(strength, 3))


def busiest(times: np.ndarray, at: np.ndarray, position: np.ndarray) -> tuple[int, int]:
    """First frame and number of frames of the piece in which the wheel moved most."""
    count = min(times.size, round(PIECE_S / float(np.median(np.diff(times)))))
    moved = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(np.interp(times, at, position))))])
    if count >= times.size:
        return 0, times.size
    return int(np.argmax(moved[count:] - moved[:-count])), count


def best_lag(energy: np.ndarray, speed: np.ndarray) -> tuple[int, float]:
    """Frames by which the video lags behind the wheel, and the correlation there."""
    lags = range(-MAX_LAG, MAX_LAG + 1)
    inner = slice(MAX_LAG, energy.size - MAX_LAG)
    found = [float(np.corrcoef(np.roll(energy, -lag)[inner], speed[inner])[0, 1]) for lag in lags]
    best = int(np.argmax(found))
    return lags[best], found[best]
