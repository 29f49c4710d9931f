"""The plan of a session: its task instances as a DAG, and for each the decision to run or to skip, with the reason.

Making a plan reads names, sizes and remembered hashes only; it runs nothing and reads no data.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ranvier import acquisition, graph, identity
from ranvier.acquisition import Acquisition
from ranvier.declare import QC_OUTCOMES, Task
from ranvier.hashes import HashBook
from ranvier.instances import Instance, fan_out
from ranvier.session import Session
from ranvier.settings import Settings
from ranvier.states import GOOD_ENOUGH, SETTLED, Status

_LONGEST_WHY = 150  #: characters of a parent's reason that its children repeat
_NAMED = 3  #: parents that a child names

#: Why an instance is skipped that a request names not.
NOT_ASKED = "not asked for"

Row = Mapping[str, Any]  #: a task as the database's REST interface gives it


class Standing(NamedTuple):
    """Where a task has come to: its status, the reason for that, and the outcome of its QC (empty where it has judged nothing)."""

    status: Status
    reason: str = ""
    qc: str = ""


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
    forced
        Whether it runs although nothing has changed.
    """

    action: str
    reason: str
    provisional: bool = False
    forced: bool = False

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
    seen
        Number of the last attempt at each instance that the decisions were made from; None where the database was not asked.
    """

    session: Session
    acquisition: Acquisition
    instances: list[Instance]
    decisions: dict[str, Decision] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seen: dict[str, int] | None = None

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
    downstream
        Look at what comes after the named tasks, too; it is never forced.
    done
        Instances that this very request has run already, before it was interrupted or retried; they are not forced again.
    """

    tasks: Collection[str] | None = None
    force: bool = False
    downstream: bool = False
    done: Collection[str] = ()

    def names(self, instance: Instance) -> bool:
        """Whether an instance was asked for by name."""
        return self.tasks is None or instance.name in self.tasks or instance.task.name in self.tasks

    def unmet(self, plan: Plan) -> list[str]:
        """What was asked for by a name that nothing here has, in words."""
        here = {name for each in plan.instances for name in (each.name, each.task.name)}
        known = ", ".join(sorted(each.name for each in plan.instances)) or "nothing"
        told = []
        for name in (name for name in self.tasks or () if name not in here):
            why = next((why for left, why in plan.left_out.items() if name in (left, left.partition("[")[0])), "")
            told.append(f"{name} does not apply here: {why}" if why else f"no task is called {name} here; there is {known}")
        return told

    def forces(self, instance: Instance) -> bool:
        """Whether an instance is to run although nothing has changed."""
        return self.force and self.names(instance) and instance.name not in self.done

    def wanted(self, instances: Iterable[Instance]) -> set[str]:
        """Names of the instances to look at, of all of them, parents before children."""
        wanted: set[str] = set()
        for instance in instances:
            if self.names(instance) or (self.downstream and wanted & set(instance.parents)):
                wanted.add(instance.name)
        return wanted


