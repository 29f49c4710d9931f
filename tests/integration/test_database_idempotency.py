"""Writes that come twice with one key are done once; and copies are told to be where the disk has them."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from ranvier.database.engine import database_config

Write = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def write(live_database: Any) -> Write:
    """Sends a write with a key."""

    def send(key: str, path: str, body: object, method: str = "POST", token: str = "") -> requests.Response:
        headers = {"Authorization": f"Token {token or live_database.settings.secret('token')}", "Idempotency-Key": key}
        return requests.request(method, live_database.url + path, json=body, headers=headers, timeout=60)

    return send


@pytest.fixture(scope="module")
def subject(live_database: Any) -> str:
    live_database.make("/subjects", {"nickname": "ONCE_001", "lab": "testlab"})
    return "ONCE_001"


def weighings(live_database: Any) -> int:
    return int(live_database.request("GET", "/weighings?nickname=ONCE_001").json()["count"])


def test_a_write_that_comes_twice_is_done_once(live_database: Any, write: Write, subject: str) -> None:
    key, body = uuid.uuid4().hex, {"subject": subject, "weight": 21.5, "date_time": "2026-07-01T08:00:00"}
    first, before = write(key, "/weighings", body), weighings(live_database)
    assert first.status_code == 201, first.text
    again = write(key, "/weighings", body)
    assert (again.status_code, again.content, again.headers["Content-Type"]) == (201, first.content, first.headers["Content-Type"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert weighings(live_database) == before
    assert write(uuid.uuid4().hex, "/weighings", body).status_code == 201
    assert weighings(live_database) == before + 1


def test_a_key_stands_for_one_request_of_one_user(live_database: Any, write: Write, subject: str) -> None:
    key, body = uuid.uuid4().hex, {"subject": subject, "weight": 20.0}
    assert write(key, "/weighings", body).status_code == 201
    for other in (
        write(key, "/weighings", {**body, "weight": 20.1}),
        write(key, "/weighings?limit=1", body),
        write(key, "/sessions", body),
    ):
        assert other.status_code == 409, other.text
        assert "new key" in other.json()["detail"]
    account = {"username": "admin", "password": live_database.settings.secret("admin_password")}
    admin = requests.post(f"{live_database.url}/auth-token", data=account, timeout=60).json()["token"]
    before = weighings(live_database)
    assert write(key, "/weighings", body, token=admin).status_code == 201
    assert weighings(live_database) == before + 1
    assert write(key, "/weighings", body, token="0" * 40).status_code == 403, "who is not signed in is told nothing"


def test_an_error_is_answered_again_and_leaves_nothing(live_database: Any, write: Write, subject: str) -> None:
    key, body = uuid.uuid4().hex, {"subject": subject, "start_time": "2026-07-01T09:00:00", "number": 7}
    live_database.make("/sessions", body)
    first = write(key, "/sessions", body)
    again = write(key, "/sessions", body)
    assert (first.status_code, again.status_code) == (409, 409)
    assert first.content == again.content
    assert "exists already" in again.json()["detail"]


@pytest.mark.parametrize("key", ["", "a" * 256, "käse"])
def test_a_key_is_plain_and_short(write: Write, subject: str, key: str) -> None:
    answer = write(key.encode().decode("latin-1"), "/weighings", {"subject": subject, "weight": 20.0})
    assert answer.status_code == 400, answer.text
    assert "Idempotency-Key" in answer.json()["detail"]


def test_the_same_at_once_is_done_once(live_database: Any, write: Write, subject: str) -> None:
    key, body, before = uuid.uuid4().hex, {"subject": subject, "weight": 19.5}, weighings(live_database)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: write(key, "/weighings", body), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert weighings(live_database) == before + 1


def test_answers_are_kept_for_a_day(live_database: Any, write: Write, subject: str) -> None:
    if live_database.settings.database.engine:
        pytest.skip("looks into SQLite's file")
    key, body = uuid.uuid4().hex, {"subject": subject, "weight": 19.0}
    write(key, "/weighings", body)
    with sqlite3.connect(database_config(live_database.settings.database_engine)["NAME"]) as connection:
        aged = connection.execute("UPDATE rest_keptanswer SET created = datetime('now', '-25 hours') WHERE key = ?", [key]).rowcount
    before = weighings(live_database)
    assert aged == 1
    assert "Idempotent-Replayed" not in write(key, "/weighings", body).headers
    assert weighings(live_database) == before + 1


def test_copies_are_where_the_disk_has_them(live_database: Any, subject: str) -> None:
    session = {"subject": subject, "start_time": "2026-07-02T09:00:00", "number": 1}
    eid = live_database.make("/sessions", session)["id"]
    folder = live_database.settings.lab_root / subject / "2026-07-02" / "001" / "alf"
    folder.mkdir(parents=True)
    names = ["spikes.times.npy", "spikes.amps.npy", "spikes.depths.npy", "spikes.clusters.npy"]
    body = {"path": f"{subject}/2026-07-02/001/alf", "filenames": names, "filesizes": [4, 4, 4, 4]}
    live_database.make("/register-file", {**body, "exists": False})
    live_database.make("/register-file", {**body, "filenames": names[3:], "filesizes": [4], "exists": True})
    (folder / names[0]).write_bytes(b"here")
    (folder / names[1]).write_bytes(b"on")  # its way

    def told() -> dict[str, bool]:
        rows = live_database.request("GET", "/sync-file-status").json()
        return {row["relative_path"].rsplit("/", 1)[1]: row["exists"] for row in rows if f"{subject}/2026-07-02" in row["relative_path"]}

    def registered() -> dict[str, bool]:
        rows = live_database.request("GET", f"/files?django=dataset__session,{eid}").json()["results"]
        return {row["name"]: row["exists"] for row in rows}

    assert told() == {names[0]: True, names[3]: False}
    assert registered() == dict(zip(names, (False, False, False, True), strict=True)), "asking changes nothing"
    answer = live_database.request("POST", "/sync-file-status")
    assert (answer.status_code, answer.json()) == (200, "ok")
    assert registered() == dict(zip(names, (True, False, False, False), strict=True))
    assert told() == {}
