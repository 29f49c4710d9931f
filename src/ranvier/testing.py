"""Pytest plugin for authors of tasks: a temporary home and database, a simulated session, and one call that runs a task for real.

It is loaded by itself where Ranvier is installed. Nothing is started or imported before a test asks for it.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ranvier.attempt import Outcome
    from ranvier.client import Database
    from ranvier.declare import Task
    from ranvier.instances import Instance
    from ranvier.plan import Plan
    from ranvier.plugins import Registry
    from ranvier.session import Session
    from ranvier.settings import Settings

_LAB = "testlab"
_numbers = count(1)


class RunTask(Protocol):
    """What the fixture `run_task` is."""

    def __call__(self, task: Task, session: Session, device: str | None = None, **parameters: Any) -> Outcome:
        """Make one attempt at a task.

        Parameters
        ----------
        task
            The task.
        session
            A session in the temporary home, such as `simulated_session`.
        device
            Name of the probe, camera, field of view or protocol; may be omitted where there is one instance only.
        **parameters
            Values instead of the task's defaults.

        Returns
        -------
        ranvier.attempt.Outcome
            ``status``, such as ``"Complete"``; ``reason``; ``figures``, and so on.
        """
        ...


@pytest.fixture(scope="session")
def ranvier_home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a temporary home, of a lab that registers unknown subjects; one for the whole test run."""
    from ranvier.settings import load

    home = tmp_path_factory.mktemp("ranvier-home")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        database, prefect = one.getsockname()[1], other.getsockname()[1]  # not a Prefect that happens to run here
    (home / "config.toml").write_text(
        f'[lab]\nname = "{_LAB}"\n[registration]\nunknown_subject = "create"\n'
        f"[ports]\ndatabase = {database}\nprefect = {prefect}\n[attempts]\nheartbeat_s = 1.0\n"
    )
    settings = load(home)
    settings.lab_root.mkdir(parents=True)
    return settings


@pytest.fixture(scope="session")
def ranvier_database(ranvier_home: Settings) -> Iterator[Database]:
    """A live database in the temporary home, and a client that is signed in; one for the whole test run."""
    from ranvier.client import Database
    from ranvier.database.serving import serve

    with serve(ranvier_home, ranvier_home.ports.database):
        yield Database.from_settings(ranvier_home)


@pytest.fixture
def registry() -> Registry:
    """A registry of no tasks, apart from what is installed; `Registry.add` puts those in that a plan is to be made with."""
    from ranvier.plugins import Registry

    return Registry()


@pytest.fixture(scope="session")
def _recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small recording, simulated once in a test run."""
    pytest.importorskip("spikeinterface", reason="simulated sessions need pip install 'ranvier[ephys]'")
    from ranvier.simulate import simulate_session

    root = tmp_path_factory.mktemp("rig") / _LAB / "Subjects"
    return simulate_session(root, "template", "2026-01-15", n_channels=16, n_units=4, duration_s=4.0).path


@pytest.fixture
def simulated_session(ranvier_home: Settings, _recorded: Path) -> Session:
    """A session of its own for each test, in the temporary home: one probe, ``probe00``, 16 channels, 4 s, 4 neurons."""
    from ranvier.session import Session

    session = Session.parse(ranvier_home.lab_root / f"mouse_{next(_numbers):03d}" / "2026-01-15" / "001")
    shutil.copytree(_recorded, session.path)
    return session


@pytest.fixture
def run_task(ranvier_home: Settings, ranvier_database: Database, registry: Registry) -> RunTask:
    """A function that makes one real attempt at a task: claim, child process, verdict, commit, registration; see `RunTask`."""

    def run(task: Task, session: Session, device: str | None = None, **parameters: Any) -> Outcome:
        from ranvier.attempt import Outcome, run_attempt
        from ranvier.gpus import visible
        from ranvier.order import make_order
        from ranvier.plan import Request, plan_rows, plan_session
        from ranvier.registration import register
        from ranvier.settings import TaskSettings

        registry.add(task)
        eid = register(session.path, ranvier_home, ranvier_database).record["id"]
        spared = {} if visible(ranvier_home.cluster.gpu) else {"gpu": 0.0}  # a task for a GPU is tried without one where there is none
        settings = ranvier_home.model_copy(update={"tasks": {task.name: TaskSettings(parameters=parameters, resources=spared)}})
        plan = plan_session(session, registry.values(), settings, ranvier_database.tasks(eid), Request({task.name}))
        instance = _chosen(plan, task, device)
        rows = ranvier_database.save_plan(eid, plan_rows(plan, settings))
        task_id = next(row["id"] for row in rows if row["name"] == instance.name)
        return Outcome(**run_attempt(make_order(instance.for_its_inputs(session), session, settings, eid=eid, task_id=task_id)))

    return run


def _chosen(plan: Plan, task: Task, device: str | None) -> Instance:
    """The instance that is meant; a clear failure of the test where there is none, or where it cannot run."""
    chosen = [each for each in plan.instances if each.task.name == task.name and device in (None, each.device)]
    if len(chosen) != 1:
        there = ", ".join(each.name for each in chosen or plan.instances) or "none"
        why = "; ".join([f"{name}: {reason}" for name, reason in plan.left_out.items()] + plan.problems)
        raise AssertionError(f"{task.name} for device {device!r} must be one instance; there: {there}; left out: {why or 'none'}")
    decision = plan.decisions[chosen[0].name]
    if decision.action == "hold":
        raise AssertionError(f"{chosen[0].name} cannot run: {decision.reason}")
    return chosen[0]
