"""``/register-file``: datasets and their copies, for any number of files in one transaction and a fixed number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from one.alf.spec import QC
from rest_framework.exceptions import PermissionDenied, ValidationError

from ranvier.database.actions.models import Session
from ranvier.database.data.locations import Location, device_of
from ranvier.database.data.models import DataFormat, DataRepository, Dataset, DatasetType, FileRecord, Revision
from ranvier.database.data.protection import protection, report
from ranvier.database.data.recognition import data_format_of, dataset_type_of
from ranvier.database.experiments.models import FOV, ProbeInsertion
from ranvier.database.people.models import User
from ranvier.database.rest.errors import Conflict
from ranvier.database.rest.reading import seen


class Protected(PermissionDenied):
    """Datasets that a tag protects; the body tells of each file."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__()
        self.detail = body


@dataclass(frozen=True)
class File:
    """A file to be registered."""

    sent: str
    location: Location
    size: int | None
    hash: str
    version: str
    qc: int | None


@dataclass(frozen=True)
class Registration:
    """What is asked for."""

    session: Session
    files: Sequence[File]
    created_by: User
    repositories: Sequence[DataRepository]
    exists_in: frozenset[Any] = field(default_factory=frozenset)
    default: bool = True
    check_protected: bool = False


def session_of(location: Location) -> Session:
    """The session that a file belongs to.

    Raises
    ------
    ValidationError
        If the database does not know its subject, or has no such session.
    """
    day = seen(Session.objects).filter(subject__nickname=location.subject, date=location.date, number=int(location.number))
    session = day.select_related("subject", "lab").prefetch_related("users").first()
    if session is None:
        where = f"{location.subject} on {location.date} with the number {int(location.number)}"
        raise ValidationError({"path": [f"A base session for {where} does not exist; create the subject and the session first"]})
    return session


def datasets_of(session: Session, locations: Sequence[Location]) -> list[Dataset]:
    """The session's datasets of these names in these collections, in whatever revision."""
    names, collections = {location.name for location in locations}, {location.collection for location in locations}
    rows = Dataset.objects.filter(session=session, name__in=names, collection__in=collections)
    return list(rows.select_related("revision", "dataset_type", "data_format", "created_by").prefetch_related("tags"))


@transaction.atomic
def register(asked: Registration) -> list[Dataset]:
    """Register files; the same files again change nothing.

    Returns
    -------
    list of Dataset
        In the order of the files, with their file records fetched.

    Raises
    ------
    ValidationError
        If a name fits no dataset type, several of them, or no format; the message names the file.
    Protected
        If a dataset that would change is protected.
    """
    Session.objects.select_for_update().get(pk=asked.session.pk)
    known = datasets_of(asked.session, [file.location for file in asked.files])
    _refuse_protected(asked, known)
    datasets, patched = _write_datasets(asked, known)
    _make_default(asked, datasets, known)
    _write_records(asked, datasets, patched)
    _link_devices(asked.session, datasets)
    return _read_back(datasets)


def _refuse_protected(asked: Registration, known: Sequence[Dataset]) -> None:
    by_key = {_key(dataset): dataset for dataset in known}
    revisions = []
    for file in asked.files:
        same = by_key.get(file.location.key)
        unchanged = same is not None and not _is_change(file, same)
        rows = [] if unchanged else known if asked.check_protected else [same] if same else []
        revisions.append(protection(file.location, rows))
    body = report([file.sent for file in asked.files], revisions)
    if body["status_code"] == 403:
        raise Protected(body)


def _key(dataset: Dataset) -> tuple[str, str, str]:
    return dataset.collection, dataset.revision.name if dataset.revision else "", dataset.name


def _is_change(file: File, dataset: Dataset) -> bool:
    """Whether registering the file replaces what the dataset was: without a hash there is no knowing that it is the same."""
    return not (file.hash and file.hash == dataset.hash)


def _write_datasets(asked: Registration, known: Sequence[Dataset]) -> tuple[list[Dataset], set[Any]]:
    by_key = {_key(dataset): dataset for dataset in known}
    types, formats = list(DatasetType.objects.all()), list(DataFormat.objects.all())
    revisions = _revisions({file.location.revision for file in asked.files} - {""})
    patched = {same.pk for file in asked.files if (same := by_key.get(file.location.key)) and _is_change(file, same)}
    datasets, errors = [], []
    for file in asked.files:
        dataset = by_key.get(file.location.key)
        try:
            datasets.append(dataset or _new_dataset(asked, file, types, formats, revisions))
        except ValueError as error:
            errors.append(str(error))
            continue
        _describe(datasets[-1], file, dataset is None or dataset.pk in patched)
    if errors:
        raise ValidationError({"filenames": errors})
    _save(datasets, {dataset.pk for dataset in known})
    return datasets, patched


