"""The imaging tasks on simulated movies, called as the attempt's child process calls them."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
import yaml
from one.alf.io import load_object
from one.alf.spec import is_valid

from ranvier import acquisition
from ranvier.client import Database
from ranvier.contract import judge
from ranvier.declare import Task, fill
from ranvier.job import Job
from ranvier.session import Session
from ranvier.settings import Settings
from ranvier.simulate import Movie, SimulatedSession, score_cells, simulate_session
from ranvier.states import Status
from ranvier.tasks.imaging import raw_imaging_compression as compression
from ranvier.tasks.imaging.movie import ImagingError
from ranvier.tasks.imaging.raw_imaging_compression import raw_imaging_compression
from ranvier.tasks.imaging.raw_imaging_registration import raw_imaging_registration
from ranvier.tasks.imaging.suite2p import suite2p

tifffile = pytest.importorskip("tifffile", reason="simulated movies need tifffile: pip install 'ranvier[imaging]'")
without_suite2p = pytest.mark.skipif(
    not (find_spec("suite2p") and find_spec("sparse")), reason="suite2p is not installed: pip install 'ranvier[imaging]'"
)


def needs_suite2p(test: Callable[..., None]) -> Callable[..., None]:
    """A heavy test, for which `make test-heavy` installs suite2p."""
    return pytest.mark.heavy(without_suite2p(test))


RunTask = Callable[..., Job]
SMALL = Movie(n_frames=120, n_cells=6, shape=(64, 64))


@pytest.fixture(scope="session")
def run_imaging(tmp_path_factory: pytest.TempPathFactory) -> RunTask:
    """Call a task on a field of view; what it wrote stays in the job's staging folder."""
    root = tmp_path_factory.mktemp("jobs")

    def run(task: Task, session: Path, fov: str = "FOV_00", *, cpu: int = 1, **parameters: object) -> Job:
        complete = task.validated(parameters)
        description = acquisition.read(Session.parse(session)).of("fov")[fov]
        values = {"fov": fov, "collection": description["collection"], **complete}
        find = Session.parse(session).find
        job = Job(
            session_path=session,
            device=fov,
            description=description,
            inputs={item.pattern: find(fill(item.pattern, values)) for item in task.inputs},
            outputs=[fill(item.pattern, values) for item in task.outputs],
            parameters=complete,
            values=values,
            scratch=Path(tempfile.mkdtemp(dir=root)),
            staging=Path(tempfile.mkdtemp(dir=root)),
            cpu=cpu,
        )
        task(job, **complete)
        return job

    return run


def record(tmp_path: Path, movie: Movie = SMALL, **options: object) -> SimulatedSession:
    return simulate_session(tmp_path / "lab" / "Subjects", probes=(), fovs=("FOV_00",), movie=movie, seed=1, **options)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSession:
    """A field of view that is quick to work on; nobody changes it."""
    return record(tmp_path_factory.mktemp("small"))


def verdict(task: Task, job: Job) -> Status:
    outputs = [replace(item, pattern=fill(item.pattern, job.values)) for item in task.outputs]
    return judge(Session.parse(job.session_path), outputs, job.staging).verdict


def describe(session: Path, **facts: object) -> None:
    """Change what the description says of the field of view; None takes it out."""
    path = session / acquisition.DESCRIPTION
    content = yaml.safe_load(path.read_text())
    entry = content["devices"]["two_photon"]["FOV_00"] | facts
    content["devices"]["two_photon"]["FOV_00"] = {name: value for name, value in entry.items() if value is not None}
    path.write_text(yaml.safe_dump(content))


def outcomes(job: Job, *checks: str) -> list[str]:
    return [job.checks[check]["outcome"] for check in checks]


def test_registration_vouches_for_whole_files(run_imaging: RunTask, small: SimulatedSession) -> None:
    job = run_imaging(raw_imaging_registration, small.path)
    assert verdict(raw_imaging_registration, job) is Status.COMPLETE
    assert job.checks["n_frames"]["value"] == 120
    assert job.checks["picture_px"]["value"] == "64 x 64"
    assert job.checks["frame_times"] == {"value": "sync", "outcome": "PASS"}
    assert outcomes(job, "signal", "extra_pulses", "frame_rate_hz", "gaps", "saturated_part") == ["PASS"] * 5


