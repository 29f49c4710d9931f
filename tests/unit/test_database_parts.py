"""Parts of the database that need no server: its URL, the paths of files, the literals of filters."""

from __future__ import annotations

import csv
import datetime
import importlib.resources
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from one.alf.path import filename_parts

from ranvier.database.bootstrap import SECRETS, create_secrets
from ranvier.database.data.locations import Location, device_of, inside, locate
from ranvier.database.engine import EngineError, database_config
from ranvier.settings import initialise

#: File names that IBL's pipelines and ours write, and the dataset type each must be taken for.
NAMES = {
    "spikes.times.npy": "spikes.times",
    "clusters.metrics.pqt": "clusters.metrics",
    "clusters.uuids.csv": "clusters.uuids",
    "_phy_spikes_subset.waveforms.npy": "spikes_subset.waveforms",
    "_kilosort_whitening.matrix.npy": "whitening.matrix",
    "_kilosort_raw.output.tar": "kilosort.raw_output",
    "spykingcircus2_parameters.yaml": "spikeSorting.parameters",
    "_ibl_log.info_iblsorter.log": "log.info",
    "drift_depths.um.npy": "drift_depths.um",
    "waveforms.channels.npz": "waveforms.channels",
    "passingSpikes.table.pqt": "passingSpikes.table",
    "_spikeglx_ephysData_g0_t0.imec0.ap.bin": "ephysData.raw.ap",
    "_spikeglx_ephysData_g0_t0.imec0.ap.cbin": "ephysData.raw.ap",
    "_spikeglx_ephysData_g0_t0.imec0.lf.cbin": "ephysData.raw.lf",
    "_spikeglx_ephysData_g0_t0.nidq.cbin": "ephysData.raw.nidq",
    "_spikeglx_ephysData_g0_t0.imec0.ap.meta": "ephysData.raw.meta",
    "_spikeglx_ephysData_g0_t0.imec0.ap.ch": "ephysData.raw.ch",
    "_spikeglx_ephysData_g0_t0.imec0.sync.npy": "ephysData.raw.sync",
    "_spikeglx_ephysData_g0_t0.imec0.timestamps.npy": "ephysData.raw.timestamps",
    "_spikeglx_sync.times.probe00.npy": "sync.times",
    "_iblqc_ephysChannels.apRMS.npy": "ephysChannels.apRMS",
    "_iblqc_ephysSpectralDensityAP.power.npy": "ephysSpectralDensityAP.power",
    "_iblqc_ephysTimeRmsLF.timestamps.npy": "ephysTimeRmsLF.timestamps",
    "_iblqc_ephysSaturation.samples.pqt": "ephysSaturation.samples",
    "probes.description.json": "probes.description",
    "_ibl_experiment.description.yaml": "experiment.description",
    "raster.png": "session.figure",
    "_ibl_trials.table.pqt": "trials.table",
    "_ibl_trials.goCueTrigger_times.npy": "trials.goCueTrigger_times",
    "_ibl_wheelMoves.peakAmplitude.npy": "wheelMoves.peakAmplitude",
    "licks.times.npy": "licks.times",
    "_iblrig_taskData.raw.jsonable": "taskData.raw",
    "_iblrig_micData.raw.wav": "micData.raw",
    "_iblrig_micData.raw.flac": "micData.raw",
    "_ibl_passiveGabor.table.csv": "passiveGabor.table",
    "_iblrig_leftCamera.raw.mp4": "camera.raw",
    "_iblrig_leftCamera.timestamps.ssv": "camera.timestamps",
    "_iblrig_leftCamera.frameData.bin": "camera.frameData",
    "_ibl_leftCamera.times.npy": "camera.times",
    "_ibl_leftCamera.dlc.pqt": "camera.dlc",
    "_ibl_rightCamera.lightningPose.pqt": "camera.lightningPose",
    "_ibl_leftCamera.sleap.pqt": "camera.sleap",
    "_ibl_leftCamera.features.pqt": "camera.features",
    "leftCamera.ROIMotionEnergy.npy": "camera.ROIMotionEnergy",
    "leftROIMotionEnergy.position.npy": "ROIMotionEnergy.position",
    "_ibl_leftCamera.pawstates.pqt": "camera.pawstates",
    "_ibl_leftCamera.onnx.pqt": "camera.onnx",
    "_iblqc_bodyCamera.keypoints.pqt": "camera.keypoints",
    "_ranvier_leftCamera.motionEnergy.pqt": "camera.motionEnergy",
    "_ranvier_leftLicks.times.npy": "licks.times",
    "mpci.ROIActivityF.npy": "mpci.ROIActivityF",
    "mpciROIs.masks.sparse_npz": "mpciROIs.masks",
    "mpciROITypes.names.tsv": "mpciROITypes.names",
    "mpciFrameQC.names.tsv": "mpciFrameQC.names",
    "mpciMeanImage.brainLocationIds_ccf_2017_estimate.npy": "mpciMeanImage.brainLocationIds_ccf_2017",
    "_suite2p_ROIData.raw.zip": "ROIData.raw",
    "imaging.frames_motionRegistered.bin": "imaging.frames",
    "imaging.frames.tar.bz2": "imaging.frames",
    "_ibl_rawImagingData.meta.json": "rawImagingData.meta",
    "referenceImage.meta.json": "referenceImage.meta",
    "referenceImage.raw.tif": "referenceImage.raw",
    "2026-01-15_1_mouse_01_2P_00001_00001.tif": "imaging.raw",
    "rawImagingData.times_scanImage.npy": "rawImagingData.times",
    "mpciROIs.metrics.pqt": "mpciROIs.metrics",
    "_ranvier_suite2p.settings.yaml": "suite2p.settings",
    "channels.brainLocationIds_ccf_2017.npy": "channels.brainLocationIds_ccf_2017",
    "widefieldU.images_atlasTransformed.npy": "widefieldU.images",
    "widefieldSVT.haemoCorrected.npy": "widefieldSVT.haemoCorrected",
    "imagingLightSource.properties.htsv": "imagingLightSource.properties",
}


