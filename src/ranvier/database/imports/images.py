"""Images of imported notes, fetched into the uploads of the home before the note is written."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image
from rest_framework.exceptions import ValidationError

from ranvier.database.actions.models import Note
from ranvier.database.actions.notebook_serializers import stored_image
from ranvier.database.actions.notes import uploads
from ranvier.database.imports.alyx import Alyx, AlyxError

#: Folders of an Alyx's addresses below which uploads are.
SERVED_AT = ("uploaded", "media", "uploads")

Json = dict[str, Any]


class NoImage(Exception):
    """An image cannot be had, or not be kept; the message says why."""


def with_image(alyx: Alyx, note: Json) -> Json:
    """A note whose image is in the uploads, named by its path there; one that has come already is not fetched again.

    Raises
    ------
    NoImage
        If it cannot be had.
    """
    if not note.get("image"):
        return note
    kept = Note.objects.filter(pk=note["id"]).values_list("image", flat=True).first()
    if kept and uploads().exists(kept):
        return {**note, "image": kept}
    try:
        content = alyx.file(note["image"])
        stored_image(SimpleUploadedFile("image", content), None)
        return {**note, "image": _kept(place_of(note["image"]), content)}
    except AlyxError as error:
        raise NoImage(error.message) from None
    except ValidationError as error:
        raise NoImage(f"it is {error.detail['image'][0]}") from None
    except (Image.DecompressionBombError, OSError, SuspiciousFileOperation) as error:
        raise NoImage(f"it cannot be read: {error}") from None


def place_of(url: str) -> str:
    """Path of an upload: what follows the folder that uploads are served at, or its name."""
    parts = PurePosixPath(unquote(urlsplit(url).path)).parts
    first = max((parts.index(name) + 1 for name in SERVED_AT if name in parts), default=len(parts) - 1)
    return "/".join(part for part in parts[first:] if part not in ("..", "/"))[-200:].lstrip("/")


def _kept(place: str, content: bytes) -> str:
    """Keep a file, unless the same is there already; its path."""
    storage = uploads()
    if storage.exists(place):
        with storage.open(place) as there:
            if there.read() == content:
                return place
    return str(storage.save(place, SimpleUploadedFile(PurePosixPath(place).name, content), max_length=255))
