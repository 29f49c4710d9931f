"""The lab's Dask cluster: connecting to it, what it can fit, and waiting for what was handed to it without ever waiting for nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import distributed
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from ranvier.declare import Resources
from ranvier.errors import RanvierError
from ranvier.settings import Settings

_CONNECT_S = 10.0
#: Seconds between two calls of `tick` while a result is waited for.
TICK_S = 0.3


class ClusterUnreachable(RanvierError):
    """The Dask scheduler does not answer."""


class WorkLost(RanvierError):
    """The cluster lost what was handed to it: its scheduler went away, or its workers died under it."""


def connect(settings: Settings) -> distributed.Client:
    """A client of the lab's scheduler.

    Raises
    ------
    ClusterUnreachable
        If the scheduler does not answer.
    """
    try:
        return distributed.Client(settings.cluster_address, timeout=_CONNECT_S, set_as_default=False, name="ranvier")
    except OSError as error:
        raise ClusterUnreachable(
            f"the Dask scheduler at {settings.cluster_address} does not answer: {error}", "is `ranvier up` running? `ranvier doctor` looks"
        ) from None


def resources_of(resources: Resources) -> dict[str, float]:
    """What Dask is asked for: ``CPU`` cores, ``GPU``, ``MEMORY`` in gigabytes; what is not needed is left out."""
    wanted = {"CPU": float(resources.cpu), "GPU": float(resources.gpu), "MEMORY": float(resources.memory_gb)}
    return {name: amount for name, amount in wanted.items() if amount > 0}


def misfit(client: distributed.Client, resources: Resources) -> str:
    """Why no worker of the cluster could ever run something with these resources; empty where one could.

    Where there is no worker at all just now it is empty too: one may come.
    """
    wanted = resources_of(resources)
    offers = [worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    if not offers or any(all(offer.get(name, 0) >= amount for name, amount in wanted.items()) for offer in offers):
        return ""
    largest = {name: max(offer.get(name, 0) for offer in offers) for name in wanted}
    short = [f"{amount:g} {name} ({largest[name]:g} at most here)" for name, amount in wanted.items() if largest[name] < amount]
    return f"needs {', '.join(short) or 'all of its resources on one worker'}; no worker of the cluster offers that"


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
            Name on Dask's dashboard; unique.
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
        """
        client = self.client
        future = client.submit(function, order, key=key, resources=resources_of(resources), priority=priority, pure=False)
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        try:
            while not done.wait(TICK_S):
                tick()
                if client.status != "running" and not future.done():
                    raise WorkLost("the connection to the Dask scheduler was lost")
            return dict(future.result())
        except KilledWorker as error:
            raise WorkLost(f"the Dask worker died {error.allowed_failures + 1} times with it", "logs/dask-worker.log may say why") from None
        except FutureCancelledError as error:
            raise WorkLost(f"the Dask scheduler lost it ({error.reason})") from None
        finally:
            tick()

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            if self._client is not None:
                self._client.close()