@pytest.mark.parametrize(
    ("damage", "movie", "words"),
    [
        ("truncated_tiff", SMALL, r"00001\.tif is cut off or damaged"),
        ("missing_frames", SMALL, "FOV_00 has 117 frames, but 120 frame pulses on sync channel 4"),
        ("missing_plane", replace(SMALL, n_planes=2), "120 frames, but 240 frame pulses .* exactly one of the 2 planes is missing"),
    ],
)
def test_registration_refuses_what_is_not_whole(run_imaging: RunTask, tmp_path: Path, damage: str, movie: Movie, words: str) -> None:
    session = record(tmp_path, movie, damage=damage).path
    with pytest.raises(ImagingError, match=words):
        run_imaging(raw_imaging_registration, session)


def test_a_movie_that_shows_nothing_is_critical_and_its_branch_ends(run_imaging: RunTask, tmp_path: Path) -> None:
    session = record(tmp_path, damage="constant_frames").path
    registration = run_imaging(raw_imaging_registration, session)
    assert verdict(raw_imaging_registration, registration) is Status.COMPLETE
    assert outcomes(registration, "signal") == ["CRITICAL"]
    if find_spec("torch"):
        with pytest.raises(ImagingError, match="shows nothing: all frames"):
            run_imaging(suite2p, session)


def test_a_missing_movie_and_missing_sync_signals_are_named(run_imaging: RunTask, tmp_path: Path) -> None:
    session = record(tmp_path).path
    moved = (session / "raw_sync_data").rename(tmp_path / "sync")
    with pytest.raises(ImagingError, match="sync channel 4, but one set of sync signals is needed, found none"):
        run_imaging(raw_imaging_registration, session)
    moved.rename(session / "raw_sync_data")
    for path in (session / "raw_imaging_data_00").glob("*.tif"):
        path.unlink()
    with pytest.raises(ImagingError, match="raw_imaging_data_00 has no movie"):
        run_imaging(raw_imaging_registration, session)


def test_one_pulse_of_a_frame_that_was_not_finished_is_let_pass(run_imaging: RunTask, tmp_path: Path) -> None:
    session = record(tmp_path).path
    folder = session / "raw_sync_data"
    for name, value in (("times", 99.0), ("polarities", 1), ("channels", 4)):
        path = folder / f"_ibl_sync.{name}.npy"
        content = np.load(path)
        np.save(path, np.append(content, np.array(value, dtype=content.dtype)))
    job = run_imaging(raw_imaging_registration, session)
    assert job.checks["extra_pulses"] == {"value": 1, "outcome": "WARNING"}


def test_headers_of_scanimage_tell_rate_planes_and_times(run_imaging: RunTask, tmp_path: Path) -> None:
    session = record(tmp_path, replace(SMALL, n_planes=2, scanimage=True)).path
    describe(session, sync_channel=None, planes=None, frame_rate=None, channels=None)
    job = run_imaging(raw_imaging_registration, session)
    assert [job.checks[name]["value"] for name in ("n_planes", "n_frames", "frame_times")] == [2, 240, "header"]
    assert job.checks["frame_rate_hz"]["value"] == pytest.approx(15, rel=0.01)
    describe(session, planes=3)
    with pytest.raises(ImagingError, match=r"has planes = 2, the description of the session has 3"):
        run_imaging(raw_imaging_registration, session)


def test_without_a_clock_the_frame_rate_gives_the_times_with_a_warning(run_imaging: RunTask, tmp_path: Path) -> None:
    session = record(tmp_path).path
    describe(session, sync_channel=None)
    assert outcomes(run_imaging(raw_imaging_registration, session), "frame_times") == ["WARNING"]
    describe(session, frame_rate=None)
    with pytest.raises(ImagingError, match="the frame rate is unknown"):
        run_imaging(raw_imaging_registration, session)


