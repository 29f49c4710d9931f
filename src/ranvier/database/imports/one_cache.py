"""The tables of a ONE cache move in, where there is no REST: labs, subjects, sessions, datasets and insertions, with their ids."""

from __future__ import annotations

import functools
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from django.conf import settings
from django.db import transaction
from one.alf.cache import load_tables

from ranvier.database.data.locations import Location, locate
from ranvier.database.data.models import DataFormat, DatasetType
from ranvier.database.data.recognition import data_format_of, dataset_type_of
from ranvier.database.imports.moving import Tell, ask_for_preprocessing
from ranvier.database.imports.tables import CATALOGUE, DATASETS, INSERTIONS, NAMESPACE, SESSIONS, SUBJECTS, Json
from ranvier.database.imports.taking import Taker
from ranvier.database.subjects.models import Subject
from ranvier.errors import RanvierError

TABLES = {table.endpoint: table for table in CATALOGUE}


class NoCache(RanvierError):
    """A folder holds no tables that can be taken; the message says why."""


@dataclass(frozen=True)
class Cache:
    """The tables of a cache, and the folder that they are in.

    Attributes
    ----------
    folder
        With the labs' folders in it.
    sessions, datasets, insertions
        As ONE-api reads them: by id, and by ids of session and dataset or insertion. Not all caches have insertions.
    """

    folder: Path
    sessions: pd.DataFrame
    datasets: pd.DataFrame
    insertions: pd.DataFrame

    @classmethod
    def load(cls, folder: Path, labs: tuple[str, ...] = ()) -> Cache:
        """Read the tables, of all labs or of some.

        Raises
        ------
        NoCache
            If they are not there, or name sessions and datasets by no UUIDs.
        """
        missing = [name for name in ("sessions.pqt", "datasets.pqt") if not (folder / name).is_file()]
        if missing:
            raise NoCache(f"{folder} has no {' and no '.join(missing)}", "name the folder of a ONE cache, or unpack its cache.zip there")
        tables = load_tables(folder)
        for name in ("sessions", "datasets"):
            if len(tables[name]) and not isinstance(tables[name].index.get_level_values(0)[0], uuid.UUID):
                raise NoCache(f"{folder / name}.pqt has no UUIDs", "make it again with one.alf.cache.make_parquet_db(hash_ids=True)")
        sessions = tables["sessions"].assign(lab=tables["sessions"]["lab"].fillna("").replace("", settings.RANVIER.lab.name))
        sessions = sessions[sessions["lab"].isin(labs)] if labs else sessions
        return cls(folder.resolve(), sessions, tables["datasets"], tables.get("insertions", tables["datasets"].iloc[:0]))

    def counts(self) -> Json:
        """What there is to take."""
        from ranvier.database.actions.models import Session
        from ranvier.database.data.models import Dataset
        from ranvier.database.experiments.models import ProbeInsertion

        def of_these(table: pd.DataFrame) -> int:
            return int(table.index.get_level_values(0).isin(self.sessions.index).sum())

        numbers: dict[str, tuple[int, Any]] = {
            "labs": (self.sessions["lab"].nunique(), TABLES["labs"].model),
            "subjects": (self.sessions["subject"].nunique(), Subject),
            "sessions": (len(self.sessions), Session),
            "datasets": (of_these(self.datasets), Dataset),
            "insertions": (of_these(self.insertions), ProbeInsertion),
        }
        tables = {name: {"there": there, "here": model._base_manager.count()} for name, (there, model) in numbers.items()}
        return {"dry": True, "tables": tables, "remarks": [], "file": None, "not_taken": {}, "whole": True}

    def each(self) -> Iterator[tuple[uuid.UUID, Any, pd.DataFrame, pd.DataFrame]]:
        """Sessions, each with its datasets and its insertions by id."""
        tables = (self.datasets, self.insertions)
        groups = [table.groupby(level=0, sort=False).indices for table in tables]
        for eid, session in self.sessions.iterrows():
            datasets, insertions = (table.iloc[rows.get(eid, [])].droplevel(0) for table, rows in zip(tables, groups, strict=True))
            yield eid, session, datasets, insertions


