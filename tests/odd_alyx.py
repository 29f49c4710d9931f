"""A stand-in for an Alyx with rows as real ones have them after years: slow if need be, and failing over some of them."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SAMPLES = Path(__file__).parent / "integration" / "alyx_only" / "openapi.json"
Rows = dict[str, list[dict[str, Any]]]


class OddAlyx:
    """Rows by endpoint, and what was asked for.

    Parameters
    ----------
    rows
        What each list holds; a row with the key `fails` is answered with 500, what is under the key
        `whole` only by itself, and a user with the key `gone` is not active.
    slow_s
        Seconds before each answer about one session.
    """

    def __init__(self, rows: Rows, slow_s: float = 0.0) -> None:
        self.rows, self.slow_s = rows, slow_s
        self.asked: Counter[str] = Counter()
        self.url = ""

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """Status and body of a GET."""
        endpoint, _, name = path.strip("/").partition("/")
        self.asked[path] += 1
        if path == "/api/schema":
            return 200, json.loads(SAMPLES.read_text())
        if path == "/me":
            return 404, {"detail": "Not found."}
        if name:
            return self._one(endpoint, unquote(name))
        limit, offset = (int(query.get(key, [default])[0]) for key, default in (("limit", "250"), ("offset", "0")))
        if "is_public_user" in query:
            return self._page([], limit, offset)
        rows = (
            [row for row in self.rows["users"] if row.get("gone")]
            if "is_active" in query
            else self._chosen(endpoint, query.get("django", [""])[0])
        )
        return self._page(rows, limit, offset)

    def _page(self, rows: list[dict[str, Any]], limit: int, offset: int) -> tuple[int, Any]:
        page = [{name: value for name, value in row.items() if name not in ("whole", "gone")} for row in rows[offset : offset + limit]]
        if any("fails" in row for row in page):
            return 500, {"detail": "KeyError: 10"}
        return 200, {"count": len(rows), "next": None, "previous": None, "results": page}

    def _chosen(self, endpoint: str, django: str) -> list[dict[str, Any]]:
        """Of rows of sessions or subjects those whose names or ids are in a filter; the rest is not asked for."""
        rows = self.rows.get(endpoint, [])
        if django.endswith("session__isnull,True"):
            return [row for row in rows if not row.get("session")]
        if "__in,[" not in django or endpoint == "notes":
            return rows
        known = {"session", "subject", "probe_insertion", "trajectory_estimate"}
        return [row for row in rows if any(str(row.get(name) or "?").rsplit("/", 1)[-1] in django for name in known)]

    def _one(self, endpoint: str, name: str) -> tuple[int, Any]:
        time.sleep(self.slow_s if endpoint == "sessions" else 0.0)
        found = [row for row in self.rows.get(endpoint, []) if name in (row.get("id"), row.get("name"), row.get("nickname"))]
        return (200, {**found[0], **found[0].get("whole", {})}) if found else (404, {"detail": "Not found."})


@contextmanager
def served(alyx: OddAlyx) -> Iterator[OddAlyx]:
    """Serve it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._say(*alyx.answer(parts.path, parse_qs(parts.query)))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            alyx.asked[f"POST {self.path}"] += 1
            right = self.path == "/auth-token" and form.get("password") == ["right"]
            self._say(*((200, {"token": "a" * 40}) if right else (400, {"detail": "wrong"})))

        def _say(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    alyx.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield alyx
    finally:
        server.shutdown()
        server.server_close()


def session_row(subject: str, day: str, number: int | None = 1, **more: Any) -> dict[str, Any]:
    """A session, as Alyx tells of one by itself."""
    row = {"id": str(uuid.uuid4()), "subject": subject, "lab": "oddlab", "start_time": f"{day}T10:00:00", "number": number, "users": []}
    told = {"location": None, "procedures": [], "projects": [], "type": None, "task_protocol": None, "end_time": None, "narrative": ""}
    return {**row, **told, "parent_session": None, "n_trials": None, "n_correct_trials": None, "qc": "NOT_SET", "json": None, **more}


def dataset_row(session: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    """A dataset of a session, with its copy."""
    key = str(uuid.uuid4())
    path = f"{session['subject']}/{session['start_time'][:10]}/{session['number'] or 0:03d}/alf/{name}"
    record = {"id": str(uuid.uuid4()), "data_repository": "oddstore", "relative_path": path, "exists": True}
    row = {"url": f"http://alyx/datasets/{key}", "session": f"http://alyx/sessions/{session['id']}", "name": name, "collection": "alf"}
    told = {"dataset_type": "spikes.times", "data_format": "npy", "created_by": None, "created_datetime": "2026-01-01T00:00:00.5"}
    kept = {
        "file_size": 10,
        "hash": None,
        "version": None,
        "revision": "",
        "default_dataset": True,
        "qc": "NOT_SET",
        "tags": [],
        "json": None,
    }
    return {**row, **told, **kept, "file_records": [record], **more}


def task_row(session: dict[str, Any], name: str, status: str, **more: Any) -> dict[str, Any]:
    """A task of a session."""
    row = {
        "id": str(uuid.uuid4()),
        "session": session["id"],
        "name": name,
        "status": status,
        "parents": [],
        "arguments": None,
        "level": None,
    }
    return {**row, "executable": "", "graph": None, "log": None, "version": None, "data_repository": None, "priority": 30, **more}
