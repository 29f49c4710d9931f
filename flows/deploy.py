"""Tell Prefect of the lab: its work pool, and the deployment ``preprocess-session/<lab>`` (``python -m ranvier.flows.deploy``)."""

from __future__ import annotations

import shlex
import sys
import time

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from ranvier import settings as settings_module
from ranvier.flows.session import preprocess_session
from ranvier.settings import Settings

#: Seconds within which Prefect's server must answer.
PATIENCE_S = 120.0


def deploy(settings: Settings) -> str:
    """Create or update the lab's work pool and deployment.

    Returns
    -------
    str
        The deployment's name, ``preprocess-session/<lab>``.
    """
    with get_client(sync_client=True) as client:
        _wait_for_server(client)
        _make_pool(client, settings.lab.name)
    deployment = preprocess_session.to_deployment(
        settings.lab.name,
        work_pool_name=settings.lab.name,
        entrypoint_type=EntrypointType.MODULE_PATH,
        description=f"Preprocesses a session of {settings.lab.name}. The parameter session is its id in the database, or its path.",
        # a command of our own spares each run the preparation of a workspace, which a flow in an installed package does not need
        job_variables={"command": shlex.join([sys.executable, "-m", "ranvier.flows.launch"])},
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


if __name__ == "__main__":
    print(deploy(settings_module.load()))
