"""Ask a database of a few rows for everything that its OpenAPI document has, in odd ways: ``make fuzz``.

Schemathesis makes the requests, in an environment of its own. An answer of the database's own failure (5xx) and a traceback in its log
are findings, and end with 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import requests
from support import free_ports

from ranvier.database.serving import serve
from ranvier.settings import initialise

ROWS: tuple[tuple[str, Any], ...] = (
    ("/subjects", {"nickname": "a", "lab": "fuzzlab"}),
    ("/sessions", {"subject": "a", "start_time": "2026-09-01T08:00:00", "number": 1}),
    ("/register-file", {"path": "a/2026-09-01/001", "filenames": ["alf/spikes.times.npy"]}),
)


def fill(url: str, token: str) -> None:
    """Write a few rows."""
    for path, body in ROWS:
        requests.post(url + path, json=body, headers={"Authorization": token}, timeout=60).raise_for_status()


def main() -> None:
    """Serve, and have it asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schemathesis", type=Path, help="the command, such as .venv-checks/bin/st")
    parser.add_argument("--seconds", type=int, default=420)
    parser.add_argument("--cases", type=int, default=15, help="made up for each endpoint and method")
    chosen = parser.parse_args()
    how = ["--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing"]
    how += ["-n", str(chosen.cases), "--max-time", str(chosen.seconds)]
    with tempfile.TemporaryDirectory(prefix="ranvier-fuzz-") as folder:
        settings = initialise(Path(folder) / "home", lab="fuzzlab")
        with serve(settings, *free_ports(1), wait_s=120) as url:
            token = f"Token {settings.secret('token')}"
            fill(url, token)
            command = [chosen.schemathesis.absolute(), "run", f"{url}/api/schema", "-H", f"Authorization: {token}", *how]
            asked = subprocess.run(command, cwd=folder)
        told = (settings.home / "logs" / "database.log").read_text()
    _, traceback, after = told.partition("Traceback")
    print(f"{traceback}{after[:4000]}", file=sys.stderr)
    sys.exit(asked.returncode or bool(traceback))


if __name__ == "__main__":
    main()
