"""What every table of the database has in common."""

from __future__ import annotations

import uuid

from django.db import models


class Record(models.Model):
    """A row with a UUID and room for structured data that the model has no column for."""

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
