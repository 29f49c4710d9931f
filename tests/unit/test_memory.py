"""The machine's memory: who is ended when it runs short, and what a SIGKILL is taken for."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from ranvier import memory
from ranvier.memory import Share
from ranvier.retries import Cause
from ranvier.settings import AttemptSettings


def share(declared_gb: float, factor: float, spare: float) -> Share:
    return Share(declared_gb, AttemptSettings(memory_factor=factor, memory_spare=spare))


@pytest.mark.parametrize(
    ("used_mb", "spare", "ends"),
    [
        (1_000, 1.0, False),  # within what it declares
        (2_900, 1.0, False),  # beyond, within the factor
        (3_100, 1.0, True),
        (3_100, 0.0, False),  # off
    ],
)
def test_who_takes_far_more_than_declared_is_ended_when_memory_runs_short(used_mb: float, spare: float, ends: bool) -> None:
    reason = share(2.0, 1.5, spare).why_stop(used_mb)
    assert bool(reason) == ends
    if ends:
        assert reason.startswith("used 3.10 GB of memory while the machine had ")
        assert reason.endswith("the task declares 2 GB")


def test_who_takes_more_while_there_is_enough_goes_on() -> None:
    left = psutil.virtual_memory()
    assert not share(2.0, 1.5, left.available / left.total / 2).why_stop(3_100)


@pytest.fixture
def vmstat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc/vmstat to write in; the kernel's own counts what happens to the whole machine."""
    path = tmp_path / "vmstat"
    path.write_text("nr_free_pages 1\noom_kill 4\n")
    monkeypatch.setattr(memory, "_VMSTAT", path)
    return path


def test_a_kill_is_for_memory_where_the_kernel_counts_one(vmstat: Path) -> None:
    held = share(2.0, 1.5, 0.1)
    assert held.cause_of_kill(5_000) == Cause.NONE
    vmstat.write_text("nr_free_pages 1\noom_kill 5\n")
    assert held.cause_of_kill(5_000) == Cause.MEMORY
    assert held.cause_of_kill(1_000) == Cause.CROWDED


def test_a_kernel_that_does_not_count_leaves_it_to_be_guessed(vmstat: Path) -> None:
    vmstat.unlink()
    assert share(2.0, 1.5, 0.1).cause_of_kill(5_000) == Cause.MEMORY


def test_this_kernel_counts() -> None:
    assert memory.oom_kills() is not None
