"""What is tried again by itself: which failures may pass, and what a task may declare about its tries."""

from __future__ import annotations

import errno
import socket
import urllib.error

import httpx
import numpy as np
import pytest
import requests

from ranvier import Again, Output, Retries, task
from ranvier.client import DatabaseRefused, DatabaseUnreachable
from ranvier.cluster import ClusterUnreachable, WorkLost
from ranvier.declare import DeclarationError
from ranvier.errors import RanvierError
from ranvier.retries import Cause, cause_of


class OutOfMemoryError(RuntimeError):
    """As torch calls it; it is no MemoryError."""


def answer(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ValueError("no spikes"), Cause.NONE),
        (RuntimeError("it broke"), Cause.NONE),
        (RanvierError("input raw.npy is not there"), Cause.NONE),
        (FileNotFoundError(errno.ENOENT, "No such file"), Cause.NONE),
        (PermissionError(errno.EACCES, "Permission denied"), Cause.NONE),
        (WorkLost("the Dask worker died"), Cause.WORKER),
        (ClusterUnreachable("the scheduler does not answer"), Cause.NETWORK),
        (DatabaseUnreachable("the database does not answer"), Cause.NETWORK),
        (DatabaseRefused(503, "busy"), Cause.NETWORK),
        (DatabaseRefused(400, "no such field"), Cause.NONE),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Cause.NETWORK),
        (TimeoutError(), Cause.NETWORK),
        (socket.gaierror(-3, "Temporary failure in name resolution"), Cause.NETWORK),
        (OSError(errno.ESTALE, "Stale file handle"), Cause.NETWORK),
        (requests.ConnectionError("refused"), Cause.NETWORK),
        (requests.ReadTimeout("slow"), Cause.NETWORK),
        (answer(503), Cause.NETWORK),
        (answer(404), Cause.NONE),
        (httpx.ConnectError("refused"), Cause.NETWORK),
        (urllib.error.URLError("refused"), Cause.NETWORK),
        (urllib.error.HTTPError("http://x", 404, "not there", {}, None), Cause.NONE),
        (urllib.error.HTTPError("http://x", 502, "gateway", {}, None), Cause.NETWORK),
        (OSError(errno.ENOSPC, "No space left on device"), Cause.DISK),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Cause.MEMORY),
        (MemoryError(), Cause.MEMORY),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), Cause.MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000000 bytes"), Cause.MEMORY),
        (Again("the amplifier still writes", 600), Cause.AGAIN),
        (raised_from(ValueError("no model"), ConnectionError("refused")), Cause.NETWORK),
        (raised_from(ValueError("no model"), KeyError("x")), Cause.NONE),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_may_pass(error: Exception, cause: Cause) -> None:
    assert cause_of(error) == cause


def test_an_array_that_does_not_fit_is_out_of_memory() -> None:
    with pytest.raises(MemoryError) as raised:
        np.empty(1 << 60, dtype=np.uint8)
    assert cause_of(raised.value) == Cause.MEMORY


def test_the_waits_double_up_to_a_limit_and_a_task_may_ask_for_another() -> None:
    retries = Retries(times=9, wait_s=30)
    assert [retries.wait(failed) for failed in (1, 2, 3, 9)] == [30, 60, 120, 900]
    assert retries.wait(1, 3600) == 3600


def test_out_of_memory_is_tried_again_only_with_a_change() -> None:
    assert not Retries().may_pass(Cause.MEMORY)
    assert Retries(on_memory={"memory_gb": 2}).may_pass(Cause.MEMORY)
    assert Retries().may_pass(Cause.CROWDED), "it may not have been the one that took the memory"
    assert not Retries().may_pass(Cause.NONE)


@pytest.mark.parametrize(
    ("on_memory", "words"),
    [
        ({"batch": 0.5}, "'batch', which is no resource or numeric parameter; it can change batch_s, bin_s, cpu, gpu, memory_gb"),
        ({"fast": 0.5}, "'fast', which is no resource or numeric parameter"),
        ({"bin_s": 0.5}, "'bin_s', which stands in the path of a file"),
        ({"batch_s": 0}, "must be a factor above 0"),
    ],
)
def test_what_a_try_cannot_change_is_refused(on_memory: dict[str, float], words: str) -> None:
    def sort(job, batch_s: float = 60.0, bin_s: int = 1, fast: bool = True):
        """Sorts."""

    declare = task(version="1", outputs=[Output("alf/rates_{bin_s}.npy")], retries=Retries(on_memory=on_memory))
    with pytest.raises(DeclarationError) as raised:
        declare(sort)
    assert words in str(raised.value)
