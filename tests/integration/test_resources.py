"""Real attempts that keep to their share: their GPUs and nobody else's, their threads, room for their scratch."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranvier import Input, Job, Output, Resources, task
from ranvier.attempt import Attempt, Outcome
from ranvier.client import Database
from ranvier.declare import Task
from ranvier.order import Order, make_order
from ranvier.plan import plan_rows, plan_session
from ranvier.registration import register
from ranvier.session import Session
from ranvier.settings import Settings


def seen(job: Job, seconds: float = 0.0) -> None:
    """Notes what this process was given."""
    import os

    with job.output("alf/what.seen.json").open("w") as stream:
        import json

        json.dump({name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}, stream)
    time.sleep(seconds)


@task(version="1", inputs=[Input("raw.times.npy")], outputs=[Output("alf/what.seen.json")], resources=Resources(cpu=3, gpu=1))
def whole_gpu(job: Job, seconds: float = 0.0) -> None:
    """Wants a GPU for itself."""
    seen(job, seconds)


@task(version="1", inputs=[Input("raw.times.npy")], outputs=[Output("alf/what.seen.json")])
def no_gpu(job: Job, seconds: float = 0.0) -> None:
    """Wants none."""
    seen(job, seconds)


@task(
    version="1",
    inputs=[Input("raw.times.npy")],
    outputs=[Output("alf/what.seen.json")],
    resources=Resources(scratch_gb=1.0, scratch_per_gb=1e12),
)
def large(job: Job) -> None:
    """Wants more disk than there is."""
    seen(job)


@pytest.fixture
def two_gpus(ranvier_home: Settings) -> Settings:
    """A machine with two GPUs, as far as anybody counts."""
    return ranvier_home.model_copy(update={"cluster": ranvier_home.cluster.model_copy(update={"gpu": 2})})


@pytest.fixture
def make(two_gpus: Settings, ranvier_database: Database, request: pytest.FixtureRequest) -> Any:
    """Prepares an attempt at a task for a new session."""
    count = iter(range(100))

    def attempt(chosen: Task, **parameters: Any) -> tuple[Attempt, Path]:
        folder = two_gpus.lab_root / f"{request.node.name[:20]}_{next(count)}" / "2026-11-22" / "001"
        folder.mkdir(parents=True)
        np.save(folder / "raw.times.npy", np.arange(5.0))
        session = Session.parse(folder)
        eid = register(folder, two_gpus, ranvier_database).record["id"]
        plan = plan_session(session, [chosen], two_gpus)
        rows = ranvier_database.save_plan(eid, plan_rows(plan, two_gpus))
        instance = plan.instances[0].for_its_inputs(session)
        instance.parameters |= parameters
        order = make_order(instance, session, two_gpus, eid=eid, task_id=rows[0]["id"])
        return Attempt(Order(**order), two_gpus, ranvier_database), folder / "alf/what.seen.json"

    return attempt


def read(path: Path) -> dict[str, str]:
    import json

    return dict(json.loads(path.read_text()))


def test_two_attempts_at_once_get_a_gpu_each_and_their_threads(make: Any) -> None:
    attempts = [make(whole_gpu, seconds=4.0) for _ in range(2)]
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda attempt=attempt: outcomes.append(attempt.run())) for attempt, _ in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.status for outcome in outcomes] == ["Complete", "Complete"], [outcome.reason for outcome in outcomes]
    found = [read(path) for _, path in attempts]
    assert sorted(each["CUDA_VISIBLE_DEVICES"] for each in found) == ["0", "1"]
    assert {each["OMP_NUM_THREADS"] for each in found} == {each["NUMBA_NUM_THREADS"] for each in found} == {"3"}


def test_one_that_wants_none_sees_none(make: Any) -> None:
    attempt, path = make(no_gpu)
    assert attempt.run().status == "Complete"
    assert read(path)["CUDA_VISIBLE_DEVICES"] == ""


def test_one_without_room_for_its_scratch_does_not_begin(make: Any) -> None:
    attempt, path = make(large)
    outcome = attempt.run()
    assert outcome.status == "Errored"
    assert "GB of scratch are needed" in outcome.reason
    assert outcome.cause == "the disk was full"
    assert not path.exists()
