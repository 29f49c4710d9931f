"""The lab's Dask cluster: a real scheduler and worker under the supervisor."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ranvier import settings as settings_module
from ranvier.cluster import Cluster, ClusterUnreachable, WorkLost, connect, misfit, resources_of
from ranvier.declare import Resources
from ranvier.services import services
from ranvier.settings import Settings
from ranvier.supervisor import read_state, up

SMALL = Resources(cpu=1, memory_gb=0.1)


def ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return found


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a home whose scheduler and worker are up."""
    home = tmp_path_factory.mktemp("dask") / "home"
    home.mkdir()
    scheduler, dashboard = ports(2)
    (home / "config.toml").write_text(f"[ports]\ndask = {scheduler}\ndask_dashboard = {dashboard}\n[cluster]\ncpu = 2\nmemory_gb = 4\n")
    settings = settings_module.load(home)
    chosen = [service for service in services(settings) if service.name.startswith("dask")]
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=up, args=(settings, chosen), kwargs=dict(stop_event=stop, on_ready=lambda state: ready.set()))
    thread.start()
    try:
        assert ready.wait(60)
        yield settings
    finally:
        stop.set()
        thread.join(30)


@pytest.fixture
def cluster(dask: Settings) -> Iterator[Cluster]:
    made = Cluster(dask)
    yield made
    made.close()


def slowly(order: dict) -> dict:
    import time

    time.sleep(order["seconds"])
    return order


def by_value(function):
    """A copy that Dask pickles whole, as its worker cannot import this test."""
    import types

    return types.FunctionType(function.__code__, {"__builtins__": __builtins__}, function.__name__)


def test_resources_that_are_not_needed_are_left_out() -> None:
    assert resources_of(Resources(cpu=2, gpu=0, memory_gb=1.5)) == {"CPU": 2.0, "MEMORY": 1.5}


def test_what_fits_runs_and_ticks_while_it_does(cluster) -> None:
    ticks: list[float] = []
    result = cluster.run(by_value(slowly), {"seconds": 1.0}, key="slowly-1", resources=SMALL, tick=lambda: ticks.append(time.monotonic()))
    assert result == {"seconds": 1.0}
    assert len(ticks) >= 3


def test_resources_limit_how_much_runs_at_once(cluster) -> None:
    began = time.monotonic()
    whole = Resources(cpu=2, memory_gb=0.1)
    threads = [
        threading.Thread(target=cluster.run, args=(by_value(slowly), {"seconds": 0.5}), kwargs=dict(key=f"whole-{turn}", resources=whole))
        for turn in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= 1.5


def test_what_no_worker_can_fit_is_said_with_the_amounts(cluster) -> None:
    assert misfit(cluster.client, SMALL) == ""
    assert misfit(cluster.client, Resources(cpu=64, gpu=1, memory_gb=1)) == (
        "needs 64 CPU (2 at most here), 1 GPU (0 at most here); no worker of the cluster offers that"
    )


def test_an_exception_of_the_function_comes_back(cluster) -> None:
    def fails(order):
        raise TimeoutError("its own time-out, not ours")

    with pytest.raises(TimeoutError, match="its own"):
        cluster.run(fails, {}, key="fails-1", resources=SMALL)


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("ranvier.cluster._CONNECT_S", 1.0)
    (tmp_path / "config.toml").write_text(f"[cluster]\naddress = 'tcp://127.0.0.1:{ports(1)[0]}'\n")
    settings = settings_module.load(tmp_path)
    with pytest.raises(ClusterUnreachable, match=rf"{settings.cluster_address} does not answer"):
        connect(settings)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_work_on_a_scheduler_that_dies_is_lost_not_waited_for(dask, cluster, number) -> None:
    victim = read_state(dask).services["dask-scheduler"].pid
    threading.Timer(1.0, os.kill, (victim, number)).start()
    began = time.monotonic()
    with pytest.raises(WorkLost):
        cluster.run(by_value(slowly), {"seconds": 5}, key=f"lost-{number}", resources=SMALL)
    assert time.monotonic() - began < 4
    _until_answered(dask)
    assert cluster.run(by_value(slowly), {"seconds": 0}, key=f"after-{number}", resources=SMALL) == {"seconds": 0}


def test_work_that_kills_its_worker_is_lost_in_the_end(cluster) -> None:
    def kills(order):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkLost, match="worker died 4 times"):
        cluster.run(kills, {}, key="kills-1", resources=SMALL)


def _until_answered(settings: Settings) -> None:
    end = time.monotonic() + 40
    while time.monotonic() < end:
        state = read_state(settings)
        if state and all(each.status == "healthy" for each in state.services.values()):
            return
        time.sleep(0.2)
    raise AssertionError("the scheduler did not come back")
