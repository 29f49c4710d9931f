"""The verdict on what an attempt wrote."""

import numpy as np
import pandas as pd
import pytest

from ranvier.contract import judge
from ranvier.declare import Output
from ranvier.session import Session
from ranvier.states import Status

TIMES, AMPS = Output("alf/spikes.times.npy", at_least=1), Output("alf/spikes.amps.npy")


@pytest.fixture
def session(tmp_path):
    path = tmp_path / "lab/Subjects/mouse/2026-11-22/001"
    path.mkdir(parents=True)
    return Session.parse(path)


@pytest.fixture
def staging(tmp_path):
    (tmp_path / "staging/alf").mkdir(parents=True)
    return tmp_path / "staging"


def save(staging, name, rows):
    np.save(staging / "alf" / name, np.zeros(rows))


def test_complete(session, staging):
    save(staging, "spikes.times.npy", 3)
    save(staging, "spikes.amps.npy", 3)
    judged = judge(session, [TIMES, AMPS], staging)
    assert (judged.verdict, judged.reason) == (Status.COMPLETE, "")
    assert sorted(judged.files) == ["alf/spikes.amps.npy", "alf/spikes.times.npy"]


def test_nothing_written_is_empty_although_nothing_was_raised(session, staging):
    judged = judge(session, [TIMES, AMPS], staging)
    assert judged.verdict == Status.EMPTY
    assert "alf/spikes.times.npy was not written" in judged.reason


def test_a_missing_required_output_is_incomplete(session, staging):
    save(staging, "spikes.times.npy", 3)
    judged = judge(session, [TIMES, AMPS], staging)
    assert (judged.verdict, judged.reason) == (Status.INCOMPLETE, "alf/spikes.amps.npy was not written")


def test_a_missing_optional_output_is_complete(session, staging):
    save(staging, "spikes.times.npy", 3)
    assert judge(session, [TIMES, Output("alf/other.npy", required=False)], staging).verdict == Status.COMPLETE


def test_too_few_rows_are_not_kept(session, staging):
    save(staging, "spikes.times.npy", 0)
    judged = judge(session, [TIMES], staging)
    assert (judged.verdict, judged.files) == (Status.EMPTY, {})
    assert "has 0 rows, at least 1 were asked for" in judged.reason


def test_files_of_one_object_must_agree(session, staging):
    save(staging, "spikes.times.npy", 3)
    save(staging, "spikes.amps.npy", 2)
    judged = judge(session, [TIMES, AMPS], staging)
    assert judged.verdict == Status.ERRORED
    assert "spikes.times.npy has 3, spikes.amps.npy has 2" in judged.reason


def test_timestamps_may_be_two_rows_to_interpolate_between(session, staging):
    np.save(staging / "alf/wheel.timestamps.npy", np.zeros((2, 2)))
    np.save(staging / "alf/wheel.position.npy", np.zeros(100))
    assert judge(session, [Output("alf/wheel.*.npy")], staging).verdict == Status.COMPLETE


@pytest.mark.parametrize("name", ["spikes.times.npy", "clusters.metrics.pqt", "parameters.json", "parameters.yaml"])
def test_a_damaged_file_is_errored_and_named(session, staging, name):
    (staging / "alf" / name).write_text("{not: [valid")
    judged = judge(session, [Output(f"alf/{name}")], staging)
    assert judged.verdict == Status.ERRORED
    assert f"{name} cannot be read" in judged.reason


def test_an_empty_file_is_errored(session, staging):
    (staging / "alf/movie.mp4").touch()
    assert "movie.mp4 is an empty file" in judge(session, [Output("alf/*.mp4")], staging).reason


def test_counts_rows_of_tables(session, staging):
    pd.DataFrame({"a": [1, 2]}).to_parquet(staging / "alf/clusters.metrics.pqt")
    pd.DataFrame({"a": [1]}).to_csv(staging / "alf/other.table.csv", index=False)
    judged = judge(session, [Output("alf/clusters.metrics.pqt", at_least=3), Output("alf/other.table.csv", at_least=1)], staging)
    assert judged.reason == "alf/clusters.metrics.pqt has 2 rows, at least 3 were asked for"
    assert list(judged.files) == ["alf/other.table.csv"]


def test_files_in_place_are_vouched_for_where_they_are(session, staging):
    raw = session.path / "raw_ephys_data/probe00/g0.ap.bin"
    raw.parent.mkdir(parents=True)
    raw.write_bytes(b"data")
    judged = judge(session, [Output("raw_ephys_data/probe00/*.ap.bin", in_place=True, register=False)], staging)
    assert judged.in_place == {"raw_ephys_data/probe00/g0.ap.bin": raw}
    assert judged.unregistered == {"raw_ephys_data/probe00/g0.ap.bin"}
    missing = judge(session, [Output("raw_ephys_data/probe01/*.ap.bin", in_place=True)], staging)
    assert (missing.verdict, missing.reason) == (Status.EMPTY, "raw_ephys_data/probe01/*.ap.bin was not found")
