"""The ephys tasks on simulated probes, called as the attempt's child process calls them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from one.alf.io import load_object
from one.alf.spec import is_valid

from ranvier.contract import judge
from ranvier.declare import Task, fill
from ranvier.job import Job
from ranvier.session import Session
from ranvier.simulate import SimulatedSession, score, simulate_session
from ranvier.states import Status
from ranvier.tasks.ephys.raw_ephys_qc import raw_ephys_qc
from ranvier.tasks.ephys.raw_registration import raw_registration
from ranvier.tasks.ephys.recording import RecordingError
from ranvier.tasks.ephys.sorters import SorterError
from ranvier.tasks.ephys.spike_sorting import spike_sorting
from ranvier.tasks.ephys.unit_metrics import unit_metrics

RunTask = Callable[..., Job]


@pytest.fixture(scope="session")
def run_ephys(tmp_path_factory: pytest.TempPathFactory) -> RunTask:
    """Call a task on a probe; what it wrote stays in the job's staging folder."""
    root = tmp_path_factory.mktemp("jobs")

    def run(task: Task, session: Path, probe: str = "probe00", **parameters: object) -> Job:
        complete = task.validated(parameters)
        values = {"probe": probe, "collection": f"raw_ephys_data/{probe}", **complete}
        find = Session.parse(session).find
        job = Job(
            session_path=session,
            device=probe,
            description={"collection": values["collection"]},
            inputs={item.pattern: find(fill(item.pattern, values)) for item in task.inputs},
            outputs=[fill(item.pattern, values) for item in task.outputs],
            parameters=complete,
            values=values,
            scratch=Path(tempfile.mkdtemp(dir=root)),
            staging=Path(tempfile.mkdtemp(dir=root)),
            cpu=2,
        )
        task(job, **complete)
        return job

    return run


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSession:
    """A probe that is quick to work on, too small for motion."""
    root = tmp_path_factory.mktemp("small") / "lab" / "Subjects"
    return simulate_session(root, duration_s=6, n_channels=32, n_units=6, seed=3)


def damaged(tmp_path: Path, damage: str, **options: object) -> Path:
    options = dict(duration_s=4.0, n_channels=32, n_units=4) | options
    return simulate_session(tmp_path / "lab" / "Subjects", damage=damage, **options).path


def verdict(task: Task, job: Job) -> Status:
    outputs = [replace(item, pattern=fill(item.pattern, job.values)) for item in task.outputs]
    return judge(Session.parse(job.session_path), outputs, job.staging).verdict


def written(job: Job) -> set[str]:
    return {path.relative_to(job.staging).as_posix() for path in job.staging.rglob("*") if path.is_file()}


def test_registration_vouches_for_whole_files(run_ephys: RunTask, small: SimulatedSession) -> None:
    job = run_ephys(raw_registration, small.path)
    assert written(job) == set()
    assert verdict(raw_registration, job) is Status.COMPLETE
    assert job.checks["checksum"] == {"value": "as recorded", "outcome": "PASS"}
    assert job.checks["duration_s"]["value"] == 6
    assert job.checks["n_channels"]["value"] == 32


@pytest.mark.parametrize(
    ("damage", "words"),
    [("missing_meta", r"has no \.ap\.meta"), ("malformed_meta", "is malformed"), ("truncated_bin", "bytes are missing")],
)
def test_registration_refuses_what_is_not_whole(run_ephys: RunTask, tmp_path: Path, damage: str, words: str) -> None:
    session = damaged(tmp_path, damage)
    with pytest.raises(RecordingError, match=words) as caught:
        run_ephys(raw_registration, session)
    assert "probe00" in str(caught.value)


