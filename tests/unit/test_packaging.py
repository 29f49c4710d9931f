"""What STYLE asks of the package as a package: import arrows, full names, and a wheel that holds what git holds."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = {"src/ranvier": "ranvier", "tasks": "ranvier.tasks", "flows": "ranvier.flows"}
#: What may be imported from where: nothing imports flows, and core does not know tasks.
FORBIDDEN = {"src/ranvier": ("ranvier.tasks", "ranvier.flows"), "tasks": ("ranvier.flows",), "flows": ("ranvier.tasks",)}


@pytest.mark.parametrize("name", ["tasks", "flows"])
def test_the_short_name_is_refused(name: str, repository: Path) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"import ranvier.{name} instead" in done.stderr


@pytest.mark.parametrize("name", ["ranvier.tasks.ephys", "ranvier.flows"])
def test_the_full_name_is_importable(name: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", f"import {name}"], cwd=tmp_path, check=True)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: a relative import; write the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("top", FORBIDDEN)
def test_imports_point_one_way(top: str, repository: Path) -> None:
    wrong = [
        f"{path}: {name}"
        for path in (repository / top).rglob("*.py")
        for name in imported(path)
        if any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN[top])
    ]
    assert wrong == []


def test_the_database_stands_alone(repository: Path) -> None:
    """One lab may use the database and nothing else, so it knows no more of the core than states, settings, errors and amounts."""
    allowed = ("ranvier.database", "ranvier.states", "ranvier.priority", "ranvier.settings", "ranvier.errors", "ranvier.amounts")
    paths = (repository / "src/ranvier/database").rglob("*.py")
    wrong = [f"{path}: {name}" for path in paths for name in imported(path) if name.startswith("ranvier") and not name.startswith(allowed)]
    assert wrong == []


def test_what_a_task_author_imports_needs_only_the_standard_library() -> None:
    code = "import sys; before = set(sys.modules); import ranvier; print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names == {"ranvier"}


def tracked(repository: Path) -> list[Path]:
    if not (repository / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout, so there is nothing to compare the wheel with")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (repository / name).exists()]


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from it, of the files that git tracks."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in tracked(repository):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / name, checkout / name)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist"]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return checkout / "dist"


def installed_name(path: Path) -> str | None:
    for source, package in SOURCES.items():
        if path.is_relative_to(source):
            return str(Path(*package.split("."), path.relative_to(source)))
    return None


def test_the_wheel_holds_what_git_holds(built: Path, repository: Path) -> None:
    expected = {name for path in tracked(repository) if (name := installed_name(path))}
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_the_sdist_builds_alone(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "setup.py", "LICENSE", "README.md", "tasks/__init__.py", "flows/__init__.py"} <= names
