"""How good the sorted units are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.ephys.recording import AP_BINARY, AP_CHUNKS, AP_META, of_job, open_recording, use_cores

if TYPE_CHECKING:
    import pandas as pd

SPIKES = "alf/{probe}/*/spikes.*.npy"
CLUSTERS = "alf/{probe}/*/clusters.*.npy"
TEMPLATES = "alf/{probe}/*/templates.*.npy"
CHANNELS = "alf/{probe}/*/channels.*.npy"
METRICS = "alf/{probe}/*/clusters.metrics.pqt"
#: Units per channel below which a recording has little to give: RIGOR, see `raw_ephys_qc`.
MIN_YIELD = 0.1


@task(
    version="1.0.0",
    per="probe",
    inputs=[
        Input(SPIKES),
        Input(CLUSTERS),
        Input(TEMPLATES),
        Input(CHANNELS),
        Input(AP_BINARY),
        Input(AP_META),
        Input(AP_CHUNKS, required=False),
    ],
    outputs=[Output(METRICS, at_least=1)],
    resources=Resources(cpu=1, memory_gb=4, timeout_s=3600),
    packages=("spikeinterface",),
    priority=50,
)
def unit_metrics(job: Job, seed: int = 0) -> None:
    """Quality metrics of the units of every sorting of a probe, and which of them pass.

    Parameters
    ----------
    job
        The job.
    seed
        Of the choice of chunks for the noise levels.

    Notes
    -----
    Reads the sorting's ALF files, and a few seconds of the raw traces for the noise level: other criteria cost no new sorting.
    """
    from ranvier.tasks.ephys import figures, quality

    use_cores(job.cpu)
    raw = of_job(job)
    recording = open_recording(raw, job.scratch)
    folders = sorted({path.parent for path in job.files(SPIKES)})
    for number, folder in enumerate(folders):
        job.progress(0.1 + 0.8 * number / len(folders), f"measuring the units of {folder.name}")
        sorted_units = quality.load_units(folder)
        table = quality.measure(sorted_units, recording, seed=seed)
        job.save(f"alf/{job.device}/{folder.name}/clusters.metrics.pqt", table)
        note_checks(job, table, len(sorted_units["channels.rawInd"]), "" if len(folders) == 1 else f"{folder.name}_")
        figure = figures.raster(sorted_units, table, raw.duration_s, title=f"{job.device}: {folder.name}")
        job.figure(f"raster_{folder.name}", figure, "Every spike by depth and time, and the units that pass")


def note_checks(job: Job, table: pd.DataFrame, n_channels: int, prefix: str) -> None:
    """Turn the metrics into quality checks."""
    passing = int((table["label"] == 1).sum())
    job.qc(f"{prefix}n_units", len(table))
    job.qc(f"{prefix}n_units_pass", passing)
    job.qc(f"{prefix}yield_per_channel", round(passing / n_channels, 3), "PASS" if passing / n_channels >= MIN_YIELD else "WARNING")
    job.qc(f"{prefix}median_amplitude_uv", round(float(np.median(table["amp_median"])) * 1e6, 1))
    job.qc(f"{prefix}median_firing_rate_hz", round(float(np.median(table["firing_rate"])), 2))
    job.log.info("%d of %d units pass", passing, len(table))
