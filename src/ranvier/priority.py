"""Which run goes first: one that somebody waits for, or one of a large rerun or a backfill.

The database's events carry it, the dispatcher chooses the work queue by it, and Dask orders the attempts of all runs by it.
"""

from __future__ import annotations

from enum import StrEnum

#: More than any task's own priority, so that the run's comes first and the task's after it.
_STEP = 1_000_000


class Priority(StrEnum):
    """How soon a run is wanted."""

    NOW = "now"
    BACKFILL = "backfill"

    @classmethod
    def of(cls, sessions: int) -> Priority:
        """How soon the runs of so many sessions are wanted, where nobody has said: somebody waits for one, nobody for all of many."""
        return cls.NOW if sessions == 1 else cls.BACKFILL

    @property
    def queue(self) -> str:
        """Name of the queue of the lab's work pool that its flow runs wait in; other flows have Prefect's own, "default"."""
        return "sessions" if self == Priority.NOW else "backfill"

    def for_dask(self, task: int) -> int:
        """Priority on the cluster of a task with this priority of its own; higher goes first."""
        return task - (0 if self == Priority.NOW else _STEP)
