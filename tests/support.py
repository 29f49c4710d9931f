"""What many tests need that is no fixture."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], timeout_s: float = 60.0, every_s: float = 0.05) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not come about within {timeout_s:g} s"
        time.sleep(every_s)
    return found


def free_ports(number: int) -> list[int]:
    """TCP ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)]
