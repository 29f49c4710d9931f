"""A new package: what is written, and what is refused. That its test passes is seen in tests/integration/test_kit.py."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from ranvier.scaffold import SHAPES, ScaffoldError, new_package


@pytest.mark.parametrize("per", SHAPES)
def test_what_is_written_is_a_package_with_a_task_and_a_test(tmp_path: Path, per: str) -> None:
    made = new_package("count_licks", tmp_path, per)
    names = {path.relative_to(made.folder).as_posix() for path in made.files}
    assert names == {
        "README.md",
        "pyproject.toml",
        "src/count_licks/__init__.py",
        "src/count_licks/count_licks.py",
        "tests/test_count_licks.py",
    }
    project = tomllib.loads((made.folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["ranvier.tasks"] == {"count_licks": "count_licks"}
    for path in made.files:
        assert "$" not in path.read_text()
        if path.suffix == ".py":
            ast.parse(path.read_text())
    assert made.task in made.files


@pytest.mark.parametrize("name", ["Licks", "2licks", "class", "lick-count", "l" * 41, ""])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScaffoldError, match="cannot be a task's name"):
        new_package(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_would_hide_a_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match="'json' is installed already"):
        new_package("json", tmp_path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    new_package("licks", tmp_path)
    with pytest.raises(ScaffoldError, match="is there already"):
        new_package("licks", tmp_path)


def test_what_it_can_be_per_is_listed(tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match=r"per camera.*session, probe"):
        new_package("licks", tmp_path, "camera")
