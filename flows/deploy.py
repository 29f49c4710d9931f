"""Tell Prefect of the lab: its work pool and its deployments, one for each flow (``python -m ranvier.flows.deploy``)."""

from __future__ import annotations

import shlex
import sys
import time
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from ranvier import settings as settings_module
from ranvier.flows.alarms import set_alarm
from ranvier.flows.reconcile import reconcile
from ranvier.flows.rerun import rerun
from ranvier.flows.session import preprocess_session
from ranvier.priority import Priority
from ranvier.settings import Settings

#: Seconds within which Prefect's server must answer.
PATIENCE_S = 120.0
#: Priority of a queue in its work pool: 1 goes first.
_LAST = 100


def deploy(settings: Settings) -> list[str]:
    """Create or update the lab's work pool with its queues, its deployments, and the automation that `notify.prefect` asks for.

    Returns
    -------
    list of str
        The deployments' names, such as ``preprocess-session/<lab>``.
    """
    lab = settings.lab.name
    with get_client(sync_client=True) as client:
        _wait_for_server(client)
        _make_pool(client, lab)
        _make_queues(client, settings)
    if settings.notify.prefect:
        set_alarm(settings)
    return [
        _deploy(
            preprocess_session,
            lab,
            description=f"Preprocesses a session of {lab}. The parameter session is its id in the database, or its path.",
            work_queue_name=Priority.NOW.queue,
        ),
        _deploy(
            rerun,
            lab,
            description="Reruns tasks of the sessions that the form chooses.",
            parameters={"labs": [lab]},
        ),
        _deploy(
            reconcile,
            lab,
            description=f"Compares database, Prefect, Dask and the disk of {lab}; fails when something is not as it should be.",
            parameters={"days": settings.health.days},
            interval=settings.health.every_min * 60 or None,
        ),
    ]


def _deploy(flow: Flow[..., Any], lab: str, **options: Any) -> str:
    deployment = flow.to_deployment(
        lab,
        work_pool_name=lab,
        entrypoint_type=EntrypointType.MODULE_PATH,
        # a command of our own spares each run the preparation of a workspace, which a flow in an installed package does not need
        job_variables={"command": shlex.join([sys.executable, "-m", "ranvier.flows.launch"])},
        **options,
    )
    assert isinstance(deployment, RunnerDeployment)  # outside of an event loop it is not a coroutine
    deployment.apply()
    return deployment.full_name


def _wait_for_server(client: SyncPrefectClient) -> None:
    until = time.monotonic() + PATIENCE_S
    while problem := client.api_healthcheck():
        if time.monotonic() > until:
            raise problem
        time.sleep(0.2)


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=ProcessWorker.get_default_base_job_template()))
    except ObjectAlreadyExists:
        return


def _make_queues(client: SyncPrefectClient, settings: Settings) -> None:
    """The queues of sessions: a few at once, and those of large reruns after all others."""
    queues = {
        Priority.NOW: (settings.flow.at_once, 1, "Sessions; flow.at_once says how many at once."),
        Priority.BACKFILL: (
            settings.flow.backfill_at_once,
            _LAST,
            "Sessions of large reruns and backfills, behind all others; flow.backfill_at_once says how many at once.",
        ),
    }
    pool = settings.lab.name
    for priority, (limit, rank, described) in queues.items():
        try:
            queue = client.read_work_queue_by_name(priority.queue, work_pool_name=pool)
        except ObjectNotFound:
            client.create_work_queue(priority.queue, described, concurrency_limit=limit, priority=rank, work_pool_name=pool)
        else:
            client.update_work_queue(queue.id, concurrency_limit=limit)


if __name__ == "__main__":
    print(*deploy(settings_module.load()), sep="\n")
