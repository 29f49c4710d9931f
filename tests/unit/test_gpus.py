"""GPUs are given out one by one: whole ones to one attempt only, shares as long as there is room."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from ranvier.gpus import GpusTaken, hold, visible

TWO = ["0", "1"]


def test_two_attempts_never_share_a_whole_gpu(tmp_path: Path) -> None:
    with hold(1, TWO, tmp_path) as first, hold(1, TWO, tmp_path) as second:
        assert sorted(first + second) == TWO
        with pytest.raises(GpusTaken, match="did not become free"), hold(1, TWO, tmp_path, patience_s=0):
            pass
    with hold(2, TWO, tmp_path) as both:
        assert both == TWO


def test_shares_fill_one_gpu_before_the_next(tmp_path: Path) -> None:
    with hold(0.5, TWO, tmp_path) as first, hold(0.5, TWO, tmp_path) as second, hold(0.5, TWO, tmp_path) as third:
        assert (first, second, third) == (["0"], ["0"], ["1"])
        with pytest.raises(GpusTaken), hold(1, TWO, tmp_path, patience_s=0):
            pass
        with hold(0.3, TWO, tmp_path) as fourth:
            assert fourth == ["1"]


def test_one_waits_until_another_gives_back(tmp_path: Path) -> None:
    release, got = threading.Event(), threading.Event()

    def other() -> None:
        with hold(1, ["0"], tmp_path):
            got.set()
            release.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    got.wait(30)
    threading.Timer(0.5, release.set).start()
    with hold(1, ["0"], tmp_path) as mine:
        assert release.is_set()
        assert mine == ["0"]
    thread.join()


def _hold_for_ever(locks: Path, ready: object) -> None:
    with hold(1, ["0"], locks):
        ready.set()
        signal.pause()


def test_a_killed_holder_gives_back(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold_for_ever, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(GpusTaken), hold(1, ["0"], tmp_path, patience_s=0):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with hold(1, ["0"], tmp_path, patience_s=5) as mine:
        assert mine == ["0"]


def test_more_than_there_are_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(GpusTaken, match="3 GPUs are needed and this worker sees 2"), hold(3, TWO, tmp_path):
        pass


def test_none_are_asked_for(tmp_path: Path) -> None:
    with hold(0, [], tmp_path) as none:
        assert none == []


def test_what_a_batch_system_has_given_goes_before_the_settings() -> None:
    assert visible(2, {}) == ["0", "1"]
    assert visible(2, {"CUDA_VISIBLE_DEVICES": "GPU-3f1, GPU-88a"}) == ["GPU-3f1", "GPU-88a"]
    assert visible(0, {"CUDA_VISIBLE_DEVICES": ""}) == []
