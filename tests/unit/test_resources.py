"""What an instance needs, with its inputs; and room on the disk before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranvier.cluster import resources_of
from ranvier.declare import Resources
from ranvier.retries import Cause, cause_of
from ranvier.scratch import NoSpace, free_gb, require


def test_limits_grow_with_the_input() -> None:
    declared = Resources(cpu=2, memory_gb=2, scratch_gb=1, timeout_s=600, memory_per_gb=0.1, scratch_per_gb=2.5, timeout_per_gb_s=174)
    hour = declared.scaled(83)
    assert (hour.cpu, hour.memory_gb, hour.scratch_gb) == (2, pytest.approx(10.3), pytest.approx(208.5))
    assert hour.timeout_s == pytest.approx(600 + 4 * 3600, rel=0.01)
    assert hour.scaled(83) == hour


def test_dask_is_asked_for_a_share_of_a_gpu_and_for_scratch() -> None:
    wanted = resources_of(Resources(gpu=0.5, memory_gb=1, scratch_gb=20))
    assert wanted == {"CPU": 1.0, "GPU": 0.5, "MEMORY": 1.0, "SCRATCH": 20.0}


def test_room_is_seen_to_before_the_work(tmp_path: Path) -> None:
    not_yet_made = tmp_path / "a" / "b"
    require(not_yet_made, free_gb(tmp_path) / 2)
    with pytest.raises(NoSpace, match="1e\\+09 GB of scratch are needed") as short:
        require(not_yet_made, 1e9)
    assert cause_of(short.value) == Cause.DISK
