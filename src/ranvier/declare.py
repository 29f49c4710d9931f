"""How a task is declared: a typed plain function under one decorator line.

Nothing here runs anything. The declaration is data that the plan, the attempt, the database and the documentation read.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ranvier.errors import RanvierError
from ranvier.retries import Retries

#: Outcomes of a quality check, worst last; Alyx's names.
QC_OUTCOMES = ("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")
#: What a task can fan out over: one instance a probe, a camera, a field of view, a protocol; or one for the whole session.
PER = ("session", "probe", "camera", "fov", "protocol")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PLACEHOLDER = re.compile(r"{(\w+)}")

#: Says in words why a task is left out, from what the description says of the device and the task's parameters; nothing where it is not.
LeftOut = Callable[[dict[str, Any], dict[str, Any]], str]


class DeclarationError(RanvierError):
    """A task is declared in a way that cannot work; the message names the task, the reason and the mend."""


@dataclass(frozen=True)
class Input:
    """Files that a task reads.

    Parameters
    ----------
    pattern
        Path below the session folder, with ``*`` and ``?`` inside one path segment, the device's own placeholders (``{probe}``,
        ``{camera}``, ``{fov}``, ``{protocol}``), ``{collection}`` for the folder of its raw data, ``{alf}`` for a protocol's folder of
        results, and ``{name}`` for any parameter.
    required
        A required input that is not there fails the attempt before the function is called.
    qc
        A gate: the worst QC outcome (``PASS``, ``WARNING`` or ``FAIL``) of the task that writes the files with which this one still runs;
        after a worse one it is Held, unless it is forced. A task that has judged nothing passes. None: there is no gate.
    """

    pattern: str
    required: bool = True
    qc: str | None = None


@dataclass(frozen=True)
class Output:
    """Files that a task writes, and what must be true of them: the task's contract.

    Parameters
    ----------
    pattern
        Path below the session folder, as for `Input`.
    at_least
        Rows, or elements of the first dimension, that each file must have (npy, pqt, csv, tsv); 0 asks for a readable file only.
    required
        A required output that is missing makes the verdict Incomplete (Empty where none at all was written).
    register
        Whether the files become datasets of the database.
    in_place
        The files are there already, written by the rig; the task only vouches for them. They are hashed and registered where they are.
    """

    pattern: str
    at_least: int = 0
    required: bool = True
    register: bool = True
    in_place: bool = False


@dataclass(frozen=True)
class Resources:
    """What one instance needs. A lab can override each in its settings.

    Parameters
    ----------
    cpu
        Cores; also the number of threads that BLAS, OpenMP and numba get.
    gpu
        GPUs, for this task alone while it runs; below 1 a share of one, beside other tasks that take a share.
    memory_gb
        Memory, gigabytes.
    scratch_gb
        Space for its scratch folder and outputs, gigabytes, kept free for it while it runs.
    timeout_s
        Wall time, in seconds, after which the attempt's process group is killed.
    memory_per_gb, scratch_per_gb
        Gigabytes more for each gigabyte of its input files.
    timeout_per_gb_s
        Seconds more for each gigabyte of its input files. What a rig records grows with time, so that this is a time-out of so many times
        the recording's duration: one Neuropixels 1.0 probe writes 83 GB an hour, thus four times its duration are 174 s a gigabyte.
    """

    cpu: int = 1
    gpu: float = 0
    memory_gb: float = 2.0
    scratch_gb: float = 0.0
    timeout_s: float = 7200.0
    memory_per_gb: float = 0.0
    scratch_per_gb: float = 0.0
    timeout_per_gb_s: float = 0.0

    def scaled(self, input_gb: float) -> Resources:
        """What an instance with so many gigabytes of input needs, with nothing left that grows with them."""
        return replace(
            self,
            memory_gb=self.memory_gb + self.memory_per_gb * input_gb,
            scratch_gb=self.scratch_gb + self.scratch_per_gb * input_gb,
            timeout_s=self.timeout_s + self.timeout_per_gb_s * input_gb,
            memory_per_gb=0.0,
            scratch_per_gb=0.0,
            timeout_per_gb_s=0.0,
        )


@dataclass(frozen=True)
class Task:
    """A declared task. Calling it calls the plain function, so that tests can do so directly."""

    name: str
    version: str
    function: Callable[..., None]
    per: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    resources: Resources
    python: str | None
    packages: tuple[str, ...]
    priority: int
    retries: Retries = field(default_factory=Retries)
    left_out: LeftOut | None = None
    tool: str | None = None
    source: str = ""  #: the distribution that brought it; filled in by discovery

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Call the function as it was written: ``task(job, **parameters)``."""
        return self.function(*args, **kwargs)

    @property
    def environment(self) -> str | None:
        """Name of the other Python environment that it runs in or starts a program in; None for none."""
        return self.python or self.tool

    @property
    def reference(self) -> str:
        """``module:qualname``, from which a child process imports it."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters and their default values, in the order of the signature."""
        return {name: parameter.default for name, parameter in _parameters(self.function).items()}

    def validated(self, overrides: dict[str, Any]) -> dict[str, Any]:
        """Complete `overrides` with the defaults and check all of it against the signature's types.

        Parameters
        ----------
        overrides
            Parameter values by name, from the lab's settings or a request.

        Returns
        -------
        dict
            Every parameter with a JSON-like value, in the order of the signature.

        Raises
        ------
        DeclarationError
            For an unknown name or a value of the wrong type.
        """
        import pydantic  # here, so that a child in an environment of its own needs no pydantic

        try:
            return self._model().model_validate(overrides).model_dump(mode="json")
        except pydantic.ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            known = ", ".join(self.defaults) or "none"
            raise DeclarationError(f"task {self.name}: wrong parameters ({wrong}); it takes: {known}") from None

    def schema(self) -> dict[str, Any]:
        """JSON schema of the parameters."""
        return self._model().model_json_schema()

    def _model(self) -> Any:
        import pydantic

        hints = inspect.get_annotations(self.function, eval_str=True)
        fields: dict[str, Any] = {name: (hints.get(name, Any), default) for name, default in self.defaults.items()}
        return pydantic.create_model(self.name, __config__=pydantic.ConfigDict(extra="forbid"), **fields)


