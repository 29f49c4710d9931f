"""Stages of training over the sessions of an animal, as they lie in the lab's folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support import caller, keep

from ranvier.job import Job
from ranvier.settings import load
from ranvier.simulate import simulate_session
from ranvier.tasks.behaviour.training_status import training_status
from ranvier.tasks.behaviour.trials import trials

SETTINGS = "raw_task_data_00/_iblrig_taskSettings.raw.json"
TABLE, STATUS = "alf/task_00/_ibl_trials.table.pqt", "alf/task_00/_ranvier_training.status.json"
RunTask = Callable[..., Job]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunTask:
    return caller(tmp_path_factory.mktemp("jobs"), load(tmp_path_factory.mktemp("home")))


def session(root: Path, date: str, number: int = 1, subject: str = "m1") -> Path:
    made = simulate_session(root / "lab" / "Subjects", subject, date, number, probes=(), behaviour=True, duration_s=120, seed=number)
    return made.path


def read(job: Job) -> dict:
    return json.loads((job.staging / STATUS).read_text())


def test_the_latest_days_of_the_animal_decide(run: RunTask, tmp_path: Path) -> None:
    folders = [session(tmp_path, f"2026-01-{day}") for day in (10, 11, 12, 13, 14)]
    other = session(tmp_path, "2026-01-11", subject="m2")
    table = pd.read_parquet(keep(run(trials, folders[0])).staging / TABLE)
    for folder in (*folders, other):
        (folder / TABLE).parent.mkdir(parents=True, exist_ok=True)
        pd.concat([table] * 15).to_parquet(folder / TABLE)
    (folders[1] / TABLE).write_bytes(b"no table")
    first, fourth = run(training_status, folders[0]), run(training_status, folders[3])
    assert [day["date"] for day in read(first)["days"]] == ["2026-01-10"]
    assert (read(first)["status"], read(first)["asking"]) == ("trained 1b", "ready4ephysrig")
    days = read(fourth)["days"]
    assert [(day["date"], day["protocol"]) for day in days] == [(f"2026-01-{day}", "biased") for day in (10, 12, 13)]
    assert {day["n_trials"] for day in days} == {15 * len(table)}
    assert fourth.checks["n_days"]["value"] == 3
    assert fourth.checks["training_status"]["value"] == read(fourth)["status"]
    assert "ready4ephysrig: " in fourth.checks["lacking"]["value"]
    assert (fourth.staging / "figures/training.png").exists()


def test_sessions_of_a_day_are_one_and_rigs_are_told_by_their_settings(run: RunTask, tmp_path: Path) -> None:
    folders = [session(tmp_path, "2026-01-10", number) for number in (1, 2)]
    for folder in folders:
        keep(run(trials, folder))
    settings = json.loads((folders[0] / SETTINGS).read_text())
    (folders[0] / SETTINGS).write_text(json.dumps(settings | {"RIG_NAME": "_iblrig_lab_ephys_0", "SESSION_DELAY_START": 1000}))
    (day,) = read(run(training_status, folders[1]))["days"]
    assert (day["ephys_rig"], day["delay_s"]) == (True, 1000.0)
    assert day["n_trials"] == sum(len(pd.read_parquet(folder / TABLE)) for folder in folders)


def test_a_day_without_easy_trials_is_drawn(run: RunTask, tmp_path: Path) -> None:
    folder = session(tmp_path, "2026-01-10")
    table = pd.read_parquet(keep(run(trials, folder)).staging / TABLE)
    table.assign(contrastLeft=0.0, contrastRight=float("nan")).to_parquet(folder / TABLE)
    job = run(training_status, folder)
    assert read(job)["days"][0]["performance_easy"] is None
    assert (job.staging / "figures/training.png").exists()


def test_another_protocol_has_no_stages(run: RunTask, tmp_path: Path) -> None:
    folder = session(tmp_path, "2026-01-10")
    keep(run(trials, folder))
    description = folder / "_ibl_experiment.description.yaml"
    description.write_text(description.read_text().replace("biasedChoiceWorld", "maze"))
    settings = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps(settings | {"PYBPOD_PROTOCOL": "maze"}))
    with pytest.raises(AssertionError, match="was not written"):
        run(training_status, folder, "_iblrig_tasks_maze_00")
    shutil.rmtree(folder)
