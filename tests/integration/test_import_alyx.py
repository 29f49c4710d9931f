"""``ranvier db import alyx``: a lab moves in, row by row with its ids, from a server that has what a real Alyx has and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from lab_to_move import DAYS, SUBJECTS, fill
from support import free_ports

from ranvier.database.bootstrap import bootstrap, environment
from ranvier.database.serving import serve
from ranvier.settings import Settings, initialise, load

#: What no request makes: a member of a lab, a public user, one who has left.
_PEOPLE = """
import django
django.setup()
from ranvier.database.people.models import Lab, LabMembership, User
LabMembership.objects.create(user=User.objects.get(username="ada"), lab=Lab.objects.get(name="oldlab"))
User.objects.create_user("visitor", is_public_user=True)
User.objects.create_user("gone", is_active=False)
"""
#: Lists that both servers must answer alike.
LISTS = (
    *("users", "labs", "locations", "projects", "procedures", "water-type", "data-repository", "data-repository-type", "data-formats"),
    *("dataset-types", "revisions", "tags", "subjects", "weighings", "water-restriction", "water-administrations", "surgeries"),
    *("sessions", "datasets", "insertions", "chronic-insertions", "trajectories", "channels", "fields-of-view", "fov-location"),
    *("imaging-stack", "tasks", "notes", "data-notices", "files"),
)
#: Rows that are read one by one, as they tell more then.
READ = ("sessions", "insertions", "chronic-insertions", "fov-location", "imaging-stack", "trajectories")
#: When a row was written last here; and ids of what is known by its name.
UNLIKE = frozenset({"auto_datetime", "datetime"})
NAMED = frozenset({"users", "procedures", "data-formats", "dataset-types"})


@dataclass(frozen=True)
class Place:
    """A home, and the address of its server."""

    settings: Settings
    url: str

    def get(self, path: str) -> Any:
        """An answer, to the service's user."""
        headers = {"Authorization": f"Token {self.settings.secret('token')}"}
        answer = requests.get(self.url + path, headers=headers, timeout=60)
        assert answer.ok, answer.text
        return answer.json() if "json" in answer.headers["Content-Type"] else answer.content

    def rows(self, endpoint: str) -> list[Any]:
        """A whole list."""
        rows = self.get(f"/{endpoint}?limit=1000")["results"]
        return [self.get(f"/{endpoint}/{row['id']}") for row in rows] if endpoint in READ else list(rows)

    def names(self, endpoint: str) -> dict[str, str]:
        """What rows are called, by id."""
        return {row["id"]: row.get("name") or row["username"] for row in self.rows(endpoint)}


