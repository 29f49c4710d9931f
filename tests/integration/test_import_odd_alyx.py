"""``ranvier db import alyx`` of an Alyx with rows as years leave them; killed and started again; told a wrong password."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from odd_alyx import OddAlyx, dataset_row, served, session_row, task_row
from support import waiter

from ranvier.database.bootstrap import bootstrap
from ranvier.database.imports.alyx import Alyx
from ranvier.settings import initialise, load

until = waiter(300, 0.02)


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """A lab, a repository, an animal."""
    subject = {"id": "6b1a5f0e-0000-4000-8000-000000000001", "nickname": "ODD_001", "lab": "oddlab", "sex": "", "species": "Mus musculus"}
    genotype = {"genotype": ["Pvalb-Cre +/-"], "whole": {"genotype": [{"allele": "Pvalb-Cre", "zygosity": 1}]}}
    return {
        "users": [
            {"id": "6b1a5f0e-0000-4000-8000-000000000002", "username": "kim", "email": None, "lab": "['oddlab']", "allowed_users": []}
        ],
        "labs": [{"name": "oddlab", "repositories": ["oddstore"], "timezone": "Europe/Paris", "json": None}],
        "data-repository": [{"name": "oddstore", "data_url": "http://store:8000/oddlab/Subjects/", "repository_type": None, "json": None}],
        "subjects": [{**subject, "litter": "a litter", "description": "", **genotype, "projects": [], "json": None}],
    }


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a database of another lab, to be copied."""
    home = tmp_path_factory.mktemp("empty") / "home"
    bootstrap(initialise(home, lab="newlab"))
    return home


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Path:
    """A home with a database in which nothing has been done yet."""
    return Path(shutil.copytree(empty_home, tmp_path / "home"))


def start(home: Path, url: str, *more: str, password: str = "right") -> subprocess.Popen[str]:
    """Start an import."""
    variables = {**os.environ, "RANVIER_HOME": str(home), "RANVIER_ALYX_PASSWORD": password, "COLUMNS": "200"}
    variables.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-m", "ranvier", "db", "import", "alyx", "--url", url, "--user", "kim", *more]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def imported(home: Path, url: str, code: int) -> dict[str, Any]:
    """Import, and what was told."""
    process = start(home, url, "--json")
    out, err = process.communicate()
    assert process.returncode == code, err + out
    assert out, err
    return dict(json.loads(out))


def ask(home: Path, query: str) -> list[Any]:
    """Rows of the database."""
    with sqlite3.connect(home / "database" / "db.sqlite3", timeout=30) as rows:
        return rows.execute(query).fetchall()


def reasons(report: dict[str, Any]) -> dict[str, str]:
    """Why rows were not taken as they are there."""
    return {remark["address"]: f"{remark['kind']}: {remark['reason']}" for remark in report["remarks"]}


def test_odd_rows_are_listed_and_the_rest_goes_on(home: Path) -> None:
    rows = catalogue()
    good, twin, unnumbered = (
        session_row("ODD_001", "2026-01-01"),
        session_row("ODD_001", "2026-01-01"),
        session_row("ODD_001", "2026-01-02", None),
    )
    parent = session_row("ODD_001", "2026-01-03", parent_session=f"http://alyx/sessions/{good['id']}", lab=None, json='{"a": 1}', extra="?")
    lost = session_row("NOBODYS", "2026-01-01")
    rows["subjects"] += [
        {**rows["subjects"][0], "id": "6b1a5f0e-0000-4000-8000-000000000003", "nickname": "NOBODYS", "lab": None},
        {**rows["subjects"][0], "id": "6b1a5f0e-0000-4000-8000-000000000004", "nickname": "a/b"},
    ]
    rows["users"] += [{"id": str(uuid.uuid4()), "username": name, "email": "", "lab": [], "gone": True} for name in ("admin", "left")]
    rows["labs"].append({"name": "odd-lab", "repositories": []})
    rows["projects"] = [{"name": "x/y", "users": []}]
    rows["sessions"] = [good, twin, unnumbered, parent, lost]
    unnumbered["projects"] = ["x/y"]
    rows["datasets"] = [dataset_row(good, "spikes.times.npy"), dataset_row(twin, "spikes.times.npy"), dataset_row(lost, "spikes.times.npy")]
    rows["datasets"] += [
        dataset_row(good, "spikes.amps.npy", dataset_type="unheard.of"),
        dataset_row(parent, "b.pqt", data_format=None, json=[1]),
    ]
    running = task_row(good, "runs", "Started")
    rows["tasks"] = [running, task_row(good, "sorts", "Running"), task_row(good, "ends", "Complete", parents=[running["id"]])]
    rows["tasks"] += [{**task_row(good, "spoilt", "Waiting"), "fails": True}, task_row(parent, "last", "Waiting")]
    with served(OddAlyx(rows)) as alyx:
        report = imported(home, alyx.url, 1)
    told = reasons(report)
    expected = {
        "/subjects/NOBODYS": "left out: it has no lab",
        "/subjects/a/b": "left out: its nickname 'a/b' is refused",
        "/labs/odd-lab": "left out: its name 'odd-lab' is refused",
        "/projects/x/y": "left out: the name 'x/y' cannot be used",
        f"/sessions/{twin['id']}": "left out: Session with this Subject, Date and Number already exists",
        f"/sessions/{lost['id']}": "left out: its subject NOBODYS is not here",
        f"/sessions/{unnumbered['id']}": "without: taken without projects x/y",
        f"/tasks/{rows['tasks'][1]['id']}": "left out: its status is 'Running', and can only be one of Waiting, Held",
    }
    assert {
        address: next((reason for at, reason in told.items() if at == address), "")[: len(text)] for address, text in expected.items()
    } == expected
    assert good["id"] in told[f"/sessions/{twin['id']}"], "where the one that is here is"
    assert any("fails over this row" in reason for address, reason in told.items() if address.startswith("/tasks?"))
    assert [reason for reason in told.values() if "dataset_type unheard.of is not here" in reason]
    assert report["tables"]["sessions"] == {"added": 3, "without": 1, "left out": 2}
    assert report["tables"]["datasets"] == {"added": 2, "left out": 3}
    assert report["not_taken"]["sessions"] == {"extra": 1}
    assert len(Path(report["file"]).read_text().splitlines()) == len(report["remarks"])
    check_what_was_taken(home, good, unnumbered, parent)


