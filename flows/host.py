"""Starts flow runs as forks of a process that has everything imported already (``python -m ranvier.flows.host``).

To import Prefect, Dask and this package takes some three seconds of CPU time; a fork takes a few milliseconds. `ranvier.flows.launch` is
the other end. Tasks and plugins are not imported here: each flow run sees those that are installed when it starts.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
import site
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prefect.engine
import prefect.flow_engine

import ranvier.flows.session  # noqa: F401  imported for the forks
from ranvier import settings as settings_module
from ranvier.flows.launch import SOCKET
from ranvier.leash import tie_to_parent
from ranvier.services import pulse

#: Seconds between two signs of life.
PULSE_S = 1.0


@dataclass
class FlowRun:
    """A fork at work, and the launcher that waits for it."""

    pid: int
    launcher: socket.socket
    ended: bool = False


class Host:
    """Forks a child for each launcher that connects, and tells it the exit code; ends the child of a launcher that goes away.

    Parameters
    ----------
    folder
        Where its socket is made.
    sign
        A file that it touches, to show that it lives.
    """

    def __init__(self, folder: Path, sign: Path) -> None:
        self.sign = sign
        self.listener = socket.socket(socket.AF_UNIX)
        (folder / SOCKET).unlink(missing_ok=True)
        with contextlib.chdir(folder):  # the whole path may be longer than a socket's name can be
            self.listener.bind(SOCKET)
        (folder / SOCKET).chmod(0o600)
        self.listener.listen()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any]:
        """Serve for ever; returns in a forked child only, with what its launcher asks for."""
        while True:
            self.sign.touch()
            for key, _ in self.selector.select(timeout=PULSE_S):
                if key.fileobj is self.listener:
                    if request := self._accept():
                        return request
                elif isinstance(key.fileobj, socket.socket):
                    self._launcher_gone(key.data)
                else:
                    self._child_ended(key.fd, key.data)

    def _accept(self) -> dict[str, Any] | None:
        launcher, _ = self.listener.accept()
        launcher.settimeout(5.0)
        try:
            request, outputs = _receive(launcher)
        except (OSError, ValueError):  # the launcher was killed in the middle of its request
            launcher.close()
            return None
        pid = os.fork()
        if pid == 0:
            self._become_child(launcher, outputs)
            return request
        for output in outputs:
            os.close(output)
        run = FlowRun(pid, launcher)
        self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ, run)
        self.selector.register(launcher, selectors.EVENT_READ, run)
        _tell(launcher, pid)
        return None

    def _become_child(self, launcher: socket.socket, outputs: list[int]) -> None:
        tie_to_parent()
        for inherited in list(self.selector.get_map().values()):
            os.close(inherited.fd)
        self.selector.close()
        launcher.close()
        for target, output in enumerate(outputs, start=1):
            os.dup2(output, target)
            os.close(output)

    def _launcher_gone(self, run: FlowRun) -> None:
        if not run.ended:
            self.selector.unregister(run.launcher)
            os.kill(run.pid, signal.SIGKILL)

    def _child_ended(self, pidfd: int, run: FlowRun) -> None:
        run.ended = True
        self.selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(run.pid, 0)
        with contextlib.suppress(KeyError):  # its launcher went first
            self.selector.unregister(run.launcher)
        _tell(run.launcher, os.waitstatus_to_exitcode(status))
        run.launcher.close()


def _tell(launcher: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # a launcher that is gone is seen by the selector
        launcher.sendall(f"{number}\n".encode())


def _receive(launcher: socket.socket) -> tuple[dict[str, Any], list[int]]:
    first, outputs, _, _ = socket.recv_fds(launcher, 65536, 2)
    received = first
    while received and not received.endswith(b"\n"):
        received += (more := launcher.recv(65536))
        if not more:
            break
    return json.loads(received), outputs


def see_installed() -> None:
    """Find what was installed since this process began, plugins under ``pip install -e`` too, whose folders are in ``.pth`` files."""
    for folder in site.getsitepackages():
        site.addsitedir(folder)
    importlib.invalidate_caches()


def _run_engine(request: dict[str, Any]) -> None:
    see_installed()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["prefect.engine"]
    runpy.run_path(prefect.engine.__file__, run_name="__main__")  # what `python -m prefect.engine` does


def main() -> None:
    """Serve the flow runs of the home in the environment."""
    settings = settings_module.load()
    _run_engine(Host(settings.home / "run", pulse(settings, "flow-host")).serve())


if __name__ == "__main__":
    main()
