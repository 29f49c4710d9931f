"""Whatever the database answers to is documented."""

from __future__ import annotations

from pathlib import Path

import requests

from ranvier.client import Database


def test_every_endpoint_is_documented(ranvier_database: Database, repository: Path) -> None:
    answer = requests.get(f"{ranvier_database.url}/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"}, timeout=30)
    endpoints = {path.split("/")[1] for path in answer.json()["paths"]}
    assert len(endpoints) > 20
    documented = "".join((repository / "docs" / name).read_text() for name in ("database.md", "architecture.md"))
    assert [name for name in sorted(endpoints) if f"/{name}" not in documented] == []
