"""The order for an attempt: all that it needs to know, as plain data that can travel to another machine.

It tells all about the task, so that whoever carries it out needs no registry: a worker that has been up for weeks runs today's version of
a plugin.
"""

from __future__ import annotations

import datetime as dt
import inspect
from dataclasses import asdict, dataclass, field
from typing import Any

from ranvier.instances import Instance
from ranvier.session import Session
from ranvier.settings import Settings


@dataclass
class Order:
    """All that an attempt needs to know, as plain data.

    Attributes
    ----------
    home
        Home folder of this machine's settings.
    eid, session_path
        The session.
    task_id, instance, slug
        Id of the task's row, name of the instance, and the name as it stands in file names.
    task, version, reference, file, interpreter, packages
        The task: how to import it, in which Python environment, and whose versions count.
    tool
        Whether the task runs in Ranvier's own environment and is handed the interpreter.
    device, description, parameters, values
        What the `Job` gets.
    inputs, outputs
        For each input its declared pattern, the pattern with its placeholders filled in, and whether it is required; for each output the
        fields of its `Output`.
    cpu, gpu, memory_gb, scratch_gb, timeout_s
        Resources.
    log_path
        File to which the attempt's log is appended.
    flow_run
        Id of the Prefect flow run that asked for it; may be empty.
    force
        Run although nothing has changed.
    adjusted
        Parameters that this try has otherwise than `parameters` say, which the identity of the result is made of.
    note
        Why it runs, for its log.
    seen
        Number of the last attempt that whoever ordered it had seen. Where a later one has failed, that is the answer to the order.
    """

    home: str
    eid: str
    session_path: str
    task_id: str
    instance: str
    slug: str
    task: str
    version: str
    reference: str
    file: str
    interpreter: str | None
    tool: bool
    packages: list[str]
    device: str
    description: dict[str, Any]
    parameters: dict[str, Any]
    values: dict[str, Any]
    inputs: list[tuple[str, str, bool]]
    outputs: list[dict[str, Any]]
    cpu: int
    gpu: float
    memory_gb: float
    scratch_gb: float
    timeout_s: float
    log_path: str
    flow_run: str = ""
    force: bool = False
    adjusted: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    seen: int | None = None


def make_order(instance: Instance, session: Session, settings: Settings, *, eid: str, task_id: str, **options: Any) -> dict[str, Any]:
    """The order for an attempt at an instance, ready to be handed to `run_attempt`.

    Parameters
    ----------
    instance, session, settings, eid, task_id
        What is attempted, where.
    **options
        Fields of the `Order` that have defaults.
    """
    task, resources = instance.task, instance.resources
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S%f")
    order = Order(
        home=str(settings.home),
        eid=eid,
        session_path=str(session.path),
        task_id=task_id,
        instance=instance.name,
        slug=instance.slug,
        task=task.name,
        version=task.version,
        reference=task.reference,
        file=inspect.getsourcefile(task.function) or "",
        interpreter=instance.interpreter,
        tool=task.tool is not None,
        packages=list(task.packages),
        device=instance.device,
        description=instance.description,
        parameters=instance.parameters,
        values=instance.values,
        inputs=[(declared.pattern, filled.pattern, filled.required) for declared, filled in zip(task.inputs, instance.inputs, strict=True)],
        outputs=[asdict(output) for output in instance.outputs],
        cpu=resources.cpu,
        gpu=resources.gpu,
        memory_gb=resources.memory_gb,
        scratch_gb=resources.scratch_gb,
        timeout_s=resources.timeout_s,
        log_path=str(settings.work_folder / "logs" / eid / f"{instance.slug}.{stamp}.log"),
        **options,
    )
    return asdict(order)
