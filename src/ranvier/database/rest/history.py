"""Signals of every save: the labs of what is written, and the history of who changed what.

The pipeline's own writes are not kept here: a task's attempts tell of them.
"""

from __future__ import annotations

from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from ranvier.database.rest.access import Access, acting, labs_of, refusal
from ranvier.database.rest.models import Change
from ranvier.database.rest.rules import RULES, Area, rule_of

#: Tables whose rows come and go by themselves, or tell of what was done already.
WITHOUT = frozenset(
    {"data.Download", "jobs.Attempt", "jobs.Event", "jobs.Failure", "rest.Change", "rest.FailedSignIns", "rest.KeptAnswer"}
    | {"reruns.RerunSession", "reruns.BackfillSession"}
)
#: What nobody may read in a history.
SECRET = frozenset({"password", "hash"})
LONGEST = 1000


def listen() -> None:
    """Connect the signals."""
    pre_save.connect(_before_saving, dispatch_uid="before saving")
    post_save.connect(_after_saving, dispatch_uid="after saving")
    pre_delete.connect(_before_deleting, dispatch_uid="before deleting")
    post_delete.connect(_after_deleting, dispatch_uid="after deleting")
    m2m_changed.connect(_after_linking, dispatch_uid="after linking")


def _at_work(model: type[Model]) -> Access | None:
    """Who writes a table that has a rule."""
    return acting() if model._meta.label in RULES else None


def kept_of(model: type[Model]) -> Access | None:
    """The person at work, where a table's changes are kept; None where there is no person, or the table is without history."""
    access = _at_work(model)
    return access if access is not None and _kept(access, model) else None


def _kept(access: Access, model: type[Model]) -> bool:
    return model._meta.label not in WITHOUT and not access.is_machine


def _guard(access: Access, row: Model, *, added: bool = False) -> None:
    if access.is_bounded and rule_of(row).area is not Area.OWN and not access.works_in(labs_of(row, added=added)):
        raise refusal(access, rule_of(row).area)


def _before_saving(sender: type[Model], instance: Model, raw: bool = False, **_: Any) -> None:
    access = _at_work(sender)
    if access is not None and not raw and not instance._state.adding and _kept(access, sender):
        instance._before = sender._base_manager.filter(pk=instance.pk).values().first()


def _after_saving(sender: type[Model], instance: Model, created: bool, raw: bool = False, **_: Any) -> None:
    access = _at_work(sender)
    if access is None or raw:
        return
    before = {} if created else instance.__dict__.pop("_before", None) or {}
    _guard(access, instance, added=created or _is_moved(instance, before))
    if not _kept(access, sender):
        return
    changed = differences(before, values_of(instance))
    if created or changed:
        _keep(access, instance, Change.Kind.ADDED if created else Change.Kind.CHANGED, changed)


def _is_moved(row: Model, before: dict[str, Any]) -> bool:
    """Whether a row is another's by now than when it was added, such as a session that is given another animal."""
    names = {f"{path.partition('__')[0]}_id" for path in rule_of(row).when_added}
    return any(name in before and before[name] != getattr(row, name) for name in names)


def _before_deleting(sender: type[Model], instance: Model, **_: Any) -> None:
    access = _at_work(sender)
    if access is not None:
        _guard(access, instance)


def _after_deleting(sender: type[Model], instance: Model, **_: Any) -> None:
    access = _at_work(sender)
    if access is not None and _kept(access, sender):
        _keep(access, instance, Change.Kind.DELETED, differences(values_of(instance), {}))


def _after_linking(instance: Any, action: str, model: type[Model], reverse: bool, pk_set: set[Any] | None, sender: Any, **_: Any) -> None:
    access = _at_work(type(instance)) if isinstance(instance, Model) else None
    if access is None or action not in ("post_add", "post_remove", "pre_clear") or not _kept(access, type(instance)):
        return
    linked = sorted(str(row) for row in model._base_manager.filter(pk__in=pk_set or ()))
    if linked or action == "pre_clear":
        told = [None, linked] if action == "post_add" else [linked or "all", None]
        _keep(access, instance, Change.Kind.CHANGED, {sender._meta.model_name.partition("_")[2] or sender._meta.model_name: told})


def values_of(row: Model) -> dict[str, Any]:
    """By column, what is in a row."""
    return {field.attname: field.value_from_object(row) for field in row._meta.concrete_fields}


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    """By field, what it was and what it became, where that differs."""
    pairs = {name: [_told(name, before.get(name)), _told(name, after.get(name))] for name in before | after}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and not name.startswith("auto_")}


def _told(name: str, value: Any) -> Any:
    """A value as it is kept: what JSON has as it is, and anything else as text, shortened."""
    if value in (None, "") or isinstance(value, (bool, int, float)):
        return None if value == "" else value
    if name in SECRET:
        return "…"
    if isinstance(value, (dict, list)):
        text = str(value)
        return value if len(text) <= LONGEST else text[:LONGEST] + "…"
    try:
        return DjangoJSONEncoder().default(value)
    except TypeError:
        return str(value)[:LONGEST]


def _keep(access: Access, row: Model, kind: str, fields: dict[str, list[Any]]) -> None:
    change(access, row, kind, fields, str(row)).save()


def change(access: Access, row: Model, kind: str, fields: dict[str, list[Any]], name: str) -> Change:
    """An entry of the history, not written yet."""
    return Change(
        user=access.user,
        username=access.user.get_username(),
        model=row._meta.label_lower,
        row=str(row.pk),
        name=name[:255],
        kind=kind,
        fields=fields,
    )
