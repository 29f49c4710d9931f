"""The simulator: its files are what SpikeGLX writes, its truth is true, its damages are what they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ranvier import acquisition
from ranvier.errors import RanvierError
from ranvier.session import READY_FLAG, Session
from ranvier.simulate import DAMAGES, SimulatedSession, SimulationError, face, load_truth, score, simulate_session
from ranvier.simulate.mouse import make_behaviour

CHANNELS, SECONDS, UNITS, RATE = 16, 3.0, 4, 30_000


def simulate(root: Path, **options: object) -> SimulatedSession:
    return simulate_session(
        root / "lab" / "Subjects", "mouse_01", "2026-11-22", **dict(duration_s=SECONDS, n_channels=CHANNELS, n_units=UNITS) | options
    )


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSession:
    return simulate(tmp_path_factory.mktemp("simulated"))


@pytest.fixture
def files(simulated: SimulatedSession) -> tuple[Path, Path]:
    folder = simulated.path / "raw_ephys_data" / "probe00"
    return folder / "_spikeglx_ephysData_g0_t0.imec0.ap.bin", folder / "_spikeglx_ephysData_g0_t0.imec0.ap.meta"


def test_both_readers_see_the_same_microvolts(files: tuple[Path, Path]) -> None:
    import spikeglx
    from spikeinterface.extractors import read_spikeglx

    recording = read_spikeglx(files[0].parent, stream_id="imec0.ap")
    traces = recording.get_traces(return_in_uV=True)
    with spikeglx.Reader(files[0]) as reader:
        volts, _ = reader.read_samples(0, reader.ns)
        assert reader.shape == (SECONDS * RATE, CHANNELS + 1)
        assert reader.verify_hash()
    assert recording.get_num_channels() == CHANNELS
    np.testing.assert_allclose(traces, volts[:, :-1] * 1e6, atol=1e-3)
    assert 5 < np.median(traces.std(axis=0)) < 20


def test_probe_is_a_neuropixels_with_its_sampling_shifts(files: tuple[Path, Path]) -> None:
    from spikeinterface.extractors import read_spikeglx

    recording = read_spikeglx(files[0].parent, stream_id="imec0.ap")
    assert recording.get_probe().model_name == "NP1000"
    np.testing.assert_array_equal(recording.get_channel_locations()[:4], [[16, 0], [48, 0], [0, 20], [32, 20]])
    np.testing.assert_allclose(recording.get_property("inter_sample_shift")[:6], np.array([0, 0, 1, 1, 2, 2]) / 13)


def test_sync_signal_rises_every_second_on_the_probe_and_on_the_daq(files: tuple[Path, Path], simulated: SimulatedSession) -> None:
    import spikeglx

    daq = simulated.path / "raw_ephys_data" / "_spikeglx_ephysData_g0_t0.nidq.bin"
    for path, bit in ((files[0], 6), (daq, 3)):
        with spikeglx.Reader(path) as reader:
            word = reader.read_sync(slice(0, reader.ns))
        assert set(np.flatnonzero(word.any(axis=0))) == {bit}
        np.testing.assert_array_equal(np.flatnonzero(np.diff(word[:, bit].astype(int)) == 1) + 1, [RATE, 2 * RATE])


def test_true_spikes_are_in_the_traces_once_the_sampling_shifts_are_undone(files: tuple[Path, Path], simulated: SimulatedSession) -> None:
    from spikeinterface.extractors import read_spikeglx
    from spikeinterface.preprocessing import phase_shift

    recording = read_spikeglx(files[0].parent, stream_id="imec0.ap")
    truth = simulated.truth["probe00"]
    distances = np.linalg.norm(recording.get_channel_locations()[None] - truth.unit_positions[:, None], axis=2)
    biggest = {}
    for name, traces in (("raw", recording), ("shifted", phase_shift(recording))):
        microvolts = traces.get_traces(return_in_uV=True)
        means = [microvolts[truth.spike_samples[truth.spike_units == unit]].mean(axis=0) for unit in range(UNITS)]
        biggest[name] = np.array([means[unit][np.argsort(distances[unit])[:3]].min() for unit in range(UNITS)])
    assert np.all(biggest["shifted"] < -15)
    assert biggest["shifted"].sum() < biggest["raw"].sum()


def test_description_is_one_that_the_pipeline_reads_and_the_flag_is_there(simulated: SimulatedSession) -> None:
    found = acquisition.read(Session.parse(simulated.path))
    assert found.problems == []
    assert found.of("probe")["probe00"]["collection"] == "raw_ephys_data/probe00"
    assert (simulated.path / READY_FLAG).exists()


def test_truth_is_no_dataset(simulated: SimulatedSession) -> None:
    from one.alf.io import iter_datasets

    names = {path.as_posix() for path in iter_datasets(simulated.path)}
    assert not [name for name in names if "truth" in name]
    loaded = load_truth(simulated.path)
    np.testing.assert_array_equal(loaded.spike_samples, simulated.truth["probe00"].spike_samples)
    assert loaded.n_units == UNITS


def test_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path, files: tuple[Path, Path]) -> None:
    for number, seed, same in ((1, 0, True), (2, 1, False)):
        path = simulate(tmp_path, number=number, seed=seed, ready=False).path
        assert ((path / files[0].relative_to(files[0].parents[2])).read_bytes() == files[0].read_bytes()) is same
        assert not (path / READY_FLAG).exists()


def test_drift_is_forty_um_and_moves_the_spikes(tmp_path: Path) -> None:
    truth = simulate(tmp_path, drift=True, duration_s=5).truth["probe00"]
    assert np.ptp(truth.drift_um) == pytest.approx(40, abs=2)
    assert truth.drift_times[-1] == pytest.approx(4.8)


def test_a_session_that_is_there_is_left_alone(simulated: SimulatedSession) -> None:
    with pytest.raises(SimulationError, match="is there already"):
        simulate_session(simulated.path.parents[2], "mouse_01", "2026-11-22")


def test_progress_ends_at_one(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    simulate(tmp_path, probes=("probe00", "probe01"), progress=lambda *what: told.append(what))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {message.split()[0] for _, message in told} == {"probe00", "probe01"}


def test_one_probe_is_damaged_and_the_other_is_not(tmp_path: Path) -> None:
    path = simulate(tmp_path, probes=("probe00", "probe01"), damage={"probe01": "missing_meta"}).path / "raw_ephys_data"
    assert list((path / "probe00").glob("*.ap.meta"))
    assert not list((path / "probe01").glob("*.ap.meta"))
    assert list((path / "probe01").glob("*imec1.ap.bin"))


@pytest.mark.parametrize(("damage", "message"), [("rust", "unknown damage rust"), ({"probe07": "missing_meta"}, "no device probe07")])
def test_unknown_damage_is_refused_before_anything_is_written(tmp_path: Path, damage: object, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        simulate(tmp_path, damage=damage)
    assert not list(tmp_path.iterdir())


def test_session_damages(tmp_path: Path) -> None:
    wrong = Session.parse(simulate(tmp_path, damage="wrong_description").path)
    assert any("theremin" in problem for problem in acquisition.read(wrong).problems)
    missing = Session.parse(simulate(tmp_path, number=2, damage="missing_description").path)
    assert acquisition.read(missing).inferred
    assert "probe00" in acquisition.read(missing).of("probe")


def test_silent_and_dead_channels(tmp_path: Path) -> None:
    from spikeinterface.extractors import read_spikeglx

    levels = {}
    for number, damage in enumerate(("silent_probe", "dead_channels"), start=1):
        path = simulate(tmp_path, number=number, damage=damage).path
        levels[damage] = read_spikeglx(path / "raw_ephys_data/probe00", stream_id="imec0.ap").get_traces(return_in_uV=True).std(axis=0)
    assert np.all(levels["silent_probe"] < 2)
    assert np.flatnonzero(levels["dead_channels"] < 2).tolist() == [7]
    assert {"silent_probe", "dead_channels"} <= set(DAMAGES)


def write_sorting(session: Path, samples: np.ndarray, clusters: np.ndarray) -> None:
    folder = session / "alf" / "probe00" / "sorter"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "spikes.samples.npy", samples)
    np.save(folder / "spikes.clusters.npy", clusters)


def test_score_knows_a_perfect_sorting_from_a_poor_one(tmp_path: Path) -> None:
    session = simulate(tmp_path)
    truth = session.truth["probe00"]
    with pytest.raises(SimulationError, match="sort the spikes first"):
        score(session.path, sorter="sorter")
    write_sorting(session.path, truth.spike_samples, truth.spike_units + 10)
    perfect = score(session.path, sorter="sorter")
    assert (perfect.n_found, perfect.n_units, perfect.mean_accuracy) == (UNITS, UNITS, 1)
    assert perfect.units["cluster"].tolist() == [10, 11, 12, 13]
    kept = (truth.spike_units != 0) & ((truth.spike_units != 1) | (np.arange(truth.spike_units.size) % 4 != 0))
    write_sorting(session.path, truth.spike_samples[kept], truth.spike_units[kept])
    poor = score(session.path, sorter="sorter")
    assert poor.n_found == UNITS - 2
    assert poor.units["accuracy"][0] == 0
    assert poor.units["accuracy"][1] == pytest.approx(0.75, abs=0.2)


@pytest.mark.parametrize(("subject", "number"), [("../../x", 1), ("a b", 1), ("", 1), ("m", 99999)])
def test_a_subject_or_number_that_makes_no_session_path_is_refused(tmp_path, subject, number):
    with pytest.raises(RanvierError, match=r"session path|subject's folder"):
        simulate_session(tmp_path / "lab" / "Subjects", subject, "2026-01-15", number)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_filmed_mouse_is_where_its_keypoints_are(mirrored: bool) -> None:
    rng, did, names = np.random.default_rng(3), make_behaviour(30, 3), list(face.KEYPOINTS)
    look = face.make_look(rng, mirrored=mirrored)
    motion = face.make_motion(np.arange(0, 28, 1 / 30), did, rng)
    where = face.keypoints(look, motion)
    assert motion.licks.size == face.LICKS * did.correct.sum()
    tongue = np.isfinite(where[:, names.index("tongue_end_l"), 0])
    np.testing.assert_array_equal(tongue, motion.tongue >= face.OUT)
    assert 0.02 < tongue.mean() < 0.5
    for number in (0, int(np.flatnonzero(tongue)[0])):
        image = face.draw(look, motion, number)
        at = {name: tuple(np.round(place).astype(int)) for name, place in zip(names, where[number], strict=True) if np.isfinite(place[0])}
        grey = {name: float(image[y - 1 : y + 2, x - 1 : x + 2].mean()) for name, (x, y) in at.items()}
        (left, _), (right, _), (_, top), (_, bottom) = (at[f"pupil_{side}_r"] for side in ("left", "right", "top", "bottom"))
        assert left < right
        assert top < bottom
        assert image[(top + bottom) // 2, (left + right) // 2] < 40
        assert grey["paw_r"] > grey["paw_l"] + 5 > 150
        assert grey["nose_tip"] > 150
        if number:
            assert at["tongue_end_l"][0] < at["tongue_end_r"][0]
            inside = (2 * where[number, names.index("tongue_end_l")] + where[number, names.index("tongue_end_r")]) / 3
            mouth = look.at(np.array(face.MOUTH)) if not mirrored else [face.WIDTH - 1, 0] + look.at(np.array(face.MOUTH)) * [-1, 1]
            x, y = np.round((inside * 3 + mouth) / 4).astype(int)
            assert image[y, x] > 200