class MoveCache:
    """Takes the sessions of a cache.

    Parameters
    ----------
    cache
        The tables.
    taker
        Takes the rows.
    tell
        Is told how far it is.
    repository
        Name of the repository that the files are in; nothing: that of this machine, where it is the lab's folder, or ``<lab>_imported``.
    preprocess
        Whether each session asks for its preprocessing.
    """

    def __init__(self, cache: Cache, taker: Taker, tell: Tell, *, repository: str = "", preprocess: bool = False) -> None:
        self.cache, self.taker, self.tell, self.repository, self.preprocess = cache, taker, tell, repository, preprocess
        self._types, self._formats = list(DatasetType.objects.all()), list(DataFormat.objects.all())
        self._type_of = functools.lru_cache(10_000)(lambda name: dataset_type_of(name, self._types).name)
        self._format_of = functools.lru_cache(10_000)(lambda name: data_format_of(name, self._formats).name)
        self._revisions: set[str] = set()

    def all(self) -> None:
        """Take it all."""
        self._take_labs()
        self._take_projects()
        for number, (eid, session, datasets, insertions) in enumerate(self.cache.each(), 1):
            if eid in self.taker.seen([eid]):
                self.taker.report.count(SESSIONS.endpoint, "unchanged")
                continue
            self._take_session(eid, session, datasets, insertions)
            self.tell(number / len(self.cache.sessions), f"session {number} of {len(self.cache.sessions)}")

    def repository_of(self, lab: str) -> str:
        """Name of the repository of a lab's files."""
        if self.repository:
            return self.repository
        own = settings.RANVIER
        served = own.machine.role != "centre" and own.lab_root.resolve() == (self.cache.folder / lab / "Subjects").resolve()
        return str(own.repository) if served else f"{lab}_imported"

    def _take_labs(self) -> None:
        for lab in sorted(self.cache.sessions["lab"].unique()):
            name = self.repository_of(lab)
            place = {"name": name, "hostname": socket.gethostname(), "globus_path": f"{self.cache.folder / lab / 'Subjects'}/"}
            self.taker.take(TABLES["data-repository"], [place])
            self.taker.take(TABLES["labs"], [{"name": lab, "repositories": [name]}])

    def _take_projects(self) -> None:
        named = {name for names in self.cache.sessions["projects"].fillna("").unique() for name in _listed(names)}
        self.taker.take(TABLES["projects"], [{"name": name} for name in sorted(named)])

    @transaction.atomic
    def _take_session(self, eid: uuid.UUID, session: Any, datasets: pd.DataFrame, insertions: pd.DataFrame) -> None:
        self._need_subject(session["subject"], session["lab"])
        row = {
            "id": str(eid),
            "subject": session["subject"],
            "lab": session["lab"],
            "start_time": f"{session['date']}T00:00:00",
            "number": int(session["number"] or 0),
            "task_protocol": _text(session.get("task_protocol")),
            "projects": _listed(session.get("projects")),
        }
        became = self.taker.take(SESSIONS, [row]).get(eid)
        if became in (None, "deleted"):
            for table, rows in ((DATASETS, datasets), (INSERTIONS, insertions)):
                self.taker.report.count(table.endpoint, "left out", len(rows) if became is None else 0)
            return
        folder = f"{session['subject']}/{session['date']}/{int(session['number'] or 0):03d}"
        rows = [made for key, facts in datasets.iterrows() if (made := self._dataset(eid, key, facts, folder, session["lab"]))]
        self._need_revisions(rows)
        self.taker.take(DATASETS, rows)
        self.taker.take(INSERTIONS, [_insertion(eid, key, facts) for key, facts in insertions.iterrows()])
        self.taker.mark_seen([eid])
        if self.preprocess:
            ask_for_preprocessing(eid)

    def _need_subject(self, nickname: str, lab: str) -> None:
        if not Subject.objects.filter(nickname=nickname).exists():
            self.taker.take(SUBJECTS, [{"id": str(uuid.uuid4()), "nickname": nickname, "lab": lab}])

    def _need_revisions(self, rows: list[Json]) -> None:
        new = {row["revision"] for row in rows if row["revision"]} - self._revisions
        self.taker.take(TABLES["revisions"], [{"name": name} for name in sorted(new)])
        self._revisions |= new

    def _dataset(self, eid: uuid.UUID, key: uuid.UUID, facts: Any, folder: str, lab: str) -> Json | None:
        """A dataset as an Alyx would tell of it; what is no dataset of ours is left out."""
        try:
            place = locate(folder, facts["rel_path"])
            kind, form = self._type_of(place.name), self._format_of(place.name)
        except ValueError as error:
            address = f"{folder}/{facts['rel_path']}"
            self.taker.report.remark("left out", DATASETS.endpoint, address, str(error), "then import again")
            return None
        size = facts.get("file_size")
        return {
            "id": str(key),
            "session": str(eid),
            "name": place.name,
            "collection": place.collection,
            "revision": place.revision,
            "dataset_type": kind,
            "data_format": form,
            "file_size": None if pd.isna(size) else int(size),
            "hash": _text(facts.get("hash")),
            "default_dataset": bool(facts.get("default_revision", True)),
            "qc": str(facts.get("qc") or "NOT_SET"),
            "file_records": self._records(key, place, lab),
        }

    def _records(self, key: uuid.UUID, place: Location, lab: str) -> list[Json]:
        """The record of the file, where it is on disk."""
        below = (self.cache.folder / lab / "Subjects" / place.relative_path, self.cache.folder / place.relative_path)
        if not any(path.is_file() for path in below):
            self.taker.report.count("file-records", "not on disk")
            return []
        name = self.repository_of(lab)
        identity = uuid.uuid5(NAMESPACE, f"{key}/{name}")
        return [{"id": str(identity), "data_repository": name, "relative_path": place.relative_path, "exists": True}]


def _insertion(eid: uuid.UUID, key: uuid.UUID, facts: Any) -> Json:
    """An insertion as an Alyx would tell of it; the tables have of a chronic one no more than its id."""
    model = _text(facts.get("model")) or None
    return {"id": str(key), "session": str(eid), "name": facts["name"], "model": model, "serial": _text(facts.get("serial"))}


def _listed(names: Any) -> list[str]:
    return [name.strip() for name in _text(names).split(",") if name.strip()]


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)