def check_what_was_taken(home: Path, good: Any, unnumbered: Any, parent: Any) -> None:
    """Ids, and what was made of odd values."""
    keys = dict(ask(home, "SELECT id, number FROM actions_session"))
    assert keys == {row["id"].replace("-", ""): row["number"] or 0 for row in (good, unnumbered, parent)}
    [(json_text, lab, parent_id)] = ask(
        home,
        "SELECT s.json, l.name, parent_session_id FROM actions_session s JOIN people_lab l ON l.id = lab_id WHERE s.date = '2026-01-03'",
    )
    assert (json.loads(json_text), lab, parent_id) == ({"a": 1}, "oddlab", good["id"].replace("-", ""))
    assert ask(home, "SELECT status, reason FROM jobs_task WHERE name = 'runs'") == [
        (20, "it was Started in the Alyx from which it was imported")
    ]
    assert ask(
        home, "SELECT d.json, f.name FROM data_dataset d JOIN data_dataformat f ON f.id = data_format_id WHERE d.name = 'b.pqt'"
    ) == [('{"value": [1]}', "parquet")]
    assert ask(home, "SELECT s.sex, l.name FROM subjects_subject s JOIN subjects_litter l ON l.id = litter_id") == [("U", "a litter")]
    assert ask(home, "SELECT u.username FROM people_labmembership m JOIN people_user u ON u.id = user_id") == [("kim",)]
    assert dict(ask(home, "SELECT username, is_active FROM people_user")) == {"admin": 1, "ranvier": 1, "kim": 1, "left": 0}
    assert ask(home, "SELECT a.name, zygosity FROM subjects_zygosity z JOIN subjects_allele a ON a.id = allele_id") == [("Pvalb-Cre", 1)]
    assert ask(home, "SELECT data_url FROM data_datarepository WHERE name = 'oddstore'") == [("http://store:8000/oddlab/Subjects/",)]


def test_lists_are_read_page_by_page_around_rows_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranvier.database.imports.alyx.PAGE", 4)
    rows = [{"id": str(number), **({"fails": True} if number in (5, 6, 11) else {})} for number in range(14)]
    unreadable: list[str] = []
    with served(OddAlyx({"tasks": rows})) as source, contextlib.closing(Alyx(source.url, token="a" * 40)) as alyx:
        pages = list(alyx.pages("tasks", unreadable.append))
        assert alyx.count("tasks", django="x") == 14
    assert [[row["id"] for row in page] for page in pages] == [["0", "1", "2", "3"], ["4", "7"], ["8", "9", "10"], ["12", "13"]]
    assert unreadable == [f"/tasks?limit=1&offset={number}" for number in (5, 6, 11)]


def test_killed_it_goes_on_where_it_was(home: Path) -> None:
    rows = catalogue()
    rows["sessions"] = [session_row("ODD_001", f"2026-{month:02d}-{day:02d}") for month in (1, 2, 3) for day in range(1, 29)]
    rows["datasets"] = [
        dataset_row(session, f"spikes.{part}.npy", dataset_type=f"spikes.{part}")
        for session in rows["sessions"]
        for part in ("times", "amps")
    ]
    rows["tasks"] = [task_row(session, "sort", "Complete") for session in rows["sessions"]]
    whole = "SELECT count(*), sum((SELECT count(*) FROM data_dataset d WHERE d.session_id = s.id) = 2), "
    whole += "sum((SELECT count(*) FROM jobs_task t WHERE t.session_id = s.id) = 1) FROM actions_session s"
    with served(OddAlyx(rows, slow_s=0.05)) as alyx:
        process = start(home, alyx.url)
        until(lambda: ask(home, "SELECT count(*) FROM actions_session")[0][0] > 30)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        count, with_datasets, with_tasks = ask(home, whole)[0]
        assert 30 < count < 84, "it was killed in the middle"
        assert (with_datasets, with_tasks) == (count, count), "no session is without what belongs to it"
        before = Counter(alyx.asked)
        report = imported(home, alyx.url, 0)
        again = sum(alyx.asked[path] - before[path] for path in before if path.startswith("/sessions/"))
        assert again <= 25, "at most those that were under way are read again"
    assert report["tables"]["sessions"] == {"unchanged": count, "added": 84 - count}
    assert ask(home, whole) == [(84, 84, 84)]
    assert ask(home, "SELECT count(*) FROM imports_import") == [(1,)]


