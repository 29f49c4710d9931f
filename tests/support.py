"""What many tests need that is no fixture."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any


def waiter(usual_s: float, every_s: float = 0.05) -> Callable[..., Any]:
    """What waits until something is true and returns it: for so many seconds, unless a test says otherwise."""

    def until(condition: Callable[[], Any], timeout_s: float = usual_s) -> Any:
        end = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < end, f"it did not come about within {timeout_s:g} s"
            time.sleep(every_s)
        return found

    return until


def free_ports(number: int) -> list[int]:
    """TCP ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)]
