"""Backups of a machine's database: one file with all rows, the images of notes, and a manifest. Secrets and settings are not in it.

The rows are copied while the database runs, by SQLite's online backup or by ``pg_dump``, each of which sees one moment; the images
follow, so that none is missing of which a row tells.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ranvier.database.commands import open_database
from ranvier.errors import RanvierError
from ranvier.settings import Settings

MANIFEST, UPLOADS = "manifest.json", "uploads"
#: File of the rows in a backup, by the database's kind.
ROWS = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}


class BackupError(RanvierError):
    """A backup cannot be made, or not be put in place; the message says why."""


def back_up(settings: Settings, file: Path | None = None) -> dict[str, Any]:
    """Write a backup, readable by its owner only. The database may run meanwhile.

    Parameters
    ----------
    settings
        Settings of the machine.
    file
        Where to; default: ``backups/<time>.tar.gz`` of the home.

    Returns
    -------
    dict
        The manifest, with the `file` and its `size` in bytes.

    Raises
    ------
    BackupError
        If the file is there already, or the database's own tool fails.
    """
    made = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
    path = (file or settings.home / "backups" / f"{made:%Y-%m-%dT%H%M%S}.tar.gz").absolute()
    if path.exists():
        raise BackupError(f"{path} is there already", "name another file")
    open_database(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".backup-") as folder:
        manifest = _copy(Path(folder), made)
        whole = Path(folder, "whole")
        with os.fdopen(os.open(whole, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
            _pack(stream, Path(folder), manifest, settings.home / UPLOADS)
        whole.replace(path)
    return {**manifest, "file": str(path), "size": path.stat().st_size}


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _copy(folder: Path, made: dt.datetime) -> dict[str, Any]:
    """Copy the rows into a folder; the manifest."""
    from django.db import connection

    rows = folder / ROWS[connection.vendor]
    if connection.vendor == "sqlite":
        _copy_sqlite(connection.settings_dict["NAME"], rows)
    else:
        run_tool("pg_dump", ["--format=custom", "--no-owner", "--no-privileges", f"--file={rows}"])
    manifest = {
        "made": made.isoformat(sep=" "),
        "version": version("ranvier"),
        "engine": connection.vendor,
        "migrations": applied_migrations(),
        "rows": counts(),
        "sha256": sha256(rows),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return manifest


def _copy_sqlite(source: str, target: Path) -> None:
    with contextlib.closing(sqlite3.connect(source)) as database, contextlib.closing(sqlite3.connect(target)) as copy:
        database.backup(copy)


def _pack(stream: Any, folder: Path, manifest: dict[str, Any], uploads: Path) -> None:
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for name in (MANIFEST, ROWS[manifest["engine"]]):
            archive.add(folder / name, name)
        if uploads.is_dir():
            archive.add(uploads, UPLOADS)


def applied_migrations() -> list[list[str]]:
    """What has been done to the tables, as app and name."""
    from django.db import connection
    from django.db.migrations.recorder import MigrationRecorder

    return sorted([app, name] for app, name in MigrationRecorder(connection).applied_migrations())


def counts() -> dict[str, int]:
    """Rows of the tables by which people know their database."""
    from ranvier.database.actions.models import Session
    from ranvier.database.data.models import Dataset
    from ranvier.database.jobs.models import Task
    from ranvier.database.subjects.models import Subject

    tables = {"subjects": Subject, "sessions": Session, "datasets": Dataset, "tasks": Task}
    return {name: model.objects.count() for name, model in tables.items()}


def run_tool(name: str, arguments: Sequence[str]) -> None:
    """Run one of PostgreSQL's programs on the database; the password goes by its environment.

    Raises
    ------
    BackupError
        If it is not installed, or fails; the message is its own.
    """
    from django.db import connection
    from psycopg.conninfo import make_conninfo

    program = shutil.which(name)
    if program is None:
        raise BackupError(f"{name} is not installed", "install PostgreSQL's client of the server's version (Debian: postgresql-client)")
    parameters = connection.get_connection_params()
    known = ("dbname", "user", "host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "service", "passfile")
    address = make_conninfo(**{key: parameters[key] for key in known if parameters.get(key)})
    secret = {"PGPASSWORD": parameters["password"]} if parameters.get("password") else {}
    done = subprocess.run([program, f"--dbname={address}", *arguments], env={**os.environ, **secret}, capture_output=True, text=True)
    if done.returncode:
        raise BackupError(f"{program} failed: {done.stderr.strip()}", "its version must not be older than the server's")
