"""``/plans``: the task rows of a session, written in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from rest_framework.exceptions import ValidationError

from ranvier.database.actions.models import Session
from ranvier.database.jobs.breaker import pauses_in
from ranvier.database.jobs.failures import task_name
from ranvier.database.jobs.models import Pause, Task, parent_ids
from ranvier.database.jobs.verdicts import follow_losses
from ranvier.database.rest.errors import Conflict
from ranvier.states import SETTLED, Status, may_follow


@transaction.atomic
def write_plan(session: Session, planned: Sequence[dict[str, Any]], flow_run: str = "") -> list[Task]:
    """Create or update the tasks of a plan.

    A task with a live lease is left alone, and so is a status that may not follow. Tasks of the session that are not in the plan stay.
    What was cancelled before may start again.

    Parameters
    ----------
    session
        The session.
    planned
        Fields of each task.
    flow_run
        Prefect's id of the flow run that will see to them.

    Returns
    -------
    list of Task
        In the order of the plan.

    Raises
    ------
    ValidationError
        If a name is there twice, or a parent is neither in the plan nor in the session.
    Conflict
        If a task was attempted after the plan had looked at it: what the plan says of it may no longer hold.
    """
    Session.objects.select_for_update(no_key=True).get(pk=session.pk)
    known = Task.objects.filter(session=session).select_related("data_repository").order_by("pk")
    rows = {task.name: task for task in known.select_for_update(of=("self",))}  # else a claim in between would be undone
    _check_names(planned, set(rows))
    _check_seen(planned, rows)
    before = set(rows)
    asked = [(rows.setdefault(item["name"], Task(session=session, name=item["name"])), item) for item in planned]
    open_ = [(task, item) for task, item in asked if not task.leased]
    paused = pauses_in(session.lab_id)
    changed = [
        task for task, item in open_ if _update(task, _or_held(task, item, paused) | _marks(task, item, flow_run), task.name not in before)
    ]
    _save(changed, before)
    _set_parents([(task, [rows[name] for name in item["parents"]]) for task, item in open_])
    follow_losses(session.pk)
    by_id = Task.objects.select_related("data_repository").prefetch_related(parent_ids()).in_bulk([task.pk for task, _ in asked])
    return [by_id[task.pk] for task, _ in asked]


def _check_names(planned: Sequence[dict[str, Any]], known: set[str]) -> None:
    names = [item["name"] for item in planned]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValidationError({"tasks": [f"planned twice: {', '.join(twice)}"]})
    for item in planned:
        if missing := sorted(set(item["parents"]) - known - set(names)):
            raise ValidationError({"tasks": [f"{item['name']}: no such parent in the plan or the session: {', '.join(missing)}"]})
        if item["name"] in item["parents"]:
            raise ValidationError({"tasks": [f"{item['name']} cannot be its own parent"]})


def _check_seen(planned: Sequence[dict[str, Any]], rows: dict[str, Task]) -> None:
    since = [
        item["name"]
        for item in planned
        if item.get("seen") is not None and item["name"] in rows and rows[item["name"]].attempt != item["seen"]
    ]
    if since:
        raise Conflict(f"attempted since the plan was made: {', '.join(sorted(since))}; plan again from the tasks as they stand now")


def _marks(task: Task, item: dict[str, Any], flow_run: str) -> dict[str, Any]:
    """What was cancelled may start again; what is not done belongs to the flow run."""
    stays = item.get("status") is None and task.status in SETTLED
    return {"cancel_requested": False, "cancelled_by": ""} | ({} if stays else {"flow_run": flow_run})


def _update(task: Task, item: dict[str, Any], is_new: bool) -> bool:
    """Set what the plan says; whether that makes a difference."""
    fields = {name: value for name, value in item.items() if name not in ("parents", "status", "reason", "seen")}
    status = item.get("status")
    if status is not None and (is_new or may_follow(Status(task.status), Status(status))):
        fields |= {"status": status, "reason": item.get("reason", "")}
    changes = {name: value for name, value in fields.items() if getattr(task, name) != value}
    for name, value in changes.items():
        setattr(task, name, value)
    return is_new or bool(changes)


def _or_held(task: Task, item: dict[str, Any], paused: dict[tuple[str, str], Pause]) -> dict[str, Any]:
    """What the plan says of a task; Held where it is to run, and is paused in this lab."""
    name = item.get("executable") or task_name(task)
    asked = item.get("status")
    waits = (task.status if asked is None else asked) == Status.WAITING
    pause = paused.get((name, item.get("version") or "")) if waits else None
    return {**item, "status": Status.HELD, "reason": pause.reason} if pause else item


def _save(tasks: Sequence[Task], known: set[str]) -> None:
    new = [task for task in tasks if task.name not in known]
    Task.objects.bulk_create(new)
    for task in tasks:
        if task.name in known:
            task.save()


def _set_parents(wanted: Sequence[tuple[Task, list[Task]]]) -> None:
    link = Task.parents.through
    old = set(link.objects.filter(from_task__in=[task.pk for task, _ in wanted]).values_list("from_task", "to_task"))
    new = {(task.pk, parent.pk) for task, parents in wanted for parent in parents}
    for child, parent in old - new:
        link.objects.filter(from_task=child, to_task=parent).delete()
    link.objects.bulk_create([link(from_task_id=child, to_task_id=parent) for child, parent in new - old])
