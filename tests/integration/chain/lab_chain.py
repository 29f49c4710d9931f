"""A lab's tasks for the flow's tests: a chain on each probe, ruled by a note among its raw data; quick, but real attempts."""

import os
import signal
import time
from pathlib import Path

import psutil

from ranvier import Again, Input, Job, Output, Resources, Retries, task

SMALL = Resources(cpu=1, memory_gb=0.1, timeout_s=60)


@task(
    version="1",
    per="probe",
    inputs=[Input("{collection}/note.txt")],
    outputs=[Output("alf/{probe}/marks.times.npy", at_least=1)],
    resources=SMALL,
    retries=Retries(wait_s=1, on_memory={"size": 0.5, "memory_gb": 2}),
)
def mark(job: Job, size: int = 100) -> None:
    """Does what the note says: ``broken`` fails, ``sleep 3`` takes three seconds, ``await FILE`` waits for it, and so on."""
    note = job.input().read_text().strip()
    job.log.info("the note says %s", note)
    if note == "broken":
        raise ValueError("the note says broken")
    if note == "later":
        raise Again("the note says later", wait_s=8)
    if note == "large" and size > 30:
        raise MemoryError(f"{size} is too much")
    if note == "deadly":
        worker = next(each for each in psutil.Process().parents() if any("dask_worker" in word for word in each.cmdline()))
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(60)
    if note.startswith("sleep"):
        time.sleep(float(note.split()[1]))
    while note.startswith("await") and not Path(note.split()[1]).exists():
        time.sleep(0.1)
    if note == "poor":
        job.qc("noise", 9.0, "FAIL")
    if note != "empty":
        job.save("alf/{probe}/marks.times.npy", [1.0, 3.0 if note == "otherwise" else 2.0])


@task(
    version="1",
    per="probe",
    inputs=[Input("alf/{probe}/marks.times.npy", qc="WARNING")],
    outputs=[Output("alf/{probe}/marks.rates.npy")],
    resources=SMALL,
)
def rate(job: Job) -> None:
    """Reads what `mark` wrote."""
    job.save("alf/{probe}/marks.rates.npy", [0.5])


@task(version="1", inputs=[Input("alf/*/marks.rates.npy")], outputs=[Output("alf/marks.summary.npy")], resources=SMALL)
def gather(job: Job) -> None:
    """Reads what `rate` wrote for every probe."""
    job.save("alf/marks.summary.npy", [float(len(job.files()))])


@task(
    version="1",
    per="probe",
    inputs=[Input("{collection}/note.txt")],
    outputs=[Output("alf/{probe}/giant.times.npy")],
    resources=Resources(cpu=512, memory_gb=0.1),
)
def giant(job: Job) -> None:
    """Needs more cores than any test machine has."""
    job.save("alf/{probe}/giant.times.npy", [1.0])
