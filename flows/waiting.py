"""What a person sees of a task instance that waits: the state of its task run in Prefect, and the reason in its row of the database."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.context import TaskRunContext
from prefect.states import Running, State
from prefect.utilities.engine import emit_task_run_state_change_event

from ranvier.cluster import Cluster, in_words
from ranvier.declare import Resources
from ranvier.errors import RanvierError

#: Seconds after which an attempt that was handed in and has not begun is shown as queued.
QUEUED_S = 1.0
#: Seconds between two looks at what it waits for.
LOOK_S = 30.0
#: How many of those at work are named.
_NAMED = 3


def queued(message: str) -> State[Any]:
    """The state of a task run that waits for its turn; Prefect shows it as one that does not run yet."""
    return State(type=StateType.PENDING, name="Queued", message=message)


def show(state: State[Any]) -> None:
    """Show another state of the task run in which this is called.

    Prefect's engine knows no way back from Running, but tells the server of each state by an event; this does the same with the same event.
    The engine goes on from the state that was shown last.
    """
    run = _task_run()
    before = run.state
    if before.is_running():
        run.total_run_time += state.timestamp - before.timestamp
    state.state_details.task_run_id, state.state_details.flow_run_id = run.id, run.flow_run_id
    run.state, run.state_id, run.state_type, run.state_name = state, state.id, state.type, state.name
    emit_task_run_state_change_event(run, before, state)


def _task_run() -> Any:
    context = TaskRunContext.get()
    assert context is not None
    return context.task_run


class Queue:
    """Watches one attempt that was handed to the cluster until it begins, and tells meanwhile what it waits for.

    Parameters
    ----------
    cluster
        The cluster.
    resources
        What the attempt needs there.
    has_begun
        Whether the attempt has claimed its task.
    explain
        Called with the reason whenever it has changed.
    """

    def __init__(self, cluster: Cluster, resources: Resources, has_begun: Callable[[], bool], explain: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._resources = resources
        self._has_begun = has_begun
        self._explain = explain
        self._look_at = time.monotonic() + QUEUED_S
        self._said = ""
        self._over = False

    def look(self) -> None:
        """Show what has changed since the last look."""
        if self._over:
            return
        if self._has_begun():
            self._over = True
            if not _task_run().state.is_running():
                show(Running())
        elif time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_S
            with contextlib.suppress(RanvierError, OSError):  # no answer: whoever waits for the attempt hears of that, and says so
                self._say(what_it_waits_for(self._cluster, self._resources))

    def _say(self, reason: str) -> None:
        if not self._said:
            get_run_logger().info("%s", reason)
        if reason != self._said:
            self._said = reason
            show(queued(reason))
            self._explain(reason)


def what_it_waits_for(cluster: Cluster, resources: Resources) -> str:
    """Why an attempt has not begun yet, in words: what it needs, and who is at work on the cluster."""
    busy = cluster.at_work()
    if busy is None:
        return "waits for a worker of the cluster; none is there just now"
    named = ", ".join(busy[:_NAMED]) + (f" and {len(busy) - _NAMED} more" if len(busy) > _NAMED else "")
    return f"waits for {in_words(resources)}" + (f"; at work on the cluster: {named}" if busy else "")
