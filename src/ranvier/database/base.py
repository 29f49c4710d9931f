"""What every table of the database has in common."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.db import models


class Rows(models.QuerySet[Any]):
    """Rows whose history is kept too where people write many of them in one statement; `bulk_update` is made of updates."""

    def update(self, **values: Any) -> int:
        """Change all of them."""
        from ranvier.database.rest.many import update  # which needs the models

        return update(self, super().update, values)

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Add many."""
        from ranvier.database.rest.many import keep_added

        made = super().bulk_create(objs, *args, **kwargs)
        keep_added(self.model, made)
        return made

    update.alters_data = bulk_create.alters_data = True  # type: ignore[attr-defined]  # no template calls them


class Record(models.Model):
    """A row with a UUID and room for structured data that the model has no column for."""

    objects = models.Manager.from_queryset(Rows)()
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    json = models.JSONField(null=True, blank=True, help_text="Structured data, formatted in a user-defined way")

    class Meta:
        abstract = True


class NamedRecord(Record):
    """A record that people and paths call by its name."""

    name = models.CharField(max_length=255, unique=True)

    class Meta:
        abstract = True
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
