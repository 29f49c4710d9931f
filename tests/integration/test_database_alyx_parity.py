"""Our OpenAPI document against that of Alyx 3.6.1: each request, filter and field is here, or docs/database.md says why it is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

#: For each request of Alyx 3.6.1: what it answers when it works, its filters, the fields that it takes and those that it answers with.
ALYX: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_name("alyx_openapi.json").read_text())
PARTS = ("codes", "query", "body", "answer")
HEADING = "## What Alyx has and this has not"


@pytest.fixture(scope="module")
def ours(live_database: Any) -> dict[str, dict[str, list[str]]]:
    """The same facts of our document."""
    document = live_database.request("GET", "/api/schema").json()
    schemas = document["components"]["schemas"]
    return {
        f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path).rstrip('/')}": facts(operation, schemas)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def facts(operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, list[str]]:
    """What a request takes and answers with."""
    good = sorted(code for code in operation["responses"] if code.startswith("2"))
    return {
        "codes": good,
        "query": [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"],
        "body": fields(operation.get("requestBody"), schemas),
        "answer": fields(operation["responses"][good[0]], schemas),
    }


def fields(part: dict[str, Any] | None, schemas: dict[str, Any]) -> list[str]:
    """Names of the fields of a body or an answer, those of the rows where it is a page of them."""
    schema = (part or {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" not in schema:
        return []
    properties = schemas[schema["$ref"].rsplit("/", 1)[-1]].get("properties", {})
    page = properties.get("results")
    return fields({"content": {"application/json": {"schema": page["items"]}}}, schemas) if page else list(properties)


def missing(ours: dict[str, dict[str, list[str]]]) -> set[tuple[str, str, str]]:
    """What Alyx has and we have not: request, part, name."""
    gone = {(request, "request", "") for request in ALYX if request not in ours}
    for request in ALYX.keys() & ours.keys():
        gone |= {(request, part, name) for part in PARTS for name in set(ALYX[request].get(part, [])) - set(ours[request][part])}
    return gone


def excused(repository: Path) -> set[tuple[str, str, str]]:
    """Rows of the table of gaps."""
    section = (repository / "docs" / "database.md").read_text().split(HEADING, 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]
    assert all(len(row) == 4 and len(row[3]) > 20 for row in rows), "each gap has a reason"
    return {
        (request, part, name.strip())
        for requests, part, names, _ in rows
        for request in re.findall(r"`([^`]+)`", requests)
        for name in (names.replace("`", "").split(",") if names else [""])
    }


def test_every_gap_has_a_reason_and_every_reason_a_gap(ours: dict[str, dict[str, list[str]]], repository: Path) -> None:
    gone, told = missing(ours), excused(repository)
    assert not gone - told, f"missing here, and not in the table of docs/database.md: {sorted(gone - told)}"
    assert not told - gone, f"in the table of docs/database.md, and not missing: {sorted(told - gone)}"


def test_what_is_compared_is_the_whole_of_alyx(ours: dict[str, dict[str, list[str]]]) -> None:
    assert len(ALYX) == 181
    assert len(ALYX.keys() & ours.keys()) >= 172


def test_every_body_is_described_by_reference(live_database: Any) -> None:
    """ONE reads the fields of a write from the schema that its body refers to."""
    for path, operations in live_database.request("GET", "/api/schema").json()["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation and path not in ("/register-file", "/plans"):
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                assert "$ref" in schema, f"{method} {path}"


def test_every_list_answers_with_a_page(live_database: Any) -> None:
    """A request for each of Alyx's lists is answered with as many keys as Alyx answers with."""
    for request in ALYX:
        method, path = request.split(" ")
        if method == "GET" and "{" not in path and "limit" in ALYX[request].get("query", []) and path != "/check-protected":
            answer = live_database.request("GET", f"{path}?limit=1")
            assert answer.status_code == 200, f"{path}: {answer.text}"
            assert set(answer.json()) == {"count", "next", "previous", "results"}, path
