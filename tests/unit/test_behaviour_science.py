"""Encoder files of older and newer rigs and what is wrong with them; times of frames; psychometric fits; movements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ranvier.simulate.mouse import load_behaviour, make_behaviour
from ranvier.simulate.task_files import bpod_pulses, write_task
from ranvier.tasks.behaviour import bpod, daq, encoder, frame_times, performance, task_qc, trials_table, wheel_trace
from ranvier.tasks.behaviour.daq import Daq, DaqError
from ranvier.tasks.behaviour.encoder import EncoderError
from ranvier.tasks.behaviour.video import VideoError
from ranvier.tasks.behaviour.wheel_trace import Wheel

STAMP = "2019-02-13T14:25:{:010.7f}+00:00"


def older(path: Path, rows: list[tuple[int, int]], extra: str = "") -> Path:
    """An older rig's file of positions; the computer's time stamps follow the encoder's microseconds."""
    begin = rows[0][0]
    path.write_text("".join(f"Position {tick} {value} {STAMP.format((tick - begin) % 2**32 / 1e6)} \n" for tick, value in rows) + extra)
    return path


def newer(path: Path, rows: list[tuple[int, int]], extra: str = "") -> Path:
    path.write_text("".join(f"{tick} {value} \n" for tick, value in rows) + extra)
    return path


ROWS = [(1_000_000 + 3_000_000 * index, index) for index in range(12)]


@pytest.mark.parametrize("write", [older, newer])
def test_both_forms_are_read(tmp_path: Path, write: Callable[..., Path]) -> None:
    found = encoder.read(write(tmp_path / "_iblrig_encoderPositions.raw.ssv", ROWS))
    np.testing.assert_allclose(found.times, 1 + 3 * np.arange(12))
    np.testing.assert_array_equal(found.values, np.arange(12))
    assert (found.dropped, found.milliseconds) == (0, False)


@pytest.mark.parametrize("write", [older, newer])
def test_lines_that_are_no_records_are_left_out_and_counted(tmp_path: Path, write: Callable[..., Path]) -> None:
    word = "Position " if write is older else ""
    broken = f"{word}365pshhh\n{word}\nchine 3 2019-03-05T15:49:19.98\n{word}4600"
    found = encoder.read(write(tmp_path / "_iblrig_encoderPositions.raw.ssv", ROWS, broken))
    np.testing.assert_array_equal(found.values, np.arange(12))
    assert found.dropped == len([line for line in broken.splitlines() if line.strip()])


def test_the_clock_that_begins_anew_goes_on(tmp_path: Path) -> None:
    rows = [((2**32 - 10_000_000 + 3_000_000 * index) % 2**32, index) for index in range(12)]
    found = encoder.read(newer(tmp_path / "positions.ssv", rows))
    np.testing.assert_allclose(np.diff(found.times), 3)


def test_a_first_sample_of_another_time_and_swapped_neighbours_are_put_right(tmp_path: Path) -> None:
    rows = [(1_708_862_576, -80), *ROWS]
    rows[6], rows[7] = rows[7], rows[6]
    found = encoder.read(newer(tmp_path / "positions.ssv", rows))
    np.testing.assert_array_equal(found.values, np.arange(12))
    assert (np.diff(found.times) > 0).all()