def fixture(name: str) -> list[dict[str, str]]:
    """Rows of a fixture of the package."""
    text = importlib.resources.files("ranvier.database").joinpath("fixtures", f"{name}.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_fixtures_recognise_what_pipelines_write(name: str, expected: str) -> None:
    parts = filename_parts(name, as_dict=True, assert_valid=False)
    stem = f"{parts['object']}.{parts['attribute']}" if parts["object"] else name.rsplit(".", 1)[0]
    types = fixture("dataset_types")
    found = [t["name"] for t in types if (fnmatchcase(name.lower(), t["filename_pattern"]) if t["filename_pattern"] else t["name"] == stem)]
    assert found == [expected]
    assert any(name.lower().endswith(f["file_extension"]) for f in fixture("data_formats"))


def test_every_dataset_type_without_a_pattern_can_be_met() -> None:
    """ALF takes what follows an underscore for the timescale, so that a name may not be its own object.attribute."""
    for row in fixture("dataset_types"):
        if not row["filename_pattern"]:
            parts = filename_parts(f"{row['name']}.npy", as_dict=True)
            assert f"{parts['object']}.{parts['attribute']}" == row["name"]


@pytest.mark.parametrize("name", ["dataset_types", "data_formats", "procedures", "probe_models", "repository_types"])
def test_no_fixture_names_anything_twice(name: str) -> None:
    names = [row["name"] for row in fixture(name)]
    assert names
    assert len(names) == len(set(names))
    patterns = [row["filename_pattern"] for row in fixture(name) if row.get("filename_pattern")]
    assert len(patterns) == len(set(patterns))
    assert all(pattern == pattern.lower() for pattern in patterns)


@pytest.mark.parametrize(
    ("path", "filename", "expected"),
    [
        ("S1/2026-01-02/001", "alf/probe00/spikes.times.npy", ("alf/probe00", "", "spikes.times.npy")),
        ("S1/2026-01-02/001/alf", "#2026-02-01#/a.b.npy", ("alf", "2026-02-01", "a.b.npy")),
        ("S1/2026-01-02/001", "_ibl_experiment.description.yaml", ("", "", "_ibl_experiment.description.yaml")),
    ],
)
def test_locations(path: str, filename: str, expected: tuple[str, str, str]) -> None:
    found = locate(path, filename)
    assert (found.collection, found.revision, found.name) == expected
    assert (found.subject, found.date, found.number) == ("S1", datetime.date(2026, 1, 2), "001")
    assert found.relative_path == f"{path}/{filename}"


def test_lab_and_subjects_before_a_path_are_no_part_of_it() -> None:
    assert locate("lab/Subjects/S1/2026-01-02/001", "a.b.npy") == Location("S1", datetime.date(2026, 1, 2), "001", "", "", "a.b.npy")


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "a\\b", "a\0b", ""])
def test_paths_that_leave_the_repository(path: str) -> None:
    with pytest.raises(ValueError, match="below the repository"):
        inside(path)


@pytest.mark.parametrize(("collection", "device"), [("alf/probe00", "probe00"), ("alf/probe00/ks", "probe00"), ("alf", ""), ("", "")])
def test_device_of_a_collection(collection: str, device: str) -> None:
    assert device_of(collection) == device


def test_postgresql_url() -> None:
    config = database_config("postgresql://lab%40x:p%2Fw@db.lab.org:5433/ranvier?sslmode=require")
    assert config["ENGINE"].endswith("postgresql")
    assert [config[key] for key in ("USER", "PASSWORD", "HOST", "PORT", "NAME")] == ["lab@x", "p/w", "db.lab.org", "5433", "ranvier"]
    assert config["OPTIONS"] == {"sslmode": "require"}


def test_sqlite_url_gets_what_several_writers_need() -> None:
    config = database_config("sqlite:////srv/ranvier/db.sqlite3")
    assert config["NAME"] == "/srv/ranvier/db.sqlite3"
    assert config["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "WAL" in config["OPTIONS"]["init_command"]


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite:db.sqlite3", "sqlite:///", ""])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(EngineError):
        database_config(url)


def test_secrets_are_made_once_and_are_the_owners_only(tmp_path: Path) -> None:
    settings = initialise(tmp_path / "home")
    create_secrets(settings)
    first = {name: settings.secret(name) for name in SECRETS}
    create_secrets(settings)
    assert {name: settings.secret(name) for name in SECRETS} == first
    assert {(tmp_path / "home" / "secrets" / name).stat().st_mode & 0o777 for name in SECRETS} == {0o600}
    assert len(first["token"]) == 40
