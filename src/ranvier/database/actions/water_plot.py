"""The plot of an animal's weight and water."""

from __future__ import annotations

import datetime
import io

from matplotlib.figure import Figure

from ranvier.database.actions.water import WaterHistory

#: Days that a plot goes back.
MOST_DAYS = 180


def plot(water: WaterHistory) -> bytes:
    """Weight, what it should be and must not fall below, and the water of each day; an SVG of the last half year."""
    first = max(water.first_day(), water.today - datetime.timedelta(days=MOST_DAYS))
    days = [first + datetime.timedelta(days=i) for i in range((water.today - first).days + 1)]
    records = [water.record(day) for day in days]
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    weight, drink = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    weight.plot(*zip(*[(d, w) for d, w in water.weighings if d >= first], strict=True), "o-", color="#1a5fb4", ms=4, label="weight")
    restricted = [(r["date"], r["expected_weight"], r["min_weight"]) for r in records if r["expected_weight"]]
    if restricted:
        dates, expected, least = zip(*restricted, strict=True)
        weight.plot(dates, expected, "--", color="#5e5c64", lw=1, label="should weigh")
        weight.plot(dates, least, "-", color="#b3261e", lw=1, label="at least")
    for restriction in water.restrictions:
        end = restriction.end.date() if restriction.end else water.today
        if end >= first:
            weight.axvspan(max(first, restriction.start.date()), end, color="#99c1f1", alpha=0.25, lw=0)
    weight.set_ylabel("weight (g)")
    weight.legend(loc="upper left", frameon=False, ncols=3)
    weight.margins(y=0.2)
    reward = [r["given_water_reward"] for r in records]
    drink.bar(days, reward, color="#1a5fb4", label="in sessions")
    drink.bar(days, [r["given_water_supplement"] for r in records], bottom=reward, color="#99c1f1", label="beside them")
    drink.step(days, [r["expected_water"] if r["is_water_restricted"] else None for r in records], where="mid", color="#b3261e", lw=1,
               label="has to drink")  # fmt: skip
    drink.set_ylabel("water (ml)")
    drink.legend(loc="upper left", frameon=False, ncols=3)
    drink.margins(y=0.4)
    for axes in (weight, drink):
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
