"""Notices to people: a real mail server, a real web server, a real database."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from ranvier.client import Database
from ranvier.notify import Notifier
from ranvier.settings import NotifySettings, Settings

DAYS = itertools.count(1)


class Letters:
    """What a mail server has taken."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.full = False

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd's name
        """Take a letter, unless the disk is full."""
        if self.full:
            return "452 Requested action not taken: insufficient system storage"
        self.taken.append(envelope)
        return "250 OK"


@pytest.fixture
def letters(free_port: int) -> Iterator[tuple[Letters, Controller]]:
    """A mail server on a free port."""
    taken = Letters()
    controller = Controller(taken, hostname="127.0.0.1", port=free_port)
    controller.start()
    yield taken, controller
    controller.stop()


@pytest.fixture
def posts() -> Iterator[tuple[list[dict[str, Any]], str]]:
    """What was posted to a web server, and the server's address."""
    taken: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=server.serve_forever, daemon=True).start()
    yield taken, f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


@pytest.fixture
def database(live_database: Any) -> Database:
    """A client of the live database, whose notices of other tests are done with."""
    client = Database(live_database.url, live_database.settings.secret("token"))
    for event in client.pending_notices():
        client.event_delivered(event["id"], "")
    return client


def settings_for(live: Any, home: Path, **notify: Any) -> Settings:
    """Settings of a dispatcher in a home of its own."""
    return Settings(home=home, database={"url": live.url}, notify=NotifySettings(email_to="pi@lab.org, tech@lab.org", **notify))


def fail(live: Any, name: str, print_: str = "", **then: Any) -> dict[str, Any]:
    """A session whose task fails; the task's row."""
    subject = "NOTE_001"
    if live.request("GET", f"/subjects/{subject}").status_code == 404:
        live.make("/subjects", {"nickname": subject, "lab": "testlab"})
    day = next(DAYS)
    body = {"subject": subject, "start_time": f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T09:00:00", "number": 1}
    session = live.make("/sessions", body)["id"]
    (row,) = live.make("/plans", {"session": session, "tasks": [{"name": f"{name}[probe00]", "executable": name, "version": "1"}]})
    attempt = live.make("/attempts", {"task": row["id"], "worker": "w", "receipt": {"version": "1"}})
    told = {"status": "Errored", "reason": "ValueError: the tongue is not in the picture", "error_type": "ValueError"}
    assert live.request("PATCH", f"/attempts/{attempt['id']}", {**told, "fingerprint": print_ or name}).ok
    if then:
        assert live.request("PATCH", f"/tasks/{row['id']}", then).ok
    return row


def test_a_failure_goes_by_mail_and_webhook_once_for_its_kind(
    live_database: Any, database: Database, letters: Any, posts: Any, tmp_path: Path
) -> None:
    box, server = letters
    hooked, address = posts
    settings = settings_for(live_database, tmp_path, smtp=f"smtp://127.0.0.1:{server.port}", webhook=address)
    for _ in range(3):
        row = fail(live_database, "told")
    assert Notifier(database, settings, settle_s=0).round() == 1
    (letter,) = box.taken
    assert letter.rcpt_tos == ["pi@lab.org", "tech@lab.org"]
    text = letter.content.decode()
    assert "Subject: [testlab] told[probe00] of NOTE_001/" in text
    assert "ValueError: the tongue is not in the picture" in text
    assert "Failure told: 3 sessions in testlab" in text
    (post,) = hooked
    assert list(post) == ["text"]
    assert "the tongue is not in the picture" in post["text"]
    assert database.pending_notices() == []
    fail(live_database, "told")
    fail(live_database, "told", "another cause")
    assert Notifier(database, settings, settle_s=0).round() == 1, "after a start anew it knows what it has told"
    assert "another cause" in box.taken[1].content.decode()
    live_database.request("PATCH", f"/tasks/{row['id']}", {"status": "Abandoned", "reason": "no hope"})
    assert Notifier(database, settings, settle_s=0).round() == 1
    assert "was given up by ranvier" in box.taken[2].content.decode()


def test_a_mail_server_that_is_away_loses_nothing(
    live_database: Any, database: Database, free_port: int, posts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, (hooked, address) = Letters(), posts
    monkeypatch.setattr("ranvier.notify.LONGEST_BACKOFF_S", 0.0)
    settings = settings_for(live_database, tmp_path, smtp=f"smtp://127.0.0.1:{free_port}", webhook=address, webhook_style="json")
    notifier = Notifier(database, settings, settle_s=0)
    fail(live_database, "patient")
    assert notifier.round() == 0
    (pending,) = database.pending_notices()
    assert pending["tries"] == 1
    assert "e-mail through 127.0.0.1: ConnectionRefusedError" in pending["error"]
    server = Controller(box, hostname="127.0.0.1", port=free_port)
    server.start()
    try:
        box.full = True
        assert notifier.round() == 0
        assert "insufficient system storage" in database.pending_notices()[0]["error"]
        box.full = False
        assert notifier.round() == 1
    finally:
        server.stop()
    assert (len(box.taken), len(hooked)) == (1, 1), "the webhook, which had it, does not get it again"
    assert hooked[0]["event"]["kind"] == "task.failed"
    assert database.pending_notices() == []


def test_a_failure_that_is_tried_again_or_put_right_is_not_told_of(
    live_database: Any, database: Database, posts: Any, tmp_path: Path
) -> None:
    hooked, address = posts
    notifier = Notifier(database, settings_for(live_database, tmp_path, webhook=address), settle_s=0)
    row = fail(live_database, "passing", status="Waiting", reason="tried again in 30 s")
    assert notifier.round() == 0
    assert len(database.pending_notices()) == 1
    attempt = live_database.make("/attempts", {"task": row["id"], "worker": "w", "receipt": {"version": "1"}})
    live_database.request("PATCH", f"/attempts/{attempt['id']}", {"status": "Complete", "version": "1"})
    assert notifier.round() == 0
    assert (hooked, database.pending_notices()) == ([], [])


def test_a_pause_is_told_of(live_database: Any, database: Database, posts: Any, tmp_path: Path) -> None:
    hooked, address = posts
    for _ in range(5):
        fail(live_database, "pausing")
    notifier = Notifier(database, settings_for(live_database, tmp_path, webhook=address), settle_s=0)
    assert notifier.round() == 2
    assert any("pausing is paused in testlab" in post["text"] and "`ranvier tasks resume pausing`" in post["text"] for post in hooked)


def test_without_anyone_to_tell_nothing_stays_pending(live_database: Any, database: Database, tmp_path: Path) -> None:
    fail(live_database, "unheard")
    assert Notifier(database, settings_for(live_database, tmp_path), settle_s=0).round() == 0
    assert database.pending_notices() == []
