"""The lab's Dask cluster: connecting to it, what it can fit, and waiting for what was handed to it without ever waiting for nothing."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import distributed
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker
from distributed.security import Security

from ranvier.declare import Resources
from ranvier.errors import RanvierError
from ranvier.offer import offer
from ranvier.scratch import share_gb
from ranvier.settings import Settings

_CONNECT_S = 10.0
#: Seconds between two calls of `tick` while a result is waited for.
TICK_S = 0.3
#: Length of what makes a key unique.
_SERIAL = len(f"-{uuid.UUID(int=0)}")
#: Seconds between two looks at whether any worker could run what has not come to its end.
FIT_S = 10.0


class ClusterUnreachable(RanvierError):
    """The Dask scheduler does not answer."""


class WorkLost(RanvierError):
    """The cluster lost what was handed to it: its scheduler went away, or its workers died under it."""


class NeverFits(RanvierError):
    """No worker of the cluster could ever run it; when it was handed in, none was there yet."""


def connect(settings: Settings) -> distributed.Client:
    """A client of the lab's scheduler.

    Raises
    ------
    ClusterUnreachable
        If the scheduler does not answer.
    """
    try:
        return distributed.Client(
            settings.cluster_address, timeout=_CONNECT_S, set_as_default=False, name="ranvier", security=security_of(settings)
        )
    except OSError as error:
        raise ClusterUnreachable(
            f"the Dask scheduler at {settings.cluster_address} does not answer: {error}", "is `ranvier up` running? `ranvier doctor` looks"
        ) from None


def tls_files(settings: Settings) -> dict[str, str]:
    """The files of certificates as Dask names them, one for all parts of this end; empty where there is to be no TLS."""
    cluster = settings.cluster
    if not cluster.tls_ca or not (cluster.elsewhere or cluster.of_others):
        return {}
    roles = {f"tls_{role}": (cluster.tls_cert, cluster.tls_key) for role in ("client", "scheduler", "worker")}
    pairs = {f"{role}_{part}": path for role, paths in roles.items() for part, path in zip(("cert", "key"), paths, strict=True)}
    return {"tls_ca_file": cluster.tls_ca, **pairs}


def contact_address(settings: Settings) -> str:
    """What workers on other machines call the scheduler that is here."""
    return f"{'tls' if tls_files(settings) else 'tcp'}://{settings.address}:{settings.ports.dask}"


def security_of(settings: Settings) -> Security | None:
    """How to speak to the lab's scheduler where it speaks TLS; None where it does not."""
    files = tls_files(settings)
    return Security(require_encryption=True, **files) if files else None


def promised(settings: Settings) -> dict[str, float]:
    """What each worker of the cluster offers, where that is known before there is one; else empty."""
    cluster = settings.cluster
    known = cluster.of_others and cluster.cpu and cluster.memory_gb
    return offer(cluster.cpu, cluster.gpu, cluster.memory_gb, share_gb(settings)) if known else {}


def resources_of(resources: Resources) -> dict[str, float]:
    """What Dask is asked for: ``CPU`` cores, ``GPU``, ``MEMORY`` and ``SCRATCH`` in gigabytes; what is not needed is left out."""
    wanted = {
        "CPU": float(resources.cpu),
        "GPU": float(resources.gpu),
        "MEMORY": float(resources.memory_gb),
        "SCRATCH": float(resources.scratch_gb),
    }
    return {name: amount for name, amount in wanted.items() if amount > 0}


def in_words(resources: Resources) -> str:
    """What is needed of a worker, for people: ``2 CPU, 8 GB of memory``."""
    units = {"CPU": "CPU", "GPU": "GPU", "MEMORY": "GB of memory", "SCRATCH": "GB of scratch"}
    return ", ".join(f"{amount:g} {units[name]}" for name, amount in resources_of(resources).items())


