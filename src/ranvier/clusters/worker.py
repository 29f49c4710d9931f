"""A worker on another machine: it offers what that machine has, unless it is told how much."""

from __future__ import annotations

from typing import Any

from distributed import Nanny
from distributed.security import Security

from ranvier.offer import THREADS, offer


def start(scheduler: str, *, offers: dict[str, Any], tls: dict[str, Any], **options: Any) -> Nanny:
    """The worker of this machine, with a nanny that starts it again; called on the machine itself, through SSH.

    Parameters
    ----------
    scheduler
        Address of the scheduler.
    offers
        Arguments of `ranvier.offer.offer`.
    tls
        Files of certificates, as arguments of `distributed.security.Security`; empty for plain TCP.
    options
        As of `distributed.Nanny`.
    """
    security = Security(require_encryption=True, **tls) if tls else None
    # attempts are processes of their own with limits of their own, so Dask has no memory to manage
    return Nanny(
        scheduler,
        nthreads=THREADS,
        memory_limit=0,
        resources=offer(**offers),
        preload=["ranvier.attempt"],
        security=security,
        **options,
    )
