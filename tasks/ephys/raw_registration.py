"""Vouch for a probe's raw files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.ephys.recording import AP_BINARY, AP_CHUNKS, AP_META, RawRecording, of_job

LF_FILES = "{collection}/*.lf.*"


@task(
    version="1.0.0",
    per="probe",
    inputs=[Input(AP_BINARY, required=False), Input(AP_META, required=False), Input(AP_CHUNKS, required=False)],
    outputs=[
        Output(AP_BINARY, in_place=True),
        Output(AP_META, in_place=True),
        Output(AP_CHUNKS, in_place=True, required=False),
        Output(LF_FILES, in_place=True, required=False),
    ],
    resources=Resources(cpu=1, memory_gb=1, timeout_s=7200),
    packages=("probeinterface",),
    priority=90,
)
def raw_registration(job: Job, verify_checksum: bool = True) -> None:
    """Check that a probe's raw files are whole and fit each other, and register them.

    Parameters
    ----------
    job
        The job.
    verify_checksum
        Whether to compare the binary with the SHA-1 that SpikeGLX wrote into the meta. A file that differs was changed after it was
        recorded: a FAIL of the quality control, which does not hold up what comes after.

    Raises
    ------
    RecordingError
        If a file is missing or doubled, the meta malformed, the probe unknown, or the binary shorter or longer than the meta says.
    """
    raw = of_job(job)
    job.log.info("%s: %d channels at %g Hz for %.1f s", raw.binary.name, raw.n_channels, raw.sampling_rate, raw.duration_s)
    job.qc("probe_model", raw.probe_model)
    job.qc("serial", raw.serial)
    job.qc("n_channels", raw.n_channels)
    job.qc("sampling_rate_hz", raw.sampling_rate)
    job.qc("duration_s", round(raw.duration_s, 3))
    if verify_checksum and raw.binary.suffix == ".bin":
        job.progress(0.1, "comparing the checksum")
        check_checksum(job, raw)


def check_checksum(job: Job, raw: RawRecording) -> None:
    """Compare the binary's SHA-1 with the meta's; NOT_SET where the meta has none."""
    stated = raw.fields.get("fileSHA1", "").strip().upper()
    if len(stated) != 40:
        job.qc("checksum", "the meta has none")
    elif sha1(raw.binary) == stated:
        job.qc("checksum", "as recorded", "PASS")
    else:
        job.log.warning("%s is not what SpikeGLX wrote: its SHA-1 differs; copy it from the rig again if it is still there", raw.binary)
        job.qc("checksum", "differs from the recording", "FAIL")


def sha1(path: Path) -> str:
    """SHA-1 of a file, upper case hexadecimal as SpikeGLX writes it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest().upper()
