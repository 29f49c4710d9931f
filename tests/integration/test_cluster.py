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
from ranvier.cluster import Cluster, ClusterUnreachable, NeverFits, WorkLost, connect, misfit, resources_of
from ranvier.declare import Output, Resources, task
from ranvier.flows.tries import Failure, Tries
from ranvier.instances import Instance
from ranvier.priority import Priority
from ranvier.retries import Cause, Retries
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
    made.client.wait_for_workers(1, timeout=60)  # the test before may have killed it
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


def noted(order: dict) -> dict:
    import time

    began = time.time()
    time.sleep(order["seconds"])
    return {"name": order["name"], "began": began}


def known_keys(dask_scheduler=None):
    return list(dask_scheduler.tasks)


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


def test_what_was_handed_in_while_no_worker_was_there_and_fits_none_that_comes_is_told(dask, cluster, monkeypatch) -> None:
    monkeypatch.setattr("ranvier.cluster.FIT_S", 1.0)
    os.kill(read_state(dask).services["dask-worker"].pid, signal.SIGKILL)
    while cluster.client.scheduler_info(n_workers=-1)["workers"]:
        time.sleep(0.05)
    with pytest.raises(NeverFits, match="needs 64 CPU"):
        cluster.run(by_value(slowly), {"seconds": 0}, key="giant-1", resources=Resources(cpu=64))
    assert cluster.run(by_value(slowly), {"seconds": 0}, key="small-1", resources=SMALL) == {"seconds": 0}


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
    _until_answered(dask, victim)
    assert cluster.run(by_value(slowly), {"seconds": 0}, key=f"after-{number}", resources=SMALL) == {"seconds": 0}


def test_work_that_kills_its_worker_is_lost_in_the_end(cluster) -> None:
    def kills(order):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkLost, match="worker died 4 times"):
        cluster.run(kills, {}, key="kills-1", resources=SMALL)


def _until_answered(settings: Settings, before: int) -> None:
    """Until all services answer, the scheduler as another process than before."""
    end = time.monotonic() + 40
    while time.monotonic() < end:
        state = read_state(settings)
        healthy = state and all(each.status == "healthy" for each in state.services.values())
        if healthy and state.services["dask-scheduler"].pid != before:
            return
        time.sleep(0.2)
    raise AssertionError("the scheduler did not come back")


def tries_of(cluster: Cluster, memory_gb: float, retries: Retries) -> Tries:
    resources = Resources(memory_gb=memory_gb)

    @task(version="1", outputs=[Output("alf/spikes.times.npy")], resources=resources, retries=retries)
    def sort(job, batch: int = 60):
        """Sorts."""

    instance = Instance("sort", sort, "", {}, parameters={"batch": 60}, resources=resources, retries=retries)
    return Tries(instance, cluster, "has never run")


def test_a_try_after_running_out_of_memory_takes_less_and_gets_what_there_is(cluster: Cluster) -> None:
    tries = tries_of(cluster, 1.5, Retries(times=3, wait_s=10, on_memory={"memory_gb": 2, "batch": 0.5}))
    failure = Failure("MemoryError: 20 GB", Cause.MEMORY)
    assert (tries.adjusted, tries.note) == ({}, "has never run")
    waits, seen = [], []
    while following := tries.after(failure):
        waits.append(following.wait_s)
        seen.append((tries.instance.resources.memory_gb, tries.adjusted["batch"]))
    assert waits == [10, 20, 40]
    assert seen == [(3.0, 30), (4.0, 15), (4.0, 8)], "the worker has 4 GB"
    assert tries.note == "try 4 of 4, as it ran out of memory (MemoryError: 20 GB); with batch 15 -> 8"
    assert tries.verdict(failure) == "MemoryError: 20 GB (tried 4 times)"


def test_there_is_no_other_try_where_nothing_can_be_changed(cluster: Cluster) -> None:
    whole = tries_of(cluster, 4.0, Retries(on_memory={"memory_gb": 2}))
    assert whole.after(Failure("MemoryError: 20 GB", Cause.MEMORY)) is None, "it has all the memory that there is"
    assert tries_of(cluster, 1.0, Retries()).after(Failure("MemoryError: 20 GB", Cause.MEMORY)) is None
    assert tries_of(cluster, 1.0, Retries()).after(Failure("ValueError: no spikes", Cause.NONE)) is None
    assert tries_of(cluster, 1.0, Retries(times=0)).after(Failure("refused", Cause.NETWORK)) is None


def test_a_task_may_say_when_it_is_to_be_tried_again(cluster: Cluster) -> None:
    following = tries_of(cluster, 1.0, Retries()).after(Failure("Again: the rig still writes", Cause.AGAIN, 3600.0))
    assert following is not None
    assert following.wait_s == 3600
    assert following.message.endswith("UTC (try 2 of 4), as the task asks to be run again later (Again: the rig still writes)")


def test_a_run_that_somebody_waits_for_goes_before_a_backfill_whatever_the_tasks(cluster) -> None:
    whole = Resources(cpu=2, memory_gb=0.1)
    began: dict[str, float] = {}

    def hand_in(name: str, priority: int, seconds: float = 0.1) -> threading.Thread:
        def run() -> None:
            order = {"name": name, "seconds": seconds}
            result = cluster.run(by_value(noted), order, key=name, resources=whole, priority=priority)
            began[result["name"]] = result["began"]

        thread = threading.Thread(target=run)
        thread.start()
        until_known(cluster, name)
        return thread

    threads = [hand_in("blocking", 0, 3.0)]
    threads += [hand_in(f"backfill-{task}", Priority.BACKFILL.for_dask(task)) for task in (10, 90)]
    threads += [hand_in(f"now-{task}", Priority.NOW.for_dask(task)) for task in (10, 90)]
    for thread in threads:
        thread.join(60)
    assert sorted(began, key=began.__getitem__) == ["blocking", "now-90", "now-10", "backfill-90", "backfill-10"]


def until_known(cluster: Cluster, key: str) -> None:
    """Wait until the scheduler has been told of a key."""
    end = time.monotonic() + 30
    while key not in cluster.client.run_on_scheduler(by_value(known_keys)):
        assert time.monotonic() < end
        time.sleep(0.02)
