"""The plan of a session: its task instances as a DAG, and for each the decision to run or to skip, with the reason.

Making a plan reads names, sizes and remembered hashes only; it runs nothing and reads no data.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ranvier import acquisition, graph, identity
from ranvier.acquisition import Acquisition
from ranvier.declare import Task
from ranvier.hashes import HashBook
from ranvier.instances import Instance, fan_out
from ranvier.session import Session
from ranvier.settings import Settings
from ranvier.states import GOOD_ENOUGH, SETTLED, Status

Row = Mapping[str, Any]  #: a task as the database's REST interface gives it


@dataclass(frozen=True)
class Decision:
    """Whether an instance runs, and why.

    Attributes
    ----------
    action
        ``run``, ``skip`` or ``hold``.
    reason
        For people.
    provisional
        Whether the attempt looks again when its parents are done, and runs only if they have changed what it reads.
    """

    action: str
    reason: str
    provisional: bool = False

    @property
    def run(self) -> bool:
        """Whether it runs."""
        return self.action == "run"


@dataclass
class Plan:
    """The DAG of a session.

    Attributes
    ----------
    session, acquisition
        Where it is and what was recorded.
    instances
        Every parent before its children.
    decisions
        By the instance's name.
    left_out
        Why instances do not apply to this session, by their name.
    problems
        What is wrong with the description or with a plugin and does not stop the rest.
    """

    session: Session
    acquisition: Acquisition
    instances: list[Instance]
    decisions: dict[str, Decision] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Instance:
        """The instance of that name."""
        return next(instance for instance in self.instances if instance.name == name)


@dataclass
class Request:
    """What is asked of a plan beyond what is due.

    Attributes
    ----------
    tasks
        Names of tasks or instances to look at; None for all.
    force
        Run them although nothing has changed.
    """

    tasks: Collection[str] | None = None
    force: bool = False

    def wants(self, instance: Instance) -> bool:
        """Whether an instance is among what was asked for."""
        return self.tasks is None or instance.name in self.tasks or instance.task.name in self.tasks


def plan_session(
    session: Session, tasks: Iterable[Task], settings: Settings, rows: Iterable[Row] = (), request: Request | None = None
) -> Plan:
    """Make the plan of a session.

    Parameters
    ----------
    session
        The session; its folder must be on this machine.
    tasks
        The installed tasks.
    settings
        The lab's settings.
    rows
        What the database has of the session's tasks.
    request
        What is asked beyond what is due.

    Raises
    ------
    AcquisitionError
        If the session's description cannot be read.
    """
    recorded = acquisition.read(session)
    instances, left_out = graph.applicable(session, fan_out(tasks, recorded, settings))
    graph.refuse_ambiguous(instances)
    graph.link(instances)
    plan = Plan(session, recorded, graph.in_order(instances), left_out=left_out, problems=list(recorded.problems))
    by_name = {str(row["name"]): row for row in rows}
    with HashBook(settings.work_folder / "hashes.sqlite") as hashes:
        for instance in plan.instances:
            plan.decisions[instance.name] = _decide(plan, instance, by_name, request or Request(), hashes)
    return plan


def plan_rows(plan: Plan, settings: Settings) -> list[dict[str, Any]]:
    """The plan as the rows that the database keeps (``POST /plans``)."""
    return [_plan_row(instance, plan.decisions[instance.name], settings) for instance in plan.instances]


def hold_reason(instance: Instance, parents: Mapping[str, Status]) -> str:
    """Why an instance cannot run after its parents, naming them; empty where it can.

    Parameters
    ----------
    instance
        The instance.
    parents
        Where each of its parents has come to.
    """
    bad = [f"{name} is {status.label}" for name, status in parents.items() if name in instance.parents and status not in GOOD_ENOUGH]
    return ", ".join(bad)


def running_elsewhere(row: Row, now: dt.datetime | None = None) -> bool:
    """Whether an attempt holds a live lease on a task."""
    lease = row.get("lease_until")
    if row.get("status") != Status.STARTED.label or not lease:
        return False
    until = dt.datetime.fromisoformat(lease)
    aware = until if until.tzinfo else until.replace(tzinfo=dt.UTC)  # Alyx's times are UTC and do not say so
    return aware > (now or dt.datetime.now(dt.UTC))


def _decide(plan: Plan, instance: Instance, rows: Mapping[str, Row], request: Request, hashes: HashBook) -> Decision:
    row = rows.get(instance.name)
    if instance.refused:
        return Decision("hold", instance.refused)
    if not request.wants(instance):
        return Decision("skip", "not asked for")
    if row is not None and row["status"] == Status.ABANDONED.label:
        return Decision("skip", "abandoned by hand; set it Waiting to run it again")
    if row is not None and running_elsewhere(row):
        return Decision("run", f"attempt {row.get('attempt')} is running; this run waits for it")
    held = [parent for parent in instance.parents if plan.decisions[parent].action == "hold"]
    if held:
        return Decision("hold", f"{', '.join(held)} cannot run")
    if request.force:
        return Decision("run", "forced")
    due = [parent for parent in instance.parents if plan.decisions[parent].run]
    if due and (row is None or Status.parse(row["status"]) in SETTLED):
        again = "" if row is None else "; runs if that changes what it reads"
        return Decision("run", f"after {', '.join(due)}{again}", provisional=row is not None)
    return _decide_alone(plan, instance, row, rows, hashes)


def _decide_alone(plan: Plan, instance: Instance, row: Row | None, rows: Mapping[str, Row], hashes: HashBook) -> Decision:
    if row is None or not row.get("attempt"):
        return Decision("run", "has never run")
    status = Status.parse(row["status"])
    parents = {name: Status.parse(rows[name]["status"]) if name in rows else Status.WAITING for name in instance.parents}
    if not any(plan.decisions[parent].run for parent in instance.parents) and (reason := hold_reason(instance, parents)):
        return Decision("hold", reason)
    if status not in SETTLED:
        return Decision("run", _unfinished(row, status))
    changes = changes_since(plan.session, instance, row, hashes)
    if changes:
        return Decision("run", "; ".join(changes))
    return Decision("skip", f"unchanged since attempt {row['attempt']}, which is {status.label}")


def _unfinished(row: Row, status: Status) -> str:
    reason = f": {row['reason']}" if row.get("reason") else ""
    return (
        f"attempt {row['attempt']} failed{reason}"
        if status == Status.ERRORED
        else f"is {status.label} after attempt {row['attempt']}{reason}"
    )


def changes_since(session: Session, instance: Instance, row: Row, hashes: HashBook) -> list[str]:
    """What has changed since the last attempt at a task, in words; empty where its result still stands.

    Parameters
    ----------
    session, instance
        The task instance.
    row
        Its row in the database, with the receipt of the last attempt and its outputs.
    hashes
        Remembered hashes; a file whose hash is not known counts as a change, which the attempt then looks into.
    """
    inputs, unknown = {}, []
    for path in (path for files in instance.input_files(session).values() for path in files):
        md5 = hashes.known(path)
        inputs[session.relative(path)] = md5 or "unknown"
        unknown += [] if md5 else [f"input {session.relative(path)} has changed or was never hashed"]
    packages = identity.package_versions(instance.task.packages, instance.interpreter)
    receipt = identity.make_receipt(instance.task.name, instance.task.version, instance.parameters, inputs, packages)
    gone = [f"its output {path} is not there as it was written" for path in missing_outputs(session, row)]
    return gone + (unknown or identity.difference(row.get("receipt") or {}, receipt))


def missing_outputs(session: Session, row: Row) -> list[str]:
    """Outputs of the last attempt that are not in the session folder, or not of the size that they had."""
    recorded = {item["path"]: item["size"] for item in row.get("outputs") or []}
    return [path for path, size in recorded.items() if not (file := session.path / path).is_file() or file.stat().st_size != size]


def _plan_row(instance: Instance, decision: Decision, settings: Settings) -> dict[str, Any]:
    status = {"run": Status.WAITING.label, "hold": Status.HELD.label}.get(decision.action)
    resources = instance.resources
    return {
        "name": instance.name,
        "executable": instance.task.name,
        "version": instance.task.version,
        "device": instance.device,
        "arguments": instance.parameters,
        "parents": instance.parents,
        "level": instance.level,
        "priority": instance.task.priority,
        "cpu": resources.cpu,
        "gpu": resources.gpu,
        "ram": round(resources.memory_gb),
        "time_out_secs": round(resources.timeout_s),
        "data_repository": settings.repository,
        "status": None if decision.provisional else status,
        "reason": decision.reason if decision.action == "hold" else "",
    }
