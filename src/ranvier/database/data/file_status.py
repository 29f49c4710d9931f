"""``/sync-file-status``: whether copies are there, as the disk of this machine has it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ranvier.database.data.models import FileRecord
from ranvier.database.people.models import Lab
from ranvier.database.rest.access import access_of, require
from ranvier.database.rest.errors import Conflict
from ranvier.database.rest.reading import visible
from ranvier.database.rest.rules import Area

BATCH = 500


class SyncFileStatus(APIView):
    """Copies in this machine's repository whose record says otherwise than its disk."""

    @extend_schema(operation_id="sync_file_status_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """``GET /sync-file-status``: a row for each; nothing is changed."""
        seen = visible(FileRecord.objects.all(), access_of(request))
        return Response([_told(record, there) for record, there in differences(seen)])

    @extend_schema(operation_id="sync_file_status_create", request=None, responses=OpenApiTypes.STR)
    def post(self, request: Request) -> Response:
        """``POST /sync-file-status``: writes what the disk says."""
        require(Area.DATA, Lab.objects.filter(repositories__name=settings.RANVIER.repository).values_list("pk", flat=True))
        put_right()
        return Response("ok")


def _told(record: FileRecord, there: bool) -> dict[str, Any]:
    place = {"data_repository": settings.RANVIER.repository, "relative_path": record.relative_path}
    return {"id": str(record.pk), "dataset": str(record.dataset_id), **place, "exists": there}


def differences(among: QuerySet[FileRecord]) -> Iterator[tuple[FileRecord, bool]]:
    """Records that are not as the disk is, and whether the file is there.

    A file that was said to be missing is there once it is as large as it was registered: until then it may still be on its way.

    Raises
    ------
    Conflict
        If this machine keeps no data, or its folder is away, in which case every file would seem to be missing.
    """
    root: Path = settings.RANVIER.lab_root
    if settings.RANVIER.machine.role == "centre":
        raise Conflict("this machine keeps no data; the server of each lab tells of its own files")
    if not root.is_dir() or next(root.iterdir(), None) is None:
        raise Conflict(f"{root} is not there, or empty; is its disk mounted?")
    records = among.filter(data_repository__name=settings.RANVIER.repository).select_related("dataset")
    for record in records.order_by("pk").iterator(BATCH):
        there = _is_there(root / record.relative_path, None if record.exists else record.dataset.file_size)
        if there != record.exists:
            yield record, there


def _is_there(path: Path, size: int | None) -> bool:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return False
    return path.is_file() and size in (None, found.st_size)


def put_right() -> None:
    """Write what the disk says, unless somebody has written it meanwhile."""
    found = differences(FileRecord.objects.all())
    while batch := list(itertools.islice(found, BATCH)):
        with transaction.atomic():
            for exists in (True, False):
                keys = [record.pk for record, there in batch if there is exists]
                FileRecord.mark(FileRecord.objects.filter(pk__in=keys, exists=not exists).values("pk"), exists=exists)
