"""The kit for authors of tasks, as an author meets it: packages that pip installs, whose own tests run real attempts on a real database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ranvier.scaffold import SHAPES, new_package


def pip_install(package: Path, target: Path) -> dict[str, str]:
    """Install a package aside, so that the environment of the tests stays as it is; returns the environment that finds it."""
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "--target", str(target), str(package)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {**os.environ, "PYTHONPATH": str(target)}


def package_of_the_docs(folder: Path, repository: Path) -> Path:
    """What a reader of "your first task in ten minutes" has in the end."""
    blocks = re.findall(r"```python\n(.*?)```", (repository / "docs" / "writing-tasks.md").read_text(), re.DOTALL)
    task, test = (next(block for block in blocks if begin in block) for begin in ("@task(", "def test_"))
    made = new_package("population_rate", folder, "probe")
    made.task.write_text(task)
    (made.folder / "tests" / "test_population_rate.py").write_text(test)
    return made.folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> tuple[list[Path], dict[str, str]]:
    """A scaffolded package of each kind, the one of docs/writing-tasks.md and the lab plugin, all installed."""
    made = [new_package(f"try_{per}", tmp_path_factory.mktemp("new"), per).folder for per in SHAPES]
    made.append(package_of_the_docs(tmp_path_factory.mktemp("docs"), repository))
    site = tmp_path_factory.mktemp("site")
    copied = tmp_path_factory.mktemp("lab") / "lab_plugin"
    subprocess.run(["cp", "-r", str(repository / "tests" / "lab_plugin"), str(copied)], check=True)
    for folder in (*made, copied):
        environment = pip_install(folder, site)
    return [*made, copied], environment


def test_discovery_finds_what_pip_installed(packages: tuple[list[Path], dict[str, str]]) -> None:
    _, environment = packages
    command = [str(Path(sys.executable).with_name("ranvier")), "tasks", "list"]
    listed = subprocess.run(command, env={**environment, "COLUMNS": "200"}, capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    for name, source in (
        ("try_session", "try-session"),
        ("try_probe", "try-probe"),
        ("population_rate", "population-rate"),
        ("spike_counts", "lab-plugin"),
    ):
        (line,) = [line for line in listed.stdout.splitlines() if line.startswith(name)]
        assert source in line


@pytest.mark.heavy
def test_the_packages_own_tests_pass(packages: tuple[list[Path], dict[str, str]]) -> None:
    folders, environment = packages
    tests = [str(folder / "tests") for folder in folders]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests]
    done = subprocess.run(command, cwd=folders[0].parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert "8 passed" in done.stdout
