"""Whatever is typed: a line, a hint and an exit code, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHORT = ["--seconds", "2", "--channels", "4"]


def ranvier(*arguments: str | bytes, home: Path | str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("ranvier")), *arguments]
    env = {**os.environ, "RANVIER_HOME": str(home), "RANVIER_TOKEN": "0" * 40, "COLUMNS": "200", **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", check=False)


def complains(done: subprocess.CompletedProcess[str], *said: str, code: int = 1) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert all(words in done.stderr for words in said), done.stderr
    assert len(done.stderr) < 4000


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["simulate", "--seed", "-5"], 2, "greater than or equal to 0"),
        (["simulate", "--seed", "99999999999999999999999"], 2, "less than or equal to"),
        (["simulate", "--number", "1000"], 2, "less than or equal to 999"),
        (["simulate", "--probes", "18446744073709551616"], 2, "less than or equal to 32"),
        (["simulate", "--seconds", "nan"], 2, "less than or equal to 86400"),
        (["simulate", "--subject", "a" * 300, *SHORT], 1, "too long for a subject"),
        (["simulate", "--subject", "..", *SHORT], 1, "session path"),
        (["status", "mouse/2026-02-30/001"], 1, "is not a session path"),
        (["status", "x" * 100_000], 2, "100000 characters"),
        (["plan", b"mouse\xff"], 2, "not UTF-8"),
        (["tasks", "new", "fine", "--into", "a" * 300], 1, "File name too long"),
        (["--home", "~no_such_user", "status"], 2, "no such user"),
        (["status"], 1, "does not answer"),
    ],
)
def test_bad_values(tmp_path: Path, free_port: int, arguments: list[str | bytes], code: int, said: str) -> None:
    (tmp_path / "config.toml").write_text(f"[ports]\ndatabase = {free_port}\n")
    complains(ranvier(*arguments, home=tmp_path), said, code=code)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[lab]\nname = "\xe9"\n', "not UTF-8 at byte 14"),
        (b'[lab]\nname = "a\0b"\n', "not valid TOML"),
        (b'[lab]\nroot = "a\\u0000b"\n', "lab.root"),
        (b"[ports]\ndatabase = 99999999\n", "ports.database: Input should be less than or equal to 65535"),
        (b'[database]\nurl = "nonsense"\n', "database.url"),
        (b"[attempts]\nlease_s = nan\n", "attempts.lease_s: Input should be a finite number"),
        (b'home = "/elsewhere"\n', "home: no such setting"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    complains(ranvier("tasks", "list", home=tmp_path), str(tmp_path / "config.toml"), said)


def test_a_configuration_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    complains(ranvier("status", home=tmp_path), "config.toml: Is a directory", "→")


@pytest.mark.parametrize("command", ["status", "up", "demo", "doctor"])
def test_a_home_that_is_a_file(tmp_path: Path, command: str) -> None:
    (tmp_path / "home").write_text("")
    done = ranvier(command, home=tmp_path / "home")
    assert "home is a file" in done.stderr + done.stdout
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_a_home_that_cannot_be_made() -> None:
    complains(ranvier("up", home="/proc/nowhere"), "/proc/nowhere: No such file or directory", "--home")


def test_a_lab_that_cannot_be_is_not_written_down(tmp_path: Path) -> None:
    complains(ranvier("up", "--lab", "two words", home=tmp_path / "home"), "lab.name", "is not written")
    assert not (tmp_path / "home").exists()


def test_a_user_without_a_home_folder_is_told_so(tmp_path: Path) -> None:
    complains(ranvier("status", home=tmp_path, HOME=str(tmp_path / "gone")), f"HOME={tmp_path}/gone is not there")


def test_a_token_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    complains(ranvier("status", home=tmp_path, RANVIER_TOKEN="two\nlines"), "RANVIER_TOKEN: a secret is one line")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_bytes(b"\xff\xfe")
    complains(ranvier("status", home=tmp_path, RANVIER_TOKEN=""), "secrets/token: not text")


def test_columns_that_are_no_number(tmp_path: Path) -> None:
    assert ranvier("tasks", "list", home=tmp_path, COLUMNS="many").returncode == 0