def _save(datasets: Sequence[Dataset], known: set[Any]) -> None:
    Dataset.objects.bulk_create([dataset for dataset in datasets if dataset.pk not in known])
    Dataset.objects.bulk_update(
        [dataset for dataset in datasets if dataset.pk in known], ["file_size", "hash", "version", "qc", "auto_datetime"], batch_size=100
    )


def _revisions(names: set[str]) -> dict[str, Revision]:
    if not names:
        return {}
    Revision.objects.bulk_create([Revision(name=name) for name in sorted(names)], ignore_conflicts=True)
    return {revision.name: revision for revision in Revision.objects.filter(name__in=names)}


def _new_dataset(
    asked: Registration, file: File, types: list[DatasetType], formats: list[DataFormat], revisions: dict[str, Revision]
) -> Dataset:
    return Dataset(
        name=file.location.name,
        session=asked.session,
        collection=file.location.collection,
        revision=revisions.get(file.location.revision),
        dataset_type=dataset_type_of(file.location.name, types),
        data_format=data_format_of(file.location.name, formats),
        created_by=asked.created_by,
        default_dataset=asked.default,
    )


def _describe(dataset: Dataset, file: File, is_change: bool) -> None:
    qc = dataset.qc
    if is_change:
        dataset.file_size, dataset.hash, dataset.version = file.size, file.hash, file.version
    if file.qc is not None:
        dataset.qc = file.qc
    elif is_change:
        dataset.qc = QC.NOT_SET
    if is_change or dataset.qc != qc:
        dataset.auto_datetime = timezone.now()


def _make_default(asked: Registration, datasets: Sequence[Dataset], known: Sequence[Dataset]) -> None:
    if not asked.default:
        return
    last = {(dataset.collection, dataset.name): dataset.pk for dataset in datasets}
    pairs = {dataset.pk: (dataset, last.get((dataset.collection, dataset.name))) for dataset in (*known, *datasets)}.values()
    others = [dataset.pk for dataset, chosen in pairs if chosen and dataset.default_dataset and dataset.pk != chosen]
    changed = [dataset.pk for dataset, chosen in pairs if not dataset.default_dataset and dataset.pk == chosen]
    for rows, value in ((others, False), (changed, True)):
        if rows:
            Dataset.objects.filter(pk__in=rows).update(default_dataset=value, auto_datetime=timezone.now())


def _write_records(asked: Registration, datasets: Sequence[Dataset], patched: set[Any]) -> None:
    FileRecord.mark(FileRecord.objects.filter(dataset__in=patched, exists=True).values("pk"), exists=False)
    paths = {file.location.relative_path: dataset for file, dataset in zip(asked.files, datasets, strict=True)}
    there = {
        (r.data_repository_id, r.relative_path): r
        for r in FileRecord.objects.filter(Q(data_repository__in=asked.repositories), relative_path__in=paths)
    }
    new, found = [], []
    for path, dataset in paths.items():
        for repository in asked.repositories:
            if record := there.get((repository.pk, path)):
                _refuse_stranger(record, dataset)
                found += [record.pk] if repository.pk in asked.exists_in and not record.exists else []
            else:
                exists = repository.pk in asked.exists_in
                new.append(FileRecord(dataset=dataset, data_repository=repository, relative_path=path, exists=exists))
    FileRecord.objects.bulk_create(new)
    FileRecord.mark(found, exists=True)


def _refuse_stranger(record: FileRecord, dataset: Dataset) -> None:
    if record.dataset_id != dataset.pk:
        raise Conflict(f"{record} is the copy of another dataset, {record.dataset_id}; DELETE /files/{record.pk} if that is wrong")


def _link_devices(session: Session, datasets: Sequence[Dataset]) -> None:
    """Give insertions and fields of view what is in their folders."""
    for model in (ProbeInsertion, FOV):
        devices = dict(model.objects.filter(session=session).values_list("name", "pk"))
        link, owner = model.datasets.through, f"{model._meta.model_name}_id"
        links = [
            link(dataset_id=dataset.pk, **{owner: devices[device]})
            for dataset in datasets
            if (device := device_of(dataset.collection)) in devices
        ]
        link.objects.bulk_create(links, ignore_conflicts=True)


def _read_back(datasets: Sequence[Dataset]) -> list[Dataset]:
    # not joined, as each of ten thousand rows would then make a type, a format and an author of its own
    rows = Dataset.objects.prefetch_related("dataset_type", "data_format", "created_by", "revision", "file_records__data_repository")
    by_id = rows.in_bulk([dataset.pk for dataset in datasets])
    return [by_id[dataset.pk] for dataset in datasets]
