"""A whole lab server whose task fails: people are told, the task is paused, and it runs again when someone says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from support import free_ports, waiter

from ranvier import settings as settings_module
from ranvier.client import Database
from ranvier.supervisor import running

until = waiter(180, 0.5)


PLUGIN = Path(__file__).parents[1] / "integration" / "chain"
CONFIG = """
[lab]
name = "churchlandlab"
[registration]
unknown_subject = "create"
settle_s = 0.5
[ports]
database = {}
prefect = {}
dask = {}
dask_dashboard = {}
[cluster]
cpu = 4
memory_gb = 8
[failures]
pause_after = 2
[notify]
webhook = "{}"
prefect = true
"""
OTHERS = ("raw_registration", "raw_ephys_qc", "spike_sorting", "unit_metrics", "giant")


@pytest.fixture
def posts() -> Iterator[tuple[list[str], str]]:
    """Texts that were posted to a web server, and the server's address."""
    texts: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=server.serve_forever, daemon=True).start()
    yield texts, f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


def copy(root: Path, subject: str, note: str) -> None:
    """A session as a rig leaves it."""
    session = root / subject / "2026-11-22" / "001"
    folder = session / "raw_ephys_data" / "probe00"
    folder.mkdir(parents=True)
    (folder / "note.txt").write_text(note)
    devices = {"neuropixel": {"probe00": {"collection": "raw_ephys_data/probe00"}}}
    (session / "_ibl_experiment.description.yaml").write_text(yaml.safe_dump({"version": "1.0.0", "devices": devices}))
    (session / "raw_session.flag").touch()


@pytest.mark.whole
def test_failures_are_told_pause_their_task_and_are_resumed(
    tmp_path: Path, posts: tuple[list[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, address = posts
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text(
        CONFIG.format(*free_ports(4), address) + "".join(f"[tasks.{name}]\nenabled = false\n" for name in OTHERS)
    )
    settings = settings_module.load(home)
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    monkeypatch.setenv("RANVIER_HOME", str(home))

    def rows(subject: str) -> dict[str, dict[str, Any]]:
        eid = next((each["id"] for each in database.sessions(100) if each["subject"] == subject), None)
        return {row["name"]: row for row in database.tasks(eid)} if eid else {}

    def stands(subject: str, status: str) -> bool:
        return rows(subject).get("mark[probe00]", {}).get("status") == status

    with running(settings):
        database = Database.from_settings(settings)
        for number in (1, 2):
            copy(settings.lab_root, f"broken_{number}", "broken")
            until(lambda n=number: stands(f"broken_{n}", "Errored"))
        until(lambda: any("mark[probe00] of broken_" in text and "failed" in text for text in texts))
        until(lambda: any("mark is paused in churchlandlab" in text for text in texts))
        until(lambda: any(text.startswith("flow run preprocess-session / broken_1/2026-11-22/001 is Failed") for text in texts))
        copy(settings.lab_root, "held", "fine")
        until(lambda: stands("held", "Held"))
        assert rows("held")["mark[probe00]"]["reason"].startswith("paused in churchlandlab since")
        ranvier = Path(sys.executable).with_name("ranvier")
        done = subprocess.run([ranvier, "tasks", "resume", "mark"], capture_output=True, text=True, check=False)
        assert "mark 1 runs again in churchlandlab; 1 session asked for" in done.stdout, done.stderr
        until(lambda: rows("held").get("gather", {}).get("status") == "Complete")
        shown = subprocess.run([ranvier, "failures"], capture_output=True, text=True, check=False).stdout
        assert "mark 1: ValueError at lab_chain.py:mark" in shown
        assert "2 sessions in churchlandlab" in shown
