"""Datasets that a tag protects stay as they are, by whatever way somebody wants to change or delete them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.db.models.signals import pre_delete, pre_save
from django.dispatch import receiver

from ranvier.database.actions.models import Session
from ranvier.database.data.models import Dataset, FileRecord, Revision
from ranvier.database.rest.access import acting


def refuse_protected(dataset: Dataset) -> None:
    """Say no where a tag protects a dataset.

    Raises
    ------
    PermissionDenied
        If so; it names the tags.
    """
    _refuse(Dataset.objects.filter(pk=dataset.pk))


def _refuse(datasets: QuerySet[Dataset]) -> None:
    protected = datasets.filter(tags__protected=True).order_by().first()
    if protected is not None:
        names = ", ".join(protected.tags.filter(protected=True).values_list("name", flat=True))
        raise PermissionDenied(f"{protected} is protected by {names}; register a new revision of it instead, or have the tag lifted")


@receiver(pre_save, sender=Dataset)
def keep_as_it_is(instance: Dataset, raw: bool = False, **_: Any) -> None:
    """A dataset that is there already."""
    if acting() is not None and not raw and not instance._state.adding:
        refuse_protected(instance)


@receiver(pre_save, sender=Revision)
def keep_its_folder(instance: Revision, raw: bool = False, **_: Any) -> None:
    """A revision whose name is a folder of protected datasets."""
    if acting() is not None and not raw and not instance._state.adding:
        renamed = Revision.objects.filter(pk=instance.pk).exclude(name=instance.name)
        _refuse(Dataset.objects.filter(revision__in=renamed.values("pk")))


@receiver(pre_delete, sender=Session)
@receiver(pre_delete, sender=Dataset)
@receiver(pre_delete, sender=FileRecord)
def keep(sender: type[Model], instance: Any, origin: Any = None, **_: Any) -> None:
    """What is asked to be deleted; what goes with it is looked at there, in one query."""
    asked = origin.model if isinstance(origin, QuerySet) else type(origin)
    if acting() is None or asked is not sender:
        return
    way = {Session: {"session": instance}, Dataset: {"pk": instance.pk}, FileRecord: {"pk": instance.__dict__.get("dataset_id")}}[sender]
    _refuse(Dataset.objects.filter(**way))
