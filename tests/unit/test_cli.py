"""The command line without servers: what it refuses, how it says so, and that it stays quick and thin."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ranvier.cli.screen import duration, size

HEAVY = {
    "numpy",
    "pandas",
    "pydantic",
    "django",
    "prefect",
    "distributed",
    "one",
    "requests",
    "rich.table",
    "spikeinterface",
    "ranvier.settings",
}


def ranvier(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("ranvier")), *arguments]
    env = {**os.environ, "RANVIER_HOME": str(home), "COLUMNS": "200", **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def unboxed(text: str) -> str:
    """What a box says, in one line."""
    return " ".join(text.replace("│", " ").split())


def test_help_names_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys; from ranvier.cli import app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)
    shown = ranvier("--help", home=tmp_path).stdout
    for command in (
        "up",
        "demo",
        "simulate",
        "register",
        "plan",
        "run",
        "rerun",
        "backfill",
        "status",
        "logs",
        "tasks",
        "labs",
        "db",
        "doctor",
    ):
        assert f" {command} " in shown


def test_the_version(tmp_path: Path) -> None:
    import ranvier as package

    assert ranvier("--version", home=tmp_path).stdout == f"ranvier {package.__version__}\n"


@pytest.mark.parametrize("arguments", [["nonsense"], ["status", "--nonsense"], ["simulate", "--seconds", "many"], ["plan"]])
def test_what_is_not_understood_exits_with_2(tmp_path: Path, arguments: list[str]) -> None:
    done = ranvier(*arguments, home=tmp_path)
    assert done.returncode == 2
    assert "Usage: ranvier" in done.stderr


def test_an_error_is_a_line_and_a_hint_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[lab]\nnaem = 'x'\n")
    done = ranvier("status", home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {tmp_path}/config.toml: lab.naem: Extra inputs")
    assert "docs/settings.md" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[lab]\nnaem = 'x'\n")
    assert "Traceback" in ranvier("status", home=tmp_path, RANVIER_DEBUG="1").stderr


def test_home_goes_before_the_environment(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[lab]\nnaem = 'x'\n")
    done = ranvier("--home", str(tmp_path), "status", home=tmp_path / "another")
    assert str(tmp_path / "config.toml") in done.stderr


def test_without_a_database_it_is_said_what_to_do(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "config.toml").write_text(f"[ports]\ndatabase = {free_port}\n")
    done = ranvier("status", home=tmp_path, RANVIER_TOKEN="0" * 40)
    assert done.returncode == 1
    assert f"the database at http://127.0.0.1:{free_port} does not answer" in done.stderr
    assert "ranvier up" in done.stderr


def test_tasks_list_and_show(tmp_path: Path) -> None:
    listed = ranvier("tasks", "list", "--json", home=tmp_path)
    tasks = {each["name"]: each for each in json.loads(listed.stdout)["tasks"]}
    assert tasks["spike_sorting"]["source"] == "ranvier"
    shown = ranvier("tasks", "show", "spike_sorting", home=tmp_path).stdout
    assert "per probe" in shown
    assert "sorter = 'spykingcircus2'" in shown


def test_a_parameter_that_the_lab_sets_is_marked(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[tasks.spike_sorting]\nparameters = { sorter = "lupin" }\n')
    assert "sorter = 'lupin'  (set by the lab)" in ranvier("tasks", "show", "spike_sorting", home=tmp_path).stdout


def test_an_unknown_task_lists_the_known_ones(tmp_path: Path) -> None:
    done = ranvier("tasks", "show", "spike_sortin", home=tmp_path)
    assert done.returncode == 1
    assert "no task is called 'spike_sortin'; known: " in done.stderr
    assert "spike_sorting" in done.stderr


def test_doctor_names_what_is_wrong_and_the_mend(tmp_path: Path, free_port: int) -> None:
    tasks = "[tasks.spike_sorting]\nparameters = { sortre = 'x' }\n[tasks.pose_sleap_nn]\nparameters = { model = '/models/mouse' }"
    config = f"[ports]\ndatabase = {free_port}\n{tasks}\n[environments]\ndlc = '/nowhere/bin/python'\n"
    (tmp_path / "config.toml").write_text(config)
    done = ranvier("doctor", "--json", home=tmp_path)
    assert done.returncode == 1
    findings = json.loads(done.stdout)
    wrong = {finding["part"]: finding for finding in findings if not finding["ok"]}
    assert "sortre: Extra inputs" in wrong["tasks"]["detail"]
    assert "/nowhere/bin/python is not a program" in wrong["environment dlc"]["detail"]
    assert "the task pose_sleap_nn wants it" in wrong["environment sleap_nn"]["detail"]
    assert "environment deeplabcut" not in wrong, "a task that is left out everywhere wants nothing"
    assert wrong["database"]["detail"] == "does not run"
    assert all(finding["mend"] for finding in wrong.values())


def test_the_demo_keeps_out_of_a_labs_home(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[lab]\nname = 'cortexlab'\n")
    done = ranvier("demo", home=tmp_path)
    assert done.returncode == 1
    assert "is the home of the lab cortexlab" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_what_is_for_the_first_start_is_refused_later(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[lab]\nname = 'cortexlab'\n")
    done = ranvier("up", "--lab", "another", home=tmp_path)
    assert done.returncode == 2
    assert f'{tmp_path}/config.toml is there already and says otherwise: lab.name is "cortexlab" and not "another"' in unboxed(done.stderr)


def test_a_file_of_ports_alone_is_said_to_make_no_centre_and_no_labs_server(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[ports]\ndatabase = 8100\n")
    done = ranvier("up", "--centre-at", "127.0.0.1", home=tmp_path)
    assert done.returncode == 2
    assert 'machine.role is "all" and not "centre", machine.address is "" and not "127.0.0.1"' in unboxed(done.stderr)
    done = ranvier("up", "--centre", "http://127.0.0.1:8000", "--lab", "lab_a", home=tmp_path, RANVIER_TOKEN="0" * 40)
    assert done.returncode == 1
    assert f'{tmp_path}/config.toml is there already and says otherwise: machine.role is "all" and not "lab"' in done.stderr
    assert 'lab.name is "lab" and not "lab_a", database.url is "" and not "http://127.0.0.1:8000"' in done.stderr


def test_what_is_for_an_administrator_is_not_for_a_labs_server(tmp_path: Path, free_port: int) -> None:
    centre = f"http://127.0.0.1:{free_port}"
    written = f'[machine]\nrole = "lab"\n[database]\nurl = "{centre}"\n[prefect]\napi_url = "{centre}/api"\n'
    (tmp_path / "config.toml").write_text(written)
    for command in (("labs", "add", "lab_b"), ("tokens", "list"), ("tokens", "new", "a script"), ("tokens", "revoke", "1")):
        done = ranvier(*command, home=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{tmp_path} is the home of a lab's server, and this is for an administrator of {centre}" in done.stderr
        assert "run it at the centre, or set RANVIER_TOKEN to an administrator's token" in done.stderr
    assert "does not answer" in ranvier("tokens", "list", home=tmp_path, RANVIER_TOKEN="0" * 40).stderr


def test_nothing_is_simulated_into_a_centre(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[machine]\nrole = "centre"\n')
    done = ranvier("simulate", "--seconds", "1", "--channels", "4", home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path} is the home of a centre, which keeps no data" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_a_path_that_is_no_session_is_refused_with_an_example(tmp_path: Path) -> None:
    done = ranvier("plan", str(tmp_path), home=tmp_path)
    assert done.returncode == 1
    assert "is not a session path" in done.stderr
    assert "mouse_01/2026-11-22/001" in done.stderr


def test_every_command_is_thin(repository: Path) -> None:
    for path in (repository / "src/ranvier/cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 40, f"{path.name}: {node.name}"


def test_every_command_is_documented(repository: Path) -> None:
    documented = (repository / "docs" / "cli.md").read_text()
    from ranvier.cli import app, tasks

    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    names += [f"tasks {command.name}" for command in tasks.app.registered_commands]
    assert [name for name in names if f"`ranvier {name}" not in documented] == []


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (0.04, "0.0 s"), (59.94, "59.9 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (12_345, "12.3 kB"), (2.5e12, "2.5 TB")])
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text
