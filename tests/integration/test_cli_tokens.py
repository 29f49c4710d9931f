"""``ranvier tokens`` with a live server: what is made works as far as it says, until it ends."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from rich.console import Console
from typer.testing import CliRunner

from ranvier.cli import app, screen
from ranvier.errors import RanvierError

Tokens = Callable[..., Any]


@pytest.fixture
def tokens(live_database: Any, monkeypatch: pytest.MonkeyPatch) -> Tokens:
    """Runs ``ranvier tokens``; raises what it raises."""
    monkeypatch.setenv("RANVIER_HOME", str(live_database.settings.home))
    monkeypatch.setenv("RANVIER_PORTS_DATABASE", str(urlsplit(live_database.url).port))
    monkeypatch.delenv("RANVIER_TOKEN", raising=False)
    monkeypatch.setattr(screen, "out", Console(highlight=False, width=300))

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(app, ["tokens", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done

    return run


@pytest.fixture
def subject(live_database: Any) -> str:
    """A subject of the lab that the tokens may write."""
    if live_database.request("GET", "/subjects/TOKENS").status_code == 404:
        live_database.make("/subjects", {"nickname": "TOKENS", "lab": "testlab"})
    return "/subjects/TOKENS"


def ask(database: Any, token: str, method: str, path: str, body: Any = None) -> int:
    return int(database.request(method, path, body, token=token).status_code)


def test_one_is_made_listed_and_revoked(live_database: Any, tokens: Tokens, subject: str) -> None:
    printed = tokens("new", "a script").stdout
    token = printed.strip()
    assert printed == f"{token}\n", "nothing but the token, so that a shell can take it"
    assert token.startswith("rvt_")
    assert ask(live_database, token, "GET", "/me") == 200
    assert ask(live_database, token, "PATCH", subject, {"description": "d"}) == 200
    (row,) = [each for each in json.loads(tokens("list", "--json").stdout) if each["name"] == "a script"]
    assert (row["user"], row["scope"], row["lab"], row["expires"]) == ("admin", "all", None, None)
    assert row["last_used"]
    assert token not in json.dumps(row)
    shown = tokens("list").stdout
    assert row["id"] in shown
    assert "a script" in shown
    assert "never" in shown, "it does not expire"
    assert "is revoked" in tokens("revoke", row["id"]).stderr
    assert ask(live_database, token, "GET", "/me") == 403
    assert row["id"] not in tokens("list").stdout
    for gone in (row["id"], "99999", "a/b"):
        with pytest.raises(RanvierError, match=rf"has no token {gone} \(`ranvier tokens list` shows them\)"):
            tokens("revoke", gone)


@pytest.mark.parametrize(
    ("options", "writes"),
    [(("--scope", "read"), 403), (("--scope", "pipeline"), 403), (("--scope", "lab", "--lab", "testlab"), 200)],
)
def test_it_is_good_for_its_scope_only(live_database: Any, tokens: Tokens, subject: str, options: tuple[str, ...], writes: int) -> None:
    made = json.loads(tokens("new", f"for {options[1]}", *options, "--json").stdout)
    assert ask(live_database, made["token"], "GET", subject) == 200
    assert ask(live_database, made["token"], "PATCH", subject, {"description": "e"}) == writes
    assert ask(live_database, made["token"], "POST", "/tokens", {"name": "greater"}) == 403


def test_it_is_for_one_lab(live_database: Any, tokens: Tokens, subject: str, rest: Any) -> None:
    from ranvier.database.people.servers import ensure_server

    ensure_server("clilab")
    token = tokens("new", "elsewhere", "--scope", "lab", "--lab", "clilab").stdout.strip()
    assert ask(live_database, token, "PATCH", subject, {"description": "f"}) == 403
    assert ask(live_database, token, "POST", "/subjects", {"nickname": "TOKENS_2", "lab": "clilab"}) == 201


def test_it_expires(live_database: Any, tokens: Tokens, rest: Any) -> None:
    from ranvier.database.people.models import AccessToken

    made = json.loads(tokens("new", "for a day", "--days", "1", "--json").stdout)
    left = dt.datetime.fromisoformat(made["expires"]) - dt.datetime.now(dt.UTC).replace(tzinfo=None)
    assert dt.timedelta(hours=23) < left <= dt.timedelta(days=1)
    assert ask(live_database, made["token"], "GET", "/me") == 200
    AccessToken.objects.filter(pk=made["id"]).update(expires=dt.datetime.now(dt.UTC).replace(tzinfo=None) - dt.timedelta(seconds=1))
    answer = live_database.request("GET", "/me", token=made["token"])
    assert answer.status_code == 403
    assert "expired" in answer.json()["detail"]
    basic = requests.get(f"{live_database.url}/data/x", auth=("admin", made["token"]), timeout=30)
    assert basic.status_code == 401


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--scope", "everything"), "scope"),
        (("--scope", "lab"), "name it"),
        (("--lab", "nowhere"), "nowhere"),
        (("--user", "nobody"), "nobody"),
    ],
)
def test_what_cannot_be_meant_is_refused(tokens: Tokens, options: tuple[str, ...], says: str) -> None:
    with pytest.raises(RanvierError, match=says):
        tokens("new", "wrong", *options)
    assert "wrong" not in {each["name"] for each in json.loads(tokens("list", "--json").stdout)}


def test_a_name_is_given_once_a_user(tokens: Tokens) -> None:
    tokens("new", "twice")
    with pytest.raises(RanvierError, match=r"already|there"):
        tokens("new", "twice")
    made = json.loads(tokens("new", "twice", "--user", "ranvier", "--json").stdout)
    assert made["user"] == "ranvier"


def test_a_token_that_is_a_part_makes_none(live_database: Any, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANVIER_TOKEN", tokens("new", "a part", "--scope", "read").stdout.strip())
    with pytest.raises(RanvierError, match=r"neither makes nor revokes|only read"):
        tokens("new", "more")
    assert "a part" in tokens("list").stdout
