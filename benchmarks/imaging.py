"""What suite2p finds of the truth as a task, and what that costs beside a bare script: ``python benchmarks/imaging.py --help``.

The bare script is what somebody would write: suite2p's ``run_s2p`` on the folder with the same settings. Task and script run in turn, each
in a process of its own, so often as is asked; the ratio is that of the smallest CPU times. The task does more than the script: it checks
the files, reads the frame times, writes ALF, a zip and figures, and measures the quality.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from alone import run

from ranvier.process import thread_environment
from ranvier.session import Session
from ranvier.simulate import Movie, score_cells, simulate_session
from ranvier.tasks.imaging.raw_imaging_compression import raw_imaging_compression
from ranvier.tasks.imaging.raw_imaging_registration import raw_imaging_registration
from ranvier.tasks.imaging.suite2p import suite2p

FOV = "FOV_00"
BARE = """
import resource, sys, yaml, suite2p, torch
note, folder, out = sys.argv[1:]
torch.set_num_threads(1)
settings = yaml.safe_load(open(note))["settings"]
settings.pop("date_proc", None)
db = dict(suite2p.default_db(), data_path=[folder], save_path0=out, nplanes=1, nchannels=1)
suite2p.run_s2p(db=db, settings=settings)
used = resource.getrusage(resource.RUSAGE_SELF)
print("CPU", used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6)
"""


def run_bare(session: Path, folder: Path) -> tuple[float, float]:
    """CPU seconds and peak GB of suite2p alone on the same movie with the same settings, on one core."""
    note, out = session / "alf" / FOV / "_ranvier_suite2p.settings.yaml", folder / "bare"
    shutil.rmtree(out, ignore_errors=True)
    environment = os.environ | thread_environment(1, ()) | {"HOME": str(folder)}
    command = [sys.executable, "-c", BARE, str(note), str(session / "raw_imaging_data_00"), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=folder)
    _, cpu, peak = next(line for line in done.stdout.splitlines() if line.startswith("CPU")).split()
    return float(cpu), float(peak)


def main() -> None:
    """Simulate a field of view, run the tasks and the bare script, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--still", action="store_true", help="no drift")
    parser.add_argument("--times", type=int, default=2, help="runs of task and script, in turn")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ranvier-benchmark-"))
    movie = Movie(n_frames=wanted.frames, shape=(wanted.pixels, wanted.pixels), n_cells=wanted.cells, drift=not wanted.still)
    simulated = simulate_session(folder / "lab" / "Subjects", probes=(), fovs=(FOV,), movie=movie, seed=wanted.seed)
    session = Session.parse(simulated.path)
    print(f"{wanted.frames} frames of {wanted.pixels} x {wanted.pixels} px, {wanted.cells} cells\n{'':26} {'CPU s':>8} {'peak GB':>8}")
    costs: dict[str, list[float]] = {}
    for task in (raw_imaging_registration, raw_imaging_compression):
        used = run(task, session, FOV, folder / "log.txt", cpu=1).usage
        print(f"{task.name:26} {used.cpu_s:8.1f} {used.peak_memory_mb / 1e3:8.2f}", flush=True)
    for _ in range(wanted.times):
        used = run(suite2p, session, FOV, folder / "log.txt", cpu=1).usage
        costs.setdefault("suite2p, the task", []).append(used.cpu_s)
        print(f"{'suite2p, the task':26} {used.cpu_s:8.1f} {used.peak_memory_mb / 1e3:8.2f}", flush=True)
        cpu, peak = run_bare(simulated.path, folder)
        costs.setdefault("suite2p, bare", []).append(cpu)
        print(f"{'suite2p, bare':26} {cpu:8.1f} {peak:8.2f}", flush=True)
    print(f"ratio {min(costs['suite2p, the task']) / min(costs['suite2p, bare']):.3f}")
    print(score_cells(simulated.path, FOV))
    checks = yaml.safe_load((simulated.path / "alf" / FOV / "_ranvier_suite2p.settings.yaml").read_text())
    print(f"suite2p {checks['suite2p']}, frame times from {checks['frame_times']}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
