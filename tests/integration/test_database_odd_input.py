"""Input that nobody means: it is refused with a reason, stored nowhere, and never a mistake of the database's."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from typing import Any

import pytest
import requests

from ranvier.database.engine import database_config

SUBJECT, DAY = "ODD_001", "2026-09-01"


@pytest.fixture(scope="module")
def session(live_database: Any) -> dict[str, Any]:
    """A session of this module's subject."""
    live_database.make("/subjects", {"nickname": SUBJECT, "lab": "testlab"})
    return live_database.make("/sessions", {"subject": SUBJECT, "start_time": f"{DAY}T08:00:00", "number": 1})


@pytest.fixture
def task(live_database: Any, session: dict[str, Any]) -> dict[str, Any]:
    """A task of the session, Waiting."""
    rows = {"session": session["id"], "tasks": [{"name": "odd[probe00]", "executable": "odd", "device": "probe00", "status": "Waiting"}]}
    return live_database.make("/plans", rows)[0]


def refused(answer: requests.Response, says: str = "", code: int = 400) -> None:
    assert answer.status_code == code, answer.text[:500]
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("nickname", ["..", ".", "a/b", "a b", "tab\tin", "", "x" * 5000])
def test_nicknames_that_are_no_folder(live_database: Any, nickname: str) -> None:
    refused(live_database.request("POST", "/subjects", {"nickname": nickname, "lab": "testlab"}), "nickname")


@pytest.mark.parametrize("endpoint", ["projects", "locations", "tags", "revisions", "dataset-types", "data-repository"])
@pytest.mark.parametrize("name", ["..", "a/b", "bell\x07"])
def test_names_that_cannot_be_asked_for(live_database: Any, endpoint: str, name: str) -> None:
    refused(live_database.request("POST", f"/{endpoint}", {"name": name}), "name")


def test_a_session_without_a_number_is_number_0(live_database: Any, session: dict[str, Any]) -> None:
    body = {"subject": SUBJECT, "start_time": f"{DAY}T09:00:00"}
    assert live_database.make("/sessions", body)["number"] == 0
    refused(live_database.request("POST", "/sessions", {**body, "number": None}), "exists already", 409)
    assert live_database.request("GET", f"/sessions?subject={SUBJECT}&date_range={DAY},{DAY}&number=0").json()["count"] == 1
    refused(live_database.request("POST", "/sessions", {**body, "number": -1}), "number")


def test_a_subject_with_sessions_is_not_deleted(live_database: Any, session: dict[str, Any]) -> None:
    refused(live_database.request("DELETE", f"/subjects/{SUBJECT}"), f"{SUBJECT}/{DAY}", 409)
    assert live_database.request("GET", f"/sessions/{session['id']}").status_code == 200
    live_database.make("/subjects", {"nickname": "ODD_unused", "lab": "testlab"})
    assert live_database.request("DELETE", "/subjects/ODD_unused").status_code == 204


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outputs", "all of them"),
        ("outputs", {"path": "a"}),
        ("outputs", ["alf/a.npy"]),
        ("outputs", [{"size": 1}]),
        ("outputs", [{"path": "../../etc/passwd"}]),
        ("receipt", ["a"]),
        ("receipt", "1.0"),
        ("json", [1]),
        ("arguments", "x"),
    ],
)
def test_tasks_keep_what_later_readers_expect(live_database: Any, task: dict[str, Any], field: str, value: Any) -> None:
    refused(live_database.request("PATCH", f"/tasks/{task['id']}", {field: value}), field)


