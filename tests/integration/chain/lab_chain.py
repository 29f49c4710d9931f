"""A lab's tasks for the flow's tests: a chain on each probe, ruled by a note among its raw data; quick, but real attempts."""

import time

from ranvier import Input, Job, Output, Resources, task

SMALL = Resources(cpu=1, memory_gb=0.1, timeout_s=60)


@task(
    version="1",
    per="probe",
    inputs=[Input("{collection}/note.txt")],
    outputs=[Output("alf/{probe}/marks.times.npy", at_least=1)],
    resources=SMALL,
)
def mark(job: Job) -> None:
    """Does what the note says: ``broken`` fails, ``sleep 3`` takes three seconds, ``empty`` writes nothing."""
    note = job.input().read_text().strip()
    job.log.info("the note says %s", note)
    if note == "broken":
        raise ValueError("the note says broken")
    if note.startswith("sleep"):
        time.sleep(float(note.split()[1]))
    if note != "empty":
        job.save("alf/{probe}/marks.times.npy", [1.0, 2.0])


@task(
    version="1",
    per="probe",
    inputs=[Input("alf/{probe}/marks.times.npy")],
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
