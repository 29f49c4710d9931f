"""What attempts have still to tell the database: a report of each, in a folder beside the lab's data.

A report holds the moves of the files that were judged sound, what is to be registered of them, and the verdict. It is written before the
first file is moved, and removed once the database has it. As a rule the attempt itself does both within a second. After a crash, or when
the database was away, whoever comes upon the report finishes it: the next attempt at a task of the session, its next flow run, the reviver.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ranvier import commit
from ranvier.client import Database, DatabaseRefused, Record
from ranvier.report import errored, storable
from ranvier.session import Session
from ranvier.settings import Settings

log = logging.getLogger("ranvier.spool")

#: HTTP statuses of answers that would be the same tomorrow.
FOR_GOOD = (400, 404, 409, 413)


@dataclass
class Report:
    """What is left to be done of an attempt that has computed.

    Attributes
    ----------
    attempt, number
        The attempt's id, and its number.
    eid, slug, instance, task
        Its session, its instance's name in file names and for people, and its task.
    session_path, scratch
        Folders of the session and of the attempt's own files.
    repository, lab
        Where the files are, and whose they are.
    moves
        Final path of each staged file.
    files
        What is to be registered: ``path``, ``size``, ``hash``, ``version`` of each.
    verdict
        The fields of ``PATCH /attempts/{id}``.
    """

    attempt: str
    number: int
    eid: str
    slug: str
    instance: str
    task: str
    session_path: str
    scratch: str
    repository: str
    lab: str
    moves: dict[str, str] = field(default_factory=dict)
    files: list[Record] = field(default_factory=list)
    verdict: Record = field(default_factory=dict)

    def fails(self, failure: Record) -> None:
        """Make it the report of an attempt that failed after all, and moves nothing."""
        self.moves, self.files = {}, []
        self.verdict = {**self.verdict, "outputs": None, "figures": None, **failure}


class Spool:
    """The reports of a lab server that are not finished.

    Parameters
    ----------
    settings
        The machine's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.work_folder / "spool"
        self._locks = settings.work_folder / "locks"
        self._lease_s = settings.attempts.lease_s
        self._told: dict[Path, str] = {}

    def lock(self, eid: str, slug: str) -> AbstractContextManager[None]:
        """The lock of a task instance, which whoever works at it or at its report holds; see `ranvier.commit.exclusive`."""
        return commit.exclusive(self._locks / f"{eid}.{slug}")

    def put(self, report: Report) -> None:
        """Keep a report; it is on the disk when this returns.

        Raises
        ------
        OSError
            If it cannot be written; nothing is left of it then.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(report)
        written = path.with_suffix(".new")
        try:
            with written.open("w") as stream:
                json.dump(asdict(report), stream)
                stream.flush()
                os.fsync(stream.fileno())
            written.replace(path)
        except OSError:
            written.unlink(missing_ok=True)
            raise
        _sync(self.folder)

    def holds(self, report: Report) -> bool:
        """Whether a report is kept here."""
        return self._path(report).exists()

    def drop(self, report: Report) -> None:
        """Forget a report that is finished."""
        self._path(report).unlink(missing_ok=True)

    def refuse(self, report: Report, reason: str) -> None:
        """Put a report aside that the database will never take; `ranvier doctor` tells of it."""
        log.error("the report of attempt %d at %s is put aside: %s", report.number, report.instance, reason)
        aside = self.folder / "refused"
        aside.mkdir(parents=True, exist_ok=True)
        (aside / self._path(report).name).write_text(json.dumps({**asdict(report), "refused": reason}, indent=1))
        self.drop(report)

    def waiting(self, eid: str = "*") -> list[Path]:
        """Files of the reports that are kept, of one session or of all, the oldest first."""
        return sorted(self.folder.glob(f"{eid}.*.json"), key=lambda path: (_age(path), path.name))

    def refused(self) -> list[Path]:
        """Files of the reports that were put aside."""
        return sorted((self.folder / "refused").glob("*.json"))

    def catch_up(self, database: Database, eid: str = "*", mine: str = "") -> Iterator[Report]:
        """Finish what is kept: make the moves that are still to be made, and hand the report in.

        Parameters
        ----------
        database
            The database.
        eid
            Id of a session; all by default.
        mine
            Slug of the task instance whose lock the caller holds.

        Yields
        ------
        Report
            Each that is finished. Those of attempts that are at work are theirs; what cannot be finished for another reason is told in the
            log and left for later.

        Raises
        ------
        DatabaseUnreachable
            If the database does not answer.
        RanvierError, OSError
            If the caller's own cannot be finished.
        """
        for path in self.waiting(eid):
            instance = path.name.removesuffix(".json").rpartition(".")[0]
            own = instance == f"{eid}.{mine}"
            try:
                with nullcontext() if own else commit.exclusive(self._locks / instance):
                    if path.exists() and (report := self._finish(path, database)):
                        yield report
            except commit.Busy:
                continue
            except (DatabaseRefused, OSError, ValueError, TypeError) as error:  # the last two: it is no report
                if own:
                    raise
                self._tell(path, str(error))

    def _finish(self, path: Path, database: Database) -> Report | None:
        report = read(path)
        commit.carry_out(report.moves)
        shutil.rmtree(report.scratch, ignore_errors=True)
        try:
            self._hand_in(report, database)
        except DatabaseRefused as error:
            if error.status not in FOR_GOOD:
                raise
            self.refuse(report, str(error))
            return None
        self.drop(report)
        return report

    def _hand_in(self, report: Report, database: Database) -> None:
        try:
            database.report(report.attempt, lease_s=self._lease_s)
        except DatabaseRefused as error:
            if error.status != 409:
                raise
            database.report(report.attempt, **report.verdict)  # it is over: taken where this verdict had arrived before
        else:
            hand_in(report, database, late=True)

    def _tell(self, path: Path, reason: str) -> None:
        if self._told.get(path) != reason:
            self._told[path] = reason
            log.warning("%s cannot be finished yet, trying on: %s", path, reason)

    def _path(self, report: Report) -> Path:
        return self.folder / f"{report.eid}.{report.slug}.{report.attempt}.json"


def read(path: Path) -> Report:
    """The report in a file of the spool."""
    return Report(**json.loads(path.read_text()))


def hand_in(report: Report, database: Database, *, late: bool = False) -> Record:
    """Register an attempt's files, then hand in its verdict.

    Parameters
    ----------
    report
        The report; its files are in place.
    database
        The database.
    late
        Whether the dataset types have still to be seen to.

    Returns
    -------
    dict
        The verdict that the database took: the failure to take the report, where it did not take the report.

    Raises
    ------
    DatabaseUnreachable
        If the database does not answer.
    DatabaseRefused
        If the attempt is over (409), or if the refusal has nothing to do with the report.
    """
    verdict = report.verdict
    try:
        if report.files:
            _register(report, database, late)
        database.report(report.attempt, **verdict)
    except DatabaseRefused as error:
        if error.status == 409 or error.status not in FOR_GOOD:
            raise
        reason = f"the database did not take the report of an attempt that was {verdict['status']}: {error.message}"
        verdict = errored(reason, "ReportRefused", error.message)
        database.report(report.attempt, **storable(verdict))
    return verdict


def _register(report: Report, database: Database, late: bool) -> None:
    if late:
        database.ensure_dataset_types({Path(item["path"]).name for item in report.files}, report.task)
    database.register_files(Session.parse(report.session_path), report.files, report.repository, report.lab)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # it was handed in while we looked
        return 0.0


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