def test_an_archive_holds_the_files_as_they_are(run_imaging: RunTask, small: SimulatedSession, tmp_path: Path) -> None:
    job = run_imaging(raw_imaging_compression, small.path)
    assert verdict(raw_imaging_compression, job) is Status.COMPLETE
    archive = job.staging / "raw_imaging_data_00" / "imaging.frames.tar.bz2"
    with tarfile.open(archive) as content:
        content.extractall(tmp_path, filter="data")
    originals = sorted((small.path / "raw_imaging_data_00").glob("*.tif"))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [path.name for path in originals]
    assert all((tmp_path / path.name).read_bytes() == path.read_bytes() for path in originals)
    assert job.checks["compression_ratio"]["value"] > 1.3


def test_an_archive_that_differs_is_found(small: SimulatedSession, tmp_path: Path) -> None:
    files = sorted((small.path / "raw_imaging_data_00").glob("*.tif"))
    archive = tmp_path / "imaging.frames.tar.bz2"
    digests = compression.compress(files, archive, lambda part: None)
    with pytest.raises(ImagingError, match=r"does not hold .*\.tif as on disk"):
        compression.verify(archive, digests | {files[0].name: "0" * 64})
    archive.write_bytes(archive.read_bytes()[:-5000])
    with pytest.raises(ImagingError, match="cannot be read back"):
        compression.verify(archive, digests)


@pytest.fixture(scope="module")
def extracted(run_imaging: RunTask, tmp_path_factory: pytest.TempPathFactory) -> tuple[SimulatedSession, Job]:
    """A field of view of two planes and what suite2p made of it, with its outputs where the attempt would move them."""
    made = record(tmp_path_factory.mktemp("extracted"), Movie(n_frames=400, n_planes=2, n_cells=16, shape=(96, 96)))
    job = run_imaging(suite2p, made.path, min_cells=4)
    shutil.copytree(job.staging / "alf", made.path / "alf")
    return made, job


@needs_suite2p
def test_suite2p_writes_consistent_alf(extracted: tuple[SimulatedSession, Job]) -> None:
    import sparse

    made, job = extracted
    assert verdict(suite2p, job) is Status.COMPLETE
    folder = job.staging / "alf" / "FOV_00"
    assert all(is_valid(path.name) for path in folder.iterdir())
    mpci = load_object(folder, "mpci")
    n_rois = mpci["ROIActivityF"].shape[1]
    assert {len(values) for values in mpci.values()} == {400}
    np.testing.assert_array_equal(mpci["times"], made.cells["FOV_00"].times)
    positions, types, chances = (np.load(folder / f"mpciROIs.{name}.npy") for name in ("stackPos", "mpciROITypes", "cellClassifier"))
    assert set(positions[:, 2]) == {0, 1}
    assert set(types) <= {0, 1}
    assert np.all((chances >= 0) & (chances <= 1))
    masks, around = (sparse.load_npz(folder / f"mpciROIs.{name}.sparse_npz") for name in ("masks", "neuropilMasks"))
    assert masks.shape == around.shape == (n_rois, 96, 96)
    for number in range(n_rois):
        y, x = np.nonzero(masks[number].todense())
        assert np.hypot(y - positions[number, 0], x - positions[number, 1]).min() < 2
    assert not (masks.todense() > 0)[around.todense()].any()
    assert np.load(folder / "mpciMeanImage.images.npy").shape == (2, 96, 96)
    assert pd.read_csv(folder / "mpciROIs.uuids.csv")["uuids"].nunique() == n_rois
    assert len(pd.read_parquet(folder / "mpciROIs.metrics.pqt")) == n_rois
    assert pd.read_csv(folder / "mpciROITypes.names.tsv", sep="\t")["roi_labels"].tolist() == ["no cell", "cell"]
    assert {figure["name"] for figure in job.figures} == {"mean_image", "traces", "raster", "motion"}


@needs_suite2p
def test_suite2p_finds_the_true_cells_and_the_true_motion(extracted: tuple[SimulatedSession, Job]) -> None:
    made, job = extracted
    found = score_cells(made.path)
    assert found.recall >= 0.8, str(found)
    assert found.precision >= 0.9, str(found)
    assert found.trace_correlation > 0.7, str(found)
    assert outcomes(job, "n_cells", "motion_px", "bleached_part", "bad_frames_part").count("PASS") >= 3
    assert job.checks["correlation_with_mean"]["value"] > 0.5
    assert job.checks["crispness_gain"]["value"] > 1


