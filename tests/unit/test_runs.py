"""Waiting for a flow run while Prefect answers late, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from ranvier import runs
from ranvier.settings import Settings, load

COMPLETED = {"state": {"type": "COMPLETED", "name": "Completed", "message": "4 complete"}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(runs.time, "sleep", lambda seconds: None)
    return load(tmp_path)


def answering(*answers: Any) -> Callable[..., Any]:
    """Prefect, by what it answers in turn."""
    rest = iter(answers)

    def ask(*_: object) -> Any:
        answer = next(rest)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def refusal(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status}", response=response)


def test_an_answer_that_comes_late_ends_nothing(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [requests.ReadTimeout("read timed out"), requests.ConnectionError("refused"), refusal(503), COMPLETED]
    monkeypatch.setattr(runs.prefect_api, "ask", answering(*answers))
    ticks: list[None] = []
    assert runs.await_end(here, "a", lambda: ticks.append(None)) == (True, "4 complete")
    assert len(ticks) == len(answers)


def test_silence_comes_to_an_end(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SILENT_S", -1.0)
    monkeypatch.setattr(runs.prefect_api, "ask", answering(requests.ReadTimeout("read timed out")))
    with pytest.raises(runs.RunProblem, match="does not answer: read timed out"):
        runs.await_end(here, "a")


def test_a_flow_run_that_prefect_does_not_know_is_not_waited_for(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs.prefect_api, "ask", answering(refusal(404)))
    with pytest.raises(runs.RunProblem, match="404"):
        runs.await_end(here, "a")
