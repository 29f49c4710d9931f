"""One flow run of a session: attends to each task instance, from the plan's decision to the verdict."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import AwaitingRetry, Completed, State

from ranvier.attempt import CLAIMED, RETURNED, run_attempt
from ranvier.client import Database, Record
from ranvier.cluster import Cluster, NeverFits, misfit, promised, unique_key
from ranvier.errors import RanvierError
from ranvier.flows.outcomes import Ended, held
from ranvier.flows.patience import patiently
from ranvier.flows.tries import Failure, NextTry, Tries
from ranvier.flows.waiting import Queue, queued, show
from ranvier.instances import Instance
from ranvier.order import make_order
from ranvier.plan import Plan, Standing, hold_reason
from ranvier.priority import Priority
from ranvier.retries import Cause, cause_of
from ranvier.settings import Settings
from ranvier.states import Status

#: Seconds between two tries at a task that another run has claimed, or whose worker does not reach the database.
CLAIMED_S = 2.0
#: Where a task stands between two tries, or after the last one where the attempt itself could not say so.
_OPEN = f"{Status.WAITING.label},{Status.ERRORED.label}"
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
        self._start = self._offset = path.stat().st_size if path.exists() else 0

    def has_begun(self) -> bool:
        """Whether anything was passed on: the first line is written once the attempt has claimed its task."""
        return self._offset > self._start

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
    eid, flow_run, priority
        The session, the flow run, and how soon it is wanted.
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
    priority: Priority = Priority.NOW
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
                end = self.attend(instance)
            except Exception as error:  # whatever goes wrong with one instance, the others go on, and its children must know
                get_run_logger().exception("%s", instance.name)
                end = Ended(Status.ERRORED.label, Status.ERRORED, f"{type(error).__name__}: {error}")
            self.ended[instance.name] = end
            return end.state()

        return attend

    def attend(self, instance: Instance) -> Ended:
        """See to one instance once its parents have ended: skip it, hold it, or have it attempted."""
        decision = self.plan.decisions[instance.name]
        row = self.rows[instance.name]
        if decision.action == "skip":
            name = "Skipped" if not row.get("attempt") else "Unchanged"
            return Ended(name, Status.parse(row["status"]), decision.reason, qc=row.get("qc") or "")
        if decision.action == "hold":
            return held(decision.reason)
        if not decision.forced and (reason := self._held_by_parents(instance)):
            return self._hold(row, reason)
        return self._attempt_until_settled(instance.for_its_inputs(self.plan.session), row)

    def _hold(self, row: Record, reason: str) -> Ended:
        self.database.patch_task(row["id"], status=Status.HELD.label, reason=reason)
        return held(reason)

    def _misfit(self, instance: Instance) -> str:
        return patiently(lambda: misfit(self.cluster.client, instance.resources, promised(self.settings)), get_run_logger())

    def _held_by_parents(self, instance: Instance) -> str:
        parents = {name: self.ended[name] for name in instance.parents}
        return hold_reason(instance, {name: Standing(end.status, end.reason, end.qc) for name, end in parents.items()})

    def _attempt_until_settled(self, instance: Instance, row: Record) -> Ended:
        """Have the cluster attempt it; where another run has claimed it, or it failed in a way that may pass, wait and try again."""
        tries, waiting = Tries(instance, self.cluster, self.plan.decisions[instance.name].reason, row["attempt"]), ""
        force = self.plan.decisions[instance.name].forced
        while True:
            try:
                if reason := self._misfit(tries.instance):
                    return self._hold(row, reason)
                outcome = patiently(lambda: self._attempt(tries, row, force=force), get_run_logger())  # noqa: B023  called at once
            except NeverFits as error:
                return self._hold(row, str(error))
            except RanvierError as error:
                failure = Failure(str(error), cause_of(error))
            else:
                if outcome["status"] == RETURNED:
                    waiting = self._wait(f"given back: {outcome['reason']}", waiting)
                    continue
                if outcome["status"] == CLAIMED:
                    waiting, force = self._wait(f"waits for another run: {outcome['reason']}", waiting), False
                    continue
                if outcome["status"] != Status.ERRORED.label:
                    return Ended.of(outcome)
                failure = Failure(outcome["reason"], Cause(outcome["cause"]), outcome["wait_s"])
                tries.seen = outcome["attempt"]
            if (following := tries.after(failure)) is None:
                return self._give_up(row, tries.verdict(failure))
            self._wait_for_next_try(row, following)

    def _wait(self, why: str, said: str) -> str:
        if why != said:
            get_run_logger().info("%s", why)
            show(queued(why))
        time.sleep(CLAIMED_S)
        return why

    def _wait_for_next_try(self, row: Record, following: NextTry) -> None:
        get_run_logger().warning(following.message)
        show(AwaitingRetry(scheduled_time=following.at, message=following.message))
        self.database.explain(row["id"], following.message, _OPEN, Status.WAITING.label)
        time.sleep(following.wait_s)

    def _give_up(self, row: Record, reason: str) -> Ended:
        self.database.explain(row["id"], reason, _OPEN, Status.ERRORED.label)
        return Ended(Status.ERRORED.label, Status.ERRORED, reason)

    def _attempt(self, tries: Tries, row: Record, *, force: bool) -> dict[str, Any]:
        instance = tries.instance
        options = {"flow_run": self.flow_run, "force": force, "adjusted": tries.adjusted, "note": tries.note, "seen": tries.seen}
        order = make_order(instance, self.plan.session, self.settings, eid=self.eid, task_id=row["id"], **options)
        tail = LogTail(Path(order["log_path"]), get_run_logger())
        queue = Queue(
            self.cluster, instance.resources, tail.has_begun, lambda why: self.database.explain(row["id"], why, Status.WAITING.label)
        )

        def tick() -> None:
            tail.forward()
            queue.look()

        return self.cluster.run(
            run_attempt,
            order,
            key=unique_key(f"{instance.name} of {self.plan.session.reference}"),
            resources=instance.resources,
            priority=self.priority.for_dask(instance.task.priority),
            tick=tick,
        )
