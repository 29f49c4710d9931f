"""Labs: added at the centre, joined by one command, seen by their signs of life; on a database that is served for real."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ranvier import labs
from ranvier.client import Database, DatabaseRefused
from ranvier.cluster import Cluster
from ranvier.labs import JoiningError, describe_cluster
from ranvier.registration import RegistrationError, register
from ranvier.settings import Settings, load
from ranvier.signs import Signs


@pytest.fixture
def administrator(live_database: Any) -> Database:
    settings = live_database.settings.model_copy(
        update={"database": live_database.settings.database.model_copy(update={"url": live_database.url})}
    )
    return Database.as_administrator(settings)


def parts(command: str) -> tuple[str, list[str]]:
    """The token and the arguments of the command that is pasted on the lab's server."""
    variable, *arguments = shlex.split(command)
    return variable.removeprefix("RANVIER_TOKEN="), arguments


def joined(administrator: Database, lab: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home that has become the server of a new lab."""
    server = labs.add(administrator, lab)
    monkeypatch.setenv("RANVIER_TOKEN", server["token"])
    settings = labs.join(administrator.url, lab, str(folder / lab / "Subjects"), home=folder / f"home-{lab}", unknown_subject="create")
    monkeypatch.delenv("RANVIER_TOKEN")
    return settings


def test_adding_a_lab_again_gives_the_same(administrator: Database) -> None:
    first = labs.add(administrator, "addedlab", timezone="Europe/London", data_url="http://there/data/addedlab/Subjects/")
    again = labs.add(administrator, "addedlab")
    assert again == first
    assert (first["username"], first["repository"], first["timezone"]) == ("addedlab_server", "addedlab_server", "Europe/London")
    lab = next(each for each in administrator.labs() if each["name"] == "addedlab")
    assert lab["repositories"] == ["addedlab_server"]
    token, arguments = parts(labs.command(first, "http://centre:8000", "/mnt/my data/addedlab/Subjects"))
    assert token == first["token"]
    assert arguments == [
        *("ranvier", "up", "--centre", "http://centre:8000", "--lab", "addedlab", "--root", "/mnt/my data/addedlab/Subjects"),
    ]


def test_a_known_lab_takes_another_time_zone_and_no_other_one_is_taken(administrator: Database) -> None:
    labs.add(administrator, "zonedlab", timezone="Europe/London")
    assert labs.add(administrator, "zonedlab", timezone="America/New_York")["timezone"] == "America/New_York"
    assert labs.add(administrator, "zonedlab")["timezone"] == "America/New_York"
    for lab in ("zonedlab", "marslab"):
        with pytest.raises(DatabaseRefused, match=r"Mars/Phobos is no time zone; give one as Europe/London") as refused:
            labs.add(administrator, lab, timezone="Mars/Phobos")
        assert refused.value.status == 400
    named = {each["name"]: each["timezone"] for each in administrator.labs()}
    assert (named["zonedlab"], "marslab" in named) == ("America/New_York", False)
    for zone in ("Europe", "../UTC", "a\nb"):
        with pytest.raises(DatabaseRefused, match="no time zone"):
            labs.add(administrator, "zonedlab", timezone=zone)


def test_a_name_that_is_no_folder_is_refused(administrator: Database) -> None:
    with pytest.raises(DatabaseRefused, match="letters, digits and _ only"):
        labs.add(administrator, "two words")


def test_only_staff_may_add_a_lab_and_only_its_own_server_may_speak_for_it(live_database: Any, administrator: Database) -> None:
    own = labs.add(administrator, "ownlab")
    other = labs.add(administrator, "strangelab")
    assert live_database.request("POST", "/lab-servers", {"lab": "newlab"}, token=own["token"]).status_code == 403
    assert live_database.request("GET", "/lab-servers/strangelab", token=own["token"]).status_code == 403
    assert live_database.request("PATCH", "/lab-servers/strangelab", {"machine": "x"}, token=own["token"]).status_code == 403
    assert live_database.request("GET", "/lab-servers/strangelab", token=other["token"]).json()["token"] == other["token"]
    listed = live_database.request("GET", "/lab-servers", token=own["token"])
    assert listed.json()["results"]
    assert "token" not in listed.text


def test_a_machine_becomes_a_lab_s_server_once(administrator: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANVIER_PORTS_DASK", "18786")
    settings = joined(administrator, "joinedlab", tmp_path, monkeypatch)
    assert (settings.machine.role, settings.lab.name, settings.repository) == ("lab", "joinedlab", "joinedlab_server")
    assert settings.database_url == administrator.url
    assert settings.registration.unknown_subject == "create"
    token = settings.home / "secrets" / "token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.read_text() == labs.add(administrator, "joinedlab")["token"]
    assert (settings.ports.dask, tomllib.loads((settings.home / "config.toml").read_text())["ports"]["dask"]) == (18786, 18786)
    monkeypatch.delenv("RANVIER_PORTS_DASK")
    again = labs.join(f"{administrator.url}/", "joinedlab", home=settings.home)
    assert again == settings
    with pytest.raises(JoiningError, match=r"is the server of joinedlab .*another home"):
        labs.join(administrator.url, "otherlab", home=settings.home)


def test_what_keeps_a_machine_from_joining_is_said(administrator: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANVIER_TOKEN", raising=False)
    with pytest.raises(JoiningError, match=r"RANVIER_TOKEN is not set .*ranvier labs add latelab"):
        labs.join(administrator.url, "latelab", home=tmp_path)
    monkeypatch.setenv("RANVIER_TOKEN", "0" * 40)
    with pytest.raises(JoiningError, match=r"refused .*ranvier labs add latelab"):
        labs.join(administrator.url, "latelab", home=tmp_path)
    with pytest.raises(JoiningError, match=r"elsewhere does not end in latelab/Subjects"):
        labs.join(administrator.url, "latelab", "/mnt/elsewhere", home=tmp_path)
    assert not (tmp_path / "config.toml").exists()


def test_a_sign_of_life_is_seen_in_the_overview(
    administrator: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    settings = joined(administrator, "livinglab", tmp_path, monkeypatch)
    ports = settings.ports.model_copy(update={"dask": free_port})
    settings = settings.model_copy(update={"ports": ports})
    monkeypatch.setattr("ranvier.cluster._CONNECT_S", 0.5)
    Signs(Database.from_settings(settings), settings, Cluster(settings)).round()
    state = next(each for each in labs.overview(administrator, settings) if each.lab["name"] == "livinglab")
    assert state.server is not None
    assert state.server["last_seen"]
    assert "does not answer" in describe_cluster(state.server["cluster"])
    assert not state.polling
    assert describe_cluster({"workers": 2, "cpu": 8, "gpu": 0, "memory_gb": 32}) == "2 workers: 8 cores, 32 GB"


def test_a_session_of_another_lab_is_not_taken(administrator: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = (joined(administrator, lab, tmp_path, monkeypatch) for lab in ("herelab", "therelab"))
    folders = [settings.lab_root / "shared_mouse" / "2026-07-02" / "001" for settings in (here, there)]
    for folder in folders:
        (folder / "raw_behavior_data").mkdir(parents=True)
        (folder / "raw_behavior_data" / "notes.txt").write_text("wheel")
    register(folders[0], here, Database.from_settings(here))
    with pytest.raises(RegistrationError, match="registered already as a session of the lab herelab"):
        register(folders[1], there, Database.from_settings(there))
    with pytest.raises(RegistrationError, match="is not below this server's data folder"):
        register(folders[0], there, Database.from_settings(there))


def test_the_command_line_adds_and_lists_labs(live_database: Any, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[database]\nurl = "{live_database.url}"\n[lab]\nname = "testlab"\n')
    password = live_database.settings.secret("admin_password")
    environment = {**os.environ, "RANVIER_HOME": str(tmp_path), "RANVIER_ADMIN_PASSWORD": password, "COLUMNS": "200"}

    def ranvier(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("ranvier")), *arguments]
        return subprocess.run(command, env={**environment, **more}, capture_output=True, text=True, check=False)

    added = ranvier("labs", "add", "typedlab", "--root", "/mnt/data/typedlab/Subjects")
    token, arguments = parts(added.stdout)
    assert arguments[-6:] == ["--centre", live_database.url, "--lab", "typedlab", "--root", "/mnt/data/typedlab/Subjects"]
    listed = ranvier("labs", RANVIER_TOKEN=token)
    (line,) = [line for line in listed.stdout.splitlines() if "typedlab" in line]
    assert "typedlab_server" in line
    assert "no worker polls" in line
    assert line.rstrip().endswith("never")
    refused = ranvier("labs", "add", "morelab", RANVIER_TOKEN=token)
    assert refused.returncode == 1
    assert "only staff may add a lab" in refused.stderr
    elsewhere = ranvier("labs", "add", "morelab", "--root", "/mnt/data/typedlab/Subjects")
    assert (elsewhere.returncode, elsewhere.stdout) == (1, "")
    assert "/mnt/data/typedlab/Subjects does not end in morelab/Subjects" in elsewhere.stderr
    assert "morelab" not in ranvier("labs", RANVIER_TOKEN=token).stdout
    wrong = ranvier("labs", "add", "morelab", RANVIER_ADMIN_PASSWORD="wrong")
    assert "does not let admin in (400)" in wrong.stderr
    assert load(tmp_path).lab.name == "testlab"
