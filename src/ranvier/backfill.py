"""Backfills as a machine asks for them: the version that is installed here, and which backfill a person means."""

from __future__ import annotations

from typing import Any

from ranvier import identity
from ranvier.client import Database, Record
from ranvier.errors import RanvierError
from ranvier.instances import interpreter_for
from ranvier.plugins import registry
from ranvier.settings import Settings


class NoSuchBackfill(RanvierError):
    """The database has no such backfill, or several that begin so."""


class VersionUnknown(RanvierError):
    """The task is not installed here, and no version was given."""


def plan(
    database: Database, settings: Settings, task: str, selection: dict[str, Any], *, version: str | None = None, **options: Any
) -> Record:
    """Have the database plan a backfill.

    Parameters
    ----------
    database, settings
        The database, and this machine's settings.
    task
        Name of the task.
    selection
        Which sessions.
    version
        That it shall have run; None: the one that is installed here, with the versions of the packages that the task names.
    **options
        ``canary``, ``unplanned``, ``at_once``.

    Raises
    ------
    VersionUnknown
        If no version is given, and the task is not installed here.
    """
    found, packages = installed(task, settings)
    if not (version or found):
        raise VersionUnknown(f"no task {task} is installed on this machine", f"give --version, or install the package that brings {task}")
    known = packages if version in (None, found) else None
    return database.plan_backfill(task=task, version=version or found, packages=known, selection=selection, **options)


def installed(task: str, settings: Settings) -> tuple[str, dict[str, str]]:
    """Version of a task as it is installed here, and of the packages that it names; empty where it is not installed."""
    if task not in registry():
        return "", {}
    declared = registry()[task]
    return declared.version, identity.package_versions(declared.packages, interpreter_for(declared, settings))


def warnings(backfill: Record, settings: Settings) -> list[str]:
    """What a person should know before a backfill starts: labs with another version, and tasks whose price nobody knows."""
    version, estimate = backfill["version"], backfill["estimate"]
    here, _ = installed(backfill["task"], settings)
    found = [f"{backfill['task']} {here} is installed on this machine, not {version}"] if here and here != version else []
    for lab in estimate["labs"]:
        if lab["installed"] != version:
            known = f"last planned with {lab['installed']}" if lab["installed"] else "has never planned it"
            found.append(f"{lab['lab']} {known}; its lab server must have {version} installed when this starts")
    unknown = [each["task"] for each in estimate["tasks"] if not each["attempts"]]
    return found + ([f"no attempt at {', '.join(unknown)} is recorded: the price leaves that out"] if unknown else [])


def find(database: Database, text: str) -> Record:
    """The backfill whose id begins so, in full.

    Raises
    ------
    NoSuchBackfill
        If there is none, or more than one.
    """
    found = [each for each in database.backfills(1000) if each["id"].startswith(text.removeprefix("backfill-"))]
    if len(found) != 1:
        raise NoSuchBackfill(f"{len(found) or 'no'} backfills have an id that begins with {text}", "`ranvier backfill list` shows them")
    return database.backfill(found[0]["id"])
