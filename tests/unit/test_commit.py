"""Moving files into the session: all of them, whenever the process dies; and one attempt at work at a time."""

import subprocess
import sys
import threading

import pytest

from ranvier import commit


@pytest.fixture
def moves(tmp_path):
    scratch = tmp_path / "scratch" / "sort.probe00.1"
    scratch.mkdir(parents=True)
    targets = {}
    for name in ("a", "b", "c"):
        (scratch / name).write_text(f"new {name}")
        targets[str(scratch / name)] = str(tmp_path / "session" / "alf" / name)
    return targets


def content(tmp_path):
    return [path.read_text() for path in sorted((tmp_path / "session" / "alf").iterdir())]


def test_moves_everything(tmp_path, moves):
    commit.prepare(moves)
    assert content(tmp_path) == []
    commit.carry_out(moves)
    assert content(tmp_path) == ["new a", "new b", "new c"]


def test_a_crash_between_two_moves_is_finished_by_the_next(tmp_path, moves):
    commit.prepare(moves)
    first = next(iter(moves))
    commit.carry_out({first: moves[first]})  # as far as the process came
    assert content(tmp_path) == ["new a"]
    commit.carry_out(moves)
    commit.carry_out(moves)
    assert content(tmp_path) == ["new a", "new b", "new c"]


def test_files_whose_place_cannot_be_made_are_told_before_any_is_moved(tmp_path, moves):
    (tmp_path / "session").write_text("in the way")
    with pytest.raises(OSError, match="session"):
        commit.prepare(moves)


def test_only_one_process_is_at_work_at_a_time(tmp_path):
    hold = "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f, 2); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(commit.Busy, match="another attempt"), commit.exclusive(tmp_path / "lock"):
        pass
    holder.communicate()
    with commit.exclusive(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_of_many_threads_one_holds_the_lock_at_a_time_though_it_is_removed_each_time(tmp_path):
    inside, most, turns = [], [], []

    def work():
        while len(turns) < 200:
            try:
                with commit.exclusive(tmp_path / "lock"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    turns.append(1)
            except commit.Busy:
                continue

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
