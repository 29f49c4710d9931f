"""How many workers a cluster needs, by the resources that its tasks declare; Dask's own scaling goes by threads, which here only wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from distributed import Scheduler
from distributed.deploy import Adaptive
from distributed.deploy.spec import SpecCluster
from distributed.scheduler import TaskState, WorkerState

Amounts = Mapping[str, float]

#: Seconds between two looks at the work.
LOOK_S = 2.0


def workers_needed(demands: Iterable[Amounts], offer: Amounts) -> int:
    """The number of equal workers on which all demands fit at once, the largest placed first.

    Parameters
    ----------
    demands
        Resources of each task, such as ``{"CPU": 2, "MEMORY": 8}``.
    offer
        Resources of a worker; what it does not name it does not have. A demand that no worker could ever meet asks for none.
    """
    free: list[dict[str, float]] = []
    for demand in sorted(demands, key=lambda each: _share(each, offer), reverse=True):
        if not _fits(demand, offer):
            continue
        place = next((worker for worker in free if _fits(demand, worker)), None)
        if place is None:
            free.append(place := dict(offer))
        for name, amount in demand.items():
            place[name] -= amount
    return len(free)


def _fits(demand: Amounts, free: Amounts) -> bool:
    return all(free.get(name, 0.0) >= amount for name, amount in demand.items())


def _share(demand: Amounts, offer: Amounts) -> float:
    return max((amount / offer[name] for name, amount in demand.items() if offer.get(name)), default=0.0)


class ByResources(Adaptive):
    """Scales a cluster, whose scheduler is in this process, by the declared resources of what waits and runs.

    Parameters
    ----------
    cluster
        The cluster.
    promised
        Resources of a worker, as far as they are known before there is one.
    idle_s
        Seconds for which a worker must not have been needed before it is ended.
    options
        As of `distributed.deploy.Adaptive`.
    """

    def __init__(self, cluster: SpecCluster, promised: Amounts, idle_s: float, **options: Any) -> None:
        self.workplace = cluster
        self.promised = promised
        super().__init__(cluster, interval=LOOK_S, wait_count=max(1, round(idle_s / LOOK_S)), **options)

    async def target(self) -> int:
        """How many workers the work asks for; work that lies idle on a full worker is moved to one that has room."""
        forget_failed(self.workplace)
        state = scheduler_of(self.workplace)
        spread(state)
        demands = [task.resource_restrictions or {} for task in state.tasks.values() if task.state in ("processing", "no-worker", "queued")]
        if not demands:
            return 0
        offers = [worker.resources for worker in state.workers.values()]
        return max(1, workers_needed(demands, offers[0] if offers else self.promised))

    async def workers_to_close(self, target: int) -> list[str]:
        """Workers with nothing to do, as many as there are too many: nothing that runs is ever cut off."""
        idle = [str(worker.name) for worker in scheduler_of(self.workplace).workers.values() if not worker.processing]
        return idle[: max(0, len(self.plan) - target)]


def scheduler_of(cluster: SpecCluster) -> Scheduler:
    """The scheduler of a cluster that has it in this process."""
    assert isinstance(cluster.scheduler, Scheduler)
    return cluster.scheduler


def forget_failed(cluster: SpecCluster) -> None:
    """Have workers whose start has failed started again: Dask counts them as there."""
    for name, worker in list(cluster.workers.items()):
        if worker.status.name in ("created", "failed"):
            del cluster.workers[name]


def spread(scheduler: Scheduler) -> int:
    """Move tasks that wait on a worker whose resources are taken to a worker with room for them; returns how many were asked for.

    Dask gives a task to a worker at once, and steals from a worker only once all of its threads are busy, which here never happens. The
    worker itself refuses to give away what it has begun.
    """
    stealing = scheduler.extensions["stealing"]
    free = {worker: _free(worker) for worker in scheduler.workers.values()}
    moved = 0
    for worker in scheduler.workers.values():
        for task in waiting_tasks(worker):
            demand = task.resource_restrictions or {}
            thief = next((other for other in free if other is not worker and _fits(demand, free[other])), None)
            if thief is not None and task not in stealing.in_flight:
                stealing.move_task_request(task, worker, thief)
                free[thief] = {name: amount - demand.get(name, 0.0) for name, amount in free[thief].items()}
                moved += 1
    return moved


def _free(worker: WorkerState) -> dict[str, float]:
    return {name: amount - worker.used_resources.get(name, 0.0) for name, amount in worker.resources.items()}


def waiting_tasks(worker: WorkerState) -> list[TaskState]:
    """Tasks for which a worker has not the resources beside what it executes, as its heartbeats tell, and what it begins before them."""
    left, waiting = dict(worker.resources), []
    for task in sorted(worker.processing, key=lambda task: (task not in worker.executing, task.priority)):
        demand = task.resource_restrictions or {}
        if _fits(demand, left):
            left = {name: amount - demand.get(name, 0.0) for name, amount in left.items()}
        else:
            waiting.append(task)
    return waiting
