"""Workers that are started on other machines by SSH, one on each."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
from collections.abc import Collection
from typing import Any

from distributed.deploy.spec import SpecCluster
from distributed.deploy.ssh import Worker

from ranvier.scratch import share_gb
from ranvier.settings import Settings

log = logging.getLogger("ranvier.clusters")

#: What a worker's environment takes over from the lab server's.
_PASSED_ON = ("RANVIER_HOME", "PYTHONPATH", "PYTHONSAFEPATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_CONNECT_S = 15.0


class SSHWorker(Worker):
    """Dask's worker by SSH, which says on which host it could not be started, and why."""

    _listening: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether it was there, and is no more."""
        return self._listening is not None and self._listening.done()

    async def start(self) -> None:
        """Start it."""
        try:
            await super().start()
        except Exception as error:
            log.warning("no worker on %s: %s: %s", self.address, type(error).__name__, error)
            raise
        log.info("a worker on %s", self.address)
        self._listening = asyncio.create_task(self._pass_on())

    async def _pass_on(self) -> None:
        """Write what the worker writes into our log; SSH would hold the worker up once nobody reads any more."""
        assert self.proc is not None
        async for line in self.proc.stderr:
            log.info("%s: %s", self.address, line.rstrip())
        log.warning("the worker on %s has ended", self.address)


def worker_spec(settings: Settings, tls: dict[str, Any], taken: Collection[str]) -> dict[str, dict[str, Any]]:
    """The worker on the next host that has none; nothing where each has one."""
    cluster = settings.cluster
    host = next((host for host in cluster.hosts if host not in taken), None)
    if host is None:
        return {}
    address, _, port = host.partition(":")
    known_hosts = {"known_hosts": cluster.ssh_known_hosts} if cluster.ssh_known_hosts else {}
    key = {"client_keys": [cluster.ssh_key]} if cluster.ssh_key else {}
    user = {"username": cluster.ssh_user} if cluster.ssh_user else {}
    options = {
        "address": address,
        "connect_options": {"port": int(port or 22), "connect_timeout": _CONNECT_S, **user, **key, **known_hosts},
        "worker_class": "ranvier.clusters.worker.start",
        "kwargs": {
            "name": host,
            "offers": {"cpu": cluster.cpu, "gpu": cluster.gpu, "memory_gb": cluster.memory_gb, "scratch_gb": share_gb(settings)},
            "tls": tls,
            "dashboard_address": f":{settings.ports.dask_worker}",
        },
        "remote_python": _python(settings),
    }
    return {host: {"cls": SSHWorker, "options": options}}


async def forget_gone(cluster: SpecCluster) -> None:
    """Have workers whose SSH connection has ended started again, before Dask itself misses them."""
    for name, worker in list(cluster.workers.items()):
        if isinstance(worker, SSHWorker) and worker.ended:
            await worker.close()
            if cluster.workers.get(name) is worker:
                del cluster.workers[name]


def _python(settings: Settings) -> str:
    """The interpreter, with the environment that it is to have; Dask puts it into a command line as it is."""
    variables = [f"{name}={os.environ[name]}" for name in _PASSED_ON if name in os.environ]
    return shlex.join(["env", *variables, settings.cluster.python or sys.executable])
