"""Many workers at once, on SQLite and on PostgreSQL: no task is run twice, and nobody writes who has lost it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

RACER = Path(__file__).with_name("racer.py")
PROCESSES, THREADS = 3, 4


@pytest.fixture
def tasks(each_database: Any, request: pytest.FixtureRequest) -> list[str]:
    """Ids of twenty-four waiting tasks of a session of its own."""
    nickname = request.node.name.replace("[", "_").replace("]", "")
    each_database.make("/subjects", {"nickname": nickname, "lab": "testlab"})
    session = each_database.make("/sessions", {"subject": nickname, "start_time": "2026-06-01T09:00:00", "number": 1})["id"]
    rows = each_database.make("/plans", {"session": session, "tasks": [{"name": f"task{number:02d}"} for number in range(24)]})
    return [row["id"] for row in rows]


def test_of_many_processes_one_gets_each_task(each_database: Any, tasks: list[str]) -> None:
    command = [sys.executable, str(RACER), each_database.url, each_database.settings.secret("token"), str(THREADS)]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        found = [json.loads(said) for said, _ in pool.map(lambda racer: racer.communicate(json.dumps(tasks)), racers)]
    won = [each for racer in found for each in racer["won"]]
    assert sorted(won) == sorted([task, 1, 200] for task in tasks)
    statuses = Counter(status for racer in found for status in racer["statuses"])
    assert statuses == {201: len(tasks), 409: (PROCESSES * THREADS - 1) * len(tasks)}
    rows = [each_database.request("GET", f"/tasks/{task}").json() for task in tasks]
    assert {(row["status"], row["attempt"]) for row in rows} == {("Complete", 1)}


def test_a_late_verdict_never_comes_after_the_next_claim(each_database: Any, tasks: list[str]) -> None:
    late = [each_database.make("/attempts", {"task": task, "worker": "late", "lease_s": 0.05}) for task in tasks]
    time.sleep(0.1)

    def write_late(number: int) -> int:
        return int(
            each_database.request("PATCH", f"/attempts/{late[number]['id']}", {"status": "Complete", "identity": "1" * 64}).status_code
        )

    def claim(number: int) -> Any:
        return each_database.request("POST", "/attempts", {"task": tasks[number], "worker": "next", "after": 1})

    with ThreadPoolExecutor(8) as pool:
        claims, verdicts = [], []
        for number in range(len(tasks)):  # in this order or the other way round, as close together as can be
            pair = [(claims, claim), (verdicts, write_late)]
            for kept, act in pair if number % 2 else reversed(pair):
                kept.append(pool.submit(act, number))
    assert {future.result().status_code for future in claims} == {201}, "what fell silent or is Complete may be claimed once more"
    codes = [future.result() for future in verdicts]
    assert set(codes) <= {200, 409}
    for task, first, code in zip(tasks, late, codes, strict=True):
        row = each_database.request("GET", f"/tasks/{task}").json()
        assert (row["status"], row["attempt"]) == ("Started", 2), "the next attempt holds it, whatever the late one wrote"
        ended = each_database.request("GET", f"/attempts/{first['id']}").json()
        assert ended["status"] == ("Complete" if code == 200 else "Errored")
        assert each_database.request("PATCH", f"/attempts/{first['id']}", {"lease_s": 60}).status_code == 409