def test_a_flipped_bit_is_a_failed_check(run_ephys: RunTask, tmp_path: Path) -> None:
    session = damaged(tmp_path, "dead_channels")
    binary = next((session / "raw_ephys_data/probe00").glob("*.ap.bin"))
    content = bytearray(binary.read_bytes())
    content[1000] ^= 1
    binary.write_bytes(content)
    assert run_ephys(raw_registration, session).checks["checksum"]["outcome"] == "FAIL"
    assert "checksum" not in run_ephys(raw_registration, session, verify_checksum=False).checks


def test_raw_quality_has_ibl_names_shapes_and_units(run_ephys: RunTask, small: SimulatedSession) -> None:
    job = run_ephys(raw_ephys_qc, small.path)
    assert verdict(raw_ephys_qc, job) is Status.COMPLETE
    folder = job.staging / "raw_ephys_data" / "probe00"
    rms, labels = (np.load(folder / f"_iblqc_ephysChannels.{name}.npy") for name in ("apRMS", "labels"))
    freqs, power = (np.load(folder / f"_iblqc_ephysSpectralDensityAP.{name}.npy") for name in ("freqs", "power"))
    assert (rms.shape, labels.shape, power.shape) == ((2, 32), (32,), (513, 32))
    assert freqs[-1] == 15_000
    assert np.all((rms > 3e-6) & (rms < 3e-5))
    assert np.all(rms[1] < rms[0] * 1.1)
    np.testing.assert_allclose(np.trapezoid(power, freqs, axis=0), np.square(rms[1]), rtol=0.3)
    assert not labels.any()
    assert {check: job.checks[check]["outcome"] for check in ("signal", "rms_destriped_uv", "bad_channels")} == {
        "signal": "PASS",
        "rms_destriped_uv": "PASS",
        "bad_channels": "PASS",
    }
    assert "figures/raw_quality.png" in written(job)


def test_dead_channels_are_labelled(run_ephys: RunTask, tmp_path: Path) -> None:
    job = run_ephys(raw_ephys_qc, damaged(tmp_path, "dead_channels"))
    labels = np.load(job.staging / "raw_ephys_data/probe00/_iblqc_ephysChannels.labels.npy")
    assert np.flatnonzero(labels == 1).tolist() == [7, 23]
    assert job.checks["bad_channels"] == {"value": 2, "outcome": "PASS"}


