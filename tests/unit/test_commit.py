"""Moving files into the session: all of them, whenever the process dies."""

import subprocess
import sys

import pytest

from ranvier import commit


@pytest.fixture
def moves(tmp_path):
    scratch = tmp_path / "scratch" / "sort.probe00.1"
    scratch.mkdir(parents=True)
    targets = {}
    for name in ("a", "b", "c"):
        (scratch / name).write_text(f"new {name}")
        targets[scratch / name] = tmp_path / "session" / "alf" / name
    return targets


def test_moves_everything_and_removes_the_journal(tmp_path, moves):
    scratch = next(iter(moves)).parent
    commit.carry_out(commit.write_journal(scratch, moves))
    assert [path.read_text() for path in moves.values()] == ["new a", "new b", "new c"]
    assert list(scratch.iterdir()) == []


def test_a_crash_between_two_moves_is_finished_by_the_next(tmp_path, moves):
    scratch = next(iter(moves)).parent
    commit.write_journal(scratch, moves)
    first, target = next(iter(moves.items()))
    target.parent.mkdir(parents=True)
    first.replace(target)  # as far as the process came
    assert commit.recover(tmp_path / "scratch", "sort.probe00") == [scratch]
    assert [path.read_text() for path in moves.values()] == ["new a", "new b", "new c"]
    assert commit.recover(tmp_path / "scratch", "sort.probe00") == []


def test_another_instance_is_left_alone(tmp_path, moves):
    commit.write_journal(next(iter(moves)).parent, moves)
    assert commit.recover(tmp_path / "scratch", "sort.probe01") == []


def test_only_one_process_commits_at_a_time(tmp_path):
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
