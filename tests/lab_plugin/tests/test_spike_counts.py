"""The lab's task, on numbers that are known and in a real attempt."""

import numpy as np
import pandas as pd
from lab_plugin.spike_counts import count, spike_counts

TIMES = np.array([0.5, 1.0, 10.5, 25.0])
CLUSTERS = np.array([3, 3, 3, 7])


def test_counts_by_unit_and_bin():
    counted = count(TIMES, CLUSTERS, bin_s=10.0)
    assert counted.values.tolist() == [[3, 0, 2], [3, 1, 1], [7, 2, 1]]


def test_a_real_attempt_counts_the_spikes_of_a_sorting(simulated_session, run_task):
    folder = simulated_session.path / "alf" / "probe00" / "mysorter"
    folder.mkdir(parents=True)
    np.save(folder / "spikes.times.npy", TIMES)
    np.save(folder / "spikes.clusters.npy", CLUSTERS)
    result = run_task(spike_counts, simulated_session, sorter="mysorter")
    assert result.status == "Complete", result.reason
    counted = pd.read_parquet(folder / "_lab_spikeCounts.table.pqt")
    assert counted.n_spikes.sum() == TIMES.size


def test_without_a_sorting_it_does_not_run(simulated_session, ranvier_home, registry):
    from ranvier.plan import plan_session

    registry.add(spike_counts)
    plan = plan_session(simulated_session, registry.values(), ranvier_home)
    assert "spike_counts[probe00]" in plan.left_out
