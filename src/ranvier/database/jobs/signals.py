"""A new session is an event, whoever writes the session: REST, the admin or a script."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from ranvier.database.actions.models import Session
from ranvier.database.jobs.models import Event


@receiver(post_save, sender=Session)
def tell_of_new_session(instance: Session, created: bool, **_: Any) -> None:
    """Write ``session.registered``; `Session.save` holds the transaction that both rows share."""
    if created:
        ready = instance.json.get("ready") if isinstance(instance.json, dict) else None
        Event.of(Event.Kind.REGISTERED, instance, f"{instance.pk}:{ready or 'created'}"[:255])
