"""``/plans``: the task rows of a session, written in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from rest_framework.exceptions import ValidationError

from ranvier.database.actions.models import Session
from ranvier.database.jobs.models import Task
from ranvier.states import Status, may_follow


@transaction.atomic
def write_plan(session: Session, planned: Sequence[dict[str, Any]]) -> list[Task]:
    """Create or update the tasks of a plan.

    A task with a live lease is left alone, and so is a status that may not follow. Tasks of the session that are not in the plan stay.

    Returns
    -------
    list of Task
        In the order of the plan.

    Raises
    ------
    ValidationError
        If a name is there twice, or a parent is neither in the plan nor in the session.
    """
    Session.objects.select_for_update().get(pk=session.pk)
    rows = {task.name: task for task in Task.objects.filter(session=session).prefetch_related("parents")}
    _check_names(planned, set(rows))
    before = set(rows)
    asked = [(rows.setdefault(item["name"], Task(session=session, name=item["name"])), item) for item in planned]
    open_ = [(task, item) for task, item in asked if not task.leased]
    for task, item in open_:
        _update(task, item, task.name not in before)
    _save([task for task, _ in open_], before)
    _set_parents([(task, [rows[name] for name in item["parents"]]) for task, item in open_])
    by_id = Task.objects.select_related("data_repository").prefetch_related("parents").in_bulk([task.pk for task, _ in asked])
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


def _update(task: Task, item: dict[str, Any], is_new: bool) -> None:
    fields = {name: value for name, value in item.items() if name not in ("parents", "status", "reason")}
    for name, value in fields.items():
        setattr(task, name, value)
    status = item.get("status")
    if status is not None and (is_new or may_follow(Status(task.status), Status(status))):
        task.status, task.reason = status, item.get("reason", "")


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
