"""ONE's cache tables: sessions, their datasets that can be downloaded, and their insertions, as Parquet files with which ONE works offline.

Columns, index and metadata are those that `one.alf.cache` of ONE-api reads. The tables are streamed: memory does not grow with them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import itertools
import json
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from django.db.models import Count, Exists, Max, OuterRef
from django.utils import timezone
from one.alf.spec import QC

from ranvier.database.actions.models import Session
from ranvier.database.data.models import DataRepository, Dataset, FileRecord, Revision, Tag
from ranvier.database.experiments.models import ProbeInsertion, ProbeModel
from ranvier.database.people.models import Lab, Project
from ranvier.database.subjects.models import Subject

#: The oldest ONE-api that knows all of the columns.
OLDEST_ONE = "2.7.0"
#: A table that says so lacks the column `qc`.
BEFORE_QC = "2.6.0"
#: The largest number of a session that an ALF path can have.
LAST_NUMBER = 999
BATCH = 10_000
MINUTE = dt.timedelta(minutes=1)
LEVELS = sorted(QC)
CODES = {level.value: code for code, level in enumerate(LEVELS)}

SESSIONS = pa.schema(
    {
        "id": pa.string(),
        "lab": pa.string(),
        "subject": pa.string(),
        "date": pa.date32(),
        "number": pa.uint16(),
        "task_protocol": pa.string(),
        "projects": pa.string(),
    }
)
DATASETS = pa.schema(
    {
        "eid": pa.string(),
        "id": pa.string(),
        "rel_path": pa.string(),
        "file_size": pa.uint64(),
        "hash": pa.string(),
        "exists": pa.bool_(),
        "default_revision": pa.bool_(),
        "qc": pa.dictionary(pa.int8(), pa.string(), ordered=True),
    }
)
INSERTIONS = pa.schema({name: pa.string() for name in ("eid", "id", "name", "model", "serial", "chronic_insertion")})

Row = tuple[Any, ...]


def current(tag: Tag | None = None, *, anew: bool = False) -> Path:
    """The archive of the tables, made anew only when something in them has changed.

    ONE tells versions apart by the minute in which they were made. So each has a later minute than the one before, and where that
    would be more than a minute from now, the one before stands.

    Parameters
    ----------
    tag
        Only the datasets with this tag, and their sessions.
    anew
        Make it whatever has changed.

    Returns
    -------
    Path
        The file ``cache.zip``.
    """
    path = settings.RANVIER.home / "cache" / (str(tag.pk) if tag else "all") / "cache.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(path.with_suffix(".lock")):
        seen, now = _state(), timezone.now()
        created = max(now, _created(path) + MINUTE) if path.exists() else now
        changed = not path.exists() or _seen(path) != seen
        if anew or (changed and created <= now + MINUTE):
            _make(path, tag, created, seen)
    return path


def information(path: Path) -> dict[str, Any]:
    """What an archive says of itself: when it was made, of what, how many rows there are."""
    with zipfile.ZipFile(path) as archive:
        told: dict[str, Any] = json.loads(archive.read("cache_info.json"))
    return told


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Let one process or thread at a time make the tables; the others wait and find them made."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _created(path: Path) -> dt.datetime:
    return dt.datetime.fromisoformat(information(path)["date_created"])


def _seen(path: Path) -> str:
    """State of the database from which an archive was made."""
    with zipfile.ZipFile(path) as archive:
        return archive.comment.decode()


def _state() -> str:
    """A digest that changes with anything that is in the tables.

    Rows tell when they were written last, links are only added and removed, and what sessions name is little enough to be read whole.
    """
    written = [model.objects.aggregate(Count("pk"), Max("auto_datetime")) for model in (Session, Dataset, FileRecord, ProbeInsertion)]
    links = [model.objects.aggregate(Count("pk"), Max("pk")) for model in (Session.projects.through, Dataset.tags.through)]
    named = [list(model.objects.order_by("pk").values_list("pk", "name")) for model in (Lab, Project, Revision, Tag, ProbeModel)]
    named.append(list(Subject.objects.order_by("pk").values_list("pk", "nickname")))
    named.append(list(DataRepository.objects.order_by("pk").values_list("pk", "data_url")))
    known = json.dumps([settings.RANVIER.database_url, written, links, named], default=str)
    return hashlib.sha256(known.encode()).hexdigest()


def _make(path: Path, tag: Tag | None, created: dt.datetime, seen: str) -> None:
    told: dict[str, Any] = {
        "date_created": created.isoformat(sep=" ", timespec="minutes"),
        "origin": settings.RANVIER.database_url,
        "min_api_version": OLDEST_ONE,
        **({"database_tags": [tag.name]} if tag else {}),
    }
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="new-") as folder:
        files = {name: Path(folder, f"{name}.pqt") for name in ("sessions", "datasets", "insertions")}
        counts = {
            "sessions": _write(files["sessions"], _described(SESSIONS, ["id"], told), _sessions(tag)),
            "datasets": _write(files["datasets"], _of_datasets(tag, told), _datasets(tag)),
            "insertions": _write(files["insertions"], _described(INSERTIONS, ["eid", "id"], told), _insertions(tag)),
        }
        told["tables"] = {name: {"nrecs": counts[name], "size": file.stat().st_size} for name, file in files.items()}
        whole = Path(folder, path.name)
        with zipfile.ZipFile(whole, "w") as archive:  # what is inside is compressed
            archive.comment = seen.encode()
            archive.writestr("cache_info.json", json.dumps(told))
            for file in files.values():
                archive.write(file, file.name)
        whole.replace(path)


def _described(schema: pa.Schema, index: list[str], told: dict[str, Any]) -> pa.Schema:
    """The schema with the metadata by which pandas sets the index and keeps sizes that are lacking, and ONE knows the table."""
    frame = schema.empty_table().to_pandas(types_mapper={pa.uint64(): pd.UInt64Dtype()}.get).set_index(index)
    pandas = pa.Schema.from_pandas(frame).metadata[b"pandas"]
    return schema.with_metadata({b"pandas": pandas, b"one_metadata": json.dumps(told).encode()})


def _of_datasets(tag: Tag | None, told: dict[str, Any]) -> pa.Schema:
    """The schema of the datasets; of none it has no `qc`, as no row could tell which outcomes there are, and ONE adds the column."""
    if _downloadable(tag).exists():
        return _described(DATASETS, ["eid", "id"], told)
    return _described(DATASETS.remove(DATASETS.get_field_index("qc")), ["eid", "id"], {**told, "min_api_version": BEFORE_QC})


def _write(path: Path, schema: pa.Schema, rows: Iterable[Row]) -> int:
    """Write a table in pieces; the number of its rows."""
    count, rows = 0, iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(rows, BATCH)):
            writer.write_batch(_batch(batch, schema))
            count += len(batch)
    return count


def _batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch([_column(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema)


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_dictionary(kind):
        return pa.array(values, kind)
    codes = pa.array([CODES[value] for value in values], kind.index_type)
    return pa.DictionaryArray.from_arrays(codes, pa.array([level.name for level in LEVELS]), ordered=True)


def _sessions(tag: Tag | None) -> Iterator[Row]:
    """Sessions in the order of their ids, as ONE keeps them."""
    projects: dict[Any, list[str]] = defaultdict(list)
    for session, project in Session.projects.through.objects.order_by("project__name").values_list("session_id", "project__name"):
        projects[session].append(project)
    rows = _shown(tag).order_by("pk").values_list("pk", "lab__name", "subject__nickname", "date", "number", "task_protocol")
    for session, *facts in rows.iterator(BATCH):
        yield str(session), *facts, ",".join(projects[session])


def _shown(tag: Tag | None) -> Any:
    """Sessions that the tables hold."""
    rows = Session.objects.filter(number__lte=LAST_NUMBER)
    return rows.filter(Exists(_downloadable(tag).filter(session=OuterRef("pk")))) if tag else rows


def _insertions(tag: Tag | None) -> Iterator[Row]:
    """Insertions in the order of their sessions' ids and their own; ONE looks for texts, so that none is lacking."""
    columns = ("session_id", "pk", "name", "model__name", "serial", "chronic_insertion_id")
    rows = ProbeInsertion.objects.filter(session__in=_shown(tag)).order_by("session_id", "pk").values_list(*columns)
    for session, insertion, name, model, serial, chronic in rows.iterator(BATCH):
        yield str(session), str(insertion), name, model or "", serial, chronic and str(chronic)


def _datasets(tag: Tag | None) -> Iterator[Row]:
    """Datasets in the order of their sessions' ids and their own."""
    columns = ("session_id", "pk", "collection", "revision__name", "name", "file_size", "hash", "default_dataset", "qc")
    rows = _downloadable(tag).filter(session__number__lte=LAST_NUMBER).order_by("session_id", "pk").values_list(*columns)
    for session, dataset, collection, revision, name, size, md5, default, qc in rows.iterator(BATCH):
        path = "/".join(filter(None, (collection, revision and f"#{revision}#", name)))
        yield str(session), str(dataset), path, size, md5, True, default, qc


def _downloadable(tag: Tag | None) -> Any:
    """Datasets of sessions that have a copy at an address, as they are listed online."""
    copies = FileRecord.objects.filter(dataset=OuterRef("pk"), exists=True).exclude(data_repository__data_url="")
    rows = Dataset.objects.filter(Exists(copies), session__isnull=False)
    return rows.filter(tags=tag) if tag else rows
