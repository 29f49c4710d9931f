"""What came of the task instances of a flow run, and how Prefect shows it: its states bear the names of `ranvier.states`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import StateType
from prefect.states import State

from ranvier.errors import RanvierError
from ranvier.states import Status

#: What Prefect takes an instance's end for; all else is completed.
_TYPES = {Status.ERRORED.label: StateType.FAILED, Status.HELD.label: StateType.CANCELLED}


class InstancesFailed(RanvierError):
    """Task instances of a session are Errored; what Prefect's engine raises of a failed flow run."""


def without_engine_traceback(record: logging.LogRecord) -> bool:
    """A filter of Prefect's log: leaves out the engine's own traceback of `InstancesFailed`, as the lines before it have said it all."""
    return not (record.exc_info and isinstance(record.exc_info[1], InstancesFailed))


@dataclass(frozen=True)
class Ended:
    """How one instance ended in this flow run.

    Attributes
    ----------
    name
        What Prefect calls its state: a status's label, ``Unchanged`` or ``Skipped``.
    status
        Where the task now stands.
    reason
        For people.
    wall_s
        Seconds that its attempt took.
    figures
        Paths below the session folder.
    why
        Why it ran; empty where it did not.
    qc
        Outcome of its QC; empty where it has judged nothing.
    """

    name: str
    status: Status
    reason: str
    wall_s: float = 0.0
    figures: tuple[str, ...] = ()
    why: str = ""
    qc: str = ""

    @classmethod
    def of(cls, outcome: Mapping[str, Any]) -> Ended:
        """The end of an instance whose attempt has come to this outcome."""
        verdict, figures = Status.parse(outcome["verdict"]), tuple(outcome["figures"])
        return cls(outcome["status"], verdict, outcome["reason"], outcome["wall_s"], figures, outcome["why"], outcome["qc"])

    @property
    def told(self) -> str:
        """All that is to be said of it: how it came to its end, and why it ran."""
        return "; ".join(filter(None, [self.reason, f"ran for {self.wall_s:.1f} s, as: {self.why}" if self.why else ""]))

    def state(self) -> State[Any]:
        """The Prefect state of its task run."""
        return State(type=_TYPES.get(self.name, StateType.COMPLETED), name=self.name, message=self.told)


def held(reason: str) -> Ended:
    """The end of an instance that cannot run."""
    return Ended(Status.HELD.label, Status.HELD, reason)


def flow_state(ended: Mapping[str, Ended]) -> State[Any]:
    """The state of the whole flow run: failed where an instance is Errored, with words that say which and why."""
    failed = [f"{name}: {each.reason}" for name, each in ended.items() if each.name == Status.ERRORED.label]
    counts = Counter(each.name for each in ended.values())
    if not failed:
        message = ", ".join(f"{count} {name.lower()}" for name, count in counts.items()) or "no task applies to this session"
        return State(type=StateType.COMPLETED, name="Completed", message=message)
    rest = "".join(f"; {count} {name.lower()}" for name, count in counts.items() if name != Status.ERRORED.label)
    message = f"{len(failed)} of {len(ended)} failed: {'; '.join(failed)}{rest}"
    return State(type=StateType.FAILED, name="Failed", message=message, data=InstancesFailed(message))


def table(ended: Mapping[str, Ended]) -> str:
    """All of it as a Markdown table."""
    rows = [f"| `{name}` | {each.name} | {each.wall_s:.1f} | {cell(each.told)} |" for name, each in ended.items()]
    return "\n".join(["| task | state | seconds | reason |", "|---|---|---:|---|", *rows])


def cell(text: str) -> str:
    """A text that stands in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
