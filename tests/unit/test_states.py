"""The one table of transitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranvier.states import GOOD_ENOUGH, TRANSITIONS, VERDICTS, Status, may_follow, refusal


def test_names_and_numbers_are_those_of_alyx() -> None:
    alyx = {"Waiting": 20, "Held": 25, "Started": 30, "Errored": 40, "Abandoned": 45, "Empty": 50, "Incomplete": 55, "Complete": 60}
    assert {status.label: status.value for status in Status} == alyx


def test_every_status_has_a_meaning_and_a_way_out() -> None:
    for status in Status:
        assert status.meaning
        assert TRANSITIONS[status]
        assert may_follow(status, status)


def test_only_an_attempt_reaches_a_good_verdict() -> None:
    for verdict in VERDICTS - {Status.ERRORED}:
        assert [before for before in Status if verdict in TRANSITIONS[before]] == [Status.STARTED]
    assert GOOD_ENOUGH < VERDICTS


def test_everything_can_be_made_to_run_again() -> None:
    for status in set(Status) - {Status.WAITING}:
        assert may_follow(status, Status.WAITING)


@pytest.mark.parametrize("value", ["Complete", "complete", 60, Status.COMPLETE])
def test_parse(value: str | int) -> None:
    assert Status.parse(value) is Status.COMPLETE


@pytest.mark.parametrize("value", ["Done", 61, ""])
def test_parse_lists_what_there_is(value: str | int) -> None:
    with pytest.raises(ValueError, match=r"is not a task status; use one of Waiting, Held"):
        Status.parse(value)


def test_a_refusal_says_what_is_allowed() -> None:
    assert not may_follow(Status.HELD, Status.COMPLETE)
    expected = "a task that is Held cannot become Complete; from Held it can become Waiting, Started, Abandoned"
    assert refusal(Status.HELD, Status.COMPLETE) == expected


def test_every_status_is_documented(repository: Path) -> None:
    documented = (repository / "docs" / "cli.md").read_text()
    for status in Status:
        assert f"| {status.label} | {status.meaning} |" in documented
