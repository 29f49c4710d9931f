"""The sentence that answers: is my session done, and is it good?"""

from __future__ import annotations

import pytest

from ranvier.overview import verdict
from ranvier.states import NOTHING_APPLIES


@pytest.mark.parametrize(
    ("statuses", "qc", "good", "sentence"),
    [
        ("", "NOT_SET", None, "Nothing has been planned for it yet."),
        ("Complete Complete", "PASS", True, "Done, and its quality is good."),
        ("Complete", "NOT_SET", True, "Done, and nobody has judged its quality."),
        ("Complete Empty", "PASS", True, "Done, and its quality is good (1 empty)."),
        ("Complete Complete", "CRITICAL", False, "Done, but its quality is CRITICAL."),
        ("Complete Incomplete", "PASS", False, "Done, but 1 of 2 tasks left out part of their outputs."),
        ("Complete Started Waiting", "NOT_SET", None, "Not done yet: 1 of 3 tasks are done, 1 running, 1 to come."),
        ("Errored Waiting", "NOT_SET", None, "Not done yet: 0 of 2 tasks are done, 1 to come; 1 errored (task0)."),
        ("Complete Errored Held Held", "PASS", False, "Not done: 1 of 4 tasks are done, but 1 errored (task1), 2 held."),
        ("Abandoned Complete", "PASS", True, "Done, and its quality is good (1 abandoned)."),
    ],
)
def test_the_verdict(statuses: str, qc: str, good: bool | None, sentence: str) -> None:
    assert verdict([{"name": f"task{index}", "status": status} for index, status in enumerate(statuses.split())], qc) == (good, sentence)


def test_a_session_to_which_no_task_applies_is_not_waited_for() -> None:
    noted = {"ready": "2026-11-20", NOTHING_APPLIES: True}
    assert verdict([], "NOT_SET", noted) == (True, "Nothing to do: no task applies to it; `ranvier plan` says why.")
    assert verdict([{"name": "lick", "status": "Waiting"}], "NOT_SET", noted)[0] is None, "by now one does"
    assert verdict([], "NOT_SET", {"ready": "2026-11-20"})[0] is None
