"""The number of queries of a request must not grow with the rows that it returns; and bootstrap may run again."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ranvier.database.bootstrap import BootstrapError, bootstrap
from ranvier.database.engine import database_config
from ranvier.settings import initialise, load


@pytest.fixture(scope="module")
def rest(live_database: Any) -> Iterator[Any]:
    """Django's own test client on the live database's home, where queries can be counted."""
    os.environ.update(RANVIER_HOME=str(live_database.settings.home), DJANGO_SETTINGS_MODULE="ranvier.database.settings")
    import django
    from django.db import connection

    django.setup()
    from rest_framework.test import APIClient

    client = APIClient(SERVER_NAME="localhost")
    client.credentials(HTTP_AUTHORIZATION=f"Token {live_database.settings.secret('token')}")
    yield client
    connection.close()
    os.environ.pop("DJANGO_SETTINGS_MODULE")


@pytest.fixture(scope="module")
def filled(live_database: Any) -> list[str]:
    """Twelve sessions with datasets, insertions and tasks; their ids."""
    live_database.make("/subjects", {"nickname": "QUERY_001", "lab": "testlab"})
    live_database.make("/projects", {"name": "query_project"})
    eids = []
    for number in range(1, 13):
        body = {"subject": "QUERY_001", "start_time": "2026-08-01T08:00:00", "number": number, "projects": ["query_project"]}
        eids.append(live_database.make("/sessions", body)["id"])
        names = [f"alf/probe0{probe}/spikes.{kind}.npy" for probe in range(2) for kind in ("times", "amps", "depths", "clusters")]
        names = names if number > 1 else names[:1]
        live_database.make("/register-file", {"path": f"QUERY_001/2026-08-01/{number:03d}", "filenames": names, "hashes": names})
        for probe in range(2 if number > 1 else 1):
            live_database.make("/insertions", {"session": eids[-1], "name": f"probe0{probe}"})
        tasks = [{"name": "a"}, *({"name": f"t{i}", "parents": ["a"]} for i in range(5))]
        live_database.make("/plans", {"session": eids[-1], "tasks": tasks if number > 1 else tasks[:1]})
    return eids


def queries(rest: Any, path: str) -> int:
    """How many queries a GET makes."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        answer = rest.get(path)
    assert answer.status_code == 200, answer.content
    return len(captured)


@pytest.mark.parametrize(
    "endpoint",
    [
        "sessions",
        "datasets",
        "insertions",
        "tasks",
        "files",
        "events",
        "subjects",
        "labs",
        "users",
        "projects",
        "attempts",
        "dataset-types",
        "tags",
    ],
)
def test_list_makes_as_many_queries_for_many_rows_as_for_two(rest: Any, filled: list[str], endpoint: str) -> None:
    rest.get(f"/{endpoint}?limit=1")
    assert queries(rest, f"/{endpoint}?limit=1000") <= max(queries(rest, f"/{endpoint}?limit=2"), 4)


def test_session_with_many_datasets_makes_as_many_queries_as_one_with_one(rest: Any, filled: list[str]) -> None:
    few, many = (queries(rest, f"/sessions/{eid}") for eid in filled[:2])
    assert many <= few + 1, "the revision's table is asked only where there is one"
    assert many <= 20


def test_registration_makes_as_many_queries_for_thirty_files_as_for_two(rest: Any, filled: list[str]) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for number, count in ((1, 2), (2, 30)):
        names = [f"raw/part{i}/spikes.samples.npy" for i in range(count)]
        body = {"path": f"QUERY_001/2026-08-01/{number:03d}", "filenames": names, "hashes": names}
        with CaptureQueriesContext(connection) as captured:
            answer = rest.post("/register-file", body)
        assert answer.status_code == 201
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 25


def test_bootstrap_again_changes_nothing_and_is_quick(live_database: Any) -> None:
    path = database_config(live_database.settings.database_engine)["NAME"]

    def content() -> dict[str, Any]:
        with sqlite3.connect(path) as connection:
            tables = ("people_user", "authtoken_token", "people_lab", "data_datasettype", "data_datarepository", "django_migrations")
            return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}

    before, start = content(), time.process_time()
    command = [sys.executable, "-m", "ranvier.database.bootstrap", "--url", live_database.url]
    subprocess.run(command, env={**os.environ, "RANVIER_HOME": str(live_database.settings.home)}, check=True)
    assert content() == before
    assert time.process_time() - start < 2


def test_bootstrap_that_cannot_says_why(tmp_path: Any) -> None:
    initialise(tmp_path)
    (tmp_path / "database").write_text("in the way")
    with pytest.raises(BootstrapError, match="database"):
        bootstrap(load(tmp_path))


def test_models_have_no_changes_without_a_migration(rest: Any) -> None:
    from django.core.management import call_command

    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
