"""Datasets as they are answered: in two or three queries, and without a model for each row, whose making takes longest."""

from __future__ import annotations

import functools
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import QuerySet
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
    """Datasets as `DatasetSerializer` shows each, in the order of their keys.

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


def rows_of_session(datasets: QuerySet[Dataset], address: Callable[[str], str]) -> list[dict[str, Any]]:
    """A session's datasets as its own answer has them; without those that have no copy at an address, for ONE needs one.

    Parameters
    ----------
    datasets
        The session's.
    address
        As that of `rows_of`.
    """
    base = address("/datasets/")
    columns = ("pk", "name", "dataset_type__name", "file_size", "hash", "version", "collection", "revision__name", "default_dataset", "qc")
    rows = list(datasets.values_list(*columns))
    urls = _urls([pk for pk, *_ in rows])
    return [
        {
            "id": str(pk),
            "name": name,
            "dataset_type": dataset_type,
            "data_url": urls[pk],
            "url": f"{base}{pk}",
            "file_size": size,
            "hash": digest,
            "version": version,
            "collection": collection,
            "revision": revision or "",
            "default_revision": str(is_default),
            "qc": QC(qc).name,
        }
        for pk, name, dataset_type, size, digest, version, collection, revision, is_default, qc in rows
        if pk in urls
    ]


def _urls(keys: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Address of a copy that is there, by dataset; of one on somebody's own machine only where there is no other."""
    copies = FileRecord.objects.filter(dataset__in=keys, exists=True).exclude(data_repository__data_url="")
    last_is_best = copies.order_by("-data_repository__globus_is_personal", "-data_repository__name")
    rows = last_is_best.values_list("dataset_id", "data_repository__data_url", "relative_path")
    return {dataset: base + add_uuid(path, dataset) for dataset, base, path in rows}


def _copies(keys: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[dict[str, Any]]]:
    found: dict[uuid.UUID, list[dict[str, Any]]] = defaultdict(list)
    place = [f"data_repository__{column}" for column in ("name", "globus_path", "data_url")]
    rows = FileRecord.objects.filter(dataset__in=keys).values_list("pk", "dataset_id", *place, "relative_path", "exists")
    with_uuid = functools.cache(add_uuid)  # copies of a dataset have the same path in each repository
    for pk, dataset, repository, folder, base, path, exists in rows:
        found[dataset].append(
            {
                "id": str(pk),
                "data_repository": repository,
                "data_repository_path": folder,
                "relative_path": path,
                "data_url": base + with_uuid(path, dataset) if base else None,
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
