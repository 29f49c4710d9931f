"""How a backfill goes: verdicts, versions and cost of what has run since it was asked for, and the quality before and after."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Min
from django.db.models.fields.json import KT

from ranvier.database.jobs.models import Attempt, Task
from ranvier.database.reruns.costs import middle_and_high
from ranvier.database.reruns.models import Backfill, BackfillSession
from ranvier.states import Status

Run = Mapping[str, Any]  #: the last attempt at an instance since it was asked for
_NAMES = ("task__session", "task__name", "status", "reason", "ran")
_COLUMNS = (*_NAMES, "wall_s", "cpu_s", "written_bytes", "qc", "started", "finished")


def report(backfill: Backfill) -> dict[str, Any]:
    """How a backfill goes.

    Returns
    -------
    dict
        ``asked`` and ``ended`` sessions; ``verdicts``, ``versions`` and ``qc`` before and after of their instances, counted; ``measured``:
        median and 90th percentile of an attempt beside the ``estimated`` ones; ``rest_h``: hours that the rest takes at the pace so far;
        ``canary``: each instance of the canary.
    """
    asked = list(backfill.sessions.filter(rerun_session__isnull=False).select_related("session__subject", "session__lab", "rerun_session"))
    runs = _runs(backfill, asked)
    ended = [each for each in asked if each.rerun_session.ended]
    return {
        "asked": len(asked),
        "ended": len(ended),
        "verdicts": dict(Counter(Status(run["status"]).label for run in runs.values())),
        "versions": dict(Counter(run["ran"] or "unknown" for run in runs.values() if run["status"] != Status.STARTED)),
        "measured": _measured(runs.values()),
        "estimated": next((each for each in backfill.estimate.get("tasks", ()) if each["task"] == backfill.task), {}),
        "qc": _quality(ended, runs),
        "rest_h": _rest(runs.values(), len(ended), backfill.sessions.count() - len(ended)),
        "canary": [line for each in asked if each.is_canary for line in _lines(each, runs)],
    }


def _runs(backfill: Backfill, asked: Iterable[BackfillSession]) -> dict[tuple[uuid.UUID, str], Run]:
    since = backfill.sessions.aggregate(first=Min("rerun_session__rerun__created"))["first"]
    if since is None:
        return {}
    sessions = [each.session_id for each in asked]
    attempts = Attempt.objects.filter(task__executable=backfill.task, task__session__in=sessions, started__gte=since)
    return {
        (run["task__session"], run["task__name"]): run
        for run in attempts.annotate(ran=KT("receipt__version")).order_by("number").values(*_COLUMNS)
    }


def canary_has(backfill: Backfill) -> set[str]:
    """Versions that the canary's tasks have run last, whoever asked for that."""
    sessions = backfill.sessions.filter(is_canary=True).values("session")
    rows = Task.objects.filter(executable=backfill.task, session__in=sessions).annotate(ran=KT("receipt__version"))
    return {ran or "unknown" for ran in rows.values_list("ran", flat=True)}


def _measured(runs: Iterable[Run]) -> dict[str, Any]:
    runs = [run for run in runs if run["wall_s"] is not None]
    return {name: middle_and_high([run[name] or 0.0 for run in runs]) for name in ("wall_s", "cpu_s", "written_bytes")} if runs else {}


def _outcome(run: Run | None) -> str:
    return str((run["qc"] or {}).get("outcome", "NOT_SET")) if run else ""


def _quality(ended: Iterable[BackfillSession], runs: Mapping[tuple[uuid.UUID, str], Run]) -> dict[str, dict[str, int]]:
    """QC outcomes of the instances that have run, before and after."""
    before = {each.session_id: each.before for each in ended}
    ran = [(before[session].get(name, "NOT_SET"), _outcome(run)) for (session, name), run in runs.items() if session in before]
    return {"before": dict(Counter(was for was, _ in ran)), "after": dict(Counter(now for _, now in ran))}


def _rest(runs: Iterable[Run], ended: int, rest: int) -> float | None:
    times = [run for run in runs if run["finished"]]
    if not times or not ended:
        return None
    took = max(run["finished"] for run in times) - min(run["started"] for run in times)
    return took.total_seconds() / 3600 / ended * rest


def _lines(each: BackfillSession, runs: Mapping[tuple[uuid.UUID, str], Run]) -> list[dict[str, Any]]:
    names = sorted({name for session, name in runs if session == each.session_id} or each.tasks)
    return [_line(each, name, runs.get((each.session_id, name))) for name in names]


def _line(each: BackfillSession, name: str, run: Run | None) -> dict[str, Any]:
    return {
        "session": str(each.session_id),
        "reference": each.session.path,
        "lab": each.session.lab.name,
        "task": name,
        "status": Status(run["status"]).label if run else "",
        "version": (run["ran"] or "") if run else "",
        "reason": run["reason"] if run else "",
        "wall_s": run["wall_s"] if run else None,
        "cpu_s": run["cpu_s"] if run else None,
        "qc_before": each.before.get(name, "NOT_SET"),
        "qc_after": _outcome(run),
        "flow_run": each.rerun_session.outcome or "has not ended",
    }
