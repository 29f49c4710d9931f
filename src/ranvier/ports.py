"""TCP ports of the services: a port in use is named before anything is started."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import psutil

from ranvier.running_state import SupervisorError
from ranvier.services import Service
from ranvier.settings import Settings


def check_ports(settings: Settings, chosen: Sequence[Service]) -> None:
    """Make sure that every port is free.

    Raises
    ------
    SupervisorError
        Naming each port that is not: its service, its holder where that can be found, and the setting to change.
    """
    taken: list[str] = []
    owners: dict[int, str] = {}
    for service in chosen:
        for port in service.ports:
            if port.number in owners:
                taken.append(f"{port.setting} is {port.number}, which {owners[port.number]} has too")
            elif not _free(settings.ports.host, port.number):
                taken.append(f"port {port.number} ({port.setting}), for the service {service.name}, is in use by {_holder(port.number)}")
            owners[port.number] = port.setting
    if taken:
        raise SupervisorError("; ".join(taken), f"stop what holds it, or choose another port in {settings.home / 'config.toml'}")


def port_near(number: int, host: str = "127.0.0.1") -> int:
    """The port itself where it is free, else one that is."""
    if _free(host, number):
        return number
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _holder(port: int) -> str:
    try:
        pids = [each.pid for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr and each.laddr.port == port]
        process = psutil.Process(next(pid for pid in pids if pid))
        return f"process {process.pid} ({' '.join(process.cmdline())[:80]})"
    except (psutil.Error, StopIteration):
        return "another process"
