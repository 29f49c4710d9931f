"""Position of the wheel and its movements."""

from __future__ import annotations

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.behaviour import bpod, daq
from ranvier.tasks.behaviour.bpod import TASK_DATA, TASK_SETTINGS
from ranvier.tasks.behaviour.daq import DAQ
from ranvier.tasks.behaviour.encoder import EVENTS, POSITIONS

TIMESTAMPS, POSITION = "{alf}/_ibl_wheel.timestamps.npy", "{alf}/_ibl_wheel.position.npy"
INTERVALS, AMPLITUDE = "{alf}/_ibl_wheelMoves.intervals.npy", "{alf}/_ibl_wheelMoves.peakAmplitude.npy"
FASTEST = "{alf}/_ibl_wheelMoves.peakVelocity_times.npy"


@task(
    version="1.2.0",
    per="protocol",
    inputs=[Input(TASK_DATA), Input(TASK_SETTINGS, required=False), Input(EVENTS), Input(POSITIONS), Input(DAQ, required=False)],
    outputs=[Output(TIMESTAMPS, at_least=2), Output(POSITION, at_least=2), Output(INTERVALS), Output(AMPLITUDE), Output(FASTEST)],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=1800),
    packages=("numpy", "scipy"),
)
def wheel(job: Job) -> None:
    """Position of the wheel over the session, and when it was moved, from the rotary encoder.

    Raises
    ------
    BehaviourError
        If a file is missing, cut off, or another session's.
    """
    from ranvier.tasks.behaviour import behaviour_figures, wheel_trace

    trials = bpod.of_job(job)
    folder = job.session_path / job.values["collection"]
    events = bpod.only(job.files(EVENTS), folder, "_iblrig_encoderEvents.raw.ssv")
    positions = bpod.only(job.files(POSITIONS), folder, "_iblrig_encoderPositions.raw.ssv")
    trace = wheel_trace.read_wheel(trials, events, positions)
    moves = wheel_trace.find_moves(trace)
    clock = daq.bpod_clock(trials, daq.of_job(job)) or np.asarray
    job.save(TIMESTAMPS, clock(trace.times))
    job.save(POSITION, trace.position)
    job.save(INTERVALS, clock(moves.intervals))
    job.save(AMPLITUDE, moves.peak_amplitude)
    job.save(FASTEST, clock(moves.peak_velocity_times))
    whole = float(np.mean((np.abs(np.diff(trace.position)) < 1.5 * wheel_trace.STEP) & (np.diff(trace.times) > 0)))
    job.qc("wheel_integrity", round(whole, 4), "PASS" if whole >= 0.99 else "WARNING" if whole >= 0.9 else "FAIL")
    job.qc("lost_records", trace.dropped, "PASS" if trace.dropped == 0 else "WARNING")
    job.qc("n_movements", len(moves.intervals), "PASS" if len(moves.intervals) else "WARNING")
    job.qc("clock", "Bpod" if clock is np.asarray else "DAQ")
    figure = behaviour_figures.wheel(trace, moves, title=f"{job.device}: wheel")
    job.figure("wheel", figure, "Position of the wheel with its movements, their sizes and durations")
