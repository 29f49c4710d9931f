"""Pages of datasets, as `DatasetSerializer` shows each: in three queries, and without a model for each row, whose making takes longest."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from one.alf.spec import QC

from ranvier.database.data.models import Dataset, FileRecord, add_uuid

#: Where the field of an answer has another name than its column.
COLUMN = {
    "created_by": "created_by__username",
    "dataset_type": "dataset_type__name",
    "data_format": "data_format__name",
    "session": "session_id",
    "experiment_number": "session__number",
    "revision": "revision__name",
}
FIELDS = ("id", "name", "created_by", "created_datetime", "dataset_type", "data_format", "collection", "session", "file_size", "hash",
          "version", "experiment_number", "auto_datetime", "revision", "default_dataset", "qc", "json")  # fmt: skip
COLUMNS = [COLUMN.get(field, field) for field in FIELDS]


def rows_of(keys: Sequence[uuid.UUID], address: Callable[[str], str]) -> list[dict[str, Any]]:
    """Datasets as they are answered, in the order of their keys.

    Parameters
    ----------
    keys
        Their ids.
    address
        Makes an address of a path, as a request's `build_absolute_uri` does.
    """
    datasets, sessions = address("/datasets/"), address("/sessions/")
    copies, tags = _copies(keys), _tags(keys)
    rows = {}
    for values in Dataset.objects.filter(pk__in=keys).order_by().values_list(*COLUMNS):
        row = dict(zip(FIELDS, values, strict=True))
        pk, session = row["id"], row["session"]
        rows[pk] = {
            **row,
            "id": str(pk),
            "url": f"{datasets}{pk}",
            "created_datetime": row["created_datetime"].isoformat(),
            "session": session and f"{sessions}{session}",
            "file_records": copies[pk],
            "auto_datetime": row["auto_datetime"].isoformat(),
            "revision": row["revision"] or "",
            "protected": int(any(protected for _, protected, _ in tags[pk])),
            "public": int(any(public for *_, public in tags[pk])),
            "tags": [tag for tag, *_ in tags[pk]],
            "qc": QC(row["qc"]).name,
        }
    return [rows[key] for key in keys]


def _copies(keys: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[dict[str, Any]]]:
    found: dict[uuid.UUID, list[dict[str, Any]]] = defaultdict(list)
    place = [f"data_repository__{column}" for column in ("name", "globus_path", "data_url")]
    rows = FileRecord.objects.filter(dataset__in=keys).values_list("pk", "dataset_id", *place, "relative_path", "exists")
    for pk, dataset, repository, folder, base, path, exists in rows:
        found[dataset].append(
            {
                "id": str(pk),
                "data_repository": repository,
                "data_repository_path": folder,
                "relative_path": path,
                "data_url": base + add_uuid(path, dataset) if base else None,
                "exists": exists,
            }
        )
    return found


def _tags(keys: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[tuple[str, bool, bool]]]:
    """Name of each tag, whether it protects, whether it makes public."""
    found: dict[uuid.UUID, list[tuple[str, bool, bool]]] = defaultdict(list)
    links = Dataset.tags.through.objects.filter(dataset__in=keys).order_by("tag__name")
    for dataset, *tag in links.values_list("dataset_id", "tag__name", "tag__protected", "tag__public"):
        found[dataset].append(tuple(tag))
    return found
