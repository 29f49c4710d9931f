"""Task states and the transitions between them: the only place in Ranvier that knows either.

The database's constraint, the REST API, the attempt, the names of Prefect's states and the website all derive from here.
Names and numbers are Alyx's, so that a real ibllib worker can PATCH its way through them.
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Where a task instance stands. The numbers are those that Alyx stores."""

    WAITING = 20
    HELD = 25
    STARTED = 30
    ERRORED = 40
    ABANDONED = 45
    EMPTY = 50
    INCOMPLETE = 55
    COMPLETE = 60

    @property
    def label(self) -> str:
        """Alyx's spelling, such as ``Waiting``."""
        return self.name.capitalize()

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return MEANING[self]

    @classmethod
    def parse(cls, value: str | int | Status) -> Status:
        """Read a status from its label in any case, or from its number.

        Raises
        ------
        ValueError
            If there is no such status; the message lists those there are.
        """
        try:
            return cls[value.upper()] if isinstance(value, str) else cls(value)
        except (KeyError, ValueError):
            known = ", ".join(status.label for status in cls)
            raise ValueError(f"{value!r} is not a task status; use one of {known}") from None


MEANING: dict[Status, str] = {
    Status.WAITING: "its flow run has not reached it yet, or it waits for its turn or its next try, as the reason says",
    Status.HELD: "cannot run: a parent is not good enough, or nothing here can run it; the reason says which and why",
    Status.STARTED: "an attempt holds the lease and is running",
    Status.ERRORED: "the last attempt failed; its log says why",
    Status.ABANDONED: "given up by hand; nothing reruns it until someone sets it Waiting",
    Status.EMPTY: "ran, and rightly found nothing to write",
    Status.INCOMPLETE: "ran, but some of the declared outputs are missing",
    Status.COMPLETE: "ran, and every declared output is there and sound",
}

#: From each status, the statuses that may follow. What is not listed is refused.
#: What failed, was Empty or Held may be started as it stands, as ibllib does.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.WAITING: frozenset({Status.HELD, Status.STARTED, Status.ERRORED, Status.ABANDONED}),
    Status.HELD: frozenset({Status.WAITING, Status.STARTED, Status.ABANDONED}),
    Status.STARTED: frozenset({Status.COMPLETE, Status.INCOMPLETE, Status.EMPTY, Status.ERRORED, Status.WAITING, Status.ABANDONED}),
    Status.ERRORED: frozenset({Status.WAITING, Status.STARTED, Status.HELD, Status.ABANDONED}),
    Status.ABANDONED: frozenset({Status.WAITING}),
    Status.EMPTY: frozenset({Status.WAITING, Status.STARTED, Status.HELD, Status.ABANDONED}),
    Status.INCOMPLETE: frozenset({Status.WAITING, Status.HELD, Status.ABANDONED}),
    Status.COMPLETE: frozenset({Status.WAITING, Status.HELD, Status.ABANDONED}),
}

#: An attempt ends in one of these: the verdicts.
VERDICTS = frozenset({Status.COMPLETE, Status.INCOMPLETE, Status.EMPTY, Status.ERRORED})

#: Verdicts that another attempt with the same identity would only repeat.
SETTLED = frozenset({Status.COMPLETE, Status.INCOMPLETE, Status.EMPTY})

#: In the `json` of a session's row: that no task applied to it when it was planned.
NOTHING_APPLIES = "nothing_applies"

#: A parent in one of these is good enough for its children to run.
GOOD_ENOUGH = frozenset({Status.COMPLETE, Status.INCOMPLETE})


def may_follow(before: Status, after: Status) -> bool:
    """Whether a task may go from `before` to `after`; staying where it is, is always allowed."""
    return before == after or after in TRANSITIONS[before]


def refusal(before: Status, after: Status) -> str:
    """Why `after` may not follow `before`, in words for the one who asked."""
    allowed = ", ".join(status.label for status in sorted(TRANSITIONS[before]))
    return f"a task that is {before.label} cannot become {after.label}; from {before.label} it can become {allowed}"
