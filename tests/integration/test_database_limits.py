"""Passwords cannot be guessed, and nobody keeps the database from answering the others."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import requests


@pytest.fixture(scope="module")
def people(live_database: Any, rest: Any) -> dict[str, str]:
    """Users with a password."""
    from ranvier.database.people.models import User

    for name in ("guessed", "guessed_by_basic", "guessed_on_pages", "unharmed"):
        User.objects.create_user(name, password="a long password", is_staff=True)
    return {"username": "guessed", "password": "a long password"}


def sign_in(database: Any, name: str, password: str) -> requests.Response:
    return requests.post(f"{database.url}/auth-token", json={"username": name, "password": password}, timeout=60)


def by_basic(database: Any, name: str, password: str) -> requests.Response:
    return requests.get(f"{database.url}/data/x", auth=(name, password), timeout=60)


def on_pages(database: Any, name: str, password: str) -> requests.Response:
    with requests.Session() as browser:
        page = f"{database.url}/admin/login/"
        browser.get(page, timeout=60)
        form = {"username": name, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        return browser.post(page, data=form, allow_redirects=False, timeout=60)


@pytest.mark.parametrize(
    ("way", "name", "wrong", "right"),
    [(sign_in, "guessed", 400, 200), (by_basic, "guessed_by_basic", 401, 404), (on_pages, "guessed_on_pages", 200, 302)],
)
def test_guesses_come_to_an_end(live_database: Any, people: Any, way: Any, name: str, wrong: int, right: int) -> None:
    tries = live_database.settings.database.sign_in_tries
    assert way(live_database, name, "a long password").status_code == right
    codes = [way(live_database, name, f"guess {i}").status_code for i in range(tries)]
    assert codes == [wrong] * tries
    for password in ("another", "a long password and more", "another"):
        answer = way(live_database, name, password)
        assert answer.status_code == 429, "of several processes each knows of the guesses"
        assert 0 < int(answer.headers["Retry-After"]) <= live_database.settings.database.sign_in_wait_s
        assert "try again in" in answer.json()["detail"]
    assert sign_in(live_database, "unharmed", "a long password").status_code == 200, "only the name that was guessed has to wait"


def test_guesses_are_forgotten(live_database: Any, people: Any, rest: Any) -> None:
    import datetime

    from django.db.models import F

    from ranvier.database.rest.models import FailedSignIns

    FailedSignIns.objects.update(since=F("since") - datetime.timedelta(seconds=301))
    assert sign_in(live_database, "guessed", "a long password").status_code == 200
    assert sign_in(live_database, "guessed", "wrong").status_code == 400
    assert FailedSignIns.objects.count() == 2, "what is over is deleted"


def test_an_address_has_so_many_guesses(rest: Any, people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from rest_framework.test import APIClient

    from ranvier.database.rest import throttling

    monkeypatch.setattr(throttling, "NAMES", 0.3)
    client = APIClient(SERVER_NAME="localhost", REMOTE_ADDR="192.0.2.7")
    codes = [client.post("/auth-token", {"username": f"name{i}", "password": "x"}).status_code for i in range(4)]
    assert codes == [400, 400, 400, 429]
    key = {"HTTP_IDEMPOTENCY_KEY": "guess"}
    assert client.post("/auth-token", {"username": "other", "password": "x"}, **key).status_code == 429


@pytest.fixture
def few_requests(rest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty requests a minute."""
    from django.conf import settings

    few = settings.RANVIER.model_copy(update={"database": settings.RANVIER.database.model_copy(update={"requests_per_min": 20})})
    monkeypatch.setattr(settings, "RANVIER", few)
    monkeypatch.setattr("ranvier.database.rest.throttling.MINUTE", 1e9)


def test_requests_have_a_limit(rest: Any, people: Any, few_requests: None, live_database: Any) -> None:
    from rest_framework.test import APIClient

    token = rest.post("/auth-token", people, format="json").json()["token"]
    basic = base64.b64encode(f"{people['username']}:{people['password']}".encode()).decode()
    for header, path in ((f"Token {token}", "/species?limit=1"), (f"Basic {basic}", "/data/x")):
        client = APIClient(SERVER_NAME="localhost", REMOTE_ADDR="192.0.2.8")
        client.credentials(HTTP_AUTHORIZATION=header)
        codes = [client.get(path).status_code for _ in range(22)]
        assert codes[20:] == [429, 429], codes
        assert 429 not in codes[:20]
        assert int(client.get(path)["Retry-After"]) > 0
    stranger = APIClient(SERVER_NAME="localhost", REMOTE_ADDR="192.0.2.9")
    codes = []
    for i in range(4):
        stranger.credentials(HTTP_AUTHORIZATION=f"Token {i}")
        codes.append(stranger.get("/species").status_code)
    assert codes == [403, 403, 429, 429], "a new wrong token for each does not help"
    assert {rest.get("/species?limit=1").status_code for _ in range(25)} == {200}, "the services are not counted"
    assert {stranger.get("/health").status_code for _ in range(25)} == {200}
