"""What is tried again by itself: the causes of failures that may pass, and what a task declares about its tries.

Whatever is not recognised here is not tried again, as a task that fails on its own input would only fail again. Standard library only: the
child process, which may run in a Python environment of its own, classifies what its task raised.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ranvier.errors import RanvierError

#: The longest wait before another try, seconds, unless the task itself asks for a longer one.
LONGEST_WAIT_S = 900.0


class Cause(StrEnum):
    """Why an attempt failed, where that may pass; empty where it will not."""

    NONE = ""
    WORKER = "the worker was lost"
    NETWORK = "something on the network did not answer"
    MEMORY = "it ran out of memory"
    CROWDED = "the machine ran out of memory while it used no more than it declares"
    DISK = "the disk was full"
    AGAIN = "the task asks to be run again later"


#: Exceptions by the name of their class, or of a class that it is derived from.
_NAMES: Mapping[str, Cause] = {
    "Again": Cause.AGAIN,
    "WorkLost": Cause.WORKER,
    "ClusterUnreachable": Cause.NETWORK,
    "DatabaseUnreachable": Cause.NETWORK,
    "ConnectionError": Cause.NETWORK,  # of Python and of requests
    "TimeoutError": Cause.NETWORK,
    "Timeout": Cause.NETWORK,  # requests
    "TransportError": Cause.NETWORK,  # httpx
    "URLError": Cause.NETWORK,
    "gaierror": Cause.NETWORK,
    "NoSpace": Cause.DISK,
    "MemoryError": Cause.MEMORY,
    "OutOfMemoryError": Cause.MEMORY,  # torch, cupy
}
#: Errors of the operating system by their number.
_NUMBERS: Mapping[int, Cause] = {
    errno.ENOSPC: Cause.DISK,
    errno.EDQUOT: Cause.DISK,
    errno.ENOMEM: Cause.MEMORY,
    errno.ESTALE: Cause.NETWORK,  # a network file system
    errno.ENETDOWN: Cause.NETWORK,
    errno.ENETUNREACH: Cause.NETWORK,
    errno.EHOSTDOWN: Cause.NETWORK,
    errno.EHOSTUNREACH: Cause.NETWORK,
}
#: Answers of an HTTP server that may be others later.
_HTTP = frozenset({408, 425, 429, 500, 502, 503, 504})
#: What a pool says of a worker that was killed, at times by the kernel for want of memory.
BROKEN_POOLS = frozenset({"BrokenProcessPool", "TerminatedWorkerError"})
#: What libraries say that have no exception of their own for it, such as torch on a CPU.
_WORDS = ((re.compile(r"out of memory|allocate memory", re.IGNORECASE), Cause.MEMORY),)


class Again(RanvierError):
    """A task raises it to be run again later.

    Parameters
    ----------
    message
        What it waits for.
    wait_s
        Seconds until then; by default as the task's `Retries` say.
    """

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Retries:
    """How often a task is tried again after a failure that may pass.

    Parameters
    ----------
    times
        How often at most in one run of the session; 0 for never.
    wait_s
        Seconds before the second try; before each further one twice as many.
    on_memory
        What a try after running out of memory changes: a factor by the name of a resource or of a numeric parameter, such as
        ``{"memory_gb": 1.5, "batch_s": 0.5}``. It must not change the result. Without any, running out of memory is not tried again.
    """

    times: int = 3
    wait_s: float = 30.0
    on_memory: Mapping[str, float] = field(default_factory=dict, hash=False)

    def changes(self, cause: Cause) -> Mapping[str, float]:
        """What a try after such a failure changes."""
        return self.on_memory if cause in (Cause.MEMORY, Cause.CROWDED) else {}

    def may_pass(self, cause: Cause) -> bool:
        """Whether another try may end otherwise."""
        return bool(cause) and (cause != Cause.MEMORY or bool(self.on_memory))

    def wait(self, failed: int, asked_s: float | None = None) -> float:
        """Seconds to wait after so many failed tries; `asked_s` is what the task itself asks for."""
        return min(self.wait_s * 2.0 ** (failed - 1), LONGEST_WAIT_S) if asked_s is None else asked_s


def cause_of(error: BaseException) -> Cause:
    """Why something failed, if that may pass: by the exception, or the one from which it was raised."""
    return next((cause for each in _chain(error) if (cause := _cause(each))), Cause.NONE)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _cause(error: BaseException) -> Cause:
    if (status := _http_status(error)) is not None:
        return Cause.NETWORK if status in _HTTP else Cause.NONE
    if isinstance(error, OSError) and error.errno is not None and error.errno in _NUMBERS:
        return _NUMBERS[error.errno]
    named = next((_NAMES[each.__name__] for each in type(error).__mro__ if each.__name__ in _NAMES), Cause.NONE)
    return named or next((cause for words, cause in _WORDS if words.search(str(error))), Cause.NONE)


def _http_status(error: BaseException) -> int | None:
    """Status of an answer that urllib, requests or httpx has made an exception of, or `ranvier.client`."""
    answer = getattr(error, "response", None)
    found = getattr(error, "code", None) if answer is None else getattr(answer, "status_code", None)
    found = getattr(error, "status", None) if found is None else found
    return found if isinstance(found, int) and 100 <= found < 600 else None
