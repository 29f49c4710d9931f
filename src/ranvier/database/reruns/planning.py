"""The plan of a backfill: which instances would run and why, what would follow, and the price; from recorded rows only.

Whether input files have changed only the lab server can see: a flow run looks at that, and leaves alone what is unchanged.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.fields.json import KT
from rest_framework.exceptions import ValidationError

from ranvier.database.actions.models import Session
from ranvier.database.jobs.models import Task
from ranvier.database.reruns import costs
from ranvier.database.reruns.models import Backfill, BackfillSession
from ranvier.database.reruns.selection import Selection
from ranvier.states import Status

Row = Mapping[str, Any]
#: Why a session is left out that has no row of the task.
NO_SUCH_TASK = "has no such task: never planned, or it does not apply"
_COLUMNS = ("pk", "session_id", "name", "status", "attempt", "version", "arguments", "datetime")
_RECEIPT = ("receipt__parameters", "receipt__packages")


@dataclass(frozen=True)
class Wish:
    """What a backfill shall bring about.

    Attributes
    ----------
    task, version
        Name of the task, and the version that it shall have run everywhere.
    packages
        Versions of the packages that the task names; None where they are not known.
    selection
        Over which sessions.
    canary
        Number of sessions that go first.
    unplanned
        Also where it was never planned.
    at_once
        Attempts that a lab runs at once; None: the most that it has run at once so far.
    """

    task: str
    version: str
    packages: dict[str, str] | None
    selection: Selection
    canary: int = 5
    unplanned: bool = False
    at_once: int | None = None


@transaction.atomic
def plan(wish: Wish, *, by: Any = None, asked: dict[str, Any] | None = None) -> Backfill:
    """Plan a backfill and keep it.

    Raises
    ------
    ValidationError
        If no session has such a task.
    """
    if wish.selection.unknown_tasks() and not wish.unplanned:
        raise ValidationError({"task": [f"no session has a task called {wish.task}; unplanned: true takes sessions where it is new"]})
    sessions = list(wish.selection.find_sessions().select_related("lab").only("lab__name", "start_time").order_by("-start_time"))
    rows = list(_rows(wish))
    running, left_out = _judge(wish, sessions, rows)
    made = Backfill(created_by=by, task=wish.task, version=wish.version, selection=asked or {}, canary=wish.canary)
    made.estimate = _estimate(wish, [session for session in sessions if session.pk in running], running, rows) | {"left_out": left_out}
    made.save()
    canaries = _canaries([session for session in sessions if session.pk in running], wish.canary)
    BackfillSession.objects.bulk_create(
        BackfillSession(
            backfill=made,
            session_id=pk,
            tasks=[row["name"] for row, _ in found] or [wish.task],
            reason="; ".join(dict.fromkeys(reason for _, reason in found)) or "was never planned",
            is_canary=pk in canaries,
            before={row["name"]: row["qc"] for row, _ in found if row["qc"]},
        )
        for pk, found in running.items()
    )
    return made


def why_it_runs(row: Row, wish: Wish) -> tuple[bool, str]:
    """Whether an instance would run, and why or why not.

    Parameters
    ----------
    row
        Its task's status, attempt and arguments, the version that it ran (`ran`), and its receipt's parameters and packages.
    wish
        What shall have run.
    """
    status = Status(row["status"])
    if status in (Status.ABANDONED, Status.HELD, Status.STARTED):
        return False, f"is {status.label}"
    if not row["attempt"]:
        return True, "has never run"
    changes = list(_changes(row, wish))
    if status == Status.ERRORED and not changes:
        return False, "failed with this very version"
    return (True, "; ".join(changes)) if changes else (False, f"has run version {wish.version}")


def _changes(row: Row, wish: Wish) -> Iterator[str]:
    if row["ran"] != wish.version:
        yield f"version {row['ran'] or 'unknown'} is now {wish.version}"
    yield from _differing("parameter", row["receipt__parameters"], row["arguments"])
    yield from _differing("package", row["receipt__packages"], wish.packages)


def _differing(what: str, before: dict[str, Any] | None, now: dict[str, Any] | None) -> Iterator[str]:
    if before is None or now is None:
        return
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"{what} {name} changed from {before.get(name)} to {now.get(name)}"


def _rows(wish: Wish) -> Iterable[Row]:
    """The task's rows in the selected sessions, with the last attempt's QC."""
    rows = Task.objects.filter(Q(executable=wish.task), session__in=wish.selection.find_sessions().order_by())
    return rows.annotate(ran=KT("receipt__version")).values(*_COLUMNS, *_RECEIPT, "ran", "qc").order_by("session_id", "name")


def _judge(wish: Wish, sessions: Iterable[Session], rows: Iterable[Row]) -> tuple[dict[uuid.UUID, list[tuple[Row, str]]], dict[str, int]]:
    """The instances that would run with their reasons, by session; and the sessions left out, counted by reason."""
    running: defaultdict[uuid.UUID, list[tuple[Row, str]]] = defaultdict(list)
    resting: dict[uuid.UUID, str] = {}
    for row in rows:
        runs, reason = why_it_runs(row, wish)
        if runs:
            running[row["session_id"]].append((row, reason))
        else:
            resting[row["session_id"]] = reason
    for session in sessions:
        if session.pk not in running and session.pk not in resting:
            if wish.unplanned:
                running[session.pk] = []
            else:
                resting[session.pk] = NO_SUCH_TASK
    return dict(running), dict(Counter(reason for pk, reason in resting.items() if pk not in running))


def _canaries(sessions: Iterable[Session], number: int) -> set[uuid.UUID]:
    """The newest sessions of each lab in turn."""
    by_lab: defaultdict[str, list[uuid.UUID]] = defaultdict(list)
    for session in sessions:
        by_lab[session.lab.name].append(session.pk)
    depth = max(map(len, by_lab.values()), default=0)
    in_turn = [queue[place] for place in range(depth) for queue in by_lab.values() if place < len(queue)]
    return set(in_turn[:number])


def _estimate(
    wish: Wish, sessions: list[Session], running: Mapping[uuid.UUID, list[tuple[Row, str]]], rows: Iterable[Row]
) -> dict[str, Any]:
    own = {pk: max(len(found), 1) for pk, found in running.items()}
    followers = _followers([row["pk"] for found in running.values() for row, _ in found])
    instances = Counter({wish.task: sum(own.values())})
    for executable, pk in followers:
        instances[executable] += 1
        own[pk] += 1
    prices = [costs.recorded(task) for task in instances]
    reasons = Counter(
        reason for found in running.values() for reason in dict.fromkeys(reason for _, reason in found) or ["was never planned"]
    )
    total = costs.total(prices, instances)
    return {
        "sessions": len(sessions),
        "reasons": dict(reasons),
        "tasks": costs.as_table(prices, instances),
        "total": total,
        "labs": _labs(wish, sessions, own, total["wall_h"], rows),
    }


def _labs(
    wish: Wish, sessions: list[Session], own: Mapping[uuid.UUID, int], wall_h: costs.Range, rows: Iterable[Row]
) -> list[dict[str, Any]]:
    """The share of each lab: sessions, days, and the version that it last planned with."""
    lab_of = {session.pk: session.lab.name for session in sessions}
    installed = {
        lab_of[row["session_id"]]: row["version"] for row in sorted(rows, key=lambda row: row["datetime"]) if row["session_id"] in lab_of
    }
    shares: Counter[str] = Counter()
    for pk, count in own.items():
        shares[lab_of[pk]] += count
    everything = sum(shares.values())
    labs = []
    for lab, count in sorted(Counter(lab_of.values()).items()):
        at_once = wish.at_once or costs.most_at_once(lab)
        days = tuple(hours * shares[lab] / everything / at_once / 24 for hours in wall_h)
        labs.append({"lab": lab, "sessions": count, "installed": installed.get(lab) or "", "at_once": at_once, "days": days})
    return labs


def _followers(tasks: list[uuid.UUID]) -> list[tuple[str, uuid.UUID]]:
    """All that comes after some tasks: the code's name and the session of each instance."""
    link = Task.parents.through
    found: dict[uuid.UUID, tuple[str, uuid.UUID]] = {}
    front = set(tasks)
    while front:  # as many rounds as the graph is deep
        children = link.objects.filter(to_task__in=front).values_list("from_task", "from_task__executable", "from_task__session")
        new = {pk: (executable, session) for pk, executable, session in children if pk not in found}
        found |= new
        front = set(new)
    return [found[pk] for pk in found.keys() - set(tasks)]