@dataclass(frozen=True)
class _Decorator:
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, function: Callable[..., None]) -> Task:
        options = dict(self.options)
        declared = Task(name=options.pop("name") or function.__name__, function=function, **options)
        _check(declared)
        return declared


def task(
    *,
    version: str,
    per: str = "session",
    inputs: list[Input] | tuple[Input, ...] = (),
    outputs: list[Output] | tuple[Output, ...] = (),
    resources: Resources | None = None,
    python: str | None = None,
    tool: str | None = None,
    packages: tuple[str, ...] = (),
    priority: int = 50,
    retries: Retries | None = None,
    left_out: LeftOut | None = None,
    name: str | None = None,
) -> _Decorator:
    """Declare a function as a task.

    The function takes the `Job` first and its parameters after it, each with a default and a type.

    Parameters
    ----------
    version
        Version of the task's results. Raise it when the same inputs would now give other results: it is part of the identity.
    per
        What the task fans out over: ``session``, ``probe``, ``camera``, ``fov`` or ``protocol``.
    inputs, outputs
        The files it reads and writes. Parents come from matching outputs to inputs.
    resources
        What one instance needs.
    python
        Name of another Python environment of the lab server (``[environments]`` of its settings) to run in.
    tool
        Name of such an environment in which the task, which itself runs in Ranvier's, starts a program: ``job.tool`` is its interpreter.
    packages
        Distributions whose versions are part of the identity, such as ``("spikeinterface",)``: another version means another result. They
        are those of the other environment, where the task names one.
    priority
        Higher goes first where resources are short.
    retries
        How often it is tried again after a failure that may pass, and what a try after running out of memory changes.
    left_out
        Called while a session is planned, with what the description says of the device and with the parameters; what it returns is why
        the task is left out there, in words, and nothing where it is to run.
    name
        Name of the task; the function's own when omitted.

    Returns
    -------
    callable
        A decorator that turns the function into a `Task`.

    Raises
    ------
    DeclarationError
        When the declaration cannot work: the message names the task, the reason and the mend.
    """
    return _Decorator(
        dict(
            name=name,
            version=version,
            per=per,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            resources=resources or Resources(),
            python=python,
            tool=tool,
            packages=tuple(packages),
            priority=priority,
            retries=retries or Retries(),
            left_out=left_out,
        )
    )


