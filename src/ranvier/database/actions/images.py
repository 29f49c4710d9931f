"""The files of notes' images go with their notes: once what took them away is sure."""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_init, post_save
from django.dispatch import receiver

from ranvier.database.actions.notes import Note, uploads

log = logging.getLogger(__name__)


@receiver(post_init, sender=Note)
def remember(instance: Note, **_: Any) -> None:
    """Which image the note has in the database; a note whose image is not fetched has none to lose."""
    instance.stored_image = "" if "image" in instance.get_deferred_fields() else (instance.image.name or "")


@receiver(post_save, sender=Note)
def drop_replaced(instance: Note, **_: Any) -> None:
    """The image that was there before."""
    before, instance.stored_image = instance.stored_image, instance.image.name or ""
    if before != instance.stored_image:
        _remove(before)


@receiver(post_delete, sender=Note)
def drop_last(instance: Note, **_: Any) -> None:
    """The image of a note that is gone."""
    _remove(instance.stored_image)


def _remove(name: str) -> None:
    """Delete an image once the transaction is done, unless another note shows it; a file that cannot be deleted is told of in the log."""
    if name:
        transaction.on_commit(lambda: _delete(name), robust=True)


def _delete(name: str) -> None:
    if Note.objects.filter(image=name).exists():
        return
    try:
        uploads().delete(name)
    except OSError as error:
        log.warning("the image %s of a note that is gone cannot be deleted: %s", name, error)
