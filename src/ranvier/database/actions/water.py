"""What an animal under water restriction may weigh and has to drink, day by day, as Alyx reckons it.

Expected water is 40 ml per kg of what it weighs without its implant, and 50 ml where that weight is less than 80 % of the expected one.
The expected weight is the mean of two, weighted with the lab's `reference_weight_pct` and `zscore_weight_pct`: the weight before the
restriction, and what an animal of that sex, as many standard deviations from the mean as it was then, weighs at its age
(`GrowthReference`). Where there is no growth reference or no birth date, the first alone counts.
"""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranvier.database.actions.husbandry import WaterAdministration, WaterRestriction, Weighing
from ranvier.database.actions.surgery import Surgery
from ranvier.database.people.clock import local_now
from ranvier.database.subjects.models import GrowthReference, HumaneEndPoint, Subject

Day = datetime.date
Growth = dict[str, list[tuple[int, float, float]]]
#: Share of the expected weight below which an animal gets more water, and millilitres per gram above and below it.
LIGHT, WATER, WATER_IF_LIGHT = 0.8, 0.04, 0.05


@dataclass(frozen=True)
class Restriction:
    """A time under water restriction."""

    start: datetime.datetime
    end: datetime.datetime | None
    reference: float

    def holds(self, day: Day) -> bool:
        """Whether a day is in it."""
        return self.start.date() <= day and (self.end is None or day <= self.end.date())


