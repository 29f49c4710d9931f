"""An import, from beginning to end: one at a time, going on where one was interrupted."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranvier.database.commands import open_database
from ranvier.errors import RanvierError
from ranvier.settings import Settings

if TYPE_CHECKING:  # Django is set up before it can be imported
    from ranvier.database.imports.choice import Choice
    from ranvier.database.imports.moving import Tell
    from ranvier.database.imports.taking import Taker


class ImportRefused(RanvierError):
    """An import cannot begin; the message says why."""


def import_alyx(
    settings: Settings,
    connect: Callable[[], Any],
    tell: Tell,
    *,
    labs: tuple[str, ...] = (),
    projects: tuple[str, ...] = (),
    subjects: tuple[str, ...] = (),
    since: dt.date | None = None,
    overwrite: bool = False,
    preprocess: bool = False,
    dry: bool = False,
) -> dict[str, Any]:
    """Take what an Alyx has into this machine's database, with its ids. The database may run meanwhile.

    Parameters
    ----------
    settings
        Settings of the machine.
    connect
        Signs in, and returns a `ranvier.database.imports.alyx.Alyx`.
    tell
        Is told how far it is, as a fraction, and what is being done.
    labs, projects, subjects, since
        Which sessions, with their animals; nothing: all.
    overwrite
        Whether rows that were changed here are replaced by what is there.
    preprocess
        Whether each session asks for its preprocessing, as one does that is registered here.
    dry
        Only count what is there.

    Returns
    -------
    dict
        By table what became of the rows, and the remarks.

    Raises
    ------
    ImportRefused
        If another import runs, or if nothing there is chosen.
    ranvier.database.imports.alyx.AlyxError
        If the Alyx does not answer any longer; what was taken stays.
    """
    open_database(settings)
    from ranvier.database.imports.choice import Choice
    from ranvier.database.imports.counting import count
    from ranvier.database.imports.moving import Move

    choice = Choice(labs, projects, subjects, since)
    alyx = connect()
    with contextlib.closing(alyx):
        _refuse_nothing(alyx, choice)
        if dry:
            return count(alyx, choice)
        options = {**asdict(choice), "since": since and since.isoformat(), "preprocess": preprocess, "overwrite": overwrite}
        with _import(settings, alyx.url, options) as taker:
            Move(alyx, taker, choice, tell, preprocess=preprocess).all()
        return taker.report.told()


def import_cache(
    settings: Settings,
    folder: Path,
    tell: Tell,
    *,
    repository: str = "",
    labs: tuple[str, ...] = (),
    overwrite: bool = False,
    preprocess: bool = False,
    dry: bool = False,
) -> dict[str, Any]:
    """Take the sessions and datasets of a ONE cache into this machine's database, with their ids.

    Parameters
    ----------
    settings
        Settings of the machine.
    folder
        The cache: `sessions.pqt`, `datasets.pqt`, and the labs' folders beside them.
    tell
        Is told how far it is, as a fraction, and what is being done.
    repository
        Name of the repository that the files are in; nothing: that of this machine's lab, or one named after each lab.
    labs
        Which labs; nothing: all.
    overwrite, preprocess, dry
        As for `import_alyx`.

    Returns
    -------
    dict
        By table what became of the rows, and the remarks.

    Raises
    ------
    ImportRefused
        If another import runs, or the folder holds no tables.
    """
    open_database(settings)
    from ranvier.database.imports.one_cache import Cache, MoveCache

    cache = Cache.load(folder, labs)
    if dry:
        return cache.counts()
    options = {"labs": list(labs), "repository": repository, "preprocess": preprocess, "overwrite": overwrite}
    with _import(settings, str(folder.resolve()), options) as taker:
        MoveCache(cache, taker, tell, repository=repository, preprocess=preprocess).all()
    return taker.report.told()


def _refuse_nothing(alyx: Any, choice: Choice) -> None:
    """A choice of no session and no animal is one of a name that is written otherwise there."""
    asked = {"sessions": choice.of_sessions(), "subjects": choice.of_subjects()}
    if not choice.is_everything and not any(alyx.count(endpoint, django=",".join(terms)) for endpoint, terms in asked.items()):
        raise ImportRefused(f"no session and no animal of {alyx.url} is chosen by this", "are the names as they are there?")


@contextlib.contextmanager
def _import(settings: Settings, source: str, options: dict[str, Any]) -> Iterator[Taker]:
    """One import: that of the same source and options which has no end yet, or a new one."""
    from django.utils import timezone

    from ranvier.database.imports.models import Import
    from ranvier.database.imports.report import Report
    from ranvier.database.imports.taking import Taker

    with _only_one(settings.home / "imports" / "lock"):
        row = Import.objects.filter(source=source, options=options, finished=None).first()
        row = row or Import.objects.create(source=source, options=options)
        report = Report(settings.home / "imports" / f"{row.started:%Y-%m-%dT%H%M%S}.jsonl")
        yield Taker(report, row.started, overwrite=options["overwrite"])
        row.finished, row.counts = timezone.now(), report.told()["tables"]
        row.save()


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ImportRefused("another import is running on this machine", "wait for its end") from None
        yield
