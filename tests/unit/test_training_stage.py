"""Stages of training: what three days ask for, and how many are needed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ranvier.tasks.behaviour import performance
from ranvier.tasks.behaviour.training_stage import Day, status

CONTRASTS = np.array([-100, -25, -12.5, -6.25, 0, 6.25, 12.5, 25, 100])


def day(number: int, protocol: str = "training", *, lapse: float = 0.01, n_trials: int = 600, shift: float = 0.0, **rig: object) -> Day:
    """A day of an animal with a known psychometric function, whose bias shifts with the block."""
    rng = np.random.default_rng(number)
    signed = rng.choice(CONTRASTS, n_trials)
    left = rng.choice([0.2, 0.8], n_trials) if shift else np.full(n_trials, 0.5)
    bias = shift * np.sign(left - 0.5)
    right = rng.random(n_trials) < performance.Psychometric(0, 12, lapse, lapse)(signed - bias)
    side = np.where(signed == 0, rng.choice([-1, 1], n_trials), np.sign(signed))
    table = pd.DataFrame(
        {
            "contrastLeft": np.where(side < 0, np.abs(signed) / 100, np.nan),
            "contrastRight": np.where(side > 0, np.abs(signed) / 100, np.nan),
            "choice": np.where(right, -1, 1),
            "feedbackType": np.where(right == (side > 0), 1, -1),
            "probabilityLeft": left,
            "stimOn_times": np.arange(n_trials) * 4.0,
            "response_times": np.arange(n_trials) * 4.0 + 0.6,
        }
    )
    return Day(f"2026-01-{number:02d}", protocol, table, **rig)


@pytest.mark.parametrize(
    ("days", "stage", "asking"),
    [
        ([day(1), day(2)], "in training", "trained 1a"),
        ([day(1, lapse=0.4), day(2), day(3)], "in training", "trained 1a"),
        ([day(number, lapse=0.13) for number in range(3)], "trained 1a", "trained 1b"),
        ([day(number, n_trials=300) for number in range(3)], "trained 1a", "trained 1b"),
        ([day(number) for number in range(3)], "trained 1b", "trained 1b"),
        ([day(1, lapse=0.4), day(2), day(3), day(4)], "trained 1b", "trained 1b"),
        ([day(2), day(3), day(4, "biased", shift=10)], "trained 1b", "ready4ephysrig"),
        ([day(4, "biased", shift=10)], "trained 1b", "ready4ephysrig"),
        ([day(number, "biased", shift=1) for number in range(3)], "trained 1b", "ready4ephysrig"),
        ([day(number, "biased", shift=10) for number in range(3)], "ready4ephysrig", "ready4delay"),
        (
            [day(1, "biased", shift=10), day(2, "biased", shift=10), day(3, "biased", shift=10, ephys_rig=True)],
            "ready4delay",
            "ready4recording",
        ),
        ([day(number, "ephys", shift=10, ephys_rig=True) for number in range(3)], "ready4delay", "ready4recording"),
        ([day(number, "ephys", shift=10, ephys_rig=True, delay_s=900) for number in range(3)], "ready4recording", "ready4recording"),
    ],
)
def test_stages(days: list[Day], stage: str, asking: str) -> None:
    found = status(days)
    assert (found.stage, found.asking) == (stage, asking)
    met = all(each.met for each in found.criteria.values())
    assert met == (stage == asking)


def test_it_says_what_is_lacking() -> None:
    found = status([day(number, n_trials=300) for number in range(3)])
    lacking = {name: each.value for name, each in found.criteria.items() if not each.met}
    assert lacking == {"trials": [300, 300, 300]}


def test_an_animal_that_never_sees_zero_contrast_is_in_training() -> None:
    days = [day(number) for number in range(3)]
    shown = [Day(each.date, each.protocol, each.table[performance.signed_contrast(each.table) != 0]) for each in days]
    found = status(shown)
    assert found.stage == "in training"
    assert not found.criteria["zero contrast"].met
