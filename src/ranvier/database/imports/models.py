"""What was imported, and when: so that an import that is repeated takes up what is new, and one that was interrupted goes on."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Import(models.Model):
    """An import; while it has no end, one of the same source with the same options goes on with it."""

    id = models.BigAutoField(primary_key=True)
    source = models.CharField(max_length=1000, help_text="Address of the Alyx, or the cache's folder")
    options = models.JSONField(default=dict, blank=True, help_text="To what it was restricted")
    started = models.DateTimeField(default=timezone.now)
    finished = models.DateTimeField(null=True, blank=True)
    counts = models.JSONField(default=dict, blank=True, help_text="By table, rows that were added, updated, ...")

    class Meta:
        ordering = ["-started"]

    def __str__(self) -> str:
        return f"{self.source}, {self.started:%Y-%m-%d %H:%M}"


class ImportedRow(models.Model):
    """A row that came by an import, with a digest of the values that it came with, by which changes since are found, there and here."""

    row = models.UUIDField(primary_key=True, help_text="Id of the row")
    model = models.CharField(max_length=64, help_text="Table, such as actions.session")
    digest = models.CharField(max_length=32, help_text="Of the values that were written")
    seen = models.DateTimeField(help_text="Start of the import that came upon it last")

    class Meta:
        indexes = [models.Index(fields=["model"], name="imported_rows_of_a_table")]

    def __str__(self) -> str:
        return f"{self.model} {self.row}"
