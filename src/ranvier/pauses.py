"""Lifting the pause of a task that failed alike in one session after the other."""

from __future__ import annotations

from ranvier.client import Database, Record
from ranvier.errors import RanvierError


class NotPaused(RanvierError):
    """The task is not paused; the message says what is."""


def resume(database: Database, task: str, lab: str) -> list[Record]:
    """Lift every pause of a task in a lab; the sessions in which it was held are asked for.

    Returns
    -------
    list of dict
        The pauses; `sessions` of each is the number of sessions that are asked for.

    Raises
    ------
    NotPaused
        If it is not paused there.
    """
    found = database.pauses(task, lab)
    if not found:
        others = ", ".join(f"{pause['task']} in {pause['lab']}" for pause in database.pauses()) or "nothing"
        raise NotPaused(f"{task} is not paused in {lab}", f"paused: {others}; `ranvier failures` tells of failures")
    return [database.lift(pause["id"]) for pause in found]
