"""One flow run of a session: attends to each task instance, from the plan's decision to the verdict."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed, State

from ranvier.attempt import CLAIMED, run_attempt
from ranvier.client import Database, Record
from ranvier.cluster import Cluster, WorkLost, misfit
from ranvier.errors import RanvierError
from ranvier.flows.outcomes import Ended, held
from ranvier.instances import Instance
from ranvier.order import make_order
from ranvier.plan import Plan, hold_reason
from ranvier.settings import Settings
from ranvier.states import Status

#: Seconds between two tries at a task that another run has claimed.
CLAIMED_S = 2.0
#: How often an attempt may be lost by the cluster before it counts as Errored.
LOSSES = 3
#: Lines of an attempt's log that are passed on at once; a task that floods its log keeps the rest in the file.
_LINES = 300


class Settled(PrefectFuture[Any]):
    """A task run that its children wait for, whatever becomes of it.

    Prefect does not start a task whose parent was cancelled, not even with `allow_failure`. Here the children are started and say
    themselves why they are held; waiting for this future still draws the edge.
    """

    def __init__(self, future: PrefectFuture[Any]) -> None:
        super().__init__(future.task_run_id)
        self._future = future

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the task run has ended."""
        self._future.wait(timeout)

    @property
    def state(self) -> State[Any]:
        """A completed state, as the task run's own does not matter here."""
        return Completed(data="settled")

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> None:
        """Nothing: children learn of their parents through the run."""
        self.wait(timeout)

    def add_done_callback(self, fn: Callable[[PrefectFuture[Any]], None]) -> None:
        """Call `fn` when the task run has ended."""
        self._future.add_done_callback(fn)


class LogTail:
    """Passes on what is appended to a log file, line by line.

    Parameters
    ----------
    path
        The file; it need not exist yet.
    logger
        Where the lines go.
    """

    def __init__(self, path: Path, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self.path = path
        self.logger = logger
        self._offset = path.stat().st_size if path.exists() else 0

    def forward(self) -> None:
        """Pass on the whole lines that were added since."""
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            added = stream.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = whole.decode(errors="replace").splitlines()
        if len(lines) > _LINES:
            self.logger.info("... %d lines more in %s", len(lines) - _LINES, self.path)
        for line in lines[-_LINES:]:
            self.logger.info(line)


@dataclass
class SessionRun:
    """What the instances of one flow run share.

    Attributes
    ----------
    plan, rows
        The plan, and the database's task rows by the instance's name.
    database, cluster, settings
        What they run on.
    eid, flow_run, force
        The session, the flow run, and whether to run what has not changed.
    ended
        How each instance ended, filled in as they do.
    """

    plan: Plan
    rows: dict[str, Record]
    database: Database
    cluster: Cluster
    settings: Settings
    eid: str
    flow_run: str
    force: bool = False
    ended: dict[str, Ended] = field(default_factory=dict)

    def submit(self) -> dict[str, PrefectFuture[Any]]:
        """Start a Prefect task run for each instance, each waiting for its parents."""
        futures: dict[str, PrefectFuture[Any]] = {}
        for instance in self.plan.instances:
            parents = [Settled(futures[name]) for name in instance.parents]
            futures[instance.name] = self._prefect_task(instance).submit(wait_for=parents)
        return futures

    def _prefect_task(self, instance: Instance) -> Any:
        @task(name=instance.task.name, task_run_name=instance.name, description=instance.task.summary, cache_policy=NO_CACHE)
        def attend() -> State[Any]:
            try:
                ended = self.attend(instance)
            except Exception as error:  # whatever goes wrong with one instance, the others go on, and its children must know
                get_run_logger().exception("%s", instance.name)
                ended = Ended(Status.ERRORED.label, Status.ERRORED, f"{type(error).__name__}: {error}")
            self.ended[instance.name] = ended
            return ended.state()

        return attend

    def attend(self, instance: Instance) -> Ended:
        """See to one instance once its parents have ended: skip it, hold it, or have it attempted."""
        decision = self.plan.decisions[instance.name]
        row = self.rows[instance.name]
        if decision.action == "skip":
            return Ended("Skipped" if not row.get("attempt") else "Unchanged", Status.parse(row["status"]), decision.reason)
        if decision.action == "hold":
            return held(decision.reason)
        if reason := self._held_by_parents(instance) or misfit(self.cluster.client, instance.resources):
            self.database.patch_task(row["id"], status=Status.HELD.label, reason=reason)
            return held(reason)
        return self._attempt_until_settled(instance, row)

    def _held_by_parents(self, instance: Instance) -> str:
        parents = {name: self.ended[name] for name in instance.parents}
        reason = hold_reason(instance, {name: ended.status for name, ended in parents.items()})
        why = next((ended.reason for ended in parents.values() if ended.status == Status.ERRORED), "")
        return f"{reason}: {why}" if reason and why else reason

    def _attempt_until_settled(self, instance: Instance, row: Record) -> Ended:
        """Have the cluster attempt it; where another run has claimed it, or the cluster lost it, wait and try again."""
        logger = get_run_logger()
        losses, claimed = 0, ""
        while True:
            try:
                outcome = self._attempt(instance, row, force=self.force and not claimed)
            except WorkLost as error:
                losses += 1
                if losses == LOSSES:
                    return Ended(Status.ERRORED.label, Status.ERRORED, f"the cluster lost it {LOSSES} times: {error}")
                logger.warning("lost: %s; trying again", error)
            except RanvierError as error:
                return Ended(Status.ERRORED.label, Status.ERRORED, str(error))
            else:
                if outcome["status"] != CLAIMED:
                    figures = tuple(outcome["figures"])
                    return Ended(outcome["status"], Status.parse(outcome["verdict"]), outcome["reason"], outcome["wall_s"], figures)
                if outcome["reason"] != claimed:
                    claimed = outcome["reason"]
                    logger.info("waiting for another run: %s", claimed)
            time.sleep(CLAIMED_S)

    def _attempt(self, instance: Instance, row: Record, *, force: bool) -> dict[str, Any]:
        order = make_order(instance, self.plan.session, self.settings, eid=self.eid, task_id=row["id"], flow_run=self.flow_run, force=force)
        tail = LogTail(Path(order["log_path"]), get_run_logger())
        return self.cluster.run(
            run_attempt,
            order,
            key=f"{instance.name}-{uuid.uuid4()}",
            resources=instance.resources,
            priority=instance.task.priority,
            tick=tail.forward,
        )
