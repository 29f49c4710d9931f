"""Trials of a behavioural protocol, their quality, and how the animal did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour import bpod, daq, plain_trials
from ranvier.tasks.behaviour.bpod import TASK_DATA, TASK_SETTINGS, BehaviourError
from ranvier.tasks.behaviour.daq import DAQ
from ranvier.tasks.behaviour.encoder import EVENTS, POSITIONS

if TYPE_CHECKING:
    import pandas as pd

    from ranvier.tasks.behaviour.wheel_trace import Wheel

#: What a protocol with ``columns`` may be read from.
PLAIN = tuple(f"{{collection}}/*{suffix}" for suffix in plain_trials.SUFFIXES)
TABLE = "{alf}/_ibl_trials.table.pqt"
#: Kept beside the table; which of them there are depends on the rig and its version.
BESIDE = ("goCueTrigger_times", "stimOnTrigger_times", "stimOffTrigger_times", "stimOff_times", "quiescencePeriod", "included", "repNum")


@task(
    version="1.2.0",
    per="protocol",
    inputs=[
        Input(TASK_DATA, required=False),
        Input(TASK_SETTINGS, required=False),
        Input(EVENTS, required=False),
        Input(POSITIONS, required=False),
        *(Input(pattern, required=False) for pattern in PLAIN),
        Input(DAQ, required=False),
    ],
    outputs=[Output(TABLE, at_least=1), *(Output(f"{{alf}}/_ibl_trials.{name}.npy", required=False) for name in BESIDE)],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=1800),
    packages=("numpy", "scipy"),
    priority=70,
)
def trials(job: Job) -> None:
    """Table of the trials, quality checks of the task, and psychometric and chronometric curves.

    A protocol whose description has ``columns`` is read from its table, Bpod's ``.mat`` or pyControl's log; any other is an IBL protocol.

    Raises
    ------
    BehaviourError
        If the trials cannot be read. A wheel that cannot be read only leaves ``firstMovement_times`` empty and fails its check.
    """
    from ranvier.tasks.behaviour import behaviour_figures, performance

    table = _from_plain(job) if job.description.get("columns") else _from_bpod(job)
    job.qc("n_trials", len(table), "PASS" if len(table) >= performance.FEW_TRIALS else "WARNING")
    did = performance.assess(table)
    for name, value in did.values.items():
        job.qc(name, value)
    if did.curve is not None:
        figure = behaviour_figures.performance(did, title=f"{job.device}: performance")
        job.figure("performance", figure, "Choices and reaction times by contrast, with the fitted psychometric function; trials over time")


def _from_plain(job: Job) -> pd.DataFrame:
    folder: Path = job.session_path / job.values["collection"]
    found = plain_trials.read([path for pattern in PLAIN for path in job.files(pattern)], job.description, folder)
    table = found.table
    if found.bpod_starts is not None:
        clock = daq.clock_of(found.bpod_starts, daq.of_job(job), found.path) or np.asarray
        job.qc("clock", "Bpod" if clock is np.asarray else "DAQ")
        table = on_clock(table, clock)
    job.save(TABLE, table)
    return table


def on_clock(table: pd.DataFrame, clock: Callable[[np.ndarray], np.ndarray]) -> pd.DataFrame:
    """A table of trials with its times on another clock."""
    timed = [name for name in table if name.endswith("_times") or name.startswith("intervals")]
    return table.assign(**{name: clock(table[name].to_numpy()) for name in timed})


def _from_bpod(job: Job) -> pd.DataFrame:
    from ranvier.tasks.behaviour import task_qc, trials_table, wheel_trace

    data = bpod.of_job(job)
    found = trials_table.extract(data)
    wheel = _wheel(job, data)
    if wheel is not None:
        moves, quiescence = wheel_trace.find_moves(wheel), wheel_trace.min_quiescence(data)
        found.table["firstMovement_times"] = wheel_trace.first_movements(moves, found["goCue_times"], found["feedback_times"], quiescence)
    for check in task_qc.checks(found, data, wheel):
        job.qc(check.name, check.value, check.outcome)
    clock = daq.bpod_clock(data, daq.of_job(job)) or np.asarray
    job.qc("clock", "Bpod" if clock is np.asarray else "DAQ")
    table = on_clock(found.table, clock)
    job.save(TABLE, table)
    for name, values in found.extra.items():
        job.save(f"{{alf}}/_ibl_trials.{name}.npy", clock(values) if name.endswith("_times") else values)
    return table


def _wheel(job: Job, data: bpod.TaskData) -> Wheel | None:
    """The wheel's trace; None where it cannot be read, which the wheel's own task tells in full."""
    from ranvier.tasks.behaviour import wheel_trace

    folder: Path = job.session_path / job.values["collection"]
    try:
        events = bpod.only(job.files(EVENTS), folder, "_iblrig_encoderEvents.raw.ssv")
        positions = bpod.only(job.files(POSITIONS), folder, "_iblrig_encoderPositions.raw.ssv")
        return wheel_trace.read_wheel(data, events, positions)
    except BehaviourError as error:
        job.log.warning("the trials have no first movements: %s", error)
        job.qc("wheel", str(error)[:200], "FAIL")
        return None
