"""IBL's stages of training, from the trials of an animal's latest days.

Stages and what they ask are the International Brain Laboratory's (doi 10.7554/eLife.63711, appendix 2; the newest form in ibllib 4.1.0,
``brainbox.behavior.training``): the three latest days decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.behaviour import performance

if TYPE_CHECKING:
    import pandas as pd

    from ranvier.tasks.behaviour.performance import Psychometric

DAYS = 3
#: Columns that a table needs.
COLUMNS = ("contrastLeft", "contrastRight", "choice", "feedbackType", "probabilityLeft", "response_times", "stimOn_times")
#: A session on an ephys rig counts as begun late from this delay on, s.
DELAY_S = 900.0
#: Blocks in which the stimulus is seldom, and mostly, on the left.
RIGHT_BLOCK, LEFT_BLOCK = 0.2, 0.8


@dataclass(frozen=True)
class Day:
    """What an animal did on a day.

    Attributes
    ----------
    date
        ISO 8601.
    protocol
        ``training``, ``biased`` or ``ephys`` (ChoiceWorld).
    table
        Its trials, with `COLUMNS`.
    ephys_rig
        Whether the day was on an ephys rig.
    delay_s
        For how long the animal waited there before the task began, s.
    """

    date: str
    protocol: str
    table: pd.DataFrame
    ephys_rig: bool = False
    delay_s: float = 0.0

    @property
    def easy(self) -> float:
        """Performance on easy trials; NaN where there were none."""
        signed = _signed(self.table)
        return float((self.table["feedbackType"] > 0)[np.abs(signed) >= 100 * performance.EASY].mean())


@dataclass(frozen=True)
class Criterion:
    """One thing that a stage asks, in words, what it was, and whether that is enough."""

    asked: str
    value: Any
    met: bool


@dataclass(frozen=True)
class Status:
    """The stage that an animal has reached, and what the next one (or, at the last, this one) asks."""

    stage: str
    asking: str
    criteria: dict[str, Criterion]


def status(days: Sequence[Day]) -> Status:
    """Which stage an animal has reached.

    Parameters
    ----------
    days
        In order; the latest three are looked at.
    """
    last = days[-DAYS:]
    kinds = {day.protocol for day in last}
    if kinds == {"training"}:
        ladder = [("trained 1a", _trained(last, "trained_1a")), ("trained 1b", _trained(last, "trained_1b"))]
        return _climb("in training", ladder)
    if "training" in kinds or len(last) < DAYS:
        same = {"biased days": Criterion(f"the latest {DAYS} days without trainingChoiceWorld", [day.protocol for day in last], False)}
        return Status("trained 1b", "ready4ephysrig", same)
    biased, rig = _biased(last), [day for day in last if day.ephys_rig]
    waited = sum(day.delay_s >= DELAY_S for day in rig)
    recording = {
        "days on an ephys rig": Criterion(f"all {DAYS}", len(rig), len(rig) == DAYS),
        "of them begun late": Criterion("1 or more", waited, waited > 0),
        **biased,
    }
    delay = {
        "days on an ephys rig": Criterion("1 or more", len(rig), len(rig) > 0),
        "trials there": Criterion("above 400 on one", [len(day.table) for day in rig], any(len(day.table) > 400 for day in rig)),
        "easy trials there": Criterion("above 0.9 on one", [_round(day.easy) for day in rig], any(day.easy > 0.9 for day in rig)),
    }
    return _climb("trained 1b", [("ready4ephysrig", biased), ("ready4delay", delay), ("ready4recording", recording)])


def _climb(stage: str, ladder: list[tuple[str, dict[str, Criterion]]]) -> Status:
    """The highest stage of which everything is met; a higher one does not ask for the lower."""
    met = [index for index, (_, criteria) in enumerate(ladder) if all(each.met for each in criteria.values())]
    reached = ladder[met[-1]][0] if met else stage
    following = ladder[min(met[-1] + 1 if met else 0, len(ladder) - 1)]
    return Status(reached, *following)


def _trained(days: Sequence[Day], stage: str) -> dict[str, Criterion]:
    trials, easy, bias, threshold, lapse, wait = performance.STAGES[stage]
    fit, blank = _fit(days), _blank(days)
    return {
        "days": Criterion(f"{DAYS}", len(days), len(days) == DAYS),
        "zero contrast": Criterion("is shown", len(blank) > 0, len(blank) > 0),
        **_each_day(days, trials, easy),
        "bias": Criterion(f"within {bias:g} %", _round(fit.bias), abs(fit.bias) < bias),
        "threshold": Criterion(f"below {threshold:g} %", _round(fit.threshold), fit.threshold < threshold),
        **_lapses(fit, lapse),
        **({} if np.isinf(wait) else {"reaction": _reaction(blank, wait)}),
    }


def _biased(days: Sequence[Day]) -> dict[str, Criterion]:
    trials, easy, *_, lapse, wait = performance.STAGES["trained_1b"]
    right, left = _fit(days, RIGHT_BLOCK), _fit(days, LEFT_BLOCK)
    shift = left.bias - right.bias
    return {
        **_each_day(days, trials, easy),
        **_lapses(right, lapse, " in right blocks"),
        **_lapses(left, lapse, " in left blocks"),
        "bias between blocks": Criterion("above 5 %", _round(shift), shift > 5),
        "reaction": _reaction(_blank(days), wait),
    }


def _each_day(days: Sequence[Day], trials: int, easy: float) -> dict[str, Criterion]:
    numbers, parts = [len(day.table) for day in days], [_round(day.easy) for day in days]
    return {
        "trials": Criterion(f"above {trials} each day", numbers, all(number > trials for number in numbers)),
        "easy trials": Criterion(f"above {easy:g} each day", parts, all(day.easy > easy for day in days)),
    }


def _lapses(fit: Psychometric, most: float, where: str = "") -> dict[str, Criterion]:
    return {
        f"lapses {side}{where}": Criterion(f"below {most:g}", _round(value), value < most)
        for side, value in (("left", fit.lapse_left), ("right", fit.lapse_right))
    }


def _reaction(blank: np.ndarray, most: float) -> Criterion:
    median = float(np.nanmedian(blank)) if np.isfinite(blank).any() else np.nan
    return Criterion(f"below {most:g} s where nothing is shown", _round(median), median < most)


def _fit(days: Sequence[Day], block: float | None = None) -> Psychometric:
    """Psychometric function of all trials of the days, or of those in a kind of block."""
    import pandas as pd

    table = pd.concat([day.table for day in days])
    if block is not None:
        table = table[np.isclose(table["probabilityLeft"], block)]
    curve = performance.choices(table, no_go=True)
    if len(curve) < performance.FEW_CONTRASTS:
        return performance.Psychometric(np.nan, np.nan, np.nan, np.nan)
    return performance.fit_psychometric(*(curve[name].to_numpy() for name in ("contrast", "right", "n")))


def _blank(days: Sequence[Day]) -> np.ndarray:
    """From stimulus to response in trials without contrast, s."""
    waits = [(day.table["response_times"] - day.table["stimOn_times"])[_signed(day.table) == 0] for day in days]
    return np.concatenate(waits).astype(float)


def _signed(table: pd.DataFrame) -> np.ndarray:
    return performance.signed_contrast(table)


def _round(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