def test_milliseconds_are_noticed(tmp_path: Path) -> None:
    found = encoder.read(newer(tmp_path / "positions.ssv", [(tick // 1000, value) for tick, value in ROWS]))
    assert found.milliseconds
    np.testing.assert_allclose(found.times, 1 + 3 * np.arange(12))


def test_a_short_session_is_not_taken_for_milliseconds(tmp_path: Path) -> None:
    did = make_behaviour(15, 1)
    write_task(tmp_path / "task", did, "2026-01-15T12:00:00", set())
    data, events, positions = (next((tmp_path / "task").glob(f"*{name}.raw*")) for name in ("taskData", "Events", "Positions"))
    wheel = wheel_trace.read_wheel(bpod.read(data), events, positions)
    assert wheel.times[-1] < 15


@pytest.mark.parametrize("content", ["", "nothing of use\n", "12 "])
def test_a_file_of_nothing_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "positions.ssv"
    path.write_text(content)
    with pytest.raises(EncoderError, match=str(path)):
        encoder.read(path)


def test_events_of_another_session_are_refused(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for seed, folder in enumerate(folders):
        write_task(folder, make_behaviour(60, seed), "2026-01-15T12:00:00", set())
    task = bpod.read(folders[0] / "_iblrig_taskData.raw.jsonable")
    events = folders[1] / "_iblrig_encoderEvents.raw.ssv"
    with pytest.raises(EncoderError, match="not at the times of"):
        wheel_trace.read_wheel(task, events, folders[1] / "_iblrig_encoderPositions.raw.ssv")


def test_trials_are_found_among_the_pulses_of_other_protocols(tmp_path: Path) -> None:
    did = make_behaviour(120, 1)
    write_task(tmp_path / "task", did, "2026-01-15T12:00:00", set())
    task = bpod.read(tmp_path / "task" / "_iblrig_taskData.raw.jsonable")
    before = np.sort(np.random.default_rng(0).uniform(0, 300, 80))
    pulses = np.concatenate([before, did.starts + 400, did.starts[-1] + 500 + before])
    clock = daq.bpod_clock(task, Daq(tmp_path, {"bpod": 16}, {16: pulses}, {16: pulses + 0.002}))
    assert clock is not None
    np.testing.assert_allclose(clock(task.starts), did.starts + 400, atol=1e-3)
    others = np.concatenate([before, before + 500])
    with pytest.raises(DaqError, match=rf"160 pulses on line 16 .*, {len(task)} trials in .*: their times do not fit"):
        daq.bpod_clock(task, Daq(tmp_path, {"bpod": 16}, {16: others}, {16: others + 0.002}))


def test_the_first_pulse_may_be_too_long_for_a_start(tmp_path: Path) -> None:
    did = make_behaviour(60, 1)
    write_task(tmp_path / "task", did, "2026-01-15T12:00:00", set())
    task = bpod.read(tmp_path / "task" / "_iblrig_taskData.raw.jsonable")
    pulses = bpod_pulses(did)
    pulses[0, 1] += 0.01
    clock = daq.bpod_clock(task, Daq(tmp_path, {"bpod": 16}, {16: pulses[:, 0]}, {16: pulses[:, 1]}))
    assert clock is not None
    np.testing.assert_allclose(clock(task.starts), did.starts, atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [("niSampRate=30000\nnSavedChans=2\n", "snsMnMaXaDw"), ("snsMnMaXaDw=0,0,1,1\nniAiRangeMax=x\n", "could not convert")],
)
def test_a_malformed_meta_of_the_daq_is_named(tmp_path: Path, fields: str, words: str) -> None:
    binary, meta = tmp_path / "a.nidq.bin", tmp_path / "a.nidq.meta"
    binary.write_bytes(b"1234")
    meta.write_text(fields)
    with pytest.raises(DaqError, match=rf"a\.nidq\.meta is malformed: .*{words}"):
        daq.read([binary, meta])


def test_the_truth_is_kept(tmp_path: Path) -> None:
    did = make_behaviour(30, 2)
    did.save(tmp_path)
    np.testing.assert_array_equal(load_behaviour(tmp_path).response, did.response)


def test_movements_are_found_where_they_are() -> None:
    times = np.arange(0, 20, 0.002)
    position = np.interp(times, [0, 4, 4.4, 10, 10.2, 20], [0, 0, 1, 1, 0.4, 0.4])
    changed = np.concatenate([[True], np.diff(np.round(position / wheel_trace.STEP)) != 0])
    changed[-1] = True
    wheel = Wheel(times[changed], np.round(position[changed] / wheel_trace.STEP) * wheel_trace.STEP)
    moves = wheel_trace.find_moves(wheel)
    np.testing.assert_allclose(moves.intervals[-1], [10, 10.2], atol=0.05)
    np.testing.assert_allclose(moves.peak_amplitude[-1], -0.6, atol=0.08)  # it ends where less than 8 counts are left
    first = wheel_trace.first_movements(moves, np.array([3.9, 9.9, 15]), np.array([5.0, 11, 16]), 0.2)
    assert 3.7 < first[0] < 4.1
    assert 9.9 < first[1] < 10.1
    assert np.isnan(first[2])


def test_of_equally_fast_samples_the_first_is_the_fastest() -> None:
    times = np.arange(0, 3, 0.001)
    position = np.interp(times, [0, 1, 2, 3], [0, 0, 2, 2])
    rng = np.random.default_rng(0)
    found = [wheel_trace.find_moves(Wheel(times, position + rng.normal(0, 1e-12, times.size))).peak_velocity_times for _ in range(5)]
    assert np.ptp(found) == 0
    assert 1.0 < found[0][0] < 1.02


def test_frames_get_their_ttls() -> None:
    ttls = np.arange(100) / 60
    number = np.delete(np.arange(100), [20, 50, 51, 52, 53, 54])
    found = frame_times.from_ttls(ttls, 94, number, "left")
    np.testing.assert_allclose(found.times, ttls[number])
    with pytest.raises(VideoError, match="left: 90 TTLs, but 94 frames in the video, of the 100 that the camera counted"):
        frame_times.from_ttls(ttls[:90], 94, number, "left")
    assert frame_times.from_ttls(ttls, 98, None, "left").times.size == 98
    assert frame_times.from_ttls(ttls, 103, None, "left").times.size == 103
    for n_frames in (94, 106):
        with pytest.raises(VideoError, match=f"left: 100 TTLs, but {n_frames} frames"):
            frame_times.from_ttls(ttls, n_frames, None, "left")


def test_the_cameras_clock_of_128_s_is_unrolled(tmp_path: Path) -> None:
    times = 100 + np.arange(4000) / 30
    cycles = np.floor(times % 1 * 8000).astype(int)
    offsets = np.floor((times % 1 * 8000 - cycles) * 3072).astype(int)
    stamps = (times.astype(int) % 128 << 25) | (cycles << 12) | offsets
    path = tmp_path / "_iblrig_bodyCamera.timestamps.ssv"
    path.write_text("".join(f"2020-08-19T12:42:57.7903616-04:00 {stamp} \n" for stamp in stamps))
    np.testing.assert_allclose(frame_times.camera_clock(path), times - times[0], atol=1e-6)
    path.write_text("half a li")
    with pytest.raises(VideoError, match="malformed"):
        frame_times.camera_clock(path)


@pytest.mark.parametrize("times", [[0.0, 0.1, np.nan], [0.0, 0.2, 0.1]])
def test_times_that_are_none_are_refused(times: list[float]) -> None:
    with pytest.raises(VideoError, match="frame 2"):
        frame_times.check(np.array(times), "left")


def test_the_psychometric_function_is_found() -> None:
    true = performance.Psychometric(8.0, 15.0, 0.05, 0.1)
    contrast = np.array([-100, -25, -12.5, -6.25, 0, 6.25, 12.5, 25, 100])
    fit = performance.fit_psychometric(contrast, true(contrast), np.full(9, 500))
    np.testing.assert_allclose([fit.bias, fit.threshold, fit.lapse_left, fit.lapse_right], [8, 15, 0.05, 0.1], rtol=0.05)


def test_trials_without_a_choice_count_only_when_asked() -> None:
    table = pd.DataFrame({"choice": [-1, 0, 0, 1], "contrastLeft": np.nan, "contrastRight": 1.0})
    assert performance.choices(table)[["n", "right"]].to_numpy().tolist() == [[2, 0.5]]
    assert performance.choices(table, no_go=True)[["n", "right"]].to_numpy().tolist() == [[4, 0.25]]


def screen_off(events: dict, length: float) -> None:
    """Let the screen go dark before the go cue."""
    events["BNC1Low"], events["BNC1High"] = [0.1, *events["BNC1Low"]], [0.1 + length, *events["BNC1High"]]


@pytest.mark.parametrize(
    ("spoil", "lacking"),
    [
        (lambda states, events: None, set()),
        (lambda states, events: screen_off(events, 0.003), set()),  # a flicker
        (lambda states, events: screen_off(events, 0.02), {"stimulus_move_before_goCue"}),
        (lambda states, events: events["BNC2Low"].insert(0, 0.2), {"audio_pre_trial"}),
        (lambda states, events: events["BNC1Low"].append(events["BNC1High"].pop() + 0.1), {"iti_delays", "stimOff_itiIn_delays"}),
        (lambda states, events: states["play_tone"][0].__setitem__(0, np.nan), {"n_trial_events", "goCue_delays"}),
    ],
)
def test_checks_tell_what_is_wrong_with_a_trial(tmp_path: Path, spoil: Callable[[dict, dict], None], lacking: set[str]) -> None:
    write_task(tmp_path / "task", make_behaviour(60, 1), "2026-01-15T12:00:00", set())
    task = bpod.read(tmp_path / "task" / "_iblrig_taskData.raw.jsonable", [tmp_path / "task" / "_iblrig_taskSettings.raw.json"])
    task = replace(task, version=(8, 0, 0))
    machine = task.trials[2]["behavior_data"]
    spoil(machine["States timestamps"], machine["Events timestamps"])
    found = {check.name: check.value for check in task_qc.checks(trials_table.extract(task), task, None)}
    assert {name for name, value in found.items() if value != 1} == lacking | ({"passed_trial_checks"} if lacking else set())


def test_performance_of_little_data_says_little() -> None:
    table = pd.DataFrame({"feedbackType": [1, -1], "choice": [1, -1], "contrastLeft": [1.0, np.nan], "contrastRight": [np.nan, 1.0]})
    did = performance.assess(table)
    assert did.fit is None
    assert did.values["performance"] == 0.5
    assert did.values["session_reaches"] == "none"
