"""Discovery of tasks: those of Ranvier and those of labs come in through the same entry-point group, `ranvier.tasks`.

An entry point names a `Task`, a module, or a package, whose modules are looked through one by one, but for those whose name begins with an
underscore. What does not import is named with its reason and left out; the rest stays.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from types import ModuleType
from typing import Any

from ranvier.declare import Task, with_source
from ranvier.errors import RanvierError

GROUP = "ranvier.tasks"
CORE = "ranvier"  #: the distribution whose tasks nobody replaces


class UnknownTask(RanvierError):
    """No installed task has that name; the message lists those that there are."""


@dataclass(frozen=True)
class Problem:
    """Something of a plugin that was left out.

    Attributes
    ----------
    source
        The distribution, and what in it: its entry point, its module or its task.
    reason
        Why, and what to do.
    """

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


@dataclass(frozen=True)
class Registry:
    """The tasks that are there, by name, and the problems that were met in finding them.

    It reads like a dictionary from name to `Task`, but `get` and indexing raise `UnknownTask` for a name that is not in it.
    """

    tasks: dict[str, Task] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, tasks: Iterable[Task]) -> Registry:
        """Make a registry of just these tasks, for tests."""
        return _resolved([(each, each.source or "given") for each in tasks], [])

    def get(self, name: str) -> Task:
        """The task of that name.

        Raises
        ------
        UnknownTask
            If there is none; the message lists the known ones, and why one of that name was left out.
        """
        if name in self.tasks:
            return self.tasks[name]
        refused = "; ".join(str(problem) for problem in self.problems if repr(name) in problem.source)
        known = ", ".join(self.tasks) or "none"
        raise UnknownTask(f"no task is called {name!r}; known: {known}", refused or "`ranvier tasks list` shows what is installed")

    __getitem__ = get

    def __contains__(self, name: object) -> bool:
        return name in self.tasks

    def __iter__(self) -> Iterator[str]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def add(self, task: Task) -> None:
        """Put a task in, in place of one of the same name; for tests, as what is installed is found by itself."""
        self.tasks[task.name] = task

    def values(self) -> Iterable[Task]:
        """The tasks, in the order of their names."""
        return self.tasks.values()


@functools.cache
def registry() -> Registry:
    """The tasks installed in this environment; looked for once a process.

    `registry.cache_clear()` forgets them, for a process that has installed a plugin itself.
    """
    return discover(entry_points(group=GROUP))


def discover(points: Iterable[EntryPoint]) -> Registry:
    """Load the tasks that entry points name.

    Parameters
    ----------
    points
        Entry points of the group `ranvier.tasks`.

    Returns
    -------
    Registry
        Tasks in the order of their names, each with its distribution as `Task.source`. Nothing raises: what fails becomes a `Problem`.
    """
    claims: list[tuple[Task, str]] = []
    problems: list[Problem] = []
    for point in sorted(points, key=lambda each: (_distribution(each) != CORE, _distribution(each), each.name)):
        source = _distribution(point)
        loaded, failures = _loaded(point)
        problems += [Problem(f"{source}: {where}", reason) for where, reason in failures]
        for found in loaded:
            if unreachable := _unreachable(found):
                problems.append(Problem(f"{source}: task {found.name!r}", unreachable))
            else:
                claims.append((found, source))
    return _resolved(claims, problems)


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module.partition(".")[0]


def _loaded(point: EntryPoint) -> tuple[list[Task], list[tuple[str, str]]]:
    failures: list[tuple[str, str]] = []
    try:
        target = point.load()
    except (Exception, SystemExit) as error:
        return [], [(f"entry point {point.name} = {point.value}", _reason(error))]
    if isinstance(target, Task):
        return [target], failures
    if not isinstance(target, ModuleType):
        kind = type(target).__name__
        return [], [(f"entry point {point.name} = {point.value}", f"is a {kind}; name a task, a module or a package of tasks")]
    return [each for module in _modules(target, failures) for each in list(vars(module).values()) if isinstance(each, Task)], failures


def _modules(module: ModuleType, failures: list[tuple[str, str]]) -> Iterator[ModuleType]:
    yield module
    children = pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}.")
    for name in (child.name for child in children if not child.name.rpartition(".")[2].startswith("_")):
        try:
            imported = importlib.import_module(name)
        except (Exception, SystemExit) as error:
            failures.append((f"module {name}", _reason(error)))
        else:
            yield from _modules(imported, failures)


def _reason(error: BaseException) -> str:
    return f"does not import: {type(error).__name__}: {error}"


def _resolved(claims: list[tuple[Task, str]], problems: list[Problem]) -> Registry:
    by_name: dict[str, dict[Any, tuple[Task, str]]] = {}
    for found, source in claims:  # one function is one task, in however many modules its name was imported
        by_name.setdefault(found.name, {}).setdefault(found.function, (found, source))
    kept = {}
    for name, found_here in sorted(by_name.items()):
        rivals = list(found_here.values())
        core = [rival for rival in rivals if rival[1] == CORE]
        winner = core[0] if len(core) == 1 else rivals[0] if len(rivals) == 1 else None
        if winner:
            kept[name] = with_source(*winner)
        problems += [_refused(rival, [each for each in rivals if each is not rival]) for rival in rivals if rival is not winner]
    return Registry(kept, problems)


def _unreachable(found: Task) -> str:
    module, qualname = found.reference.split(":")
    try:
        there = attrgetter(qualname)(importlib.import_module(module))
    except (AttributeError, ImportError):
        there = None
    if isinstance(there, Task):
        return ""
    return f"{found.reference} is no task when an attempt imports it by that name; decorate a function at the top level of its module"


def _refused(rival: tuple[Task, str], others: list[tuple[Task, str]]) -> Problem:
    theirs = ", ".join(f"{found.reference} of {source}" for found, source in others)
    found, source = rival
    return Problem(f"{source}: task {found.name!r}", f"{found.reference} has the name of {theirs} too; rename it with @task(name=...)")
