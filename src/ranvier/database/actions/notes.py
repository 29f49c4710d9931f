"""Notes on anything, with an image where one says more."""

from __future__ import annotations

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey
from django.core.files.storage import FileSystemStorage
from django.db import models
from django.utils import timezone

from ranvier.database.base import Record


def uploads() -> FileSystemStorage:
    """Where images are kept."""
    return FileSystemStorage(settings.RANVIER.home / "uploads", base_url="/uploaded/")


class Note(Record):
    """A note on a row of any table."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="notes")
    date_time = models.DateTimeField(default=timezone.now)
    text = models.TextField(blank=True)
    image = models.ImageField(storage=uploads, upload_to="%Y/%m", max_length=255, null=True, blank=True)
    content_type = models.ForeignKey("contenttypes.ContentType", models.CASCADE)
    object_id = models.UUIDField(help_text="Of what the note is on")
    content_object = GenericForeignKey()

    class Meta:
        ordering = ["-date_time"]
        indexes = [models.Index(fields=["content_type", "object_id"])]

    def __str__(self) -> str:
        return self.text[:80] or f"image of {self.date_time:%Y-%m-%d}"
