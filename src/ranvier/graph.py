"""Edges between task instances, from matching outputs to inputs; and what makes an instance impossible."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from ranvier.declare import QC_OUTCOMES, Input, Output
from ranvier.instances import Instance
from ranvier.patterns import is_literal, overlap
from ranvier.session import Session

#: The distribution whose tasks stay when a plugin's task wants to write the same files.
BUILT_IN = "ranvier"


class Producers:
    """Who writes what: finds the instances whose outputs can match a pattern."""

    def __init__(self, instances: list[Instance]) -> None:
        self._literal: dict[str, list[tuple[Instance, Output]]] = {}
        self._globs: list[tuple[Instance, Output]] = []
        for instance in instances:
            for output in instance.outputs if not instance.displaced else ():
                self.add(instance, output)

    def add(self, instance: Instance, output: Output) -> None:
        """Take up one more output."""
        if is_literal(output.pattern):
            self._literal.setdefault(output.pattern, []).append((instance, output))
        else:
            self._globs.append((instance, output))

    def of(self, pattern: str) -> list[tuple[Instance, Output]]:
        """Instances and their outputs that can match `pattern`."""
        if is_literal(pattern):
            found = list(self._literal.get(pattern, []))
        else:
            found = [pair for literal, pairs in self._literal.items() if overlap(literal, pattern) for pair in pairs]
        return found + [(instance, output) for instance, output in self._globs if overlap(output.pattern, pattern)]


def refuse_ambiguous(instances: list[Instance]) -> None:
    """Refuse instances that would write the same files; of a built-in task and a plugin's, the built-in stays."""
    producers = Producers(instances)
    for instance in instances:
        rivals = [(other, output.pattern) for output in instance.outputs for other in _rivals(instance, output, producers)]
        losing = [(other, pattern) for other, pattern in rivals if instance.task.source != BUILT_IN or other.task.source == BUILT_IN]
        if losing:
            other, pattern = losing[0]
            instance.displaced = other.task.source == BUILT_IN != instance.task.source
            instance.refused = instance.refused or (
                f"{instance.name} and {other.name} both write {pattern}; disable one of them in config.toml "
                f"([tasks.{instance.task.name}] enabled = false)"
            )


def applicable(session: Session, instances: list[Instance]) -> tuple[list[Instance], dict[str, str]]:
    """Keep the instances that their task does not leave out, and whose inputs are there or can be made.

    An input among a device's raw data counts as applicable even when it is missing: the description says that it was recorded, so
    that its absence is an error to show, not a task to leave out.

    Returns
    -------
    list of Instance, dict
        Those that apply, and for each of the others the reason by its name.
    """
    left_out = {instance.name: instance.left_out for instance in instances if instance.left_out}
    instances = [instance for instance in instances if not instance.left_out]
    while True:
        producers = Producers(instances)
        missing = {instance.name: item for instance in instances for item in instance.inputs if _lacks(session, instance, item, producers)}
        if not missing:
            return instances, left_out
        left_out |= {name: f"nothing here is or makes {item.pattern}" for name, item in missing.items()}
        instances = [instance for instance in instances if instance.name not in missing]


def link(instances: list[Instance]) -> None:
    """Fill in the parents and levels; refuse instances that wait for each other in a circle."""
    producers = Producers(instances)
    for instance in instances:
        found = {other.name for item in instance.inputs for other, _ in producers.of(item.pattern)}
        instance.parents = sorted(found - {instance.name})
        instance.gates = _gates(instance, producers)
    while (circle := _circle(instances)) is not None:
        for instance in instances:
            if instance.name in circle:
                instance.refused = instance.refused or f"waits for itself in a circle: {' → '.join(circle)}; change an input or an output"
                instance.parents = [parent for parent in instance.parents if parent not in circle]


def in_order(instances: list[Instance]) -> list[Instance]:
    """The instances with every parent before its children and their levels filled in; higher priority first where the order is free."""
    by_name = {instance.name: instance for instance in instances}
    for name in TopologicalSorter({instance.name: instance.parents for instance in instances}).static_order():
        instance = by_name[name]
        instance.level = max((by_name[parent].level + 1 for parent in instance.parents), default=0)
    return sorted(instances, key=lambda instance: (instance.level, -instance.task.priority, instance.name))


def _gates(instance: Instance, producers: Producers) -> dict[str, str]:
    gates: dict[str, str] = {}
    for item in instance.inputs:
        for other, _ in producers.of(item.pattern) if item.qc else ():
            gates[other.name] = min(item.qc or "", gates.get(other.name, QC_OUTCOMES[-1]), key=QC_OUTCOMES.index)
    return gates


def _rivals(instance: Instance, output: Output, producers: Producers) -> list[Instance]:
    return [other for other, theirs in producers.of(output.pattern) if other is not instance and theirs.in_place == output.in_place]


def _lacks(session: Session, instance: Instance, item: Input, producers: Producers) -> bool:
    collection = instance.values.get("collection")
    if not item.required or (collection and item.pattern.startswith(f"{collection}/")):
        return False
    return not any(other is not instance for other, _ in producers.of(item.pattern)) and not session.find(item.pattern)


def _circle(instances: list[Instance]) -> list[str] | None:
    try:
        TopologicalSorter({instance.name: instance.parents for instance in instances}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None
