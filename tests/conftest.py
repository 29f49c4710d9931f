"""Fixtures that every test may use, and what keeps a test away from the real home folder."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

# Before anything imports ONE or Prefect, which read their folders from the environment at import: nothing lands in the user's own home.
_HOME = tempfile.mkdtemp(prefix="ranvier-test-home-")
os.environ.update(HOME=_HOME, PREFECT_HOME=f"{_HOME}/.prefect", RANVIER_HOME=f"{_HOME}/.ranvier", MPLBACKEND="Agg", DO_NOT_TRACK="1")


# A package with tests of its own, which are run where it is installed: integration/test_kit.py.
collect_ignore = ["lab_plugin"]


@pytest.fixture
def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout that the tests stand in."""
    return Path(__file__).parents[1]