def fill(pattern: str, values: dict[str, Any]) -> str:
    """Put `values` into the placeholders of a pattern; one that is unknown stays as it is."""
    return _PLACEHOLDER.sub(lambda match: str(values.get(match[1], match[0])), pattern)


def with_source(declared: Task, source: str) -> Task:
    """The same task, marked with the distribution that brought it."""
    return replace(declared, source=source)


def _parameters(function: Callable[..., None]) -> dict[str, inspect.Parameter]:
    return dict(list(inspect.signature(function).parameters.items())[1:])


def _check(declared: Task) -> None:
    where = f"task {declared.name!r} ({declared.reference})"
    if not _NAME.fullmatch(declared.name) or len(declared.name) > 40:
        raise DeclarationError(f"{where}: a task's name is lower case letters, digits and underscores, 40 at most")
    if declared.per not in PER:
        raise DeclarationError(f"{where}: per={declared.per!r} is unknown; use one of {', '.join(PER)}")
    if not declared.outputs:
        raise DeclarationError(f"{where}: declares no output; a task without outputs cannot be judged, add outputs=[Output(...)]")
    if declared.python and declared.tool:
        raise DeclarationError(f"{where}: python={declared.python!r} and tool={declared.tool!r}: give one of them")
    if not list(inspect.signature(declared.function).parameters):
        raise DeclarationError(f"{where}: its function takes no argument; the first must be the job")
    for parameter in _parameters(declared.function).values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.default is parameter.empty:
            raise DeclarationError(f"{where}: parameter {parameter.name!r} must be a plain one with a default value")
    device = [] if declared.per == "session" else [declared.per, "collection"]
    allowed = {*declared.defaults, *device, *(["alf"] if declared.per == "protocol" else [])}
    for pattern in [*(item.pattern for item in declared.inputs), *(item.pattern for item in declared.outputs)]:
        if unknown := set(_PLACEHOLDER.findall(pattern)) - allowed:
            raise DeclarationError(f"{where}: {pattern!r} has unknown placeholders {sorted(unknown)}; it can use {sorted(allowed)}")
        if pattern.startswith("/") or ".." in pattern.split("/"):
            raise DeclarationError(f"{where}: {pattern!r} must stay below the session folder")
    for item in declared.inputs:
        if item.qc is not None and item.qc not in QC_OUTCOMES[1:-1]:
            raise DeclarationError(f"{where}: the gate of {item.pattern!r} is {item.qc!r}; use one of {', '.join(QC_OUTCOMES[1:-1])}")
    _check_retries(declared, where)


def _check_retries(declared: Task, where: str) -> None:
    numbers = {name for name, value in declared.defaults.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    patterns = [*(item.pattern for item in declared.inputs), *(item.pattern for item in declared.outputs)]
    used = {name for pattern in patterns for name in _PLACEHOLDER.findall(pattern)}
    for name, factor in declared.retries.on_memory.items():
        if name not in numbers | set(Resources.__dataclass_fields__):
            known = ", ".join(sorted(numbers | set(Resources.__dataclass_fields__)))
            raise DeclarationError(f"{where}: on_memory changes {name!r}, which is no resource or numeric parameter; it can change {known}")
        if name in used:
            raise DeclarationError(
                f"{where}: on_memory changes {name!r}, which stands in the path of a file; it must not change the result"
            )
        if not factor > 0:
            raise DeclarationError(f"{where}: on_memory[{name!r}] is {factor!r}; it must be a factor above 0, such as 0.5")
