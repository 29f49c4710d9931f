"""Signs of life: what a lab's server tells the centre of itself, as nobody connects to it from there."""

from __future__ import annotations

import logging
import platform
import time
from typing import Any

from ranvier import __version__
from ranvier.client import Database, DatabaseRefused, DatabaseUnreachable
from ranvier.cluster import Cluster, ClusterUnreachable
from ranvier.settings import Settings

log = logging.getLogger("ranvier.signs")

#: Seconds between two signs of life.
EVERY_S = 30.0
#: How a worker's resources are called in a sign of life.
_NAMES = {"CPU": "cpu", "GPU": "gpu", "MEMORY": "memory_gb"}


class Signs:
    """Gives a sign of life of this machine's lab every `EVERY_S` seconds.

    Parameters
    ----------
    database, settings
        The database, and this machine's settings.
    cluster
        The lab's cluster.
    """

    def __init__(self, database: Database, settings: Settings, cluster: Cluster) -> None:
        self.database = database
        self.lab = settings.lab.name
        self.cluster = cluster
        self._given = 0.0
        self._refused = ""

    def round(self) -> None:
        """Give one, if it is time; a database that is away, or that takes none, is left in peace."""
        if self._given and time.monotonic() - self._given < EVERY_S:
            return
        self._given = time.monotonic()
        try:
            self.database.sign_of_life(self.lab, machine=platform.node(), version=__version__, cluster=size(self.cluster))
        except DatabaseUnreachable as error:
            log.debug("%s", error)  # the services that need it say so
        except DatabaseRefused as error:
            if str(error) != self._refused:
                log.warning("no sign of life can be given: %s", error)
            self._refused = str(error)


def size(cluster: Cluster) -> dict[str, Any]:
    """How many workers a cluster has, and what they offer together; or the problem, where it does not answer."""
    try:
        workers = cluster.client.scheduler_info(n_workers=-1)["workers"].values()
    except ClusterUnreachable as error:
        return {"workers": 0, "problem": error.message}
    offered = {name: sum(worker["resources"].get(resource, 0) for worker in workers) for resource, name in _NAMES.items()}
    return {"workers": len(workers), **offered}
