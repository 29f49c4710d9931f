"""Puts a backup in place of a machine's database: whole and checked before anything is touched, and at once or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ranvier.database.backups import MANIFEST, ROWS, UPLOADS, BackupError, counts, run_tool, sha256
from ranvier.database.bootstrap import bootstrap, create_secrets, make_folder, set_up
from ranvier.database.serving import answers
from ranvier.settings import Settings

#: Where the tables of before stay while a backup is put into PostgreSQL.
BEFORE = "before_restore"


def put_back(settings: Settings, file: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Put a backup in place, and bring its tables up to this version of Ranvier. The home's own secrets stay, or are made.

    Parameters
    ----------
    settings
        Settings of the machine.
    file
        What `ranvier.database.backups.back_up` wrote.
    overwrite
        Whether rows and images that are there may be replaced.

    Returns
    -------
    dict
        The backup's manifest, with the `home`.

    Raises
    ------
    BackupError
        If the file is no whole backup, is of another kind of database or of a newer version, if there is a database already, or if it runs.
    """
    if answers(f"http://{settings.near}:{settings.ports.database}"):
        raise BackupError(f"a database answers on port {settings.ports.database}", "stop it first")
    create_secrets(settings)
    set_up(settings)
    make_folder(settings)
    with _unpacked(file, settings.home) as (folder, manifest):
        _refuse_unfit(file, manifest)
        _refuse_occupied(settings, overwrite)
        _put_rows(folder / ROWS[manifest["engine"]])
        _put_uploads(folder / UPLOADS, settings.home / UPLOADS)
    bootstrap(settings)
    return {**manifest, "home": str(settings.home)}


@contextlib.contextmanager
def _unpacked(file: Path, home: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The content of a backup, below the home, and its manifest; its rows are as they were written."""
    with tempfile.TemporaryDirectory(dir=home, prefix=".restore-") as folder:
        try:
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="data")
            manifest = json.loads(Path(folder, MANIFEST).read_text())
            whole = sha256(Path(folder, ROWS[manifest["engine"]])) == manifest["sha256"]
        except FileNotFoundError as error:
            raise BackupError(f"{error.filename} is not there", "name a file that `ranvier db backup` wrote") from None
        except (tarfile.TarError, EOFError, ValueError, KeyError, OSError) as error:
            raise BackupError(f"{file} is no whole backup: {error}", "name a file that `ranvier db backup` wrote") from None
        if not whole:
            raise BackupError(f"{file} is damaged: its rows have another SHA-256 than its manifest says", "take another backup")
        yield Path(folder), manifest


def _refuse_unfit(file: Path, manifest: dict[str, Any]) -> None:
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader

    if manifest["engine"] != connection.vendor:
        reason = f"{file} is of a {manifest['engine']} database, and this machine's is {connection.vendor}"
        raise BackupError(reason, "set database.engine to one of that kind")
    known = MigrationLoader(None).disk_migrations
    unknown = [f"{app}.{name}" for app, name in manifest["migrations"] if (app, name) not in known]
    if unknown:
        raise BackupError(f"{file} is of Ranvier {manifest['version']}, of which this version does not know {unknown[0]}", "upgrade first")


def _refuse_occupied(settings: Settings, overwrite: bool) -> None:
    from django.db import connection

    tables = connection.introspection.table_names()
    there = ", ".join(f"{count} {name}" for name, count in counts().items()) if "jobs_task" in tables else f"{len(tables)} tables"
    if tables and not overwrite:
        raise BackupError(
            f"{settings.home} has a database already, with {there}", "back it up; then say --overwrite, or use another --home"
        )


def _put_rows(file: Path) -> None:
    from django.db import connection

    if connection.vendor == "sqlite":
        connection.close()
        # into the file that is there, in one transaction of SQLite's own: replaced as a whole, whatever else has it open
        with (
            contextlib.closing(sqlite3.connect(file)) as rows,
            contextlib.closing(sqlite3.connect(connection.settings_dict["NAME"])) as database,
        ):
            rows.backup(database)
    else:
        _put_into_postgresql(file)


def _put_into_postgresql(file: Path) -> None:
    """Beside the tables that are there, which go only once the others have come."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"ALTER SCHEMA public RENAME TO {BEFORE}")
        cursor.execute("CREATE SCHEMA public")
        try:
            run_tool("pg_restore", ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", str(file)])
        except BackupError:
            cursor.execute("DROP SCHEMA public CASCADE")
            cursor.execute(f"ALTER SCHEMA {BEFORE} RENAME TO public")
            raise
        cursor.execute(f"DROP SCHEMA {BEFORE} CASCADE")
    connection.close()


def _put_uploads(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    if source.exists():
        source.rename(target)
