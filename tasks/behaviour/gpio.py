"""What a camera's own input pins saw: the sounds of the task, which the DAQ or Bpod saw, too, so that both agree on which frame was when.

IBL's cameras save the state of four pins with each frame; the sound card's TTL is on pin 4. On training rigs, on ephys rigs and for each
of their cameras this is the same (ibllib 4.1.0, ``raw_data_loaders.load_camera_gpio`` and ``extractors.camera``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranvier.tasks.behaviour.frame_times import embedded

N_PINS, SOUND_PIN = 4, 3
#: Sounds that the camera must have seen before they decide anything.
FEWEST = 3
#: Part of the camera's sounds that must be among those of the DAQ, and how much better than any other order of the frames that must be.
SHARED, CLEAR = 0.5, 2.0


@dataclass(frozen=True)
class Anchor:
    """Number of the TTL that belongs to the camera's first frame, negative where TTLs began later; part of its sounds that agree."""

    first_ttl: int
    agree: float


def pins(paths: Sequence[Path]) -> np.ndarray | None:
    """State of the four pins with each frame, bool, shape (n_frames, 4); None where the camera did not save it.

    Parameters
    ----------
    paths
        Among them ``_iblrig_*Camera.GPIO.bin`` of older rigs (one double a frame, whose 32 bits begin with the pins) or
        ``_iblrig_*Camera.frameData.bin`` of newer ones.

    Raises
    ------
    VideoError
        If the file is cut off.
    """
    words = embedded(paths, "GPIO", 3)
    if words is None:
        return None
    shifts = np.uint32(31) - np.arange(N_PINS, dtype=np.uint32)
    return (words.astype(np.uint32)[:, None] >> shifts & 1).astype(bool)


def anchor(ttls: np.ndarray, sounds: np.ndarray, number: np.ndarray, high: np.ndarray) -> Anchor | None:
    """Find which TTL is the first frame's: each sound of the camera and each of the DAQ vote for the one that makes them the same.

    Parameters
    ----------
    ttls
        One a frame that was taken, s, shape (n_ttls,).
    sounds
        When sounds began, s, on the same clock.
    number
        Of each frame by the camera's count, the first being 0; shape (n_frames,).
    high
        Whether the sound's pin was high with each frame, shape (n,); frames beyond the shorter of both are left out.

    Returns
    -------
    Anchor or None
        None where there are too few sounds, or no order of the frames in which the most of them agree to a frame.
    """
    number, high = number[: high.size], high[: number.size]
    seen = number[1:][~high[:-1] & high[1:]]
    heard = np.unique(np.searchsorted(ttls, sounds))
    heard = heard[(heard > 0) & (heard < ttls.size)]
    if seen.size < FEWEST or heard.size < FEWEST:
        return None
    least = int(heard[0] - seen[-1])
    votes = np.zeros(int(heard[-1] - seen[0]) - least + 1, dtype=int)
    for each in seen:
        votes[heard - each - least] += 1
    near = np.convolve(votes, np.ones(3, int), "same")
    best = int(votes.argmax())
    rival = np.concatenate([near[: max(best - 2, 0)], near[best + 3 :]]).max(initial=0)
    agree = min(1.0, near[best] / seen.size)
    if agree < SHARED or near[best] < FEWEST or near[best] < CLEAR * rival:
        return None
    return Anchor(best + least, agree)
