"""The tries at one task instance in one flow run: whether another one follows a failure, when, and what it changes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any

from ranvier.cluster import Cluster, cut_to_fit, promised
from ranvier.declare import Resources
from ranvier.instances import Instance
from ranvier.retries import Cause

_LONGEST_WHY = 300  #: characters
_RESOURCES = frozenset(Resources.__dataclass_fields__)


@dataclass(frozen=True)
class Failure:
    """How a try failed.

    Attributes
    ----------
    reason
        For people.
    cause
        Why, where that may pass.
    wait_s
        Seconds that the task asks to wait; None where it does not say.
    """

    reason: str
    cause: Cause
    wait_s: float | None = None


@dataclass(frozen=True)
class NextTry:
    """The try that follows a failure.

    Attributes
    ----------
    at
        When.
    wait_s
        Seconds until then.
    message
        All of it for people: when, how many are left, after what, and what is changed.
    """

    at: dt.datetime
    wait_s: float
    message: str


class Tries:
    """The tries at one instance.

    Parameters
    ----------
    instance
        As it was planned.
    cluster
        On which it is tried.
    why
        Why it runs at all.
    seen
        Number of the last attempt before the first of them.

    Attributes
    ----------
    instance
        As it is tried next.
    adjusted
        Parameters that the next try has otherwise than planned.
    note
        Why the next try is made.
    seen
        Number of the last attempt that is known here.
    """

    def __init__(self, instance: Instance, cluster: Cluster, why: str, seen: int = 0) -> None:
        self.planned = self.instance = instance
        self.adjusted: dict[str, Any] = {}
        self.note = why
        self.seen = seen
        self._cluster = cluster
        self._failed = 0
        self._changed = 0

    def after(self, failure: Failure) -> NextTry | None:
        """The next try after a failure; None where it would not help, or there have been enough."""
        retries = self.planned.retries
        self._failed += 1
        if self._failed > retries.times or not retries.may_pass(failure.cause):
            return None
        changes = self._change() if retries.changes(failure.cause) else []
        if failure.cause == Cause.MEMORY and not changes:
            return None
        wait_s = retries.wait(self._failed, failure.wait_s)
        at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=wait_s)
        number = f"try {self._failed + 1} of {retries.times + 1}"
        why = f"{failure.cause} ({failure.reason.partition(chr(10))[0][:_LONGEST_WHY]})" + (
            f"; with {', '.join(changes)}" if changes else ""
        )
        self.note = f"{number}, as {why}"
        return NextTry(at, wait_s, f"tried again at {at:%Y-%m-%d %H:%M:%S} UTC ({number}), as {why}")

    def verdict(self, failure: Failure) -> str:
        """The reason of a task that is not tried again."""
        return f"{failure.reason} (tried {self._failed} times)" if self._failed > 1 else failure.reason

    def _change(self) -> list[str]:
        """Apply the declared factors once more; each change in words."""
        self._changed += 1
        factors = {name: factor**self._changed for name, factor in self.planned.retries.on_memory.items()}
        planned = self.planned
        resources: dict[str, Any] = {
            name: _times(getattr(planned.resources, name), factors[name]) for name in factors if name in _RESOURCES
        }
        wanted = cut_to_fit(self._cluster.client, replace(planned.resources, **resources), promised(self._cluster.settings))
        adjusted = {name: _times(planned.parameters[name], factors[name]) for name in factors if name not in _RESOURCES}
        before = {name: getattr(self.instance.resources, name) for name in resources} | planned.parameters | self.adjusted
        now = {name: getattr(wanted, name) for name in resources} | adjusted
        self.instance, self.adjusted = replace(self.instance, resources=wanted), adjusted
        return [f"{name} {_number(before[name])} -> {_number(value)}" for name, value in now.items() if value != before[name]]


def _times(value: float, factor: float) -> float:
    return max(round(value * factor), 1) if isinstance(value, int) else value * factor


def _number(value: float) -> str:
    return f"{value:.6g}"
