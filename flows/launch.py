"""What Prefect's worker starts for each flow run (``python -m ranvier.flows.launch``): stands in for a fork of `ranvier.flows.host`.

It passes signals on, ends with the fork's exit code, and takes the fork with it when it is killed. Where no host answers, it becomes
Prefect's engine itself, which takes some seconds longer. It imports next to nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

from ranvier.leash import show_life, tie_to_parent

#: Name of the host's socket in the home's ``run`` folder.
SOCKET = "flows.sock"


def connect(folder: Path) -> socket.socket:
    """A connection to the host.

    Raises
    ------
    OSError
        If none answers.
    """
    host = socket.socket(socket.AF_UNIX)
    with contextlib.chdir(folder):
        host.connect(SOCKET)
    return host


def ask(host: socket.socket) -> int:
    """Have a flow run forked that writes where this process writes; returns its exit code, negative for a signal."""
    request = {"folder": os.getcwd(), "environment": dict(os.environ)}
    socket.send_fds(host, [json.dumps(request).encode() + b"\n"], [1, 2])
    answers = host.makefile()
    pid = int(answers.readline())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = answers.readline()
    return int(code) if code else 1  # the host died, and its forks with it


def main() -> int:
    """Run the flow run that the environment names; returns its exit code."""
    tie_to_parent()
    folder = Path(os.environ["RANVIER_HOME"], "run")
    show_life(folder / "flows" / f"{os.environ['PREFECT__FLOW_RUN_ID']}.lock")
    try:
        host = connect(folder)
    except OSError:
        os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])
    code = ask(host)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main())