def plan_session(
    session: Session, tasks: Iterable[Task], settings: Settings, rows: Iterable[Row] | None = None, request: Request | None = None
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
        What the database has of the session's tasks; None where it was not asked.
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
    by_name = {str(row["name"]): row for row in rows or ()}
    plan.seen = None if rows is None else {name: int(row.get("attempt") or 0) for name, row in by_name.items()}
    request = request or Request()
    plan.problems += request.unmet(plan)
    wanted = request.wanted(plan.instances)
    with HashBook(settings.work_folder / "hashes.sqlite") as hashes:
        for instance in plan.instances:
            if instance.name not in wanted and not instance.refused:
                plan.decisions[instance.name] = Decision("skip", NOT_ASKED)
            else:
                plan.decisions[instance.name] = _decide(plan, instance, by_name, request, hashes)
    return plan


def plan_rows(plan: Plan, settings: Settings) -> list[dict[str, Any]]:
    """The plan as the rows that the database keeps (``POST /plans``): an instance that is new and was not asked for has none yet."""
    kept = {name for name, decision in plan.decisions.items() if decision.reason != NOT_ASKED or name in (plan.seen or ())}
    for instance in reversed(plan.instances):
        if instance.name in kept:
            kept.update(instance.parents)
    sized = [instance.for_its_inputs(plan.session) for instance in plan.instances if instance.name in kept]
    return [_plan_row(instance, plan, settings) for instance in sized]


def hold_reason(instance: Instance, parents: Mapping[str, Standing]) -> str:
    """Why an instance cannot run after its parents: which of them are not good enough, and in short why; empty where it can run.

    Parameters
    ----------
    instance
        The instance.
    parents
        Where each parent has come to.
    """
    bad = {name: parents[name] for name in instance.parents if name in parents and parents[name].status not in GOOD_ENOUGH}
    if not bad:
        return _gate_reason(instance, parents)
    named = ", ".join(f"{name} is {parent.status.label}" for name, parent in list(bad.items())[:_NAMED])
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    causes = sorted(bad.values(), key=lambda parent: parent.status != Status.ERRORED)
    why = next((_in_short(parent.reason) for parent in causes if parent.reason), "")
    return f"{named}{more}{': ' if why else ''}{why}"


def _gate_reason(instance: Instance, parents: Mapping[str, Standing]) -> str:
    """Which parents' data are worse than the instance wants them; empty where none is."""
    return "; ".join(
        f"the QC of {name} is {parents[name].qc}, and {instance.task.name} wants {worst} or better; force it to run it all the same"
        for name, worst in instance.gates.items()
        if name in parents and QC_OUTCOMES.index(parents[name].qc or QC_OUTCOMES[0]) > QC_OUTCOMES.index(worst)
    )


def _in_short(reason: str) -> str:
    """The beginning of a parent's reason; of one that is itself Held, that of the task at which it all began."""
    first = reason.partition("\n")[0].rpartition(f" is {Status.HELD.label}: ")[2]
    return first if len(first) <= _LONGEST_WHY else f"{first[:_LONGEST_WHY]} ..."


def running_elsewhere(row: Row) -> bool:
    """Whether an attempt holds a live lease on a task, as the database's own clock has it; a plain Alyx knows no leases."""
    return bool(row.get("leased"))


def _decide(plan: Plan, instance: Instance, rows: Mapping[str, Row], request: Request, hashes: HashBook) -> Decision:
    row = rows.get(instance.name)
    if instance.refused:
        return Decision("hold", instance.refused)
    if row is not None and row["status"] == Status.ABANDONED.label:
        return Decision("skip", "abandoned by hand; set it Waiting to run it again")
    if row is not None and running_elsewhere(row):
        return Decision("run", f"attempt {row.get('attempt')} is running; this run waits for it", provisional=True)
    held = [parent for parent in instance.parents if plan.decisions[parent].action == "hold"]
    if held:
        return Decision("hold", f"{', '.join(held)} cannot run")
    if request.forces(instance):
        return Decision("run", "forced", forced=True)
    due = [parent for parent in instance.parents if plan.decisions[parent].run]
    if due and (row is None or Status.parse(row["status"]) in SETTLED):
        again = "" if row is None else "; runs if that changes what it reads"
        return Decision("run", f"after {', '.join(due)}{again}", provisional=row is not None)
    return _decide_alone(plan, instance, row, rows, hashes)


def _decide_alone(plan: Plan, instance: Instance, row: Row | None, rows: Mapping[str, Row], hashes: HashBook) -> Decision:
    parents = {name: _standing(rows.get(name)) for name in instance.parents if not plan.decisions[name].run}
    if row is None or not row.get("attempt"):
        reason = _gate_reason(instance, parents)
        return Decision("hold", reason) if reason else Decision("run", "has never run")
    status = Status.parse(row["status"])
    if len(parents) == len(instance.parents) and (reason := hold_reason(instance, parents)):
        return Decision("hold", reason)
    if status not in SETTLED:
        return Decision("run", _unfinished(row, status))
    changes = changes_since(plan.session, instance, row, hashes)
    if changes:
        return Decision("run", "; ".join(changes))
    return Decision("skip", f"unchanged since attempt {row['attempt']}, which is {status.label}")


def _standing(row: Row | None) -> Standing:
    return Standing(Status.WAITING) if row is None else Standing(Status.parse(row["status"]), row.get("reason") or "", row.get("qc") or "")


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


def _plan_row(instance: Instance, plan: Plan, settings: Settings) -> dict[str, Any]:
    decision = plan.decisions[instance.name]
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
        "gpu": math.ceil(resources.gpu),
        "ram": round(resources.memory_gb),
        "time_out_secs": round(resources.timeout_s),
        "data_repository": settings.repository,
        "status": None if decision.provisional else status,
        "reason": decision.reason if decision.action == "hold" else "",
        "seen": None if plan.seen is None else plan.seen.get(instance.name, 0),
    }
