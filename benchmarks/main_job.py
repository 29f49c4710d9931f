"""What Ranvier costs beside the work itself: ``python benchmarks/main_job.py [overhead] [latency] [trivial] [memory]``.

Every figure is a ratio, or two times, from one run on one machine:

overhead
    The whole pipeline of a simulated session against a bare script that calls the same functions on the same session with the same cores.
    The CPU time is the figure to go by; the wall time tells something only where nothing else is at work on the machine.
latency
    From the end of a copy to the first attempt's start, with the default services.
trivial
    Task instances that do nothing, through plan, Prefect, Dask, attempt and database, against plain Dask futures.
memory
    The most that all services take together, attempts included, while the demo's session is preprocessed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from system import arrive, cpu_used, finished, memory, services, when

from ranvier import demo
from ranvier.settings import Settings
from ranvier.simulate import simulate_session

_TRIVIAL = """
import time
from ranvier import Output, task

@task(version="1", per="protocol", outputs=[Output("alf/{protocol}/nothing.table.csv", register=False)])
def nothing(job):
    '''Does nothing but write one line.'''
    job.output("alf/{protocol}/nothing.table.csv").write_text("a\\n1\\n")
"""


def overhead(repeats: int, seconds: float) -> None:
    """Print the ratios of the pipeline's wall and CPU time to the bare script's."""
    recording = demo.RECORDING | {"duration_s": seconds}
    with tempfile.TemporaryDirectory(prefix="ranvier-template-") as folder, services() as (settings, database):
        template = simulate_session(Path(folder) / "lab" / "Subjects", "mouse", "2026-01-15", ready=False, **recording).path
        wall, cpu, everything = [], [], []
        for number in range(repeats):
            bare_wall, bare_cpu = _bare(template, Path(folder), settings)
            before = cpu_used(settings)
            session, arrived = arrive(template, settings, f"mouse_{number}")
            attempts = finished(settings, database, session)
            services_cpu = cpu_used(settings) - before
            first, last = min(when(each["started"]) for each in attempts), max(when(each["finished"]) for each in attempts)
            wall.append((last - first) / bare_wall)
            cpu.append(sum(each["cpu_s"] for each in attempts) / bare_cpu)
            everything.append(services_cpu / bare_cpu)
            took = ", ".join(f"{each['log_path'].rsplit('/', 1)[-1].split('.')[0]} {each['cpu_s']:.1f}" for each in attempts)
            print(f"  bare {bare_wall:.0f} s, {bare_cpu:.1f} CPU-s; pipeline {last - first:.0f} s, copy to end {last - arrived:.0f} s")
            print(
                f"  attempts {sum(each['cpu_s'] for each in attempts):.1f} CPU-s ({took}), with all services {services_cpu:.1f} CPU-s",
                flush=True,
            )
    print(
        f"overhead of {seconds:g} s: pipeline / bare script: CPU of the attempts {statistics.median(cpu):.3f}, with all services "
        f"{statistics.median(everything):.3f}; wall {statistics.median(wall):.3f} (median of {repeats})"
    )


def _bare(template: Path, folder: Path, settings: Settings) -> tuple[float, float]:
    """Wall and CPU seconds of a bare script on a copy of the session."""
    session = folder / "bare" / "lab" / "Subjects" / "mouse" / "2026-01-15" / "001"
    shutil.rmtree(session, ignore_errors=True)
    shutil.copytree(template, session)
    environment = {**os.environ, "RANVIER_HOME": str(settings.home), "NUMBA_CACHE_DIR": str(settings.work_folder / "numba")}
    started, used = time.monotonic(), os.times()
    subprocess.run([sys.executable, Path(__file__).with_name("bare_script.py"), session], env=environment, check=True, capture_output=True)
    after = os.times()
    return time.monotonic() - started, after.children_user + after.children_system - used.children_user - used.children_system


def latency(repeats: int) -> None:
    """Print the seconds from a copy's end to the first attempt's start."""
    with tempfile.TemporaryDirectory(prefix="ranvier-template-") as folder, services(_TRIVIAL) as (settings, database):
        template = _protocols(Path(folder), 1)
        waits = []
        for number in range(repeats):
            session, arrived = arrive(template, settings, f"mouse_{number}")
            waits.append(min(when(each["started"]) for each in finished(settings, database, session)) - arrived)
    middle, spread = statistics.median(waits), f"{min(waits):.1f} to {max(waits):.1f}"
    print(f"latency: copy finished to first attempt: median {middle:.1f} s, {spread} ({repeats} sessions)")


def trivial(count: int) -> None:
    """Print the ratio and the seconds a task instance beside plain Dask futures."""
    import distributed

    with tempfile.TemporaryDirectory(prefix="ranvier-template-") as folder, services(_TRIVIAL) as (settings, database):
        with distributed.Client(settings.cluster_address) as client:
            started = time.monotonic()
            client.gather([client.submit(_write, str(Path(folder) / f"{number}.csv"), pure=False) for number in range(count)])
            plain = time.monotonic() - started
        session, _ = arrive(_protocols(Path(folder), count), settings, "mouse")
        attempts = finished(settings, database, session)
        ours = max(when(each["finished"]) for each in attempts) - min(when(each["started"]) for each in attempts)
    print(f"trivial: {count} instances: {ours / count:.3f} s each, plain Dask futures {plain / count:.4f} s each, ratio {ours / plain:.0f}")


def peak_memory() -> None:
    """Print the peak of the proportional set sizes of all services, looked at once a second."""
    with tempfile.TemporaryDirectory(prefix="ranvier-template-") as folder, services() as (settings, database):
        template = simulate_session(Path(folder) / "lab" / "Subjects", "mouse", "2026-01-15", ready=False, **demo.RECORDING).path
        idle, looks, ended = sum(memory(settings).values()), [0.0], threading.Event()

        def look() -> None:
            while not ended.wait(1):
                looks.append(sum(memory(settings).values()))

        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            try:
                finished(settings, database, arrive(template, settings, "mouse")[0])
            finally:
                ended.set()
            looking.result()
    print(f"memory: all services together {idle / 1e3:.2f} GB idle, {max(looks) / 1e3:.2f} GB at most during the demo's session")


def _write(path: str) -> None:
    Path(path).write_text("a\n1\n")


def _protocols(folder: Path, count: int) -> Path:
    session = folder / "lab" / "Subjects" / "mouse" / "2026-01-15" / "001"
    session.mkdir(parents=True)
    protocols = [{"nothing": {"collection": f"raw_task_data_{number:02d}"}} for number in range(count)]
    (session / "_ibl_experiment.description.yaml").write_text(yaml.safe_dump({"version": "1.0.0", "tasks": protocols}))
    return session


def main() -> None:
    """Run what is named on the command line, all of it by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["latency", "trivial", "overhead"], choices=["latency", "trivial", "overhead", "memory"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=demo.RECORDING["duration_s"], help="length of the recording of `overhead`")
    parser.add_argument("--count", type=int, default=50, help="task instances of `trivial`")
    chosen = parser.parse_args()
    for what in chosen.what:
        if what == "overhead":
            overhead(chosen.repeats, chosen.seconds)
        elif what == "latency":
            latency(chosen.repeats)
        elif what == "trivial":
            trivial(chosen.count)
        else:
            peak_memory()


if __name__ == "__main__":
    main()
