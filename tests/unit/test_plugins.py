"""Discovery: real packages with real entry points, on a real import path."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent

import pytest

from ranvier import Output, task
from ranvier.plugins import GROUP, Registry, UnknownTask, discover

Install = Callable[..., None]

TASK = """
from ranvier import Output, task

@task(version="1", outputs=[Output("alf/{name}.npy")])
def {name}(job):
    "Count {name}."
"""


def source(name: str) -> str:
    return TASK.replace("{name}", name)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lay out a distribution as pip would: its modules, and a dist-info folder with the entry points."""
    before = set(sys.modules)
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def lay_out(distribution: str, points: dict[str, str], files: dict[str, str]) -> None:
        for name, content in files.items():
            path = site / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(content))
        metadata = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in points.items())]
        (metadata / "entry_points.txt").write_text("\n".join(lines))

    yield lay_out
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(site) in str(sys.modules[name].__file__):
            del sys.modules[name]


def found(*, without: str = "ranvier") -> Registry:
    """What is installed, but for Ranvier's own tasks."""
    return discover(point for point in entry_points(group=GROUP) if point.dist and point.dist.name != without)


def test_an_entry_point_may_name_a_task_a_module_or_a_package(install: Install) -> None:
    install("one-task", {"a": "one_task:alpha"}, {"one_task.py": source("alpha") + source("unnamed")})
    install("one-module", {"b": "one_module"}, {"one_module.py": source("beta")})
    files = {
        "pack/__init__.py": "",
        "pack/first.py": source("gamma"),
        "pack/deeper/__init__.py": "",
        "pack/deeper/second.py": source("delta"),
    }
    install("one-package", {"c": "pack"}, files)
    registry = found()
    assert [*registry] == ["alpha", "beta", "delta", "gamma"]
    assert registry.problems == []
    assert {each.name: each.source for each in registry.values()} == {
        "alpha": "one-task",
        "beta": "one-module",
        "gamma": "one-package",
        "delta": "one-package",
    }
    assert registry["gamma"].summary == "Count gamma."


def test_modules_with_a_leading_underscore_are_not_looked_through(install: Install) -> None:
    install(
        "private", {"p": "priv"}, {"priv/__init__.py": "", "priv/_heavy.py": "raise RuntimeError('imported')", "priv/a.py": source("a")}
    )
    registry = found()
    assert [*registry] == ["a"]
    assert registry.problems == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("import a_package_that_nobody_has", "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("from ranvier import task\n@task(version='1')\ndef t(job): ...", "declares no output"),
    ],
)
def test_a_broken_module_is_named_and_the_rest_stays(install: Install, broken: str, said: str) -> None:
    install("lab", {"l": "labpack"}, {"labpack/__init__.py": "", "labpack/bad.py": broken, "labpack/good.py": source("good")})
    install("other", {"o": "othermod"}, {"othermod.py": source("other")})
    registry = found()
    assert [*registry] == ["good", "other"]
    (problem,) = registry.problems
    assert problem.source == "lab: module labpack.bad"
    assert said in problem.reason


@pytest.mark.parametrize("value", ["nowhere", "present:absent", "present:NUMBER"])
def test_a_broken_entry_point_is_named(install: Install, value: str) -> None:
    install("lab", {"mine": value}, {"present.py": "NUMBER = 3"})
    (problem,) = found().problems
    assert f"entry point mine = {value}" in problem.source


def test_two_plugins_with_one_name_are_both_refused_by_name(install: Install) -> None:
    install("lab-a", {"a": "mod_a"}, {"mod_a.py": source("licks") + source("runs")})
    install("lab-b", {"b": "mod_b"}, {"mod_b.py": source("licks")})
    registry = found()
    assert [*registry] == ["runs"]
    assert {problem.source for problem in registry.problems} == {"lab-a: task 'licks'", "lab-b: task 'licks'"}
    assert "mod_b:licks of lab-b" in registry.problems[0].reason
    with pytest.raises(UnknownTask, match=r"known: runs \(lab-a: task 'licks'.*lab-b"):
        registry.get("licks")


def test_ranvier_keeps_its_name_and_the_plugin_is_refused(install: Install) -> None:
    install("lab", {"x": "lab_mod"}, {"lab_mod.py": source("spike_sorting")})
    registry = discover(entry_points(group=GROUP))
    assert registry["spike_sorting"].source == "ranvier"
    (problem,) = registry.problems
    assert problem.source == "lab: task 'spike_sorting'"
    assert "of ranvier" in problem.reason


def test_a_reexported_task_is_no_duplicate_of_itself(install: Install) -> None:
    init = "from reexport.made import counted\n"
    install(
        "lab", {"l": "reexport", "again": "reexport.made:counted"}, {"reexport/__init__.py": init, "reexport/made.py": source("counted")}
    )
    registry = found()
    assert [*registry] == ["counted"]
    assert registry.problems == []


def test_a_task_that_a_child_process_cannot_import_is_refused(install: Install) -> None:
    made_in_a_function = (
        "def make():\n" + "".join(f"    {line}\n" for line in source("inner").splitlines()) + "    return inner\nmine = make()\n"
    )
    install("lab", {"l": "factory"}, {"factory.py": made_in_a_function})
    registry = found()
    assert not len(registry)
    assert "decorate a function at the top level" in registry.problems[0].reason


def test_an_unknown_name_lists_the_known_ones() -> None:
    @task(version="1", outputs=[Output("alf/a.npy")])
    def known(job: object) -> None: ...

    registry = Registry.of([known])
    assert "known" in registry
    with pytest.raises(UnknownTask, match=r"no task is called 'unknown'; known: known"):
        registry["unknown"]


def test_ranviers_own_tasks_load_without_a_problem() -> None:
    registry = discover(point for point in entry_points(group=GROUP) if point.dist and point.dist.name == "ranvier")
    assert registry.problems == []
    assert {each.source for each in registry.values()} == {"ranvier"}
    assert "spike_sorting" in registry


def test_looking_for_ranvier_s_own_tasks_imports_nothing_that_only_running_them_needs() -> None:
    code = "import sys; from ranvier.plugins import registry; registry(); print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert "ranvier.tasks.behaviour.trials" in loaded
    assert not {"pandas", "matplotlib.figure", "scipy", "av", "onnxruntime", "spikeinterface", "suite2p"} & loaded