def test_it_moves_into_postgresql_too(postgresql: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(postgresql, autocommit=True) as server:
        server.execute("CREATE DATABASE moved_in")
    home = tmp_path / "home"
    settings = initialise(home, lab="newlab")
    with (home / "config.toml").open("a") as config:
        config.write(f'\n[database]\nengine = "{urlsplit(postgresql)._replace(path="/moved_in").geturl()}"\n')
    bootstrap(load(settings.home))
    rows = catalogue()
    good, twin = session_row("ODD_001", "2026-01-01", extended_qc={"a": 0.1}), session_row("ODD_001", "2026-01-01")
    rows["sessions"], rows["datasets"] = [good, twin], [dataset_row(good, "spikes.times.npy", json={"b": [1.5]})]
    rows["tasks"] = [task_row(good, "sort", "Complete")]
    with served(OddAlyx(rows)) as alyx:
        assert imported(home, alyx.url, 1)["tables"]["sessions"] == {"added": 1, "left out": 1}
        again = imported(home, alyx.url, 1)["tables"]
    assert again["sessions"] == {"unchanged": 1, "left out": 1}
    for name in ("datasets", "file-records", "tasks", "subjects", "genotypes"):
        assert again[name]["unchanged"] == 1, name


def test_who_may_not_sign_in_is_told(home: Path) -> None:
    with served(OddAlyx(catalogue())) as alyx:
        process = start(home, alyx.url, password="wrong")
        _, said = process.communicate()
        assert process.returncode == 1
        assert f"{alyx.url} does not let kim in" in said
        assert "wrong" not in said.replace("wrong password", ""), "no password is told"
    process = start(home, alyx.url)
    _, said = process.communicate()
    assert process.returncode == 1
    assert "does not let kim in" in said
    assert "Traceback" not in said


def test_an_animal_that_is_here_by_its_name_is_the_same_in_its_lab_only(home: Path) -> None:
    rows = catalogue()
    rows["labs"].append({"name": "elsewhere", "repositories": []})
    rows["subjects"] += [{**rows["subjects"][0], "id": str(uuid.uuid4()), "nickname": "ODD_002", "lab": "elsewhere"}]
    with served(OddAlyx(rows)) as alyx:
        imported(home, alyx.url, 0)
    before = {row["nickname"]: row["id"].replace("-", "") for row in rows["subjects"]}
    rows["subjects"] = [{**row, "id": str(uuid.uuid4()), "lab": "oddlab", "description": "new"} for row in rows["subjects"]]
    rows["weighings"] = [
        {"url": f"http://alyx/weighings/{uuid.uuid4()}", "subject": row["nickname"], "weight": 20, "date_time": "2026-01-01T10:00:00"}
        for row in rows["subjects"]
    ]
    rows["sessions"] = [session_row(row["nickname"], "2026-01-01") for row in rows["subjects"]]
    with served(OddAlyx(rows)) as alyx:
        report = imported(home, alyx.url, 1)
    told = reasons(report)
    assert "already exists" in told["/subjects/ODD_002"]
    assert told[f"/sessions/{rows['sessions'][1]['id']}"] == "left out: its subject ODD_002 is not here", "that one is another animal"
    assert report["tables"]["weighings"] == {"added": 1, "left out": 1}
    assert dict(ask(home, "SELECT nickname, id FROM subjects_subject")) == before
    assert ask(home, "SELECT s.nickname, s.description FROM subjects_subject s JOIN actions_session e ON e.subject_id = s.id") == [
        ("ODD_001", "new")
    ]


def test_a_choice_of_nothing_is_told(home: Path) -> None:
    with served(OddAlyx(catalogue())) as alyx:
        process = start(home, alyx.url, "--subject", "NOBODY")
        _, said = process.communicate()
    assert process.returncode == 1
    assert "no session and no animal" in said


def test_two_imports_do_not_meet(home: Path) -> None:
    rows = catalogue()
    rows["sessions"] = [session_row("ODD_001", f"2026-01-{day:02d}") for day in range(1, 29)]
    with served(OddAlyx(rows, slow_s=1.0)) as alyx:
        first = start(home, alyx.url)
        until(lambda: any(path.startswith("/sessions/") for path in list(alyx.asked)))
        second = start(home, alyx.url)
        _, said = second.communicate()
        assert (second.returncode, "another import is running" in said) == (1, True)
        os.kill(first.pid, signal.SIGKILL)
        first.communicate()