@needs_suite2p
def test_suite2ps_own_folder_is_kept_without_frames(extracted: tuple[SimulatedSession, Job], tmp_path: Path) -> None:
    from ranvier.tasks.imaging.extraction import load_plane
    from ranvier.tasks.imaging.mpci_export import read_archive

    _, job = extracted
    archive = job.staging / "alf" / "FOV_00" / "_suite2p_ROIData.raw.zip"
    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
    for plane in ("plane0", "plane1"):
        assert {f"{plane}/{name}.npy" for name in ("stat", "F", "Fneu", "spks", "iscell", "ops", "db", "settings")} <= set(names)
    assert not any(name.endswith(".bin") for name in names)
    plane = load_plane(read_archive(archive, tmp_path).parent)
    assert plane.ops["fs"] == pytest.approx(15, rel=0.01)
    assert len(plane.stat) == len(plane.fluorescence) > 0


@needs_suite2p
def test_suite2ps_gui_loads_what_the_archive_holds(
    extracted: tuple[SimulatedSession, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the GUI's own functions for a plane and for a folder of planes; only what draws, and so wants a display, is left out."""
    import suite2p as package

    for name in ("qtpy", "qtpy.QtWidgets"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    gui = ModuleType("suite2p.gui")
    gui.__path__ = [str(Path(package.__file__).parent / "gui")]
    for name in ("utils", "masks", "views", "graphics", "traces", "classgui"):
        setattr(gui, name, None)
    monkeypatch.setitem(sys.modules, "suite2p.gui", gui)
    monkeypatch.delitem(sys.modules, "suite2p.gui.io", raising=False)
    load = importlib.import_module("suite2p.gui.io")
    del sys.modules["suite2p.gui.io"]
    with zipfile.ZipFile(extracted[1].staging / "alf" / "FOV_00" / "_suite2p_ROIData.raw.zip") as content:
        content.extractall(tmp_path)
    plane = load.load_files(str(tmp_path / "plane0" / "stat.npy"))
    assert plane is not None
    stat, ops, traces, *_ = plane
    assert len(stat) == len(traces) > 0
    assert ops["meanImg"].shape == (ops["Ly"], ops["Lx"]) == (96, 96)
    both = load.io.combined(str(tmp_path), save=False)
    assert len(both[0]) == sum(len(np.load(tmp_path / name / "F.npy")) for name in ("plane0", "plane1"))


@needs_suite2p
def test_wrong_settings_are_refused_before_the_work(run_imaging: RunTask, small: SimulatedSession) -> None:
    with pytest.raises(ImagingError, match=r"suite2p has no setting registration\.telepathy \(it has registration\."):
        run_imaging(suite2p, small.path, settings={"registration": {"telepathy": 1}})
    assert json.dumps(suite2p.schema())


@needs_suite2p
def test_settings_come_from_description_and_lab(extracted: tuple[SimulatedSession, Job]) -> None:
    _, job = extracted
    note = yaml.safe_load((job.staging / "alf" / "FOV_00" / "_ranvier_suite2p.settings.yaml").read_text())
    used = note["settings"]
    assert note["suite2p"] == "1.1.0"
    assert used["fs"] == pytest.approx(15.003, abs=0.01)
    assert (used["tau"], used["diameter"], used["torch_device"]) == (0.7, [10.0, 10.0], "cpu")
    assert used["registration"]["block_size"] == [48, 48]
    assert used["classification"]["use_builtin_classifier"]


def suite2p_folder(session: Path, n_rois: int = 12, n_volumes: int = 120) -> Path:
    """A folder as suite2p 0.11 left it and people share it: without pictures and settings."""
    random = np.random.default_rng(0)
    folder = session / "raw_imaging_data_00" / "suite2p" / "plane0"
    folder.mkdir(parents=True)
    stat = np.empty(n_rois, dtype=object)
    for number in range(n_rois):
        y, x = (axis.ravel() + 4 * number for axis in np.mgrid[:3, :3])
        around = np.ravel_multi_index((y + 5, x), (64, 64))
        stat[number] = {"ypix": y, "xpix": x, "lam": np.full(9, 0.1), "med": [int(y[4]), int(x[4])], "neuropil_mask": around}
    np.save(folder / "stat.npy", stat)
    np.save(folder / "iscell.npy", np.column_stack([np.arange(n_rois) % 3 > 0, random.uniform(size=n_rois)]).astype(float))
    for name in ("F", "Fneu", "spks"):
        np.save(folder / f"{name}.npy", random.uniform(100, 200, (n_rois, n_volumes)).astype(np.float32))
    return folder


def test_a_folder_that_suite2p_left_elsewhere_is_taken_as_it_is(run_imaging: RunTask, tmp_path: Path) -> None:
    session = record(tmp_path).path
    folder = suite2p_folder(session)
    for path in (session / "raw_imaging_data_00").glob("*.tif"):
        path.unlink()
    describe(session, shape=[64, 64])
    registration = run_imaging(raw_imaging_registration, session)
    assert verdict(raw_imaging_registration, registration) is Status.COMPLETE
    job = run_imaging(suite2p, session)
    outputs = [replace(item, pattern=fill(item.pattern, job.values)) for item in suite2p.outputs]
    judged = judge(Session.parse(session), outputs, job.staging)
    assert judged.verdict is Status.INCOMPLETE
    assert "mpciMeanImage.images.npy was not written" in judged.reason
    mpci = load_object(job.staging / "alf" / "FOV_00", "mpci")
    np.testing.assert_array_equal(mpci["ROIActivityF"], np.load(folder / "F.npy").T)
    assert len(mpci["times"]) == 120
    assert job.checks["n_cells"]["value"] == 8
    describe(session, shape=None)
    with pytest.raises(ImagingError, match=r"no ops\.npy that says how large a picture is"):
        run_imaging(suite2p, session)
    describe(session, shape=[20, 20])
    with pytest.raises(ImagingError, match="with pictures of 20 x 20 pixels neuropil lies"):
        run_imaging(suite2p, session)
    np.save(folder / "iscell.npy", np.zeros((3, 2)))
    with pytest.raises(ImagingError, match="do not belong together"):
        run_imaging(suite2p, session)
    (folder / "spks.npy").unlink()
    with pytest.raises(ImagingError, match=r"lacks spks\.npy"):
        run_imaging(suite2p, session)


def test_regions_none_of_which_is_a_cell_are_kept_and_said(run_imaging: RunTask, tmp_path: Path) -> None:
    session = record(tmp_path).path
    folder = suite2p_folder(session)
    np.save(folder / "iscell.npy", np.zeros((12, 2)))
    describe(session, shape=[64, 64])
    job = run_imaging(suite2p, session)
    assert (job.checks["n_rois"]["value"], job.checks["n_cells"]["value"]) == (12, 0)
    assert {figure["name"] for figure in job.figures} == {"traces", "raster"}


def test_an_attempt_registers_every_raw_file(run_task: RunTask, ranvier_home: Settings, ranvier_database: Database) -> None:
    made = simulate_session(ranvier_home.lab_root, "mouse_imaged", "2026-01-15", probes=(), fovs=("FOV_00",), movie=SMALL)
    tifffile.imwrite(made.path / "raw_imaging_data_00/reference/referenceImage.stack.tif", np.zeros((5, 64, 64), np.int16))
    outcome = run_task(raw_imaging_registration, Session.parse(made.path))
    assert outcome.status == "Complete", outcome.reason
    found = ranvier_database.find_session(Session.parse(made.path))
    assert found is not None
    kinds = {row["name"]: row["dataset_type"] for row in ranvier_database.session(found["id"])["data_dataset_session_related"]}
    assert kinds == {
        "2026-01-15_1_mouse_imaged_2P_00001_00001.tif": "imaging.raw",
        "referenceImage.raw.tif": "referenceImage.raw",
        "referenceImage.stack.tif": "referenceImage.stack",
    }
