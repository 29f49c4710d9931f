"""What tasks have cost so far, from recorded attempts, and what many more of them would."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ranvier.database.jobs.models import Attempt
from ranvier.states import SETTLED

#: So many of the latest attempts are looked at, of a task and of a lab.
LATEST = 1000
#: What is recorded of an attempt, in the units of its columns.
MEASURES = ("wall_s", "cpu_s", "gpu_s", "peak_memory_mb", "written_bytes")

Range = tuple[float, float]  #: median and 90th percentile


@dataclass(frozen=True)
class Cost:
    """What one attempt at a task takes: median and 90th percentile of each measure.

    Attributes
    ----------
    task
        Name of the task.
    attempts
        Number of attempts that it comes from; without any, all is 0.
    wall_s, cpu_s, gpu_s
        Seconds: of wall time, of CPU time, and wall time times the GPUs that were held.
    peak_memory_mb, written_bytes
        Peak of memory in megabytes, and bytes written, temporary ones among them.
    """

    task: str
    attempts: int
    wall_s: Range = (0.0, 0.0)
    cpu_s: Range = (0.0, 0.0)
    gpu_s: Range = (0.0, 0.0)
    peak_memory_mb: Range = (0.0, 0.0)
    written_bytes: Range = (0.0, 0.0)


def recorded(task: str) -> Cost:
    """What the latest attempts at a task that came to a result took, in any lab and of any version."""
    rows = Attempt.objects.filter(task__executable=task, status__in=SETTLED, wall_s__isnull=False).order_by("-started")
    values = rows.values_list("wall_s", "cpu_s", "task__gpu", "peak_memory_mb", "written_bytes")[:LATEST]
    table = [(wall, cpu, wall * (gpu or 0), memory, written) for wall, cpu, gpu, memory, written in values]
    if not table:
        return Cost(task, 0)
    columns = zip(*table, strict=True)
    return Cost(task, len(table), *(middle_and_high([value or 0.0 for value in column]) for column in columns))


def middle_and_high(values: Sequence[float]) -> Range:
    """Median and 90th percentile."""
    if len(values) == 1:
        return values[0], values[0]
    return statistics.median(values), statistics.quantiles(values, n=10, method="inclusive")[-1]


def total(costs: Iterable[Cost], instances: Mapping[str, int]) -> dict[str, Range]:
    """Hours, gigabytes written and gigabytes of memory for so many instances of each task.

    The high figure takes every instance at its 90th percentile, which is more than is likely.
    """
    costs = list(costs)

    def summed(measure: str, unit: float) -> Range:
        low, high = (sum(getattr(cost, measure)[index] * instances[cost.task] for cost in costs) / unit for index in (0, 1))
        return low, high

    memory = [cost.peak_memory_mb for cost in costs] or [(0.0, 0.0)]
    return {
        "wall_h": summed("wall_s", 3600),
        "cpu_h": summed("cpu_s", 3600),
        "gpu_h": summed("gpu_s", 3600),
        "written_gb": summed("written_bytes", 1e9),
        "memory_gb": (max(low for low, _ in memory) / 1e3, max(high for _, high in memory) / 1e3),
    }


def most_at_once(lab: str) -> int:
    """The most of a lab's latest attempts that were running at one time; 1 where nothing is recorded."""
    spans = Attempt.objects.filter(task__session__lab__name=lab, finished__isnull=False).order_by("-started")
    ends: defaultdict[Any, int] = defaultdict(int)
    for started, finished in spans.values_list("started", "finished")[:LATEST]:
        ends[started] += 1
        ends[finished] -= 1
    running = most = 0
    for moment in sorted(ends):
        running += ends[moment]
        most = max(most, running)
    return max(most, 1)


def as_table(costs: Iterable[Cost], instances: Mapping[str, int]) -> list[dict[str, Any]]:
    """Costs as plain data, with the number of instances."""
    return [{**asdict(cost), "instances": instances[cost.task]} for cost in costs]
