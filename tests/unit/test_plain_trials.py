"""Trials of protocols that are not IBL's: tables, Bpod's MATLAB files, and logs of pyControl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from ranvier.tasks.behaviour import bpod_mat, plain_trials, pycontrol
from ranvier.tasks.behaviour.bpod import BehaviourError

NAN = [np.nan, np.nan]
TSV = """time\ttype\tsubtype\tcontent
0.000\tinfo\ttask_name\tpokes
0.000\tvariable\trun_start\t{"block": 1}
0.500\tstate\t\tinit
1.250\tevent\tinput\tpoke_left
1.300\tstate\t\treward
2.000\tprint\ttask\tso far so good
2.500\tstate\t\tinit
2.600\tvariable\tprint\t{"block": 2}
3.000\tevent\tinput\tpoke_right
3.100\tevent\tinput\tpoke_left
3.200\tstate\t\ttimeout
4.000\tstate\t\tinit
9.000\tinfo\tend_time\t2026-01-15T12:00:00
"""
TXT = """I Experiment name  : pokes
I Start date : 2018/01/30 21:49:42

S {"init": 1, "reward": 2, "timeout": 3}

E {"poke_left": 4, "poke_right": 5}

V 0 block 1
D 500 1
D 1250 4
D 1300 2
P 2000 so far so good
D 2500 1
P 2600 {"block": 2}
D 3000 5
D 3100 4
D 3200 3
D 4000 1
P 9000 done
"""
SAID = {
    "trial": "init",
    "columns": {
        "intervals_0": "trial_begin",
        "intervals_1": "trial_end",
        "choice": ["poke_left", "poke_right"],
        "feedback_times": "reward",
        "feedbackType": ["reward", "timeout"],
        "probabilityLeft": "block",
    },
    "values": {
        "choice": {"poke_left": 1, "poke_right": -1, "none": 0},
        "feedbackType": {"reward": 1, "timeout": -1, "none": 0},
        "probabilityLeft": {"1": 0.2, "2": 0.8},
    },
}


def bpod_data(n_trials: int = 3, **more: Any) -> dict[str, Any]:
    """A SessionData as Bpod saves it: left, right, and no choice, over and over."""
    states = [
        {"Cue": [0.1, 0.3], "Reward": [0.9, 1.0], "Punish": NAN},
        {"Cue": [0.2, 0.4], "Reward": NAN, "Punish": [0.8, 1.8]},
        {"Cue": [0.1, 0.2], "Reward": NAN, "Punish": NAN},
    ]
    events = [{"Port1In": [0.85, 0.95]}, {"Port3In": 0.7, "Tup": [0.1, 0.2]}, {"Tup": 5.0}]
    trials = [{"States": states[trial % 3], "Events": events[trial % 3]} for trial in range(n_trials)]
    cells = np.empty(n_trials, dtype=object)
    cells[:] = trials
    return {
        "nTrials": n_trials,
        "TrialStartTimestamp": 10.0 * np.arange(1, n_trials + 1),
        "TrialTypes": np.arange(1, n_trials + 3),  # Bpod draws those to come in advance
        "Custom": {"Contrast": np.linspace(0.25, 1, n_trials), "Name": "a word"},
        "RawEvents": {"Trial": cells},
        **more,
    }


def saved(path: Path, **content: Any) -> Path:
    savemat(path, content)
    return path


def test_what_bpod_knows_of_each_trial_is_read(tmp_path: Path) -> None:
    table = bpod_mat.read(saved(tmp_path / "a.mat", SessionData=bpod_data()))
    np.testing.assert_allclose(table["States.Cue"], [10.1, 20.2, 30.1])
    np.testing.assert_allclose(table["States.Punish.end"], [np.nan, 21.8, np.nan])
    np.testing.assert_allclose(table["Events.Port1In"], [10.85, np.nan, np.nan])
    np.testing.assert_allclose(table["Events.Tup"], [np.nan, 20.1, 35.0])
    assert table["TrialTypes"].tolist() == [1, 2, 3]
    assert table["Custom.Contrast"].tolist() == [0.25, 0.625, 1]
    assert "nTrials" not in table


def test_a_single_trial_is_one(tmp_path: Path) -> None:
    table = bpod_mat.read(saved(tmp_path / "a.mat", SessionData=bpod_data(1)))
    assert table["States.Reward"].tolist() == [10.9]


def test_the_state_that_was_entered_gives_choice_and_outcome(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.mat", SessionData=bpod_data())
    said = {
        "columns": {
            "stimOn_times": "States.Cue",
            "choice": ["Events.Port1In", "Events.Port3In"],
            "feedbackType": ["States.Reward", "States.Punish"],
        },
        "values": {
            "choice": {"Events.Port1In": 1, "Events.Port3In": -1, "none": 0},
            "feedbackType": {"States.Reward": 1, "States.Punish": -1, "none": 0},
        },
    }
    found = plain_trials.read([path], said, tmp_path)
    assert found.table["choice"].tolist() == [1, -1, 0]
    assert found.table["feedbackType"].tolist() == [1, -1, 0]
    assert found.bpod_starts is not None
    assert found.bpod_starts.tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"data": 3}, "holds data, not the SessionData"),
        ({"SessionData": {"nTrials": 3}}, "is not Bpod's: KeyError: 'RawEvents'"),
        ({"SessionData": bpod_data(TrialStartTimestamp=[1.0])}, "3 trials and 1 times"),
    ],
)
def test_a_mat_file_of_something_else_is_refused(tmp_path: Path, content: dict[str, Any], words: str) -> None:
    with pytest.raises(BehaviourError, match=words):
        bpod_mat.read(saved(tmp_path / "a.mat", **content))


def test_a_mat_file_that_is_cut_off_or_too_new_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.mat", SessionData=bpod_data())
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(BehaviourError, match=r"a\.mat cannot be read as a MATLAB file"):
        bpod_mat.read(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(BehaviourError, match=r"version 7\.3 .*-v7"):
        bpod_mat.read(path)


@pytest.mark.parametrize(("name", "content"), [("m1-2026-01-15-120000.tsv", TSV), ("m1-2018-01-30-214942.txt", TXT)])
def test_a_log_of_pycontrol_is_cut_into_trials(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    found = plain_trials.read([tmp_path / name], SAID, tmp_path)
    expected = {
        "intervals_0": [0.5, 2.5, 4.0],
        "intervals_1": [2.5, 4.0, 9.0],
        "choice": [1, -1, 0],
        "feedback_times": [1.3, np.nan, np.nan],
        "feedbackType": [1, -1, 0],
        "probabilityLeft": [0.2, 0.8, 0.8],
    }
    assert found.bpod_starts is None
    pd.testing.assert_frame_equal(found.table[list(expected)], pd.DataFrame(expected), check_dtype=False)


@pytest.mark.parametrize(
    ("name", "content", "said", "words"),
    [
        ("a.tsv", TSV, {"trial": ""}, "what does a trial begin with"),
        ("a.tsv", TSV, {"trial": "begin"}, "no trial begins with 'begin'; in it are init, poke_left"),
        ("a.tsv", TSV.replace("4.000", "four"), {}, "is no log of pyControl: ValueError"),
        ("a.txt", "some notes\n", {}, "is no log of pyControl: StopIteration"),
        ("a.txt", TXT.replace("D 4000 1", "D 4000 9"), {}, "is no log of pyControl: KeyError"),
        ("a.tsv", "begin\tend\n1\t2\n", {}, "has no column trial_begin"),
    ],
)
def test_what_cannot_be_cut_into_trials_says_why(tmp_path: Path, name: str, content: str, said: dict[str, str], words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BehaviourError, match=words):
        plain_trials.read([tmp_path / name], SAID | said, tmp_path)


def test_a_variable_that_is_a_word_stays_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TXT.replace("V 0 block 1", "V 0 side left"))
    assert pycontrol.read(tmp_path / "a.txt", "init")["side"].tolist() == ["left"] * 3


def test_a_table_with_tabs_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("on\tside\n1.5\tL\n")
    said = {"columns": {"stimOn_times": "on", "choice": "side"}, "values": {"choice": {"L": 1}}}
    assert plain_trials.read([tmp_path / "a.tsv"], said, tmp_path).table.to_dict("list") == {"choice": [1], "stimOn_times": [1.5]}
