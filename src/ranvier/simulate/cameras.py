"""Cameras that film the mouse: videos, the TTL of each frame, and when each frame was really taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranvier.simulate.damage import SimulationError
from ranvier.simulate.face import HEIGHT, WIDTH, Look, Motion, draw, keypoints, make_look, make_motion
from ranvier.simulate.task_files import sounds
from ranvier.simulate.truth import read_truth, write_truth

if TYPE_CHECKING:
    from ranvier.simulate.mouse import Behaviour

COLLECTION = "raw_video_data"
LINES = {"left": 0, "right": 1, "body": 2}  #: of the DAQ
FRAME_RATE = 30.0
BEGIN_S = 0.2  #: first frame
JITTER_S = 5e-4
#: Frames that are lost with the damages of that kind.
LOST, LATE = 20, 45
#: What a camera saves of its pins with a frame during which a sound is played: the fourth is high.
SOUND_PIN = 0x10000000


@dataclass(frozen=True)
class Film:
    """Truth about a camera.

    Attributes
    ----------
    frame_times, ttl_times
        One a frame of the file, and one a frame that was taken, s.
    keypoints
        Of the mouse in each frame of the file, pixels, shape (n_frames, n_keypoints, 2), in the order of `ranvier.simulate.face.KEYPOINTS`;
        NaN where it is not to be seen.
    pupil_diameter
        In each frame of the file, pixels, shape (n_frames,).
    licks
        When the tongue came out, s, shape (n_licks,).
    """

    frame_times: np.ndarray
    ttl_times: np.ndarray
    keypoints: np.ndarray
    pupil_diameter: np.ndarray
    licks: np.ndarray


def load_film(session_path: Path | str, camera: str) -> Film:
    """Read the truth about a camera of a simulated session.

    Raises
    ------
    SimulationError
        If there is none.
    """
    return read_truth(Film, session_path, f"{camera}Camera", "only cameras that were simulated have a truth")


def film(
    session_path: Path, camera: str, duration_s: float, seed: int, kinds: set[str], did: Behaviour | None = None, rate: float = FRAME_RATE
) -> Film:
    """Write the video of a camera as an ``.avi`` (Motion JPEG), and its truth.

    Parameters
    ----------
    session_path
        The session folder.
    camera
        ``left``, ``right`` or ``body``.
    duration_s
        Length, s.
    seed
        The same seed gives the same frames.
    kinds
        Of `ranvier.simulate.damage.CAMERA_DAMAGES`.
    did
        What the mouse did: its paws move with the wheel, it licks after rewards, and the camera sees the sounds of the task on a pin.
    rate
        Frames a second.

    Returns
    -------
    Film
        Also written below ``.ranvier_truth``.
    """
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise SimulationError("cameras cannot be simulated: imageio-ffmpeg is not installed", "pip install 'ranvier[behaviour]'") from error
    rng = np.random.default_rng((seed, LINES[camera]))
    times = np.arange(BEGIN_S, duration_s - BEGIN_S, 1 / rate)
    times = times + rng.uniform(0, JITTER_S, times.size)
    kept = np.ones(times.size, dtype=bool)
    if kinds & {"dropped_frames", "lost_frames"}:
        kept[rng.choice(np.arange(10, times.size - 10), min(LOST, times.size - 20), replace=False)] = False
    if "late_recording" in kinds:
        kept[: min(LATE, times.size - 20)] = False
    folder = session_path / COLLECTION
    folder.mkdir(exist_ok=True)
    path = folder / f"_iblrig_{camera}Camera.raw.avi"
    how = dict(codec="mjpeg", pix_fmt_out="yuvj420p", quality=8, ffmpeg_log_level="error", macro_block_size=1, ffmpeg_timeout=0)
    writer = write_frames(path, (WIDTH, HEIGHT), pix_fmt_in="gray", fps=rate, **how)
    writer.send(None)
    look, motion = make_look(rng, mirrored=camera == "right"), make_motion(times[kept], did, rng)
    for frame in _frames(look, motion, rng, kinds):
        writer.send(frame.tobytes())
    writer.close()
    if "lost_frames" not in kinds:
        np.flatnonzero(kept).astype(np.float64).tofile(folder / f"_iblrig_{camera}Camera.frame_counter.bin")
    if did is not None:
        begins, ends = sounds(did).T
        played = np.searchsorted(begins, times[kept], side="right") > np.searchsorted(ends, times[kept], side="right")
        np.where(played, SOUND_PIN, 0).astype(np.float64).tofile(folder / f"_iblrig_{camera}Camera.GPIO.bin")
    if "truncated_video" in kinds:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
    if "missing_video" in kinds:
        path.unlink()
    where = keypoints(look, motion)
    if "black_video" in kinds:
        where[:] = np.nan
    if "frozen_video" in kinds:
        where[:] = where[0]
    made = Film(times[kept], times, where.astype(np.float32), motion.pupil_diameter * look.scale, motion.licks)
    write_truth(made, session_path, f"{camera}Camera")
    return made


def _frames(look: Look, motion: Motion, rng: np.random.Generator, kinds: set[str]) -> Iterator[np.ndarray]:
    """Grey frames, with the noise of a camera."""
    if "black_video" in kinds:
        yield from (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(len(motion)))
        return
    still = "frozen_video" in kinds
    for number in range(len(motion)):
        noise = 0 if still else rng.normal(0, 2, (HEIGHT, WIDTH))
        yield np.clip(draw(look, motion, 0 if still else number) + noise, 0, 255).astype(np.uint8)
