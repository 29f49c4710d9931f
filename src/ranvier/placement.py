"""Where the outputs of an attempt go: to their own paths, or into a new ALF revision where what is there is protected."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ranvier.contract import Judgement
from ranvier.errors import RanvierError
from ranvier.hashes import HashBook, digest
from ranvier.session import Session
from ranvier.spool import Report


def place(
    report: Report, judged: Judgement, result: dict[str, Any], *, version: str, hashes: HashBook, protected: Callable[[list[str]], bool]
) -> None:
    """Hash what was judged sound, and write into the report where it goes, what is to be registered of it, and its QC.

    Parameters
    ----------
    report
        The attempt's.
    judged
        What was judged sound.
    result
        What the child process handed back.
    version
        Of the task.
    hashes
        Remembered hashes.
    protected
        Tells whether any of some paths below the session folder may not be overwritten.

    Raises
    ------
    RanvierError
        If no name is left for a new revision.
    """
    session, staging = Session.parse(report.session_path), Path(report.scratch) / "staging"
    targets = _targets(session, judged, protected)
    recorded = [_record(targets[path], file, session, hashes, version) for path, file in judged.files.items()]
    figures = [figure | {"path": f"figures/{report.slug}/{figure['name']}.png"} for figure in result["figures"]]
    moves = {file: targets[path] for path, file in judged.staged.items()}
    moves |= {staging / "figures" / f"{figure['name']}.png": figure["path"] for figure in figures}
    report.moves = {str(source): str(session.path / target) for source, target in moves.items()}
    report.files = [item for item in recorded if item["path"] not in {targets[path] for path in judged.unregistered}]
    quality = {"outcome": result["outcome"], "checks": result["checks"]} if result["checks"] else None
    report.verdict |= {"outputs": recorded, "figures": figures, "qc": quality}


def _targets(session: Session, judged: Judgement, protected: Callable[[list[str]], bool]) -> dict[str, str]:
    """Where each file goes."""
    paths = list(judged.staged)
    targets = {path: path for path in judged.files}
    existing = [path for path in paths if (session.path / path).exists()]
    if existing and protected(existing):
        revision = _new_revision(session, paths)
        targets |= {path: _revised(path, revision) for path in paths}
    return targets


def _new_revision(session: Session, paths: list[str]) -> str:
    today = dt.date.today().isoformat()
    for suffix in ["", *"abcdefghijklmnopqrstuvwxyz"]:
        if not any((session.path / _revised(path, today + suffix)).exists() for path in paths):
            return today + suffix
    raise RanvierError(f"{session.path}: no free revision name is left for {today}", "try again tomorrow")


def _revised(path: str, revision: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/#{revision}#/{name}" if folder else f"#{revision}#/{name}"


def _record(target: str, file: Path, session: Session, hashes: HashBook, version: str) -> dict[str, Any]:
    md5 = hashes.md5(file) if file.is_relative_to(session.path) else digest(file)
    return {"path": target, "size": file.stat().st_size, "hash": md5, "version": version}
