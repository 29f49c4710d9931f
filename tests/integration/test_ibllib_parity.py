"""Trials, wheel, frame times, checks of the task, psychometric fits and stages of training held against ibllib 4.1.0 on the same files.

Only where ``RANVIER_IBLLIB_PYTHON`` names a Python that has it: ``python -m venv E && E/bin/pip install ibllib==4.1.0``, then
``RANVIER_IBLLIB_PYTHON=E/bin/python pytest tests/integration/test_ibllib_parity.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Set
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import PROTOCOL, caller, simulated

from ranvier.job import Job
from ranvier.settings import load
from ranvier.simulate import SimulatedSession
from ranvier.simulate.task_files import EXIT_S, bpod_time
from ranvier.tasks.behaviour import bpod, daq, performance
from ranvier.tasks.behaviour.camera_times import camera_times
from ranvier.tasks.behaviour.encoder import EncoderError
from ranvier.tasks.behaviour.training_stage import DELAY_S, Day, status
from ranvier.tasks.behaviour.trials import trials
from ranvier.tasks.behaviour.wheel import wheel

PYTHON = os.environ.get("RANVIER_IBLLIB_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="no ibllib to compare with: RANVIER_IBLLIB_PYTHON names no Python that has it")
SCRIPT = Path(__file__).parents[1] / "ibllib_extract.py"
RAW, VIDEOS = "raw_task_data_00", "raw_video_data"
#: Ours by ibllib's name.
BESIDE = {"quiescence": "quiescencePeriod"}
WHEEL = {"wheel_timestamps": "wheel.timestamps", "wheel_position": "wheel.position", "wheelMoves_intervals": "wheelMoves.intervals"}
WHEEL |= {f"wheelMoves_{name}": f"wheelMoves.{name}" for name in ("peakAmplitude", "peakVelocity_times")}
RunTask = Callable[..., Job]
Found = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunTask:
    return caller(tmp_path_factory.mktemp("jobs"), load(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def ibllib(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Found]:
    """What ibllib extracts."""
    folder = tmp_path_factory.mktemp("ibllib")

    def extract(session: Path, **asked: Any) -> Found:
        request, result = folder / "request.json", folder / "result.npz"
        request.write_text(json.dumps({"session": str(session), **asked}))
        command = [str(PYTHON), str(SCRIPT), str(request), str(result)]
        done = subprocess.run(command, env=dict(os.environ, HOME=str(folder)), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        with np.load(result, allow_pickle=True) as content:
            return dict(content)

    return extract


def ours(job: Job) -> Found:
    """What a task wrote, by attribute; the trials' table column by column."""
    found: Found = {}
    for path in job.staging.rglob("_ibl_*"):
        name = path.name.removeprefix("_ibl_").rpartition(".")[0]
        if path.suffix == ".pqt":
            found |= {f"table.{column}": values.to_numpy() for column, values in pd.read_parquet(path).items()}
        else:
            found[name.removeprefix("trials.")] = np.load(path)
    return found


def compare(theirs: Found, made: Found, names: dict[str, str], atol: float = 1e-6) -> float:
    """Largest difference of all; values that are no numbers must be the same ones."""
    worst = 0.0
    for name, own in names.items():
        a, b = np.asarray(theirs[name], float), np.asarray(made[own], float)
        np.testing.assert_allclose(b, a, rtol=0, atol=atol, err_msg=name)
        worst = max(worst, float(np.nanmax(np.abs(a - b), initial=0)))
    return worst


def shared(theirs: Found, made: Found, without: tuple[str, ...] = ()) -> dict[str, str]:
    names = {name: BESIDE.get(name, name) for name in theirs}
    return {name: own for name, own in names.items() if own in made and name not in without}


def real(real_data: Path, tmp_path: Path, name: str) -> Path:
    path = tmp_path / "lab/Subjects/m1/2026-01-15/001"
    shutil.copytree(real_data / "behaviour" / name, path)
    return path


#: Columns that are ours on purpose where the rig is older than iblrig 5 (docs/decisions.md): nothing told when the stimulus went off, and
#: these two samples have another session's wheel.
OLD = ("stimOff_times", "table.firstMovement_times")


