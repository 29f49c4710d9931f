"""Failures: what makes two of them equal, how often each was seen, and where."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections import defaultdict
from typing import Any

from django.db.models import Count, Max, Min, OuterRef, Q, QuerySet, Subquery

from ranvier.database.jobs.models import Attempt, Event, Pause, Task
from ranvier.database.rest.reading import seen
from ranvier.states import GOOD_ENOUGH, Status

#: Kind of failure of an attempt that told of no error: what it wrote is not what was declared.
CONTRACT = "ContractViolation"
#: What is different in every session: paths, quoted names, identifiers and numbers.
_PARTICULAR = re.compile(r"(?:[\w.~-]*/)+[\w.\[\]-]+|'[^']*'|\"[^\"]*\"|\b[0-9a-f]{8,}\b|\d+(?:[.,:]\d+)*")
_FRAME = re.compile(r'File "([^"]+)", line \d+, in (\S+)')
_LONGEST_SHAPE = 200


def task_name(task: Task) -> str:
    """Name of the task, of which this is an instance."""
    return task.executable or task.name.split("[")[0]


def shape(text: str) -> str:
    """What is left of a message when everything is taken out that is another in every session."""
    return _PARTICULAR.sub("…", text)[:_LONGEST_SHAPE]


def place(attempt: Attempt) -> str:
    """Where an exception was raised, ``file.py:function``; empty where the failure was no exception."""
    frames = _FRAME.findall(attempt.traceback)
    return f"{frames[-1][0].rpartition('/')[2]}:{frames[-1][1]}" if frames else ""


def fingerprint(task: Task, version: str, error_type: str, text: str) -> str:
    """The fingerprint of a failure that is no exception of the task: it died, ran out of time, or wrote what was not declared.

    An exception's is made where it is raised (`ranvier.child`).
    """
    told = f"{error_type or CONTRACT}|{shape(text)}|{task_name(task)}@{version}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def note(attempt: Attempt, task: Task) -> None:
    """Give a failure its fingerprint, and write the event that tells people of it."""
    attempt.error_type = attempt.error_type or CONTRACT
    attempt.fingerprint = attempt.fingerprint or fingerprint(task, attempt.version, attempt.error_type, attempt.reason)
    attempt.save(update_fields=["error_type", "fingerprint"])
    told = {"task": str(task.pk), "name": task.name, "version": attempt.version, "reason": attempt.reason[:500]}
    Event.of(Event.Kind.FAILED, task.session, f"failed:{attempt.pk}", fingerprint=attempt.fingerprint, **told)


def of(among: QuerySet[Attempt] | None = None, **conditions: Any) -> QuerySet[Attempt]:
    """Attempts that failed by their task's fault, or for want of what it needs; not those that were cancelled."""
    return (Attempt.objects.all() if among is None else among).filter(status=Status.ERRORED, **conditions).exclude(fingerprint="")


def groups(
    among: QuerySet[Attempt] | None = None,
    lab: str = "",
    task: str = "",
    since: datetime.datetime | None = None,
    fingerprint: str = "",
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Equal failures, counted over all sessions and labs; the latest first.

    Parameters
    ----------
    among
        Attempts that are looked at; None for all.
    lab, task, fingerprint
        Only those of a lab, of a task, or of one fingerprint.
    since
        Only those that ended later.
    limit
        Of the number of groups.
    """
    given = {"task__session__lab__name": lab, "task__executable": task, "finished__gte": since, "fingerprint": fingerprint}
    found = of(among, **{name: value for name, value in given.items() if value})
    latest = of(among, fingerprint=OuterRef("fingerprint")).order_by("-finished").values("pk")[:1]
    good = Q(task__status__in=[*GOOD_ENOUGH, Status.EMPTY])
    rows = (
        found.order_by()
        .values("fingerprint")
        .annotate(
            sessions=Count("task__session", distinct=True),
            tasks=Count("task", distinct=True),
            attempts=Count("pk"),
            put_right=Count("task", distinct=True, filter=good),
            first_seen=Min("finished"),
            last_seen=Max("finished"),
            latest=Subquery(latest),
        )
        .order_by("-last_seen")[:limit]
    )
    return _described(list(rows), found)


def _described(rows: list[dict[str, Any]], found: QuerySet[Attempt]) -> list[dict[str, Any]]:
    """Groups with their labs, their pauses and an example."""
    examples = Attempt.objects.select_related("task__session__subject").in_bulk([row["latest"] for row in rows])
    known = [row["fingerprint"] for row in rows]
    labs, paused = defaultdict(set), defaultdict(set)
    for print_, lab in found.filter(fingerprint__in=known).order_by().values_list("fingerprint", "task__session__lab__name").distinct():
        labs[print_].add(lab)
    for print_, lab in seen(Pause.objects).filter(fingerprint__in=known, lifted=None).values_list("fingerprint", "lab__name"):
        paused[print_].add(lab)
    return [
        {
            **{name: value for name, value in row.items() if name != "latest"},
            **_example(examples[row["latest"]]),
            "labs": sorted(labs[row["fingerprint"]]),
            "paused": sorted(paused[row["fingerprint"]]),
        }
        for row in rows
    ]


def _example(attempt: Attempt) -> dict[str, Any]:
    return {
        "task": task_name(attempt.task),
        "version": attempt.version,
        "error_type": attempt.error_type,
        "place": place(attempt),
        "message": attempt.reason,
        "attempt": attempt.pk,
        "session": attempt.task.session_id,
        "session_path": attempt.task.session.path,
    }
