"""What runs on a machine of each role, as data: each service's command, environment, ports, health check, and what it needs first."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ranvier import health, scratch
from ranvier.database import serving
from ranvier.offer import THREADS, offer, written
from ranvier.settings import Settings

#: Numerical libraries run one thread in the services; each attempt sets its own number.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: Of services that try again themselves and say so once; Prefect's client would wait in silence.
_ASKS_ONCE = {"PREFECT_CLIENT_MAX_RETRIES": "0"}


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
        The health check: given a time (seconds since the epoch; that of its start, or of its last answer) it returns an empty string when
        the service has answered since then, else why not; see `ranvier.health`.
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
    silence_s
        Seconds for which it may then not answer; see `ranvier.silence`.
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
    silence_s: float = 120.0


def services(settings: Settings) -> list[Service]:
    """The services of this machine: those of its role that the settings do not say to find elsewhere, each after what it needs."""
    role = settings.machine.role
    chosen = [make(settings) for make, roles, elsewhere in _MAKERS if role in roles and not elsewhere(settings)]
    names = {service.name for service in chosen}
    return [needing_only(service, names) for service in chosen]


def environment(settings: Settings) -> dict[str, str]:
    """The environment of every service."""
    return {
        **os.environ,
        **dict.fromkeys(_ONE_THREAD, "1"),
        **_prefect_auth(settings),
        "RANVIER_HOME": str(settings.home),
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": settings.prefect_api_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PYTHONUNBUFFERED": "1",
        # Dask's profiler asks for the frames of all threads, in which Python 3.11 can lock up for ever (python/cpython#106883)
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
        # Dask looks after itself 50 times a second by default; attempts take seconds to hours, and these cores are theirs
        "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
        "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "2s",
        "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "2s",
        # `python -m` must not find modules in the folder that it happens to be started in
        "PYTHONSAFEPATH": "1",
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), *_own_hosts(settings)])),
    }


def _prefect_auth(settings: Settings) -> dict[str, str]:
    names = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")  # what its clients send, and what its server asks for
    return dict.fromkeys(names, settings.prefect_auth) if settings.prefect_auth else {}


def pulse(settings: Settings, name: str) -> Path:
    """The file that a service without a port touches in each of its rounds, to show that it lives."""
    return settings.home / "run" / f"{name}.pulse"


def worker_resources(settings: Settings) -> dict[str, float]:
    """What the local Dask worker offers: ``CPU`` cores, ``GPU``, ``MEMORY`` and ``SCRATCH`` in gigabytes."""
    cluster = settings.cluster
    return offer(cluster.cpu, cluster.gpu, cluster.memory_gb, scratch.share_gb(settings))


def _database_setup(settings: Settings) -> Service:
    return Service("database-setup", _python("-m", "ranvier.database.bootstrap"), once=True)


def _database(settings: Settings) -> Service:
    return Service(
        "database",
        # preloaded, so that Django is imported once and not once a worker
        (*serving.command(settings), "--preload", "--no-control-socket"),
        answers=lambda since: health.http_problem(f"http://{settings.near}:{settings.ports.database}/health"),
        needs=("database-setup",),
        ports=(Port(settings.ports.database, "ports.database"),),
        address=settings.database_url,
    )


def _prefect_server(settings: Settings) -> Service:
    ports = settings.ports
    return Service(
        "prefect-server",
        _python("-m", "ranvier.prefect_server", "server", "start", "--host", ports.host, "--port", str(ports.prefect)),
        answers=lambda since: health.http_problem(f"http://{settings.near}:{ports.prefect}/api/health"),
        environment={"PREFECT_SERVER_DATABASE_CONNECTION_URL": settings.prefect.engine} if settings.prefect.engine else {},
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
        answers=lambda since: health.prefect_worker_problem(settings, name, since),
        # all that a flow run needs: it is stopped before them, too
        needs=("database", "dask-worker", "dask-cluster", "prefect-server", "prefect-deployment", "flow-host"),
        environment={"PREFECT_WORKER_QUERY_SECONDS": "1"},
    )


def _flow_host(settings: Settings) -> Service:
    return Service(
        "flow-host",
        _python("-m", "ranvier.flows.host"),
        answers=lambda since: health.pulse_problem(pulse(settings, "flow-host"), since),
    )


def _dask_scheduler(settings: Settings) -> Service:
    ports = settings.ports
    return Service(
        "dask-scheduler",
        _python(
            # never on all of the machine's addresses: whoever reaches a scheduler can run anything on its workers
            *("-m", "distributed.cli.dask_scheduler", "--host", settings.near, "--port", str(ports.dask)),
            *("--dashboard-address", f"{settings.near}:{ports.dask_dashboard}", "--no-jupyter"),
        ),
        answers=lambda since: health.http_problem(f"{_dashboard(settings)}/health"),
        ports=(Port(ports.dask, "ports.dask"), Port(ports.dask_dashboard, "ports.dask_dashboard")),
        address=f"{_dashboard(settings)}/status",
    )


def _dask_worker(settings: Settings) -> Service:
    return Service(
        "dask-worker",
        _python(
            *("-m", "distributed.cli.dask_worker", settings.cluster_address, "--host", settings.near),
            *("--nthreads", str(THREADS), "--resources", written(worker_resources(settings))),
            *("--dashboard-address", f"{settings.near}:{settings.ports.dask_worker}"),
            # attempts are processes of their own with limits of their own, so Dask has no memory to manage
            *("--preload", "ranvier.attempt", "--memory-limit", "0", "--local-directory", str(settings.home / "run" / "dask")),
        ),
        answers=lambda since: health.dask_worker_problem(_dashboard(settings)),
        needs=("database", "dask-scheduler"),  # so that it is stopped before them: its attempts still have to give their tasks back
    )


def _dask_cluster(settings: Settings) -> Service:
    ports = settings.ports
    return Service(
        "dask-cluster",
        _python("-m", "ranvier.clusters.serve"),
        # without a worker, too: SLURM may have it wait for hours
        answers=lambda since: health.http_problem(f"{_dashboard(settings)}/health"),
        ports=(Port(ports.dask, "ports.dask"), Port(ports.dask_dashboard, "ports.dask_dashboard")),
        address=f"{_dashboard(settings)}/status",
    )


def _dispatcher(settings: Settings) -> Service:
    return Service(
        "dispatcher",
        _python("-m", "ranvier.dispatcher"),
        answers=lambda since: health.pulse_problem(pulse(settings, "dispatcher"), since),
        ports=_optional(settings.ports.metrics, "ports.metrics"),
        environment=_ASKS_ONCE,
        needs=("database", "prefect-server"),
    )


def _reviver(settings: Settings) -> Service:
    return Service(
        "reviver",
        _python("-m", "ranvier.revival"),
        answers=lambda since: health.pulse_problem(pulse(settings, "reviver"), since),
        environment=_ASKS_ONCE,
        needs=("database", "prefect-server"),
    )


def _agent(settings: Settings) -> Service:
    return Service(
        "agent",
        _python("-m", "ranvier.agent"),
        answers=lambda since: health.pulse_problem(pulse(settings, "agent"), since),
        needs=("database",),
    )


_CENTRE, _LAB = ("all", "centre"), ("all", "lab")


def _database_is_elsewhere(settings: Settings) -> bool:
    # at the centre, database.url is the address by which others reach it
    return settings.machine.role != "centre" and bool(settings.database.url)


def _prefect_is_elsewhere(settings: Settings) -> bool:
    return settings.machine.role != "centre" and bool(settings.prefect.api_url)


def _cluster_is_not_local(settings: Settings) -> bool:
    return settings.cluster.elsewhere or settings.cluster.of_others


def _cluster_is_not_of_others(settings: Settings) -> bool:
    return not settings.cluster.of_others


def _never(settings: Settings) -> bool:
    return False


#: How each service is made, the roles of the machines on which it runs, and whether the settings say that it is found elsewhere.
_MAKERS: tuple[tuple[Callable[[Settings], Service], tuple[str, ...], Callable[[Settings], bool]], ...] = (
    (_database_setup, _CENTRE, _database_is_elsewhere),
    (_prefect_server, _CENTRE, _prefect_is_elsewhere),
    (_dask_scheduler, _LAB, _cluster_is_not_local),
    (_dask_cluster, _LAB, _cluster_is_not_of_others),
    (_database, _CENTRE, _database_is_elsewhere),
    (_dask_worker, _LAB, _cluster_is_not_local),
    (_prefect_deployment, _LAB, _never),
    (_flow_host, _LAB, _never),
    (_prefect_worker, _LAB, _never),
    (_dispatcher, _CENTRE, _never),
    (_reviver, _LAB, _never),
    (_agent, _LAB, _never),
)


def needing_only(service: Service, names: set[str]) -> Service:
    """The service, which waits for those of these names only."""
    needs = tuple(name for name in service.needs if name in names)
    return Service(**{**vars(service), "needs": needs})


def _optional(number: int, setting: str) -> tuple[Port, ...]:
    return (Port(number, setting),) if number else ()


def _own_hosts(settings: Settings) -> list[str]:
    urls = (settings.database_url, settings.prefect_api_url)
    return sorted({settings.near, settings.address, *(urlsplit(url).hostname or "" for url in urls)})


def _dashboard(settings: Settings) -> str:
    return f"http://{settings.near}:{settings.ports.dask_dashboard}"


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)
