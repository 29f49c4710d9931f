"""What runs on a lab's machine, as data: each service's command, environment, ports, health check, and what it needs first."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import requests

from ranvier.database import serving
from ranvier.settings import Settings

#: Threads of the Dask worker: they only wait for attempts, whose number the declared resources limit.
WORKER_THREADS = 128
#: Numerical libraries run one thread in the services; each attempt sets its own number.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: Logs reach Prefect half a second after they are written.
_FLOW_ENVIRONMENT = {"PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5"}


@dataclass(frozen=True)
class Port:
    """A TCP port that a service listens on, and the setting that changes it."""

    number: int
    setting: str


@dataclass(frozen=True)
class Service:
    """One supervised process.

    Attributes
    ----------
    name
        Its name in logs, messages and the state file.
    command
        Its command line.
    answers
        The health check: given the time at which the process was started (seconds since the epoch) it returns an empty string when the
        service answers, else why it does not.
    needs
        Services that must answer before this one is started.
    once
        A step that runs to its end, such as setting up the database, instead of a service that stays.
    ports
        Ports that it listens on.
    environment
        What it needs in its environment beside `environment`.
    address
        Where a person or a program reaches it.
    patience_s
        Seconds from its start within which it must answer.
    """

    name: str
    command: tuple[str, ...]
    answers: Callable[[float], str] = lambda since: ""
    needs: tuple[str, ...] = ()
    once: bool = False
    ports: tuple[Port, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    address: str = ""
    patience_s: float = 180.0


def services(settings: Settings) -> list[Service]:
    """The services of this machine: those that the settings do not say to find elsewhere, each after what it needs."""
    chosen = [make(settings) for make, elsewhere in _MAKERS if not elsewhere(settings)]
    names = {service.name for service in chosen}
    return [_needing_only(service, names) for service in chosen]


def environment(settings: Settings) -> dict[str, str]:
    """The environment of every service."""
    return {
        **os.environ,
        **dict.fromkeys(_ONE_THREAD, "1"),
        "RANVIER_HOME": str(settings.home),
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": settings.prefect_api_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PYTHONUNBUFFERED": "1",
        # `python -m` must not find modules in the folder that it happens to be started in
        "PYTHONSAFEPATH": "1",
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), settings.ports.host])),
    }


def pulse(settings: Settings, name: str) -> Path:
    """The file that a service without a port touches in each of its rounds, to show that it lives."""
    return settings.home / "run" / f"{name}.pulse"


def worker_resources(settings: Settings) -> dict[str, float]:
    """What the local Dask worker offers: ``CPU`` cores, ``GPU``, ``MEMORY`` in gigabytes."""
    cluster = settings.cluster
    return {
        "CPU": cluster.cpu or len(os.sched_getaffinity(0)),
        "GPU": cluster.gpu,
        "MEMORY": cluster.memory_gb or round(psutil.virtual_memory().total / 1e9, 1),
    }


def _database_setup(settings: Settings) -> Service:
    return Service("database-setup", _python("-m", "ranvier.database.bootstrap"), once=True)


def _database(settings: Settings) -> Service:
    return Service(
        "database",
        # preloaded, so that Django is imported once and not once a worker
        (*serving.command(settings), "--preload", "--no-control-socket"),
        answers=lambda since: _http_problem(f"{settings.database_url}/health"),
        needs=("database-setup",),
        ports=(Port(settings.ports.database, "ports.database"),),
        address=settings.database_url,
    )


def _prefect_server(settings: Settings) -> Service:
    ports = settings.ports
    return Service(
        "prefect-server",
        _python("-m", "prefect", "server", "start", "--host", ports.host, "--port", str(ports.prefect)),
        answers=lambda since: _http_problem(f"{settings.prefect_api_url}/health"),
        ports=(Port(ports.prefect, "ports.prefect"),),
        address=settings.prefect_ui_url,
    )


def _prefect_deployment(settings: Settings) -> Service:
    # it waits for the server itself, so that it imports while the server starts
    return Service("prefect-deployment", _python("-m", "ranvier.flows.deploy"), once=True)


def _prefect_worker(settings: Settings) -> Service:
    name = f"{settings.lab.name}@{platform.node()}"
    return Service(
        "prefect-worker",
        _python("-m", "prefect", "worker", "start", "--pool", settings.lab.name, "--type", "process", "--name", name),
        answers=lambda since: _prefect_worker_problem(settings, name, since),
        # all that a flow run needs: it is stopped before them, too
        needs=("database", "dask-worker", "prefect-server", "prefect-deployment", "flow-host"),
        environment={"PREFECT_WORKER_QUERY_SECONDS": "0.5", **_FLOW_ENVIRONMENT},
    )


def _flow_host(settings: Settings) -> Service:
    return Service(
        "flow-host",
        _python("-m", "ranvier.flows.host"),
        answers=lambda since: _pulse_problem(settings, "flow-host", since),
        environment=_FLOW_ENVIRONMENT,
    )


def _dask_scheduler(settings: Settings) -> Service:
    ports = settings.ports
    return Service(
        "dask-scheduler",
        _python(
            *("-m", "distributed.cli.dask_scheduler", "--host", ports.host, "--port", str(ports.dask)),
            *("--dashboard-address", f"{ports.host}:{ports.dask_dashboard}", "--no-jupyter"),
        ),
        answers=lambda since: _http_problem(f"{_dashboard(settings)}/health"),
        ports=(Port(ports.dask, "ports.dask"), Port(ports.dask_dashboard, "ports.dask_dashboard")),
        address=f"{_dashboard(settings)}/status",
    )


def _dask_worker(settings: Settings) -> Service:
    resources = " ".join(f"{name}={amount:g}" for name, amount in worker_resources(settings).items())
    return Service(
        "dask-worker",
        _python(
            *("-m", "distributed.cli.dask_worker", settings.cluster_address, "--host", settings.ports.host),
            *("--nthreads", str(WORKER_THREADS), "--resources", resources, "--no-dashboard"),
            # attempts are processes of their own with limits of their own, so Dask has no memory to manage
            *("--preload", "ranvier.attempt", "--memory-limit", "0", "--local-directory", str(settings.home / "run" / "dask")),
        ),
        answers=lambda since: _dask_worker_problem(settings),
        needs=("dask-scheduler",),
    )


def _dispatcher(settings: Settings) -> Service:
    return Service(
        "dispatcher",
        _python("-m", "ranvier.dispatcher"),
        answers=lambda since: _pulse_problem(settings, "dispatcher", since),
        # it tries again itself, and says so once; Prefect's client would wait in silence
        environment={"PREFECT_CLIENT_MAX_RETRIES": "0"},
        needs=("database", "prefect-server"),
    )


def _agent(settings: Settings) -> Service:
    return Service(
        "agent",
        _python("-m", "ranvier.agent"),
        answers=lambda since: _pulse_problem(settings, "agent", since),
        needs=("database",),
    )


#: How each service is made, and the setting that says it is found elsewhere.
_MAKERS: tuple[tuple[Callable[[Settings], Service], Callable[[Settings], Any]], ...] = (
    (_database_setup, lambda settings: settings.database.url),
    (_prefect_server, lambda settings: settings.prefect.api_url),
    (_dask_scheduler, lambda settings: settings.cluster.address),
    (_database, lambda settings: settings.database.url),
    (_dask_worker, lambda settings: settings.cluster.address),
    (_prefect_deployment, lambda settings: False),
    (_flow_host, lambda settings: False),
    (_prefect_worker, lambda settings: False),
    (_dispatcher, lambda settings: False),
    (_agent, lambda settings: False),
)


def _needing_only(service: Service, names: set[str]) -> Service:
    needs = tuple(name for name in service.needs if name in names)
    return Service(**{**vars(service), "needs": needs})


def _dashboard(settings: Settings) -> str:
    return f"http://{settings.ports.host}:{settings.ports.dask_dashboard}"


def _ask(method: str, url: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # a proxy of the environment is not for this machine's own services
        response = session.request(method, url, timeout=5, **options)
    response.raise_for_status()
    return response


def _http_problem(url: str) -> str:
    try:
        _ask("GET", url)
    except requests.RequestException as error:
        return f"GET {url}: {error}"
    return ""


def _prefect_worker_problem(settings: Settings, name: str, since: float) -> str:
    url = f"{settings.prefect_api_url}/work_pools/{settings.lab.name}/workers/filter"
    try:
        workers = _ask("POST", url, json={}).json()
    except requests.RequestException as error:
        return f"POST {url}: {error}"
    beats = [datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() for worker in workers if worker["name"] == name]
    return "" if beats and max(beats) >= since else f"worker {name} has not polled the work pool {settings.lab.name} yet"


def _dask_worker_problem(settings: Settings) -> str:
    url = f"{_dashboard(settings)}/json/counts.json"
    try:
        workers = _ask("GET", url).json()["workers"]
    except requests.RequestException as error:
        return f"GET {url}: {error}"
    return "" if workers else f"no worker is registered with the scheduler {settings.cluster_address}"


def _pulse_problem(settings: Settings, name: str, since: float) -> str:
    path = pulse(settings, name)
    beat = path.stat().st_mtime if path.exists() else 0.0
    return "" if beat >= since else f"{path} is not touched since {time.ctime(since)}"


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)
