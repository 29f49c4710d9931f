"""Task instances of a session: each installed task times the devices it fans out over, with its place holders filled in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ranvier.acquisition import Acquisition, alf_folder
from ranvier.declare import DeclarationError, Input, Output, Resources, Task, fill
from ranvier.retries import Retries
from ranvier.session import Session
from ranvier.settings import Settings


@dataclass
class Instance:
    """One task for one device of one session.

    Attributes
    ----------
    name
        Such as ``spike_sorting[probe00]``; the task's own name where it runs once a session.
    task, device, description
        The task, the device's name (empty for a session's task) and what the description says of it.
    parameters, resources, retries
        As the lab has set them.
    inputs, outputs
        As declared, with every placeholder filled in.
    values
        What the placeholders were filled with.
    interpreter
        Python interpreter of the environment that the task names; None where it names none.
    parents
        Names of the instances whose outputs it reads; filled in by the plan.
    gates
        For parents whose QC matters the worst outcome with which it runs; filled in by the plan.
    level
        Length of the longest way to it from an instance without parents.
    left_out
        Why the task itself has no use for this device, empty where it has.
    refused
        Why it cannot run at all, whatever its parents do; empty where it can.
    displaced
        Whether a built-in task writes its outputs in its stead, so that nobody waits for it.
    """

    name: str
    task: Task
    device: str
    description: dict[str, Any]
    parameters: dict[str, Any] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    retries: Retries = field(default_factory=Retries)
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    interpreter: str | None = None
    parents: list[str] = field(default_factory=list)
    gates: dict[str, str] = field(default_factory=dict)
    level: int = 0
    left_out: str = ""
    refused: str = ""
    displaced: bool = False

    @property
    def slug(self) -> str:
        """The name as it stands in file names: ``spike_sorting.probe00``."""
        return f"{self.task.name}.{self.device}" if self.device else self.task.name

    def for_its_inputs(self, session: Session) -> Instance:
        """The instance with the resources that its input files, as they are now, ask for."""
        sizes = {path: path.stat().st_size for files in self.input_files(session).values() for path in files}
        return replace(self, resources=self.resources.scaled(sum(sizes.values()) / 1e9))

    def input_files(self, session: Session) -> dict[str, list[Path]]:
        """The files of each input by its pattern as it was declared."""
        return {declared.pattern: session.find(filled.pattern) for declared, filled in zip(self.task.inputs, self.inputs, strict=True)}


def fan_out(tasks: Iterable[Task], acquisition: Acquisition, settings: Settings) -> list[Instance]:
    """Every instance of every enabled task, in the order of the tasks' names."""
    return [
        make_instance(task, device, description, settings)
        for task in sorted(tasks, key=lambda task: task.name)
        if settings.task(task.name).enabled
        for device, description in acquisition.of(task.per).items()
    ]


def make_instance(task: Task, device: str, description: dict[str, Any], settings: Settings) -> Instance:
    """One instance, refused where the lab's settings for the task make no sense."""
    instance = Instance(f"{task.name}[{device}]" if device else task.name, task, device, description, resources=task.resources)
    times = settings.task(task.name).retries
    instance.retries = task.retries if times is None else replace(task.retries, times=times)
    try:
        instance.parameters = task.validated(settings.task(task.name).parameters)
        instance.left_out = _why_left_out(task, description, instance.parameters)
        instance.resources = resources_for(task, settings)
        instance.interpreter = interpreter_for(task, settings)
    except DeclarationError as error:
        instance.parameters, instance.refused = task.defaults, str(error)
    collection = description.get("collection", "")
    instance.values = {**instance.parameters, **({task.per: device, "collection": collection} if device else {})}
    if task.per == "protocol":
        instance.values["alf"] = alf_folder(collection)
    instance.inputs = tuple(replace(item, pattern=fill(item.pattern, instance.values)) for item in task.inputs)
    instance.outputs = tuple(replace(item, pattern=fill(item.pattern, instance.values)) for item in task.outputs)
    return instance


def _why_left_out(task: Task, description: dict[str, Any], parameters: dict[str, Any]) -> str:
    try:
        return task.left_out(description, parameters) if task.left_out else ""
    except Exception as error:  # a plugin's own code: its mistake holds its task, not the plans of the lab
        told = f"task {task.name}: whether it is left out cannot be told: {type(error).__name__}: {error}"
        raise DeclarationError(told, "mend the function that it was declared with") from error


def resources_for(task: Task, settings: Settings) -> Resources:
    """A task's resources with what the lab sets instead.

    Raises
    ------
    DeclarationError
        If the settings name an unknown resource.
    """
    changed = settings.task(task.name).resources
    if unknown := set(changed) - set(Resources.__dataclass_fields__):
        raise DeclarationError(
            f"[tasks.{task.name}] resources: {', '.join(sorted(unknown))} unknown", f"use {', '.join(Resources.__dataclass_fields__)}"
        )
    whole: dict[str, Any] = {name: int(value) if name == "cpu" else value for name, value in changed.items()}
    return replace(task.resources, **whole)


def interpreter_for(task: Task, settings: Settings) -> str | None:
    """The Python interpreter of the environment that a task names, None where it names none.

    Raises
    ------
    DeclarationError
        If this machine's settings have no such environment, or its interpreter is not there.
    """
    if task.environment is None:
        return None
    interpreter = settings.environments.get(task.environment)
    if interpreter is None:
        raise DeclarationError(
            f"task {task.name} wants the Python environment {task.environment!r}, which this server does not have",
            f'add it to config.toml: [environments] {task.environment} = "/path/to/bin/python"',
        )
    if not Path(interpreter).expanduser().is_file():
        raise DeclarationError(
            f"the Python environment {task.environment!r} of task {task.name} is not there: {interpreter}", "mend [environments]"
        )
    return str(Path(interpreter).expanduser())
