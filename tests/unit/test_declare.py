"""Declaring a task: what is read off the function, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest

from ranvier import Input, Job, Output, Resources, task
from ranvier.declare import DeclarationError, fill


@task(
    version="1.2.0",
    per="camera",
    inputs=[Input("alf/_ibl_{camera}Camera.dlc.pqt"), Input("alf/trials.table.pqt", required=False)],
    outputs=[Output("alf/licks.times.npy", at_least=1)],
    resources=Resources(cpu=2, memory_gb=4),
)
def licks(job: Job, likelihood: float = 0.9, method: Literal["fast", "exact"] = "fast", names: list[str] | None = None) -> None:
    """Times at which the tongue comes out.

    More is here.
    """
    job.log.info("%s %s %s", likelihood, method, names)


def test_the_declaration_is_data() -> None:
    assert (licks.name, licks.version, licks.per) == ("licks", "1.2.0", "camera")
    assert licks.summary == "Times at which the tongue comes out."
    assert licks.reference == f"{__name__}:licks"
    assert licks.defaults == {"likelihood": 0.9, "method": "fast", "names": None}
    assert licks.resources == Resources(cpu=2, gpu=0, memory_gb=4, timeout_s=7200)


def test_the_task_is_called_as_the_function_was_written() -> None:
    seen: list[Any] = []

    @task(version="1", outputs=[Output("alf/a.npy")])
    def plain(job: Any, factor: int = 2) -> None:
        seen.append((job, factor))

    plain("the job", factor=3)
    assert seen == [("the job", 3)]


def test_parameters_are_completed_and_checked() -> None:
    assert licks.validated({"likelihood": 1}) == {"likelihood": 1.0, "method": "fast", "names": None}
    assert licks.schema()["properties"]["method"]["enum"] == ["fast", "exact"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"likelyhood": 1}, "likelyhood: Extra inputs"),
        ({"likelihood": "high"}, "likelihood: Input should be a valid number"),
        ({"method": "x"}, "'fast' or 'exact'"),
    ],
)
def test_wrong_parameters_are_named(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said) as refused:
        licks.validated(overrides)
    assert "it takes: likelihood, method, names" in str(refused.value)


def no_default(job: Any, factor: int) -> None: ...


def many(job: Any, *factors: int) -> None: ...


def nothing() -> None: ...


def fine(job: Any, sorter: str = "a") -> None: ...


OUT = [Output("alf/a.npy")]


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (no_default, {"outputs": OUT}, "'factor' must be a plain one with a default"),
        (many, {"outputs": OUT}, "'factors' must be a plain one"),
        (nothing, {"outputs": OUT}, "the first must be the job"),
        (fine, {}, "declares no output"),
        (fine, {"outputs": OUT, "per": "mouse"}, "per='mouse' is unknown; use one of session, probe"),
        (fine, {"outputs": OUT, "name": "Big Name"}, "lower case letters"),
        (fine, {"outputs": OUT, "name": "n" * 41}, "40 at most"),
        (fine, {"outputs": [Output("alf/{probe}/a.npy")]}, r"unknown placeholders \['probe'\]; it can use \['sorter'\]"),
        (fine, {"outputs": [Output("../a.npy")]}, "must stay below the session folder"),
        (fine, {"outputs": [Output("/a.npy")]}, "must stay below the session folder"),
        (fine, {"outputs": OUT, "python": "pose", "tool": "dlc"}, "python='pose' and tool='dlc': give one of them"),
        (fine, {"outputs": OUT, "inputs": [Input("alf/b.npy", qc="bad")]}, "gate of 'alf/b.npy' is 'bad'; use one of PASS, WARNING, FAIL"),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(function: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said) as refused:
        task(version="1", **options)(function)
    assert f"({__name__}:{function.__name__})" in str(refused.value)


def test_placeholders_of_the_device_and_of_parameters_may_be_used() -> None:
    declared = task(version="1", per="probe", inputs=[Input("{collection}/*.ap.bin")], outputs=[Output("alf/{probe}/{sorter}/a.npy")])(fine)
    assert fill(declared.outputs[0].pattern, {"probe": "probe00", "sorter": "ks"}) == "alf/probe00/ks/a.npy"


def test_fill_leaves_what_it_does_not_know() -> None:
    assert fill("{collection}/{probe}.npy", {"probe": "probe01"}) == "{collection}/probe01.npy"


def test_the_example_of_the_readme_is_a_task(repository: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "@task(" in block]
    content: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), content)
    assert content["licks"].defaults == {"likelihood": 0.9}
