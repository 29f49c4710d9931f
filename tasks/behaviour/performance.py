"""How an animal did: psychometric and chronometric functions, and what IBL's stages of training ask of a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FEW_TRIALS = 30
FEW_CONTRASTS = 4
EASY = 0.5
#: What a session must reach on the way to IBL's stages (doi 10.7554/eLife.63711, appendix 2): trials, performance on easy trials, bias and
#: threshold (% contrast), lapses, and median reaction time where nothing is shown (s). A stage takes three such sessions in a row.
STAGES = {"trained_1b": (400, 0.9, 10.0, 20.0, 0.1, 2.0), "trained_1a": (200, 0.8, 16.0, 19.0, 0.2, np.inf)}


@dataclass(frozen=True)
class Psychometric:
    """Probability of a rightward choice over signed contrast (%): an error function between two lapse rates.

    Attributes
    ----------
    bias, threshold
        Midpoint and width, % contrast.
    lapse_left, lapse_right
        Probability of the wrong choice on easy trials on either side.
    """

    bias: float
    threshold: float
    lapse_left: float
    lapse_right: float

    def __call__(self, contrast: np.ndarray) -> np.ndarray:
        """Probability at signed contrasts, %."""
        from scipy.special import erf

        rise = (erf((contrast - self.bias) / self.threshold) + 1) / 2
        return self.lapse_left + (1 - self.lapse_left - self.lapse_right) * rise


@dataclass(frozen=True)
class Chronometric:
    """Reaction time over signed contrast (%): evidence that is gathered to a bound, the faster the stronger it is.

    Attributes
    ----------
    fastest, slowest
        With strong contrast, and without any, s.
    steepness
        Per % contrast.

    Notes
    -----
    Palmer, Huk and Shadlen 2005 (doi 10.1167/5.5.1), equation 2: ``slowest - fastest`` is the square of their bound.
    """

    fastest: float
    slowest: float
    steepness: float

    def __call__(self, contrast: np.ndarray) -> np.ndarray:
        """Seconds at signed contrasts, %."""
        strength = np.maximum(self.steepness * np.abs(contrast), 1e-9)
        return self.fastest + (self.slowest - self.fastest) * np.tanh(strength) / strength


@dataclass(frozen=True)
class Performance:
    """What came out: `values` by name; `curve` one row a signed contrast; `fit` and `speed` where there were enough of them."""

    values: dict[str, Any]
    table: pd.DataFrame
    curve: pd.DataFrame | None = None
    fit: Psychometric | None = None
    speed: Chronometric | None = None
    reaction: np.ndarray = field(default_factory=lambda: np.zeros(0))


def assess(table: pd.DataFrame) -> Performance:
    """Performance in a table of trials; what its columns do not allow is left out."""
    values: dict[str, Any] = {}
    if "feedbackType" in table:
        values["performance"] = _rounded((table["feedbackType"] > 0).mean())
    if not {"contrastLeft", "contrastRight", "choice", "feedbackType"} <= set(table):
        return Performance(values, table)
    signed, correct = signed_contrast(table), (table["feedbackType"] > 0).to_numpy()
    easy = np.abs(signed) >= 100 * EASY
    values["performance_easy"] = _rounded(correct[easy].mean()) if easy.any() else None
    reaction = _reaction(table)
    values["median_reaction_s"] = _rounded(np.nanmedian(reaction)) if np.isfinite(reaction).any() else None
    curve = choices(table, reaction)
    enough = len(curve) >= FEW_CONTRASTS
    fit = fit_psychometric(curve["contrast"].to_numpy(), curve["right"].to_numpy(), curve["n"].to_numpy()) if enough else None
    if fit is not None:
        values |= {"bias": _rounded(fit.bias), "threshold": _rounded(fit.threshold)}
        values |= {"lapse_left": _rounded(fit.lapse_left), "lapse_right": _rounded(fit.lapse_right)}
    values["session_reaches"] = _stage(values, fit, len(table), reaction[signed == 0])
    speed = fit_chronometric(curve["contrast"].to_numpy(), curve["reaction"].to_numpy(), curve["n"].to_numpy()) if enough else None
    if speed is not None:
        values |= {"reaction_fastest_s": _rounded(speed.fastest), "reaction_slowest_s": _rounded(speed.slowest)}
    return Performance(values, table, curve, fit, speed, reaction)


def signed_contrast(table: pd.DataFrame) -> np.ndarray:
    """Contrast of each trial, %, negative on the left, shape (n_trials,)."""
    return 100 * (table["contrastRight"].fillna(0) - table["contrastLeft"].fillna(0)).to_numpy(float)


def choices(table: pd.DataFrame, reaction: np.ndarray | None = None, *, no_go: bool = False) -> pd.DataFrame:
    """Choices by signed contrast: number, part that was rightward, and median and quartiles of the reaction times where these are given.

    Trials without a choice are left out, or with `no_go` count as not rightward.
    """
    import pandas as pd

    chosen, right = (table["choice"] != 0).to_numpy() | no_go, (table["choice"] == -1).to_numpy()
    given = reaction if reaction is not None else np.full(len(table), np.nan)
    rows = pd.DataFrame({"contrast": signed_contrast(table), "right": right, "reaction": given})[chosen]
    grouped = rows.groupby("contrast")
    curve = grouped.agg(n=("right", "size"), right=("right", "mean"), reaction=("reaction", "median"))
    quartiles = {name: grouped["reaction"].quantile(part) for name, part in (("reaction_25", 0.25), ("reaction_75", 0.75))}
    return curve.assign(**quartiles).reset_index()


def fit_psychometric(contrast: np.ndarray, right: np.ndarray, n: np.ndarray, seed: int = 0) -> Psychometric:
    """Fit a psychometric function by maximum likelihood.

    Parameters
    ----------
    contrast
        Signed contrasts, %, shape (n_contrasts,).
    right
        Part of the choices that were rightward.
    n
        Number of choices.
    seed
        Of the second and further starting points.
    """
    from scipy.optimize import minimize

    def cost(parameters: np.ndarray) -> float:
        likely = np.clip(Psychometric(*parameters)(contrast), 1e-6, 1 - 1e-6)
        return float(-np.sum(n * (right * np.log(likely) + (1 - right) * np.log(1 - likely))))

    bounds = [(-100, 100), (1, 100), (0, 0.5), (0, 0.5)]
    rng = np.random.default_rng(seed)
    begin = [np.array([0, 20, 0.05, 0.05]), *(np.array([rng.normal(0, 20), rng.uniform(5, 60), 0.1, 0.1]) for _ in range(4))]
    best = min((minimize(cost, start, bounds=bounds, method="L-BFGS-B") for start in begin), key=lambda result: result.fun)
    return Psychometric(*map(float, best.x))


def fit_chronometric(contrast: np.ndarray, reaction: np.ndarray, n: np.ndarray) -> Chronometric | None:
    """Fit a chronometric function by weighted least squares.

    Parameters
    ----------
    contrast
        Signed contrasts, %, shape (n_contrasts,).
    reaction
        Median reaction time at each, s; NaN where there is none.
    n
        Number of trials, which weighs them.

    Returns
    -------
    Chronometric or None
        None where fewer than four contrasts, or fewer than three strengths, have a reaction time.
    """
    from scipy.optimize import least_squares

    known = np.isfinite(reaction)
    contrast, reaction, weight = contrast[known], reaction[known], np.sqrt(n[known])
    if contrast.size < FEW_CONTRASTS or np.unique(np.abs(contrast)).size < 3:
        return None

    def misses(parameters: np.ndarray) -> np.ndarray:
        fastest, more, steepness = parameters
        return weight * (Chronometric(fastest, fastest + more, steepness)(contrast) - reaction)

    low, spread = float(reaction.min()), float(np.ptp(reaction))
    bounds = ([min(low, 0), 0, 1e-3], [max(float(reaction.max()), 1e-3), 10 * spread + 1e-3, 10])
    starts = ([low, spread, steepness] for steepness in (0.02, 0.1, 0.5))
    inside = (np.clip(start, *(np.array(bound) for bound in bounds)) for start in starts)
    best = min((least_squares(misses, start, bounds=bounds) for start in inside), key=lambda result: result.cost)
    fastest, more, steepness = map(float, best.x)
    return Chronometric(fastest, fastest + more, steepness)


def _reaction(table: pd.DataFrame) -> np.ndarray:
    end = next((name for name in ("firstMovement_times", "response_times") if name in table and table[name].notna().any()), None)
    if end is None or "stimOn_times" not in table:
        return np.full(len(table), np.nan)
    begin = table["stimOn_times"].fillna(table["goCue_times"]) if "goCue_times" in table else table["stimOn_times"]
    return (table[end] - begin).to_numpy(float)


def _stage(values: dict[str, Any], fit: Psychometric | None, n_trials: int, blank: np.ndarray) -> str:
    easy = values.get("performance_easy")
    if fit is None or easy is None:
        return "none"
    wait = float(np.nanmedian(blank)) if np.isfinite(blank).any() else np.inf
    for stage, (trials, good, bias, threshold, lapse, reaction) in STAGES.items():
        lapses = max(fit.lapse_left, fit.lapse_right)
        if n_trials > trials and easy > good and abs(fit.bias) < bias and fit.threshold < threshold and lapses < lapse and wait <= reaction:
            return stage
    return "none"


def _rounded(value: float) -> float:
    return round(float(value), 4)
