"""Clusters of other machines: workers by a real SSH server on this machine, over TLS; how many there are follows the work."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import free_ports, waiter

from ranvier import settings as settings_module
from ranvier.cluster import Cluster, ClusterUnreachable, connect, misfit, promised
from ranvier.declare import Resources
from ranvier.services import environment, services
from ranvier.settings import Settings
from ranvier.supervisor import up

until = waiter(90, 0.2)


SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
needs_sshd = pytest.mark.skipif(SSHD is None, reason="no sshd on this machine; apt-get install openssh-server")
ONE_CORE = Resources(cpu=1, memory_gb=0.1)


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An SSH server on this machine with throw-away keys: settings of a cluster that is reached by it."""
    pytest.importorskip("asyncssh", reason="asyncssh is not installed; pip install 'ranvier[ssh]'")
    folder = tmp_path_factory.mktemp("ssh")
    (port,) = free_ports(1)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    host_key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text("".join(f"[{name}]:{port} {host_key}" for name in ("127.0.0.1", "localhost")))
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    config = {"ListenAddress": f"127.0.0.1:{port}", "HostKey": folder / "host", "AuthorizedKeysFile": folder / "authorized_keys"}
    config |= {"PidFile": "none", "StrictModes": "no", "UsePAM": "no", "PermitRootLogin": "prohibit-password"}
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in config.items()))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (
        (folder / "sshd.log").open("wb") as log,
        subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log) as server,
    ):
        yield {
            "hosts": [f"127.0.0.1:{port}", f"localhost:{port}"],
            "ssh_user": getpass.getuser(),
            "ssh_key": str(folder / "user"),
            "ssh_known_hosts": str(folder / "known_hosts"),
        }
        server.terminate()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate authority of our own, and one certificate that it has signed."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lab", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=dask", "-keyout", "dask.key", "-out", "dask.csr")
    openssl("x509", "-req", "-in", "dask.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", "dask.pem")
    return {"tls_ca": str(folder / "ca.pem"), "tls_cert": str(folder / "dask.pem"), "tls_key": str(folder / "dask.key")}


def configured(home: Path, **cluster: Any) -> Settings:
    """A home whose cluster is as the settings say, on ports of its own."""
    home.mkdir(exist_ok=True)
    scheduler, dashboard = free_ports(2)
    fields = "".join(f"{name} = {value!r}\n" for name, value in cluster.items())
    (home / "config.toml").write_text(f"[ports]\ndask = {scheduler}\ndask_dashboard = {dashboard}\n[cluster]\n{fields}")
    return settings_module.load(home)


@pytest.fixture(scope="module")
def by_ssh(tmp_path_factory: pytest.TempPathFactory, ssh: dict[str, Any], tls: dict[str, str]) -> Iterator[Settings]:
    """A cluster of up to two workers, one core each, that are started by SSH and speak TLS."""
    settings = configured(tmp_path_factory.mktemp("by-ssh") / "home", kind="ssh", cpu=1, memory_gb=1, minimum=0, idle_s=4, **ssh, **tls)
    chosen = [service for service in services(settings) if service.name.startswith("dask")]
    assert [service.name for service in chosen] == ["dask-cluster"]
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=up, args=(settings, chosen), kwargs=dict(stop_event=stop, on_ready=lambda state: ready.set()))
    thread.start()
    try:
        assert ready.wait(90)
        yield settings
    finally:
        stop.set()
        thread.join(60)
    until(lambda: not workers(settings))


@pytest.fixture
def cluster(by_ssh: Settings) -> Iterator[Cluster]:
    made = Cluster(by_ssh)
    yield made
    made.close()


def workers(settings: Settings) -> list[psutil.Process]:
    """Processes that SSH has started for this home's cluster."""
    found = []
    for process in psutil.process_iter():
        try:
            if "distributed.cli.dask_spec" in process.cmdline() and process.environ().get("RANVIER_HOME") == str(settings.home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def quickly(order: dict) -> dict:
    import os

    return {"pid": os.getpid()}


def meet(order: dict) -> dict:
    """Ends once as many tasks as the order says have begun and not yet ended."""
    import os
    import time
    from pathlib import Path

    folder = Path(order["folder"])
    (folder / order["name"]).touch()
    end = time.monotonic() + 120
    while len(list(folder.iterdir())) < order["number"]:
        if time.monotonic() > end:
            raise TimeoutError("the others did not begin")
        time.sleep(0.1)
    return {"pid": os.getpid()}


def by_value(function):
    """A copy that Dask pickles whole, as its worker cannot import this test."""
    import types

    return types.FunctionType(function.__code__, {"__builtins__": __builtins__}, function.__name__)


def pid_of_a_worker(cluster: Cluster, key: str) -> int:
    return int(cluster.run(by_value(quickly), {}, key=key, resources=ONE_CORE)["pid"])


@needs_sshd
def test_workers_come_by_ssh_when_there_is_work_and_share_it(by_ssh, cluster, tmp_path) -> None:
    until(lambda: not workers(by_ssh))
    pids = []

    def run(name: str) -> None:
        order = {"folder": str(tmp_path), "name": name, "number": 2}
        pids.append(cluster.run(by_value(meet), order, key=name, resources=ONE_CORE)["pid"])

    # both are given to the first worker that comes; each ends only once the other runs beside it
    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids)) == 2
    until(lambda: not workers(by_ssh))


@needs_sshd
def test_a_worker_that_is_killed_is_started_again(by_ssh, cluster) -> None:
    first = pid_of_a_worker(cluster, "before")
    for remote in workers(by_ssh):
        for process in [*remote.children(recursive=True), remote]:
            process.send_signal(signal.SIGKILL)
    assert pid_of_a_worker(cluster, "after") != first


@needs_sshd
def test_what_fits_no_worker_is_known_before_there_is_one(by_ssh, cluster) -> None:
    until(lambda: not cluster.client.scheduler_info(n_workers=-1)["workers"])
    assert misfit(cluster.client, ONE_CORE, promised(by_ssh)) == ""
    assert "needs 4 CPU (1 at most here)" in misfit(cluster.client, Resources(cpu=4, memory_gb=0.1), promised(by_ssh))


@needs_sshd
def test_an_existing_scheduler_is_reached_over_tls_and_only_so(by_ssh, tls, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("ranvier.cluster._CONNECT_S", 3.0)
    address = by_ssh.cluster_address
    assert address.startswith("tls://")
    there = Cluster(configured(tmp_path / "with", kind="address", address=address, **tls))
    assert pid_of_a_worker(there, "by address") != os.getpid()
    there.close()
    with pytest.raises(ClusterUnreachable, match="does not answer"):
        connect(configured(tmp_path / "plain", kind="address", address=address.replace("tls", "tcp")))


@needs_sshd
def test_a_host_that_does_not_let_us_in_is_named(ssh, tmp_path) -> None:
    (closed,) = free_ports(1)
    settings = configured(tmp_path / "home", kind="ssh", cpu=1, memory_gb=1, **{**ssh, "hosts": [f"127.0.0.1:{closed}"]})
    (service,) = [service for service in services(settings) if service.name == "dask-cluster"]
    log = tmp_path / "log"
    with log.open("wb") as output, subprocess.Popen(service.command, env=environment(settings), stdout=output, stderr=output) as process:
        try:
            until(lambda: "no worker on 127.0.0.1: " in log.read_text())
            assert process.poll() is None
        finally:
            process.terminate()