def run(home: Path, *arguments: str, token: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``ranvier db import`` for a home."""
    variables = {**os.environ, "RANVIER_HOME": str(home), "RANVIER_ALYX_TOKEN": token, "COLUMNS": "200", **variables}
    variables.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-m", "ranvier", "db", "import", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True)


def _port() -> int:
    return free_ports(1)[0]


def told(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    assert done.returncode == code, done.stderr + done.stdout
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A lab that has worked for long, in a database of ours."""
    settings = initialise(tmp_path_factory.mktemp("old") / "home", lab="oldlab")
    with serve(settings, _port(), wait_s=120) as url:
        form = {"username": "admin", "password": settings.secret("admin_password")}
        token = requests.post(f"{url}/auth-token", data=form, timeout=60).json()["token"]

        def make(path: str, body: object) -> Any:
            method, _, rest = path.rpartition(" ")
            answer = requests.request(method or "POST", url + rest, json=body, headers={"Authorization": f"Token {token}"}, timeout=60)
            assert answer.ok, answer.text
            return answer.json()

        fill(make, url, token)
        subprocess.run([sys.executable, "-c", _PEOPLE], env=environment(settings), check=True)
        yield Place(settings, url)


@pytest.fixture(scope="module")
def old_alyx(source: Place, serve_alyx: Callable[[Settings], Any]) -> Place:
    """The same, as a real Alyx would serve it."""
    return Place(source.settings, serve_alyx(source.settings))


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


@pytest.fixture(scope="module")
def moved(old_alyx: Place, empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A home into which the lab has moved, and what was told."""
    home = Path(shutil.copytree(empty_home, tmp_path_factory.mktemp("moved") / "home"))
    done = run(home, "alyx", "--url", old_alyx.url, "--json", token=old_alyx.settings.secret("token"))
    return home, told(done)


@pytest.fixture(scope="module")
def new_alyx(moved: tuple[Path, dict[str, Any]], serve_alyx: Callable[[Settings], Any]) -> Place:
    """The database into which the lab has moved, served as an Alyx: what it says can be compared."""
    settings = load(moved[0])
    return Place(settings, serve_alyx(settings))


def alike(place: Place, row: Any, addresses: tuple[str, ...], endpoint: str) -> Any:
    """A row without what is unlike by intention: times of writing, and ids of what is known by its name and was here before."""
    text = json.dumps(row, sort_keys=True)
    for address in addresses:
        text = text.replace(address, "")
    row = json.loads(text, object_hook=lambda each: {name: value for name, value in each.items() if name not in UNLIKE})
    if endpoint in NAMED:
        del row["id"]
    if endpoint in ("surgeries", "virus-injections", "other-actions"):
        row = {name: value for name, value in row.items() if name not in ("lab", "location")}
        row |= {name: sorted(place.names(name)[key] for key in row[name]) for name in ("users", "procedures")}
    return json.dumps(row, sort_keys=True)


@pytest.mark.parametrize("endpoint", LISTS)
def test_every_row_is_there_as_it_was(endpoint: str, source: Place, old_alyx: Place, new_alyx: Place) -> None:
    addresses = (source.url, old_alyx.url, new_alyx.url)
    before = [alike(old_alyx, row, addresses, endpoint) for row in old_alyx.rows(endpoint)]
    after = {alike(new_alyx, row, addresses, endpoint) for row in new_alyx.rows(endpoint)}
    assert before, "there is something to compare"
    assert [row for row in before if row not in after] == []
    if endpoint not in ("labs", "data-repository"):  # of the lab that was here
        assert len(after) == len(before)


def test_an_alyx_knows_all_that_it_was_asked(moved: Any, source: Place) -> None:
    refused = (source.settings.home / "refusals").read_text().splitlines()
    assert [line for line in refused if not line.startswith("GET /me?")] == [], "an older Alyx has no /me, and ONE-api asks for it"


def test_what_there_are_no_answers_of_is_right_too(moved: tuple[Path, dict[str, Any]], source: Place, new_alyx: Place) -> None:
    home, report = moved
    assert (report["whole"], report["not_taken"]) == (True, {})
    with sqlite3.connect(home / "database" / "db.sqlite3") as rows:

        def one(query: str) -> Any:
            return rows.execute(query).fetchone()[0]

        assert one("SELECT count(*) FROM actions_session") == 3
        assert one("SELECT count(*) FROM jobs_event") == 0, "no session is preprocessed for having been imported"
        assert one("SELECT count(*) FROM rest_change") == 0
        assert one("SELECT is_public_user FROM people_user WHERE username = 'visitor'") == 1
        assert one("SELECT is_active FROM people_user WHERE username = 'gone'") == 0
        assert one("SELECT password FROM people_user WHERE username = 'ada'").startswith("!"), "nobody signs in without a new password"
        assert one("SELECT count(*) FROM imports_import WHERE finished IS NOT NULL") == 1
    for endpoint, name in (("dataset-types", "sniffs.times"), ("users", "ada"), ("revisions", "2026-04-01"), ("tags", "2026_Q2_paper")):
        [key] = [key for key, other in source.names(endpoint).items() if other == name]
        assert new_alyx.names(endpoint)[key] == name, "with the id that it had"
    for note in [note for note in new_alyx.rows("notes") if note["image"]]:
        path = note["image"].replace(new_alyx.url, "")
        assert new_alyx.get(path) == source.get(path)


def test_a_ranvier_moves_in_with_its_colony_while_the_new_one_runs(source: Place, home: Path) -> None:
    colony = ("lines", "litters", "breeding-pairs", "alleles", "sequences", "cages", "cage-stays", "genotype-tests")
    with serve(load(home), _port(), wait_s=120) as url:
        report = told(run(home, "alyx", "--url", source.url, "--json", token=source.settings.secret("token")))
        assert report["remarks"] == []
        here = Place(load(home), url)
        for endpoint in (*colony, "virus-injections", "other-actions"):
            there = [alike(source, row, (source.url, url), endpoint) for row in source.rows(endpoint)]
            assert there
            assert [alike(here, row, (source.url, url), endpoint) for row in here.rows(endpoint)] == there


def test_done_again_it_takes_what_is_new_and_leaves_what_was_changed_here(source: Place, home: Path) -> None:
    def again(*more: str) -> dict[str, Any]:
        return told(run(home, "alyx", "--url", source.url, "--json", *more, token=source.settings.secret("token")))

    def change(path: str, body: object) -> None:
        headers = {"Authorization": f"Token {source.settings.secret('token')}"}
        assert requests.patch(source.url + path, json=body, headers=headers, timeout=60).ok

    def here(statement: str) -> Any:
        with sqlite3.connect(home / "database" / "db.sqlite3") as rows:
            return rows.execute(statement).fetchall()

    again()
    second = again()
    assert {what for counts in second["tables"].values() for what in counts} == {"unchanged"}
    eids = [row["id"] for row in source.rows("sessions")]
    change(f"/sessions/{eids[0]}", {"narrative": "changed there"})
    change(f"/sessions/{eids[1]}", {"narrative": "changed there"})
    here(f"UPDATE actions_session SET narrative = 'changed here' WHERE id = '{eids[1].replace('-', '')}'")
    third = again()
    assert third["tables"]["sessions"] == {"updated": 1, "kept": 1, "unchanged": 1}
    [remark] = third["remarks"]
    assert (remark["kind"], remark["address"]) == ("kept", f"/sessions/{eids[1]}")
    assert "changed there and here" in remark["reason"]
    assert sorted(here("SELECT narrative FROM actions_session")) == [("changed here",), ("changed there",), ("quiet",)]
    assert again("--overwrite")["tables"]["sessions"] == {"updated": 1, "unchanged": 2}
    assert here("SELECT count(*) FROM actions_session WHERE narrative = 'changed there'") == [(2,)]
    for eid in eids:
        change(f"/sessions/{eid}", {"narrative": "quiet"})


def test_a_part_is_chosen_and_counted_before(old_alyx: Place, home: Path) -> None:
    asked = ("alyx", "--url", old_alyx.url, "--json", "--subject", SUBJECTS[1])
    dry = told(run(home, *asked, "--dry-run", token=old_alyx.settings.secret("token")))
    assert {name: dry["tables"][name] for name in ("sessions", "subjects")} == {
        "sessions": {"there": 1, "here": 0},
        "subjects": {"there": 1, "here": 0},
    }
    done = told(run(home, *asked, "--preprocess", token=old_alyx.settings.secret("token")))
    for endpoint in ("sessions", "datasets", "tasks", "channels", "weighings", "subjects"):
        assert done["tables"][endpoint] == {"added": dry["tables"][endpoint]["there"]}, endpoint
    with sqlite3.connect(home / "database" / "db.sqlite3") as rows:
        assert rows.execute("SELECT kind FROM jobs_event").fetchall() == [("session.registered",)], "as was asked for"
    since = told(run(home, "alyx", "--url", old_alyx.url, "--json", "--since", DAYS[2], token=old_alyx.settings.secret("token")))
    assert since["tables"]["sessions"] == {"added": 1}
    assert since["tables"]["subjects"] == {"added": 1}, "the animal of the session"