def test_silent_probe_is_critical_and_gives_no_sorting(run_ephys: RunTask, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = damaged(tmp_path, "silent_probe")
    quality = run_ephys(raw_ephys_qc, session)
    assert quality.checks["signal"]["outcome"] == "CRITICAL"
    assert "raw_ephys_data/probe00/_iblqc_ephysChannels.labels.npy" in written(quality)
    sorting = run_ephys(spike_sorting, session)
    assert verdict(spike_sorting, sorting) is Status.EMPTY
    assert sorting.checks["n_units"] == {"value": 0, "outcome": "CRITICAL"}
    assert "probe00 is silent" in caplog.text


def test_unknown_sorter_and_parameter_are_refused_in_words(run_ephys: RunTask, small: SimulatedSession) -> None:
    with pytest.raises(SorterError, match=r"'mindreader' is not installed \(installed are .*spykingcircus2"):
        run_ephys(spike_sorting, small.path, sorter="mindreader")
    with pytest.raises(SorterError, match="simple has no parameter telepathy"):
        run_ephys(spike_sorting, small.path, sorter="simple", sorter_parameters={"telepathy": 1})


@pytest.fixture(scope="module")
def sorted_job(run_ephys: RunTask, small: SimulatedSession) -> Job:
    return run_ephys(spike_sorting, small.path, sorter="simple")


def test_sorting_is_consistent_alf(sorted_job: Job, small: SimulatedSession) -> None:
    assert verdict(spike_sorting, sorted_job) is Status.COMPLETE
    folder = sorted_job.staging / "alf" / "probe00" / "simple"
    assert all(is_valid(path.name) for path in folder.iterdir())
    spikes, clusters, templates, channels = (load_object(folder, name) for name in ("spikes", "clusters", "templates", "channels"))
    n_units = clusters["channels"].size
    assert n_units > 0
    assert np.all(np.diff(spikes["times"]) >= 0)
    np.testing.assert_allclose(spikes["times"], spikes["samples"] / 30_000)
    assert set(spikes["clusters"]) == set(range(n_units))
    assert np.all((spikes["amps"] > 0) & (spikes["amps"] < 1e-3))
    assert np.all((spikes["depths"] >= 0) & (spikes["depths"] <= channels["localCoordinates"][:, 1].max()))
    assert clusters["waveforms"].shape == templates["waveforms"].shape == (n_units, 90, 32)
    np.testing.assert_array_equal(clusters["waveformsChannels"][:, 0], clusters["channels"])
    peaks = np.ptp(clusters["waveforms"], axis=1)
    np.testing.assert_array_equal(peaks.argmax(axis=1), 0)
    np.testing.assert_allclose(templates["amps"], peaks[:, 0])
    sites = channels["localCoordinates"][clusters["channels"]][:, 1]
    assert np.all(np.abs(sites - clusters["depths"]) < 60)
    np.testing.assert_array_equal(channels["rawInd"], np.arange(32))
    uuids = pd.read_csv(folder / "clusters.uuids.csv")["uuids"]
    assert uuids.nunique() == n_units
    assert not (folder / "drift.um.npy").exists()


def test_metrics_are_of_every_unit_of_every_sorting(run_ephys: RunTask, sorted_job: Job, small: SimulatedSession) -> None:
    folder = small.path / "alf" / "probe00"
    folder.parent.mkdir(exist_ok=True)
    folder.symlink_to(sorted_job.staging / "alf" / "probe00")
    try:
        job = run_ephys(unit_metrics, small.path)
        assert verdict(unit_metrics, job) is Status.COMPLETE
        table = pd.read_parquet(job.staging / "alf/probe00/simple/clusters.metrics.pqt")
        clusters = np.load(folder / "simple" / "spikes.clusters.npy")
    finally:
        folder.unlink()
    np.testing.assert_array_equal(table["cluster_id"], np.unique(clusters))
    np.testing.assert_array_equal(table["spike_count"], np.bincount(clusters))
    np.testing.assert_allclose(table["firing_rate"], table["spike_count"] / 6)
    assert table["amp_median"].between(1e-5, 1e-3).all()
    assert (table["snr"] > 1).all()
    assert table["label"].isin([0, 1 / 3, 2 / 3, 1]).all()
    assert job.checks["n_units_pass"]["value"] == (table["label"] == 1).sum()
    assert "figures/raster_simple.png" in written(job)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:You are trying to estimate motion with `non-rigid` on a probe that is too short:UserWarning")
@pytest.mark.parametrize("drift", [False, True], ids=["still", "drifting"])
def test_true_units_are_found(run_ephys: RunTask, tmp_path: Path, drift: bool) -> None:
    session = simulate_session(tmp_path / "lab" / "Subjects", duration_s=60, n_channels=64, n_units=20, drift=drift)
    job = run_ephys(spike_sorting, session.path)
    (job.staging / "alf").rename(session.path / "alf")
    found = score(session.path)
    assert found.n_found >= 16, str(found)
    # SpykingCircus2 is not reproducible to the unit on several cores, and splits units that move: 25 clusters of 20 units were seen
    assert found.n_clusters <= (30 if drift else 24)
    times, moved = (np.load(session.path / "alf/probe00/spykingcircus2" / name) for name in ("drift.times.npy", "drift.um.npy"))
    truth = session.truth["probe00"]
    expected = np.interp(times, truth.drift_times, truth.drift_um)
    assert np.abs(moved - moved.mean() - (expected - expected.mean())[:, None]).max() < 5
    assert job.checks["drift_um"]["value"] == pytest.approx(40 if drift else 0, abs=5)
