"""A probe's raw files held against each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ranvier.simulate import simulate_session
from ranvier.tasks.ephys.recording import RecordingError, check_files, open_recording, read_meta

CHANNELS, SECONDS = 8, 2.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    session = simulate_session(tmp_path / "lab" / "Subjects", duration_s=SECONDS, n_channels=CHANNELS, n_units=2)
    return session.path / "raw_ephys_data" / "probe00"


@pytest.fixture(scope="module")
def real_metas(real_data: Path) -> Path:
    return real_data / "ephys" / "spikeglx_meta"


def check(folder: Path) -> object:
    return check_files(folder.name, sorted(folder.glob("*.ap.*bin")), sorted(folder.glob("*.ap.meta")))


def edit(meta: Path, field: str, value: str) -> None:
    lines = [f"{field}={value}" if line.startswith(f"{field}=") else line for line in meta.read_text().splitlines()]
    meta.write_text("\n".join(lines))


def test_whole_files(folder: Path, tmp_path: Path) -> None:
    raw = check(folder)
    assert (raw.n_channels, raw.n_saved, raw.n_samples, raw.sampling_rate) == (CHANNELS, CHANNELS + 1, 60_000, 30_000)
    assert (raw.duration_s, raw.probe_model) == (SECONDS, "NP1000")
    recording = open_recording(raw, tmp_path / "links")
    assert recording.get_num_samples() == raw.n_samples
    assert recording.get_num_channels() == CHANNELS


def test_another_band_that_is_broken_does_not_matter(folder: Path, tmp_path: Path) -> None:
    (folder / "_spikeglx_ephysData_g0_t0.imec0.lf.meta").write_text("nSaved")
    (folder / "_spikeglx_ephysData_g0_t0.imec0.lf.bin").write_bytes(b"")
    assert open_recording(check(folder), tmp_path / "links").get_num_channels() == CHANNELS


def test_compressed_recording_has_the_same_traces(folder: Path, tmp_path: Path) -> None:
    import spikeglx

    plain = open_recording(check(folder), tmp_path / "plain").get_traces()
    with spikeglx.Reader(next(folder.glob("*.ap.bin"))) as reader:
        reader.compress_file(keep_original=False)
    raw = check(folder)
    assert raw.binary.suffix == ".cbin"
    np.testing.assert_array_equal(open_recording(raw, tmp_path / "compressed").get_traces(), plain)
    chunks = raw.binary.with_suffix(".ch")
    chunks.write_text(json.dumps(json.loads(chunks.read_text()) | {"chunk_bounds": [0, 1000]}))
    with pytest.raises(RecordingError, match=r"counts 1000 samples, but the meta says"):
        check(folder)


def test_missing_and_doubled_files(folder: Path) -> None:
    binary, meta = next(folder.glob("*.ap.bin")), next(folder.glob("*.ap.meta"))
    with pytest.raises(RecordingError, match=r"has 2 files \.ap\.bin or \.ap\.cbin: a\.ap\.bin, b\.ap\.bin"):
        check_files("probe00", [Path("a.ap.bin"), Path("b.ap.bin")], [meta])
    with pytest.raises(RecordingError, match=r"probe00 has no \.ap\.meta \(copy it from the rig again"):
        check_files("probe00", [binary], [])
    with pytest.raises(RecordingError, match=r"probe00 has no \.ap\.bin"):
        check_files("probe00", [], [meta])


@pytest.mark.parametrize(("keep", "words"), [(0.6, "bytes are missing"), (1.1, "bytes are too many")])
def test_binary_of_another_size_than_its_meta_says(folder: Path, keep: float, words: str) -> None:
    binary = next(folder.glob("*.ap.bin"))
    content = (binary.read_bytes() * 2)[: int(keep * binary.stat().st_size)]
    binary.write_bytes(content)
    with pytest.raises(RecordingError, match=rf"\.ap\.bin has {len(content)} bytes, but its meta says \d+: \d+ {words}"):
        check(folder)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("imSampRate", "fast", "imSampRate='fast' is not a number"),
        ("nSavedChans", "7", "nSavedChans=7, snsApLfSy=8,0,1 and imSampRate=30000 do not fit"),
        ("imDatPrb_pn", "NP9999", "the probe and its channels cannot be made out"),
        ("~imroTbl", "(0,384)(0 0", "the probe and its channels cannot be made out"),
    ],
)
def test_meta_that_does_not_make_sense(folder: Path, field: str, value: str, words: str) -> None:
    meta = next(folder.glob("*.ap.meta"))
    edit(meta, field, value)
    with pytest.raises(RecordingError, match=words.replace("(", r"\(")) as caught:
        check(folder)
    assert str(meta) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), ("nSaved", "'nSaved' is not a field=value line"), ("a=1", "lacks snsApLfSy")]
)
def test_meta_that_was_cut_off(folder: Path, text: str, words: str) -> None:
    next(folder.glob("*.ap.meta")).write_text(text)
    with pytest.raises(RecordingError, match=words):
        check(folder)


@pytest.mark.parametrize(
    ("name", "model", "n_channels"),
    [
        ("sample3A_g0_t0.imec.ap.meta", "NP1010", 384),
        ("sample3B_g0_t0.imec1.ap.meta", "PRB_1_4_0480_1", 384),
        ("sampleNP2.1_g0_t0.imec.ap.meta", "PRB2_1_2_0640_0", 384),
        ("sampleNP2.4_4shanks_g0_t0.imec.ap.meta", "NP2010", 384),
        ("sampleNP2QB.imec.ap.meta", "NP2021", 1536),
    ],
)
def test_metas_of_real_probes(real_metas: Path, tmp_path: Path, name: str, model: str, n_channels: int) -> None:
    meta = real_metas / name
    fields = read_meta(meta)
    binary = tmp_path / name.replace(".meta", ".bin")
    with binary.open("wb") as file:
        file.truncate(int(fields["fileSizeBytes"]))  # a file of that size that takes no room
    raw = check_files("probe00", [binary], [meta])
    assert (raw.probe_model, raw.n_channels) == (model, n_channels)
    assert raw.duration_s == pytest.approx(float(fields["fileTimeSecs"]), rel=1e-4)
    assert raw.serial.isdigit()
