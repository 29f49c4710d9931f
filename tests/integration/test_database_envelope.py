"""What surrounds every request: secrets that can be guessed, headers for browsers, bodies that are too large."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from ranvier.database.bootstrap import bootstrap, create_secrets, environment
from ranvier.settings import SettingsError, initialise, load


@pytest.mark.parametrize(
    ("name", "value"),
    [("django_key", "short"), ("django_key", "ab" * 40), ("django_key", "django-insecure-" + "abcdefgh" * 8), ("token", "secret")],
)
def test_it_does_not_start_with_secrets_that_can_be_guessed(tmp_path: Path, name: str, value: str) -> None:
    settings = initialise(tmp_path)
    create_secrets(settings)
    settings.secret_file(name).write_text(value)
    with pytest.raises(SettingsError, match=f"{name}.*can be guessed"):
        bootstrap(settings)
    command = [sys.executable, "-c", "import ranvier.database.wsgi"]
    done = subprocess.run(command, env=environment(settings), capture_output=True, text=True)
    assert "can be guessed" in done.stderr, "nor does a gunicorn that somebody starts by hand"


def test_nor_with_a_short_password_of_the_administrator(tmp_path: Path) -> None:
    settings = initialise(tmp_path)
    create_secrets(settings)
    settings.secret_file("admin_password").write_text("admin")
    with pytest.raises(Exception, match="fewer than 8 characters"):
        bootstrap(settings)


@pytest.mark.parametrize("url", ["", "https://alyx.lab.org"])
def test_djangos_checks_for_deployment_find_nothing(tmp_path: Path, url: str) -> None:
    settings = initialise(tmp_path)
    create_secrets(settings)
    with (tmp_path / "config.toml").open("a") as file:
        file.write(f'\n[machine]\nrole = "centre"\n[database]\nurl = "{url}"\n' if url else "")
    command = [sys.executable, "-m", "django", "check", "--deploy", "--tag", "security", "--fail-level", "DEBUG"]
    done = subprocess.run(command, env=environment(load(tmp_path)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"({2 if url else 4} silenced)" in done.stdout + done.stderr, "each of them with its reason in the settings"


def test_browsers_are_told_what_they_may_do(live_database: Any) -> None:
    page = requests.get(f"{live_database.url}/admin/login/", timeout=30)
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert "<script>" not in page.text, "the policy would keep it from running"
    wanted = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"}
    assert wanted.items() <= page.headers.items()
    assert {"HttpOnly", "SameSite=Lax"} <= set(_cookie(live_database).replace("; ", ";").split(";"))


def _cookie(database: Any) -> str:
    with requests.Session() as browser:
        browser.get(f"{database.url}/admin/login/", timeout=30)
        form = {"username": "admin", "password": database.settings.secret("admin_password")}
        form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        answer = browser.post(f"{database.url}/admin/login/", data=form, allow_redirects=False, timeout=30)
    return next(value for value in answer.raw.headers.getlist("Set-Cookie") if value.startswith("sessionid"))


def test_a_page_among_the_data_runs_nothing(live_database: Any) -> None:
    make, root = live_database.make, live_database.settings.lab_root
    make("/subjects", {"nickname": "ENVELOPE", "lab": "testlab"})
    make("/sessions", {"subject": "ENVELOPE", "start_time": "2026-09-01T08:00:00", "number": 1})
    make("/data-formats", {"name": "page", "file_extension": ".html"})
    make("/dataset-types", {"name": "evil.page"})
    folder = root / "ENVELOPE/2026-09-01/001"
    folder.mkdir(parents=True)
    (folder / "evil.page.html").write_text("<script>alert(1)</script>")
    dataset = make("/register-file", {"path": "ENVELOPE/2026-09-01/001", "filenames": ["evil.page.html"]})[0]
    url = live_database.request("GET", f"/datasets/{dataset['id']}").json()["file_records"][0]["data_url"]
    shown = requests.get(url, headers={"Authorization": f"Token {live_database.settings.secret('token')}"}, timeout=30)
    assert shown.status_code == 200
    assert shown.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert shown.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "size", "code"),
    [
        ("/subjects", 10_000_000, 413),
        ("/auth-token", 100_000, 413),
        ("/register-file", 10_000_000, 400),
        ("/register-file", 40_000_000, 413),
        ("/nothing/here", 10_000_000, 413),
    ],
)
def test_large_bodies_are_refused(live_database: Any, path: str, size: int, code: int) -> None:
    token = {"Authorization": f"Token {live_database.settings.secret('token')}"}
    answer = requests.post(live_database.url + path, json={"description": "x" * size}, headers=token, timeout=60)
    assert answer.status_code == code, answer.text[:300]
    assert answer.json()["status_code"] == code
    assert live_database.request("GET", "/me").status_code == 200
