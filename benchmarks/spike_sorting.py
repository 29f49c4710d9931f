"""What each ephys task costs, and what the sorting finds of the truth: ``python benchmarks/spike_sorting.py --help``.

Each task runs in a child process as an attempt runs it, its CPU seconds and its peak memory measured over the whole process group.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from alone import run

from ranvier.session import Session
from ranvier.simulate import score, simulate_session
from ranvier.tasks.ephys.raw_ephys_qc import raw_ephys_qc
from ranvier.tasks.ephys.raw_registration import raw_registration
from ranvier.tasks.ephys.spike_sorting import spike_sorting
from ranvier.tasks.ephys.unit_metrics import unit_metrics

PROBE = "probe00"


def main() -> None:
    """Simulate a session, run the tasks on it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drift", action="store_true")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ranvier-benchmark-"))
    simulated = simulate_session(
        folder / "lab" / "Subjects", n_channels=wanted.channels, duration_s=wanted.seconds, seed=wanted.seed, drift=wanted.drift
    )
    print(f"{wanted.channels} channels x {wanted.seconds:g} s\n{'task':20} {'CPU s':>8} {'wall s':>8} {'peak GB':>8}")
    for task in (raw_registration, raw_ephys_qc, spike_sorting, unit_metrics):
        used = run(task, Session.parse(simulated.path), PROBE, folder / "log.txt").usage
        print(f"{task.name:20} {used.cpu_s:8.1f} {used.wall_s:8.1f} {used.peak_memory_mb / 1e3:8.2f}", flush=True)
    print(score(simulated.path, PROBE))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