@dataclass
class WaterHistory:
    """Weights, implants, restrictions and water of an animal, each in the order of time.

    Weights are in grams, water in millilitres.
    """

    subject: Subject
    today: Day
    growth: Growth = field(default_factory=dict)
    weighings: list[tuple[Day, float]] = field(default_factory=list)
    implants: list[tuple[Day, float]] = field(default_factory=list)
    restrictions: list[Restriction] = field(default_factory=list)
    given: dict[tuple[Day, bool], float] = field(default_factory=lambda: defaultdict(float))  # by day, and whether in a session

    def restriction(self, day: Day) -> Restriction | None:
        """The restriction that the animal was under on a day."""
        begun = [r for r in self.restrictions if r.start.date() <= day]
        return begun[-1] if begun and begun[-1].holds(day) else None

    def weight(self, day: Day) -> float:
        """The last weight up to a day; 0 where there is none."""
        return _last(self.weighings, day) or 0.0

    def weighing_at(self, day: Day) -> float | None:
        """The weight of a day."""
        i = bisect_right(self.weighings, day, key=lambda pair: pair[0]) - 1
        return self.weighings[i][1] if i >= 0 and self.weighings[i][0] == day else None

    def implant_weight(self, day: Day) -> float | None:
        """What was on the head on a day."""
        return _last(self.implants, day)

    def reference(self, day: Day) -> tuple[Day, float] | None:
        """The weight that a day's is held against, and when it was taken; the last restriction's stays so after its end."""
        last = self.restrictions[-1] if self.restrictions else None
        one = last if last and last.reference and day >= last.start.date() else self.restriction(day)
        return (one.start.date(), one.reference or self.weight(one.start.date())) if one else None

    def reference_weight(self, day: Day) -> float:
        """The same, 0 where there is none."""
        found = self.reference(day)
        return found[1] if found else 0.0

    def zscore_weight(self, day: Day) -> float:
        """What it should weigh at its age, implant included; 0 where that cannot be told."""
        found, born = self.reference(day), self.subject.birth_date
        table = self.growth.get("M" if self.subject.sex == "M" else "F")
        if found is None or not found[1] or born is None or not table:
            return 0.0
        then, reference = found
        mean, sd = _at_age(table, (then - born).days // 7)
        z = (reference - (self.implant_weight(then) or 0.0) - mean) / sd
        mean, sd = _at_age(table, (day - born).days // 7)
        return sd * z + mean + (self.implant_weight(day) or 0.0)

    def _mean(self, day: Day, zscore_pct: float, reference_pct: float) -> float:
        zscore, reference = self.zscore_weight(day), self.reference_weight(day)
        return (zscore or reference) * zscore_pct + reference * reference_pct

    def expected_weight(self, day: Day) -> float:
        """What it should weigh."""
        lab = self.subject.lab
        total = lab.zscore_weight_pct + lab.reference_weight_pct
        return self._mean(day, lab.zscore_weight_pct / total, lab.reference_weight_pct / total) if total else 0.0

    def min_weight(self, day: Day) -> float:
        """What it must not fall below."""
        return self._mean(day, self.subject.lab.zscore_weight_pct, self.subject.lab.reference_weight_pct)

    def percentage_weight(self, day: Day) -> float:
        """Weight in percent of the expected one, both without implant; 0 where that is not known."""
        implant = self.implant_weight(day) or 0.0
        expected = self.expected_weight(day) - implant
        return 100 * (self.weight(day) - implant) / expected if expected > 0 else 0.0

    def expected_water(self, day: Day) -> float:
        """What it has to drink in a day; 0 where it was never weighed."""
        weight = self.weight(day)
        share = WATER_IF_LIGHT if weight < LIGHT * self.expected_weight(day) else WATER
        return max(0.0, share * (weight - (self.implant_weight(day) or 0.0)))

    def given_water(self, day: Day, reward: bool | None = None) -> float:
        """What it was given: all, as reward in sessions, or beside them."""
        return sum(self.given.get((day, kind), 0.0) for kind in (True, False) if reward in (None, kind))

    def remaining_water(self, day: Day) -> float:
        """What it still has to get; less than 0 where it got more."""
        return self.expected_water(day) - self.given_water(day)

    def record(self, day: Day) -> dict[str, Any]:
        """A day, with Alyx's names."""
        return {
            "date": day,
            "weight": self.weight(day),
            "weighing_at": self.weighing_at(day),
            "reference_weight": self.reference_weight(day),
            "expected_weight": self.expected_weight(day),
            "min_weight": self.min_weight(day),
            "percentage_weight": self.percentage_weight(day),
            "given_water_reward": self.given_water(day, True),
            "given_water_supplement": self.given_water(day, False),
            "given_water_total": self.given_water(day),
            "expected_water": self.expected_water(day),
            "excess_water": -self.remaining_water(day),
            "is_water_restricted": self.restriction(day) is not None,
            "implant_weight": self.implant_weight(day),
        }

    def first_day(self) -> Day:
        """The day of the first weighing or water; today where there is none."""
        return min([day for day, _ in self.weighings[:1]] + [day for day, _ in self.given], default=self.today)


def _last(pairs: Sequence[tuple[Day, float]], day: Day) -> float | None:
    i = bisect_right(pairs, day, key=lambda pair: pair[0])
    return pairs[i - 1][1] if i else None


def _at_age(table: Sequence[tuple[int, float, float]], weeks: int) -> tuple[float, float]:
    """Mean and standard deviation at an age; beyond the table's ends as at them."""
    i = max(0, bisect_right(table, weeks, key=lambda row: row[0]) - 1)
    return table[i][1:]


def histories(subjects: Iterable[Subject], since: Day | None = None) -> dict[Any, WaterHistory]:
    """Histories of animals by their key, in five queries however many they are; `since` leaves out water given before a day."""
    growth: Growth = defaultdict(list)
    for sex, age, mean, sd in GrowthReference.objects.values_list("sex", "age_weeks", "mean", "sd"):
        growth[sex].append((age, mean, sd))
    found = {s.pk: WaterHistory(s, local_now(s.lab).date(), growth) for s in subjects}
    rows: Any = Weighing.objects.filter(subject__in=found).order_by("date_time").values_list("subject", "date_time", "weight")
    for key, time, weight in rows:
        found[key].weighings.append((time.date(), weight))
    rows = Surgery.objects.filter(subject__in=found, implant_weight__gt=0).order_by("start_time")
    for key, time, weight in rows.values_list("subject", "start_time", "implant_weight"):
        found[key].implants.append((time.date(), weight))
    rows = WaterRestriction.objects.filter(subject__in=found).order_by("start_time")
    for key, *restriction in rows.values_list("subject", "start_time", "end_time", "reference_weight"):
        found[key].restrictions.append(Restriction(*restriction))
    rows = WaterAdministration.objects.filter(subject__in=found, water_administered__isnull=False).order_by("date_time")
    rows = rows.filter(date_time__date__gte=since) if since else rows
    for key, time, volume, session in rows.values_list("subject", "date_time", "water_administered", "session"):
        found[key].given[time.date(), session is not None] += volume
    return found


def history(subject: Subject) -> WaterHistory:
    """The history of one animal."""
    return histories([subject])[subject.pk]


def note_end_points(weighing: Weighing) -> None:
    """Write down which humane end points an animal has come to with a weighing."""
    points = HumaneEndPoint.objects.filter(subject=weighing.subject, reached_on=None, min_weight_pct__isnull=False)
    if not points:
        return
    day = weighing.date_time.date()
    percentage = history(weighing.subject).percentage_weight(day)
    if percentage:  # 0: the expected weight is not known
        points.filter(min_weight_pct__gt=percentage).update(reached_on=day)
