"""How many spikes each unit fired in each stretch of the session."""

import numpy as np
import pandas as pd

from ranvier import Input, Job, Output, Resources, task

SORTING = "alf/{probe}/{sorter}"
COUNTS = f"{SORTING}/_lab_spikeCounts.table.pqt"


@task(
    version="1.0.0",
    per="probe",
    inputs=[Input(f"{SORTING}/spikes.times.npy"), Input(f"{SORTING}/spikes.clusters.npy")],
    outputs=[Output(COUNTS, at_least=1)],
    resources=Resources(cpu=1, memory_gb=1, timeout_s=600),
    packages=("pandas",),
)
def spike_counts(job: Job, sorter: str = "spykingcircus2", bin_s: float = 10.0) -> None:
    """Count the spikes of each unit in bins of `bin_s` seconds."""
    times = np.load(job.input(f"{SORTING}/spikes.times.npy"))
    clusters = np.load(job.input(f"{SORTING}/spikes.clusters.npy"))
    counts = count(times, clusters, bin_s)
    job.log.info("%d spikes of %d units in %d bins of %g s", times.size, counts.cluster.nunique(), counts.bin.nunique(), bin_s)
    job.save(COUNTS, counts)
    job.qc("spikes_per_unit", times.size / max(counts.cluster.nunique(), 1))


def count(times: np.ndarray, clusters: np.ndarray, bin_s: float) -> pd.DataFrame:
    """Spike counts by unit and bin.

    Parameters
    ----------
    times
        Of the spikes, s, shape (n_spikes,).
    clusters
        Of the spikes, shape (n_spikes,).
    bin_s
        Length of a bin, s.

    Returns
    -------
    pandas.DataFrame
        Columns ``cluster``, ``bin`` and ``n_spikes``, a row for each unit and bin with any spikes.
    """
    spikes = pd.DataFrame({"cluster": clusters, "bin": (times // bin_s).astype(int)})
    return spikes.groupby(["cluster", "bin"]).size().rename("n_spikes").reset_index()
