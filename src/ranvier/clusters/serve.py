"""The lab's Dask cluster of other machines (``python -m ranvier.clusters.serve``): its scheduler, and workers as the work asks for."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import signal
import sys
from collections.abc import Callable, Collection
from typing import Any

from distributed import Scheduler
from distributed.deploy.spec import SpecCluster

from ranvier import settings as settings_module
from ranvier.cluster import contact_address, promised, security_of, tls_files
from ranvier.clusters.scaling import ByResources
from ranvier.settings import Settings

#: Seconds between two looks at workers that never came.
LOOK_S = 30.0

WorkerSpec = Callable[[Settings, dict[str, Any], Collection[str]], dict[str, dict[str, Any]]]


class LabCluster(SpecCluster):
    """A scheduler in this process, and workers on other machines that `settings.cluster` says how to start.

    Parameters
    ----------
    settings
        The machine's settings.
    worker_spec
        Gives the next worker: `ranvier.clusters.ssh.worker_spec` or its namesake for SLURM.
    """

    def __init__(self, settings: Settings, worker_spec: WorkerSpec) -> None:
        self.settings = settings
        self._next = worker_spec
        scheduler = {"cls": Scheduler, "options": scheduler_options(settings)}
        super().__init__(scheduler=scheduler, asynchronous=True, security=security_of(settings), name=settings.lab.name)

    def new_worker_spec(self) -> dict[str, dict[str, Any]]:
        """The next worker; `SpecCluster` starts it."""
        return self._next(self.settings, tls_files(self.settings), set(self.worker_spec))

    def follow_the_work(self) -> None:
        """Start and end workers by what is asked of the cluster, within the limits of the settings."""
        cluster = self.settings.cluster
        least, most = min(cluster.minimum, cluster.most), cluster.most
        self.adapt(ByResources, minimum=least, maximum=most, promised=promised(self.settings), idle_s=cluster.idle_s)


def scheduler_options(settings: Settings) -> dict[str, Any]:
    """Arguments of Dask's scheduler: where it listens, and what its workers call it."""
    listens = "0.0.0.0" if settings.machine.address else settings.near
    return {
        "host": listens,
        "protocol": "tls://" if tls_files(settings) else "tcp://",
        "port": settings.ports.dask,
        "contact_address": contact_address(settings),
        "dashboard_address": f"{settings.near}:{settings.ports.dask_dashboard}",
        "security": security_of(settings),
    }


async def serve(settings: Settings) -> None:
    """Run the cluster until SIGTERM or SIGINT; its workers end with it."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # imported late, as each of the two brings packages that the other does not need
    kind = importlib.import_module(f"ranvier.clusters.{settings.cluster.kind}")
    async with LabCluster(settings, kind.worker_spec) as cluster:
        cluster.follow_the_work()
        while not stop.is_set():
            await kind.forget_gone(cluster)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_S)


def main() -> None:
    """Run the cluster of the home in the environment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    asyncio.run(serve(settings_module.load()))


if __name__ == "__main__":
    main()
