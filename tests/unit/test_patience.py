"""Waiting for what is away, with growing pauses, told once."""

from __future__ import annotations

import errno
import logging

import httpx
import pytest

from ranvier.client import DatabaseRefused, DatabaseUnreachable
from ranvier.cluster import ClusterUnreachable
from ranvier.flows import patience
from ranvier.flows.patience import patiently

log = logging.getLogger("ranvier.test")


@pytest.fixture
def pauses(monkeypatch):
    slept = []
    monkeypatch.setattr(patience.time, "sleep", slept.append)
    return slept


def failing(times, error):
    """A function that fails so many times."""
    left = [error] * times

    def call():
        if left:
            raise left.pop()
        return "done"

    return call


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnreachable("the database does not answer"),
        ClusterUnreachable("the scheduler does not answer"),
        httpx.ConnectError("Prefect does not answer"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_waits_with_growing_pauses_and_says_so_once(error, pauses, caplog):
    caplog.set_level(logging.INFO)
    assert patiently(failing(9, error), log) == "done"
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert str(error) in caplog.text


@pytest.mark.parametrize("error", [DatabaseRefused(400, "no"), ValueError("no"), PermissionError(errno.EACCES, "Permission denied")])
def test_what_will_not_pass_is_raised(error, pauses):
    with pytest.raises(type(error)):
        patiently(failing(1, error), log)
    assert pauses == []