def test_tasks_take_sound_outputs(live_database: Any, task: dict[str, Any]) -> None:
    sound = {"outputs": [{"path": "alf/a.b.npy", "size": 1, "hash": "x"}], "receipt": {"version": "1"}, "arguments": None}
    assert live_database.request("PATCH", f"/tasks/{task['id']}", sound).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("qc", {"outcome": "GOOD"}),
        ("qc", {"outcome": 5}),
        ("qc", {"outcome": "PASS", "checks": ["a"]}),
        ("qc", {"outcome": "PASS", "checks": {"a": 1}}),
        ("figures", [{"caption": "x", "path": "figures/a.png"}]),
        ("outputs", [{"path": None}]),
        ("receipt", 5),
    ],
)
def test_verdicts_that_nobody_could_read(live_database: Any, task: dict[str, Any], field: str, value: Any) -> None:
    live_database.request("PATCH", f"/tasks/{task['id']}", {"status": "Waiting"})
    attempt = live_database.make("/attempts", {"task": task["id"], "worker": "w"})
    refused(live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Errored", field: value}), field)


@pytest.mark.parametrize("value", [["a"], "a", 5])
def test_structured_data_is_an_object(live_database: Any, session: dict[str, Any], value: Any) -> None:
    for field in ("json", "extended_qc"):
        refused(live_database.request("PATCH", f"/sessions/{session['id']}", {field: value}), field)


@pytest.mark.parametrize(
    "fields",
    [
        {"filenames": ["x" * 5000 + ".npy"]},
        {"filenames": ["a" * 200 + "/" + "b" * 200 + "/spikes.times.npy"]},
        {"filenames": [5]},
        {"filenames": ["spikes.times.npy"], "hashes": ["x" * 65]},
        {"filenames": ["spikes.times.npy"], "hashes": [{}]},
        {"filenames": ["spikes.times.npy"], "versions": ["v" * 65]},
        {"filenames": ["spikes.times.npy"], "filesizes": [-1]},
        {"filenames": ["spikes.times.npy"], "filesizes": [float("1e300")]},
    ],
)
def test_files_that_no_column_holds(live_database: Any, session: dict[str, Any], fields: dict[str, Any]) -> None:
    refused(live_database.request("POST", "/register-file", {"path": f"{SUBJECT}/{DAY}/001", **fields}))
    assert live_database.request("GET", f"/datasets?session={session['id']}").json()["count"] == 0


@pytest.mark.parametrize("name", ["x" * 5000 + ".png", "x" * 300 + ".png", "a/" * 2000 + ".png", "a%00b.png", "../" * 20 + "passwd.png"])
def test_figures_of_impossible_names(live_database: Any, session: dict[str, Any], name: str) -> None:
    answer = live_database.request("GET", f"/figures/{session['id']}/{name}")
    assert answer.status_code == 404, answer.text[:300]


def test_shipped_rows_follow_a_newer_version_unless_a_person_changed_them(live_database: Any) -> None:
    path = database_config(live_database.settings.database_engine)["NAME"]
    if live_database.settings.database.engine:
        pytest.skip("looks into SQLite's file")

    def description(name: str) -> str:
        return live_database.request("GET", f"/dataset-types/{name}").json()["description"]

    shipped = {name: description(name) for name in ("spikes.times", "spikes.amps", "spikes.depths")}
    assert live_database.request("PATCH", "/dataset-types/spikes.amps", {"description": "a person's words"}).status_code == 200
    with sqlite3.connect(path) as connection:
        # as an older version left them: one with what it was shipped with, one from before rows kept that
        connection.execute(
            "UPDATE data_datasettype SET description = 'old words', json = json_set(json, '$.shipped.description', 'old words') "
            "WHERE name = 'spikes.times'"
        )
        connection.execute("UPDATE data_datasettype SET description = 'older words', json = NULL WHERE name = 'spikes.depths'")
    command = [sys.executable, "-m", "ranvier.database.bootstrap", "--url", live_database.url]
    subprocess.run(command, env={**os.environ, "RANVIER_HOME": str(live_database.settings.home)}, check=True)
    assert description("spikes.times") == shipped["spikes.times"]
    assert description("spikes.amps") == "a person's words"
    assert description("spikes.depths") == "older words"


@pytest.mark.parametrize(
    ("endpoint", "condition"),
    [
        ("datasets", "file_size,[1,2]"),
        ("sessions", "number__gt,[]"),
        ("sessions", "number__range,[]"),
        ("sessions", "number__range,[1,2,3]"),
        ("sessions", "number__range,1"),
        ("tasks", "lease_until__year,0"),
        ("tasks", "lease_until__year,10000000"),
        ("sessions", "json__a__in,[1j]"),
        ("sessions", "json__a,[...]"),
        ("sessions", "json__a__in,[{'a':1}]"),
        ("sessions", "subject__nickname__in,['\\ud800']"),
        ("sessions", "subject__nickname__in,['a\\x00b']"),
        ("sessions", "subject__nickname__in,[b'x']"),
        ("sessions", "number__in,[[1]]"),
        ("sessions", "extended_qc__contains,x"),
    ],
)
def test_conditions_whose_values_do_not_fit(live_database: Any, endpoint: str, condition: str) -> None:
    answer = live_database.request("GET", f"/{endpoint}", params={"django": condition})
    if "contains" in condition and live_database.settings.database.engine:
        pytest.skip("PostgreSQL knows this lookup")
    refused(answer)


@pytest.mark.parametrize(
    "query",
    [
        {"task_protocol": "x" * 60_000},
        {"subject": "a," * 5000},
        {"projects": "a," * 200},
        {"django": "users__username,a," * 200 + "number,1"},
        {"dataset_types": "a," * 2000},
    ],
)
def test_questions_that_are_too_long(live_database: Any, query: dict[str, str]) -> None:
    answer = live_database.request("GET", "/sessions", params=query)
    assert answer.status_code in (200, 400), answer.text[:300]


def test_nesting_without_end_is_no_sign_in(live_database: Any) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{live_database.url}/auth-token", data=b"[" * 5000, headers=headers, timeout=30)
    refused(answer, "nested too deeply")


@pytest.mark.parametrize("time", ["2026-03-01T08:00:00Z", "2026-03-01T10:00:00+02:00", "2026-03-01T08:00:00"])
def test_times_with_a_zone_are_found(live_database: Any, time: str) -> None:
    if live_database.request("GET", "/subjects/ODD_TIME").status_code == 404:
        live_database.make("/subjects", {"nickname": "ODD_TIME", "lab": "testlab"})
        live_database.make("/weighings", {"subject": "ODD_TIME", "weight": 20, "date_time": "2026-03-01T08:00:00"})
    found = live_database.request("GET", "/weighings", params={"subject": "ODD_TIME", "date_time": time})
    assert found.status_code == 200, found.text
    assert found.json()["count"] == 1


def test_more_fields_than_anybody_needs(live_database: Any) -> None:
    answer = live_database.request("GET", "/me?" + "&".join(f"a{i}=1" for i in range(1200)))
    assert answer.status_code in (200, 400)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Token {live_database.settings.secret('token')}"}
    form = "&".join(f"a{i}=1" for i in range(1200))
    refused(requests.post(f"{live_database.url}/species", data=form, headers=headers, timeout=30), "number of GET/POST parameters")