def misfit(client: distributed.Client, resources: Resources, promised: Mapping[str, float] | None = None) -> str:
    """Why no worker of the cluster could ever run something with these resources; empty where one could.

    Where there is no worker at all just now, what each is `promised` to offer counts; where that is not known either, one may come.

    Raises
    ------
    ClusterUnreachable
        If the scheduler does not answer.
    """
    wanted = resources_of(resources)
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    except OSError as error:  # also Dask's errors of a connection that is lost or slow
        raise ClusterUnreachable(f"the Dask scheduler does not answer: {error}") from None
    offers = [worker["resources"] for worker in workers] or [promised or {}]
    if not any(offers) or any(all(offer.get(name, 0) >= amount for name, amount in wanted.items()) for offer in offers):
        return ""
    largest = {name: max(offer.get(name, 0) for offer in offers) for name in wanted}
    short = [f"{amount:g} {name} ({largest[name]:g} at most here)" for name, amount in wanted.items() if largest[name] < amount]
    return f"needs {', '.join(short) or 'all of its resources on one worker'}; no worker of the cluster offers that"


def cut_to_fit(client: distributed.Client, resources: Resources, promised: Mapping[str, float]) -> Resources:
    """The same resources with no more memory than the largest worker of the cluster offers, or than each is `promised` to offer."""
    offers = [worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()] or [promised]
    largest = max((offer["MEMORY"] for offer in offers if "MEMORY" in offer), default=resources.memory_gb)
    return replace(resources, memory_gb=min(resources.memory_gb, largest))


class Cluster:
    """The lab's cluster, connected when it is first needed and again when its scheduler came back; safe to share between threads.

    Parameters
    ----------
    settings
        The machine's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._client: distributed.Client | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> distributed.Client:
        """The client, connected.

        Raises
        ------
        ClusterUnreachable
            If the scheduler does not answer.
        """
        with self._lock:
            if self._client is None or self._client.status != "running":
                self._client = connect(self.settings)
            return self._client

    def run(
        self,
        function: Callable[[dict[str, Any]], dict[str, Any]],
        order: dict[str, Any],
        *,
        key: str,
        resources: Resources,
        priority: int = 0,
        tick: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Have a worker call a function, and wait for what it returns.

        Parameters
        ----------
        function
            A function of an installed module.
        order
            Its argument: plain data.
        key
            Name on Dask's dashboard; see `unique_key`.
        resources
            What the worker must have free.
        priority
            Higher goes first.
        tick
            Called every `TICK_S` seconds while it is waited for, and once at the end.

        Raises
        ------
        WorkLost
            If the scheduler or the workers died under it.
        ClusterUnreachable
            If the scheduler does not answer.
        NeverFits
            If there are workers, and none of them could ever run it.
        """
        client = self.client
        future = client.submit(function, order, key=key, resources=resources_of(resources), priority=priority, pure=False)
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        look_at = time.monotonic() + FIT_S
        try:
            while not done.wait(TICK_S):
                tick()
                if client.status != "running" and not future.done():
                    raise WorkLost("the connection to the Dask scheduler was lost")
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + FIT_S
                    _check_fit(client, future, resources, promised(self.settings))
            return dict(future.result())
        except KilledWorker as error:
            raise WorkLost(f"the Dask worker died {error.allowed_failures + 1} times with it", "logs/dask-worker.log may say why") from None
        except FutureCancelledError as error:
            raise WorkLost(f"the Dask scheduler lost it ({error.reason})") from None
        finally:
            tick()

    def at_work(self) -> list[str] | None:
        """Names of the attempts that hold resources of the cluster now, those that began first coming first; None without any worker.

        Raises
        ------
        ClusterUnreachable
            If the scheduler does not answer.
        """
        keys: list[str] | None = self.client.run_on_scheduler(_executing)
        return keys if keys is None else [key[:-_SERIAL] for key in keys]

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            if self._client is not None:
                self._client.close()


def unique_key(name: str) -> str:
    """A key for Dask, unique, that begins with a name for people."""
    return f"{name}-{uuid.uuid4()}"


def _executing(dask_scheduler: Any) -> list[str] | None:
    """Runs on the scheduler, which hears in its workers' heartbeats what has begun and for how long it has been going on."""
    workers = dask_scheduler.workers.values()
    seconds = {state.key: duration for worker in workers for state, duration in worker.executing.items()}
    return sorted(seconds, key=lambda key: -seconds[key]) if workers else None


def _check_fit(client: distributed.Client, future: distributed.Future, resources: Resources, known: Mapping[str, float]) -> None:
    with contextlib.suppress(ClusterUnreachable):  # the client's status tells, if it stays so
        if not future.done() and (reason := misfit(client, resources, known)):
            future.cancel()
            raise NeverFits(reason)
