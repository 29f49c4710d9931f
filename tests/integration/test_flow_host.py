"""The host that forks flow runs, and its launcher, as real processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import psutil
import pytest
from support import waiter

from ranvier import settings as settings_module
from ranvier.flows.host import see_installed
from ranvier.flows.launch import SOCKET
from ranvier.leash import shows_life
from ranvier.plugins import GROUP
from ranvier.services import environment, pulse
from ranvier.settings import Settings

until = waiter(60)


FLOW_RUN = "8d2c5f0a-6a30-4f8e-9d53-0d8b7c9d2f11"


def home_in(folder: Path) -> Settings:
    (folder / "run").mkdir()
    return settings_module.load(folder)


@contextlib.contextmanager
def hosting(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-m", "ranvier.flows.host"], env=environment(settings), text=True) as process:
        try:
            until(pulse(settings, "flow-host").exists)
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return home_in(tmp_path_factory.mktemp("a-home-whose-path-is-longer-than-the-name-of-a-socket-can-be-" + "x" * 40))


@pytest.fixture(scope="module")
def host(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    with hosting(settings) as process:
        yield process


@pytest.fixture
def silent_prefect() -> Iterator[str]:
    """The address of something that takes connections and says nothing, so that an engine waits."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api"


def launch(settings: Settings, flow_run: str = FLOW_RUN, **variables: str) -> subprocess.Popen[str]:
    surroundings = {**environment(settings), "PREFECT__FLOW_RUN_ID": flow_run, **variables}
    command = [sys.executable, "-m", "ranvier.flows.launch"]
    return subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def forks(host: subprocess.Popen[str]) -> list[psutil.Process]:
    return [child for child in psutil.Process(host.pid).children() if child.status() != psutil.STATUS_ZOMBIE]


def test_a_fork_finds_a_plugin_that_was_installed_editable_after_the_host_began(tmp_path, monkeypatch) -> None:
    sources, packages = tmp_path / "sources", tmp_path / "site-packages"
    (info := sources / "lab_late.dist-info").mkdir(parents=True)
    packages.mkdir()
    (sources / "lab_late.py").write_text("")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-late\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ranvier.tasks]\nlate = lab_late\n")
    monkeypatch.setattr("site.getsitepackages", lambda: [str(packages)])
    monkeypatch.setattr("sys.path", sys.path.copy())
    see_installed()
    assert "late" not in entry_points(group=GROUP).names
    (packages / "__editable__.lab_late.pth").write_text(f"{sources}\n")
    see_installed()
    assert "late" in entry_points(group=GROUP).names


def test_a_launcher_ends_as_its_fork_does_and_shows_what_it_wrote(settings, host) -> None:
    output, _ = (launcher := launch(settings, "no-such-id")).communicate(timeout=60)
    assert launcher.returncode == 1
    assert "Invalid flow run id" in output
    assert host.poll() is None


def test_a_launcher_without_a_host_does_it_itself(settings, host) -> None:
    there = settings.home / "run" / SOCKET
    away = there.rename(there.with_name("away"))
    output, _ = (launcher := launch(settings, "no-such-id")).communicate(timeout=60)
    away.rename(there)
    assert launcher.returncode == 1
    assert "Invalid flow run id" in output


def test_a_flow_run_shows_that_it_lives_until_it_is_killed(settings, host, silent_prefect) -> None:
    lock = settings.home / "run" / "flows" / f"{FLOW_RUN}.lock"
    launcher = launch(settings, PREFECT_API_URL=silent_prefect)
    until(lambda: forks(host))
    assert shows_life(lock)
    launcher.kill()
    launcher.communicate()
    until(lambda: not forks(host))
    assert not shows_life(lock)


def test_a_launcher_passes_signals_on(settings, host, silent_prefect) -> None:
    launcher = launch(settings, PREFECT_API_URL=silent_prefect)
    until(lambda: forks(host))
    time.sleep(0.5)  # for the launcher to have been told the fork's process id
    launcher.terminate()
    launcher.communicate(timeout=20)
    assert launcher.returncode != 0
    until(lambda: not forks(host))


def test_forks_die_with_their_host(tmp_path, silent_prefect) -> None:
    settings = home_in(tmp_path)
    with hosting(settings) as host:
        launcher = launch(settings, PREFECT_API_URL=silent_prefect)
        until(lambda: forks(host))
        fork = forks(host)[0]
        host.kill()
        launcher.communicate(timeout=20)
        assert launcher.returncode == 1
        until(lambda: not fork.is_running() or fork.status() == psutil.STATUS_ZOMBIE)


def test_the_socket_is_its_owner_s_only(settings, host) -> None:
    path = Path(settings.home, "run", SOCKET)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_uid == os.getuid()
