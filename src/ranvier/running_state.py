"""What is known of a running `ranvier up`: the lock of its home, and the state that it writes for others to read."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from ranvier.errors import RanvierError
from ranvier.leash import shows_life
from ranvier.settings import Settings


class SupervisorError(RanvierError):
    """The services cannot be started; the message names the service, the reason and the mend."""


@dataclass
class ServiceState:
    """What the state file says of one service."""

    pid: int | None = None
    status: str = "waiting"
    restarts: int = 0
    reason: str = ""  #: why it was started again last
    started: float = 0.0
    healthy_s: float = 0.0  #: seconds from its start to its first answer
    address: str = ""
    log: str = ""


@dataclass
class State:
    """What ``run/state.json`` says of a running supervisor."""

    pid: int
    ready: bool = False
    services: dict[str, ServiceState] = field(default_factory=dict)

    @property
    def coming(self) -> list[str]:
        """The services that are still to answer for the first time."""
        return [] if self.ready else [name for name, each in self.services.items() if each.status in ("waiting", "starting")]


def read_state(settings: Settings) -> State | None:
    """The state of the supervisor that runs in this home; None where none does."""
    if not shows_life(_lock_path(settings)):
        return None
    with contextlib.suppress(FileNotFoundError):  # it has begun a moment ago
        return written_state(settings)
    return None


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the lock of a home.

    Raises
    ------
    SupervisorError
        If another process holds it.
    """
    path = _lock_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        if not _locked(lock):
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise SupervisorError(
                f"`ranvier up` runs already in {settings.home} (process {holder})", "stop it first, or use another RANVIER_HOME"
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _lock_path(settings: Settings) -> Path:
    return settings.home / "run" / "up.lock"


def _locked(lock: IO[str]) -> bool:
    """Take the lock, with some patience, as those who look whether it is held take it for a moment."""
    for _ in range(5):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            return True
    return False


def written_state(settings: Settings) -> State:
    """The state as it was written last."""
    content = json.loads(_state_path(settings).read_text())
    return State(content["pid"], content["ready"], {name: ServiceState(**each) for name, each in content["services"].items()})


def write_state(settings: Settings, state: State) -> None:
    """Write the state, in one step for those who read it."""
    path = _state_path(settings)
    written = path.with_suffix(".new")
    written.write_text(json.dumps(asdict(state), indent=1))
    written.replace(path)


def forget_state(settings: Settings) -> None:
    """Remove the state of a supervisor that ends."""
    _state_path(settings).unlink(missing_ok=True)


def _state_path(settings: Settings) -> Path:
    return settings.home / "run" / "state.json"
