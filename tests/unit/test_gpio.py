"""Pins of a camera, and sounds that both clocks noted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ranvier.tasks.behaviour import frame_times, gpio
from ranvier.tasks.behaviour.gpio import anchor

RATE, N_TTLS = 60.0, 36_000


def test_a_real_camera_saw_one_sound_on_the_fourth_pin(real_data: Path) -> None:
    files = sorted((real_data / "behaviour/session_ephys/raw_video_data").glob("*.bin"))
    pins = gpio.pins(files)
    assert pins is not None
    assert pins.shape == (510, 4)
    np.testing.assert_array_equal(np.flatnonzero(pins[:, gpio.SOUND_PIN]), np.arange(166, 172))
    assert not pins[:, : gpio.SOUND_PIN].any()
    np.testing.assert_array_equal(frame_times.frame_numbers(files, 508), np.arange(508))
    assert frame_times.frame_numbers(files, 500) is None
    assert frame_times.frame_numbers(files, 511) is None


def recorded(seed: int, first: int, lost: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """TTLs, sounds, the camera's count and its pin, of a video that begins with a later TTL and lacks some frames."""
    rng = np.random.default_rng(seed)
    ttls, sounds = 5 + np.arange(N_TTLS) / RATE, np.sort(rng.uniform(0, 620, 200))
    played = np.searchsorted(sounds, ttls, side="right") > np.searchsorted(sounds + 0.1, ttls, side="right")
    kept = np.delete(np.arange(first, N_TTLS), rng.choice(N_TTLS - first, lost, replace=False))
    return ttls, sounds, kept - kept[0], played[kept]


@pytest.mark.parametrize(("first", "lost"), [(0, 0), (0, 300), (1234, 300)])
def test_the_first_frames_ttl_is_found(first: int, lost: int) -> None:
    ttls, sounds, number, high = recorded(1, first, lost)
    found = anchor(ttls, sounds, number, high)
    assert found is not None
    assert abs(found.first_ttl - first) <= (lost > 0)  # its own first frame may be among those that are lost
    assert found.agree > 0.95
    early = anchor(ttls[500:], sounds, number, high)
    assert early is not None
    assert early.first_ttl == found.first_ttl - 500


def test_a_ttl_that_the_daq_missed_shows_in_what_agrees() -> None:
    ttls, sounds, number, high = recorded(1, 0, 0)
    found = anchor(np.delete(ttls, np.arange(30_000, 30_010)), sounds, number, high)
    assert found is not None
    assert found.first_ttl == 0
    assert 0.7 < found.agree < 0.9


def test_sounds_of_another_session_anchor_nothing() -> None:
    ttls, _, number, high = recorded(1, 0, 0)
    _, others, _, _ = recorded(2, 0, 0)
    assert anchor(ttls, others, number, high) is None
    assert anchor(ttls, np.arange(1, 600, 2.5), number, high) is None
    assert anchor(ttls, others[:2], number, high) is None
    assert anchor(ttls, others, number, np.zeros_like(high)) is None


def test_the_time_between_trials_is_bridged() -> None:
    ttls = np.arange(100) / 30
    found = frame_times.bridged([ttls[3:20], ttls[:0], ttls[26:60], ttls[61:90]])
    np.testing.assert_allclose(found, ttls[3:90])
    assert frame_times.bridged([]).size == 0


def test_ttls_without_a_frame_are_told_from_frames_without_a_ttl() -> None:
    ttls = np.arange(100) / 60
    found = frame_times.from_ttls(ttls, 90, np.arange(90), "left", first=4)
    np.testing.assert_allclose(found.times, ttls[4:94])
    assert (found.surplus, found.without_ttl, found.told, found.guessed) == (10, 0, True, 0)
    early = frame_times.from_ttls(ttls, 106, None, "left", first=-3)
    np.testing.assert_allclose(early.times, np.arange(-3, 103) / 60, atol=1e-12)
    assert early.without_ttl == 6
    guess = frame_times.from_ttls(ttls, 90, np.arange(90), "left")
    np.testing.assert_allclose(guess.times, ttls[10:])
    assert (guess.told, guess.guessed) == (False, 10)
    late = frame_times.from_ttls(ttls, 150, None, "port 1 of Bpod", ends_early=True)
    assert (late.times.size, late.without_ttl) == (150, 50)