@pytest.mark.parametrize(("name", "differ"), [("session_training_ge5", ()), ("session_training_lt5", OLD), ("session_biased_lt5", OLD)])
def test_trials_of_real_rigs(
    run: RunTask, ibllib: Callable[..., Found], real_data: Path, tmp_path: Path, name: str, differ: tuple[str, ...]
) -> None:
    path = real(real_data, tmp_path, name)
    theirs = ibllib(path, collection="raw_behavior_data", wheel=name != "session_biased_lt5")
    made = ours(run(trials, path, "unknown_00"))
    names = shared(theirs, made, differ)
    assert {name for name in theirs if name.startswith("table.")} <= {*names, *differ}
    print(f"{name}: {', '.join(names)}: {compare(theirs, made, names):.1e}")


def test_wheel_of_a_real_rig(run: RunTask, ibllib: Callable[..., Found], real_data: Path, tmp_path: Path) -> None:
    path = real(real_data, tmp_path, "session_training_ge5")
    print(f"{compare(ibllib(path, collection='raw_behavior_data'), ours(run(wheel, path, 'unknown_00')), WHEEL):.1e}")


@pytest.mark.parametrize("name", ["session_training_lt5", "session_biased_lt5"])
def test_a_wheel_of_another_session_is_refused(run: RunTask, real_data: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(EncoderError):
        run(wheel, real(real_data, tmp_path, name), "unknown_00")


def rig(path: Path, version: str, **settings: Any) -> None:
    """Change the settings of a session's task; None takes one away."""
    file = path / RAW / "_iblrig_taskSettings.raw.json"
    content = json.loads(file.read_text()) | {"IBLRIG_VERSION_TAG": version, "IBLRIG_VERSION": version, **settings}
    content |= {"RIG_NAME": "rig", "ALYX_USER": "someone", "SESSION_START_TIME": "2026-01-15T12:00:00"}
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


@pytest.mark.parametrize("version", ["7.2.1", "8.15.2"])
def test_a_simulated_mouse(run: RunTask, ibllib: Callable[..., Found], tmp_path: Path, version: str) -> None:
    path = simulated(tmp_path, duration_s=240.0, sync=False).path
    rig(path, version)
    theirs = ibllib(path, collection=RAW)
    made = ours(run(trials, path, PROTOCOL)) | ours(run(wheel, path, PROTOCOL))
    names = shared(theirs, made)
    assert {name for name in theirs if name.startswith("table.")} <= set(names)
    moves = {name: own for name, own in WHEEL.items() if "Velocity" not in name}  # of equally fast samples ibllib's rounding chooses
    print(f"{', '.join(names)}: {compare(theirs, made, names):.1e}; {', '.join(moves)}: {compare(theirs, made, moves):.1e}")


@dataclass(frozen=True)
class Verdict:
    """Part of the trials that pass a check, None where none could be judged, and its outcome."""

    value: float | None
    outcome: str


def judged(found: Found) -> dict[str, Verdict]:
    """The verdicts of ibllib by check."""
    verdicts = {}
    for name in (name.removeprefix("passed.") for name in found if name.startswith("passed.")):
        about = found[f"passed.{name}"][~np.isnan(found[f"passed.{name}"])]
        verdicts[name] = Verdict(round(float(about.mean()), 4) if about.size else None, str(found[f"outcome.{name}"]))
    return verdicts


def same_verdicts(theirs: dict[str, Verdict], *jobs: Job, left_out: Set[str] = frozenset(), differ: Set[str] = frozenset()) -> None:
    """Hold our verdicts against ibllib's, check by check; none of ibllib's may be missing unless it is named."""
    made = {name: Verdict(each["value"], each["outcome"]) for job in jobs for name, each in job.checks.items() if name in theirs}
    assert set(theirs) - set(made) == left_out
    assert {name for name in made if made[name] != theirs[name]} == differ, {name: (made[name], theirs[name]) for name in made}


#: iblrig 8 on: before, ibllib gives these no outcome.
PAUSES = {"iti_delays", "passed_trial_checks"}
#: iblrig 6.2.5 on: before, nothing asked the stimulus to freeze, which ibllib takes for a trigger that is missing in every trial.
FREEZE = {"stimFreeze_delays"}


def test_checks_of_a_real_rig(run: RunTask, ibllib: Callable[..., Found], real_data: Path, tmp_path: Path) -> None:
    path = real(real_data, tmp_path, "session_training_ge5")
    theirs = judged(ibllib(path, collection="raw_behavior_data", qc=True))
    jobs = run(trials, path, "unknown_00"), run(wheel, path, "unknown_00")
    same_verdicts(theirs, *jobs, left_out=PAUSES | FREEZE, differ={"n_trial_events"})
    assert (theirs["stimFreeze_delays"].value, theirs["n_trial_events"].value) == (0, 0.0833)  # the trial without a response
    assert jobs[0].checks["n_trial_events"]["value"] == 0.9167  # one first movement is missing


@pytest.mark.parametrize("name", ["session_training_lt5", "session_biased_lt5"])
def test_checks_of_a_rig_that_told_little(run: RunTask, ibllib: Callable[..., Found], real_data: Path, tmp_path: Path, name: str) -> None:
    """Before iblrig 5 Bpod heard no sound and had no state between two trials: ibllib takes what cannot be for failed."""
    path = real(real_data, tmp_path, name)
    theirs = judged(ibllib(path, collection="raw_behavior_data", qc=True, wheel=name != "session_biased_lt5"))
    same_verdicts(theirs, run(trials, path, "unknown_00"), left_out=set(theirs) - {"trial_length", "reward_volumes", "reward_volume_set"})


Trial = dict[str, Any]


def _shift(name: str, by: float) -> Callable[[Trial], None]:
    """What enters a state later, in trials that do."""

    def fault(trial: Trial) -> None:
        (entry,) = trial["behavior_data"]["States timestamps"][name]
        entry[0] += by

    return fault


def _move(line: str, by: float, which: slice = slice(None)) -> Callable[[Trial], None]:
    """What shifts the changes of a line of Bpod."""

    def fault(trial: Trial) -> None:
        events = trial["behavior_data"]["Events timestamps"]
        for name in {f"{line}High", f"{line}Low"} & set(events):
            times = np.array(events[name])
            times[which] += by
            events[name] = times.tolist()

    return fault


def _silence(line: str) -> Callable[[Trial], None]:
    """What takes all changes of a line of Bpod away."""

    def fault(trial: Trial) -> None:
        for name in (f"{line}High", f"{line}Low"):
            trial["behavior_data"]["Events timestamps"].pop(name, None)

    return fault


def _flicker(length: float, at: float = 0.1) -> Callable[[Trial], None]:
    """What lets the photodiode go dark for so long before the go cue."""

    def fault(trial: Trial) -> None:
        events = trial["behavior_data"]["Events timestamps"]
        events["BNC1Low"], events["BNC1High"] = [at, *events.get("BNC1Low", [])], [at + length, *events.get("BNC1High", [])]

    return fault


def _no_go(trial: Trial) -> None:
    """A wrong response that is none."""
    states = trial["behavior_data"]["States timestamps"]
    if not trial["trial_correct"]:
        states["no_go"] = states["error"]
        states["error"] = states["freeze_error"] = [[float("nan")] * 2]


def _at_once(trial: Trial) -> None:
    """A response during the go cue."""
    states = trial["behavior_data"]["States timestamps"]
    states["closed_loop"][0][1] = states["closed_loop"][0][0] + 0.05


def change(path: Path, fault: Callable[[Trial], None], which: slice = slice(None)) -> None:
    """Do something to the trials of a file."""
    content = [json.loads(line) for line in path.read_text().splitlines()]
    for trial in content[which]:
        fault(trial)
    path.write_text("".join(json.dumps(trial) + "\n" for trial in content))


FAULTS: list[Callable[[Trial], None]] = [
    *(_silence("BNC1"), _move("BNC1", 0.2), _move("BNC1", 0.2, slice(-1, None)), _flicker(0.003), _flicker(0.02)),
    *(_silence("BNC2"), _move("BNC2", 0.003), _move("BNC2", 0.1), _move("BNC2", 0.07, slice(-1, None)), _no_go, _at_once),
    *(_shift("reward", 0.02), _shift("reward", 0.6), _shift("exit_state", 0.02), _shift("play_tone", 0.6), _shift("play_tone", -0.05)),
    lambda trial: trial["behavior_data"]["Events timestamps"].setdefault("BNC2Low", []).insert(0, 0.2),
    lambda trial: trial.update(reward_amount=5.0),
    lambda trial: trial.update(position=trial["position"] * 0.7),
    lambda trial: trial.update(quiescent_period=3.0),
]


def spoil(path: Path, seed: int) -> None:
    """Do something to two thirds of the trials: each fault in turn to correct ones and to others, and a second one to some."""
    rng = np.random.default_rng(seed)
    content = [json.loads(line) for line in path.read_text().splitlines()]
    for correct in (True, False):
        group = [trial for trial in content if trial["trial_correct"] == correct]
        for number, index in enumerate(rng.permutation(len(group))[: 2 * len(group) // 3]):
            for fault in (FAULTS[number % len(FAULTS)], *rng.choice(FAULTS, rng.integers(2))):
                fault(group[index])
    path.write_text("".join(json.dumps(trial) + "\n" for trial in content))


@pytest.mark.parametrize(
    ("version", "settings"),
    [
        ("6.0.0", {"device_sound": None}),
        ("7.2.1", {"device_sound": None, "SD": "<module 'sounddevice'>"}),
        ("7.2.1", {"device_sound": None, "SOUND_SAMPLE_FREQ": 192_000, "QUIESCENT_PERIOD": 0.4}),
        ("8.15.2", {}),
        ("8.15.2", {"device_sound": {"OUTPUT": "xonar"}}),
    ],
)
def test_checks_of_a_spoiled_session(
    run: RunTask, ibllib: Callable[..., Found], tmp_path: Path, version: str, settings: dict[str, Any]
) -> None:
    path = simulated(tmp_path, duration_s=480.0, sync=False).path
    file, frozen, paused = path / RAW / "_iblrig_taskData.raw.jsonable", version > "6.2.5", version > "8"
    rig(path, version, **settings)
    if not frozen:
        change(file, _shift("exit_state", -EXIT_S))  # it is there that the stimulus is hidden
    spoil(file, seed=5)
    theirs = judged(ibllib(path, collection=RAW, qc=True))
    certain = {name for name, each in theirs.items() if each.value in (None, 0, 1)}
    assert certain == {"reward_volume_set"} | (set() if frozen else {"stimOff_itiIn_delays", *FREEZE})
    left_out, differ = (set() if paused else PAUSES) | (set() if frozen else FREEZE), set() if frozen else {"n_trial_events"}
    same_verdicts(theirs, run(trials, path, PROTOCOL), run(wheel, path, PROTOCOL), left_out=left_out, differ=differ)


def test_sounds_are_counted_where_ibllib_says_it_counts_them(run: RunTask, ibllib: Callable[..., Found], tmp_path: Path) -> None:
    """By their description the sequences have exactly one sound in correct trials, two in others; ibllib's code asks for the order only."""
    path = simulated(tmp_path, sync=False).path
    rig(path, "8.15.2")
    file = path / RAW / "_iblrig_taskData.raw.jsonable"
    content = [json.loads(line) for line in file.read_text().splitlines()]
    n_correct = sum(trial["trial_correct"] for trial in content)
    first = next(trial for trial in content if trial["trial_correct"])["behavior_data"]["Events timestamps"]
    first["BNC2High"].append(first["BNC2High"][0] + 0.2)
    file.write_text("".join(json.dumps(trial) + "\n" for trial in content))
    theirs, job = judged(ibllib(path, collection=RAW, qc=True)), run(trials, path, PROTOCOL)
    same_verdicts(theirs, job, run(wheel, path, PROTOCOL), differ={"correct_trial_event_sequence", "passed_trial_checks"})
    assert theirs["correct_trial_event_sequence"].value == 1
    assert job.checks["correct_trial_event_sequence"]["value"] == round(1 - 1 / n_correct, 4)


def stamp(session: SimulatedSession) -> None:
    """Write the camera's own time stamps, which ibllib needs beside the pins."""
    times = 100 + session.films["left"].frame_times
    cycles = np.floor(times % 1 * 8000).astype(int)
    offsets = np.floor((times % 1 * 8000 - cycles) * 3072).astype(int)
    lines = (times.astype(int) % 128 << 25) | (cycles << 12) | offsets
    path = session.path / VIDEOS / "_iblrig_leftCamera.timestamps.ssv"
    path.write_text("".join(f"2020-08-19T12:42:57.7903616-04:00 {line} \n" for line in lines))


@pytest.mark.parametrize("damage", [None, "dropped_frames", "late_recording"])
def test_frame_times_by_the_daq(run: RunTask, ibllib: Callable[..., Found], tmp_path: Path, damage: str | None) -> None:
    session = simulated(tmp_path, cameras=("left",), duration_s=60.0, damage=damage)
    stamp(session)
    seen = daq.read(sorted((session.path / "raw_ephys_data").glob("*.nidq.*")))
    assert seen is not None
    channels = {"left_camera": 0, "right_camera": 1, "body_camera": 2, "audio": 5}
    fronts = [(time, sign, line) for line in (0, 5) for sign, edges in ((1, seen.rising), (-1, seen.falling)) for time in edges[line]]
    fronts = [each for each in fronts if each[2] == 0 or each[0] > session.films["left"].frame_times[0]]  # ibllib pairs the first sounds
    times, signs, lines = (list(column) for column in zip(*sorted(fronts), strict=True))
    sync = {"times": times, "polarities": signs, "channels": lines}
    n_frames = session.films["left"].frame_times.size
    theirs = ibllib(session.path, camera="left", sync=sync, channels=channels, n_frames=n_frames)
    found = np.load(run(camera_times, session.path, "left").staging / "alf/_ibl_leftCamera.times.npy")
    np.testing.assert_allclose(found, theirs["times"], atol=1e-6)


def test_frame_times_by_bpod(run: RunTask, ibllib: Callable[..., Found], tmp_path: Path) -> None:
    session = simulated(tmp_path, cameras=("left",), duration_s=60.0, sync=False)
    path = session.path / RAW / "_iblrig_taskData.raw.jsonable"
    task, frames = bpod.read(path), bpod_time(session.films["left"].ttl_times)
    for trial, begin, end in zip(task.trials, task.starts, task.ends - 0.2, strict=True):
        seen = frames[(frames >= begin) & (frames < end)]
        trial["behavior_data"]["Events timestamps"] |= {"Port1In": (seen - begin).tolist(), "Port1Out": (seen - begin + 0.005).tolist()}
    text = "".join(json.dumps(trial) + "\n" for trial in task.trials)
    path.unlink()
    (session.path / RAW).rename(session.path / "raw_behavior_data")
    (session.path / "raw_behavior_data" / path.name).write_text(text)
    stamp(session)
    theirs = ibllib(session.path, camera="left", sync=None, collection="raw_behavior_data", n_frames=frames.size)
    found = np.load(run(camera_times, session.path, "left").staging / "alf/_ibl_leftCamera.times.npy")
    inside = (frames > task.starts[0]) & (frames < task.ends[-1])
    np.testing.assert_allclose(found[inside], theirs["times"][inside], atol=2e-3)
    np.testing.assert_allclose(found, frames, atol=5e-3)


N_ANIMALS = 60
#: By how much two searches for the best fit may differ: bias, threshold (% contrast), lapses.
SAME_FIT = np.array([0.01, 0.02, 0.001, 0.001])
CONTRASTS = np.array([-100, -25, -12.5, -6.25, 0, 6.25, 12.5, 25, 100])


def animal(seed: int) -> list[Day]:
    """Three days of an animal that is at some stage of training, does some things badly, and sometimes nothing."""
    rng = np.random.default_rng((seed, 3))
    latest = rng.choice(["training", "biased", "mixed"], p=[0.4, 0.5, 0.1])
    kinds = ["training", "biased", "biased"] if latest == "mixed" else [latest] * 3
    on_rig, delay, shift = rng.choice([0, 1, 3]), float(rng.choice([0, 1000])), rng.uniform(2, 14)
    truth = performance.Psychometric(rng.normal(0, 6), rng.uniform(6, 24), *rng.choice([0.01, 0.05, 0.1, 0.18], 2, p=[0.5, 0.3, 0.1, 0.1]))
    usual, wait = rng.choice([250, 450, 700]), rng.choice([0.6, 1.7, 2.3], p=[0.7, 0.2, 0.1])
    days = []
    for number, kind in enumerate(kinds):
        n_trials = usual + rng.integers(50)
        signed = rng.choice(CONTRASTS, n_trials)
        left = rng.choice([0.5] if kind == "training" else [0.2, 0.8], n_trials)
        right = rng.random(n_trials) < truth(signed - shift * np.sign(left - 0.5))
        side = np.where(signed == 0, rng.choice([-1, 1], n_trials), np.sign(signed))
        choice = np.where(rng.random(n_trials) < rng.choice([0, 0.03]), 0, np.where(right, -1, 1))
        shown = np.arange(n_trials) * 70.0
        table = {
            "contrastLeft": np.where(side < 0, np.abs(signed) / 100, np.nan),
            "contrastRight": np.where(side > 0, np.abs(signed) / 100, np.nan),
            "choice": choice,
            "feedbackType": np.where(choice == -side, 1, -1),
            "probabilityLeft": left,
            "stimOn_times": np.where(rng.random(n_trials) < 0.02, np.nan, shown),
            "response_times": shown + np.where(choice == 0, 60, rng.gamma(4, wait / 4, n_trials)),
        }
        at_rig = kind != "training" and number >= 3 - on_rig
        days.append(Day(f"2026-01-1{number}", kind, pd.DataFrame(table), at_rig, delay if at_rig else 0.0))
    return days


@pytest.fixture(scope="module")
def judged_animals(ibllib: Callable[..., Found], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[Day]], Found]:
    """Animals, and what ibllib says of them."""
    folder, animals, asked = tmp_path_factory.mktemp("animals"), [animal(seed) for seed in range(N_ANIMALS)], []
    for number, days in enumerate(animals):
        for day in days:
            day.table.to_parquet(folder / f"{number}_{day.date}.pqt")
        rig = [day for day in days if day.ephys_rig]
        asked.append({"number": number, "days": {day.date: day.protocol for day in days}, "rig": [day.date for day in rig]})
        asked[-1]["late"] = sum(day.delay_s >= DELAY_S for day in rig)
    return animals, ibllib(folder, animals=asked)


def test_stages_of_training(judged_animals: tuple[list[list[Day]], Found]) -> None:
    animals, theirs = judged_animals
    assert set(theirs["stage"]) == {"in training", "trained 1a", "trained 1b", "ready4ephysrig", "ready4delay", "ready4recording"}
    found = [status(days) for days in animals]
    assert [each.stage for each in found] == theirs["stage"].tolist()
    names = ("bias", "threshold", "lapses left", "lapses right")
    fits = {number: [each.criteria[name].value for name in names] for number, each in enumerate(found) if "threshold" in each.criteria}
    assert len(fits) > N_ANIMALS / 4
    assert (np.abs(np.array(list(fits.values())) - theirs["fit"][list(fits)]) < SAME_FIT).all()


def test_psychometric_fits(judged_animals: tuple[list[list[Day]], Found]) -> None:
    animals, theirs = judged_animals
    fits = []
    for days in animals:
        curve = performance.choices(pd.concat([day.table for day in days]), no_go=True)
        fits.append(astuple(performance.fit_psychometric(*(curve[name].to_numpy() for name in ("contrast", "right", "n")))))
    differences = np.abs(np.array(fits) - theirs["fit"]).max(axis=0)
    print(f"bias, threshold, lapses: {differences}")
    assert (differences < SAME_FIT).all()
