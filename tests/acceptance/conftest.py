"""A centre, a lab server and the network between them, for the tests that kill, cut off and fill up what is theirs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml
from support import free_ports

from ranvier import prefect_api
from ranvier import settings as settings_module
from ranvier.client import Database
from ranvier.session import READY_FLAG
from ranvier.settings import Settings
from ranvier.supervisor import read_state, running

PLUGIN = Path(__file__).parents[1] / "integration" / "chain"
DAY = "2026-11-24"
LAB = "churchlandlab"
OURS = ("raw_registration", "raw_ephys_qc", "spike_sorting", "unit_metrics")
CENTRE = """
[machine]
role = "centre"
[lab]
name = "{lab}"
[ports]
database = {}
prefect = {}
"""
SERVER = """
[machine]
role = "lab"
[lab]
name = "{lab}"
[registration]
unknown_subject = "create"
settle_s = 0.5
[database]
url = "http://127.0.0.1:{}"
[prefect]
api_url = "http://127.0.0.1:{}/api"
[ports]
dask = {}
dask_dashboard = {}
[cluster]
cpu = 4
memory_gb = 8
[attempts]
lease_s = 6
heartbeat_s = 1
"""
#: Seconds that anything may take on a busy machine.
PATIENCE_S = 300
numbers = count(1)


def until(condition: Callable[[], Any], what: str = "", timeout_s: float = PATIENCE_S) -> Any:
    end = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(requests.RequestException):  # it may be down just now
            if result := condition():
                return result
        assert time.monotonic() < end, f"it did not come about in time: {what}"
        time.sleep(0.3)


class Machine:
    """One home whose services run, until it is crashed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._life = contextlib.ExitStack()

    def start(self) -> None:
        self._life.enter_context(running(self.settings))

    def stop(self) -> None:
        self._life.close()

    def pid(self, service: str) -> int:
        def answers() -> int | None:
            state = read_state(self.settings)
            return state and state.services[service].status == "healthy" and state.services[service].pid

        return until(answers, service)

    def kill(self, service: str) -> None:
        os.kill(self.pid(service), signal.SIGKILL)

    def processes(self) -> list[psutil.Process]:
        """Every process that was started for this home."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("RANVIER_HOME") == str(self.settings.home) and process.pid != os.getpid():
                    found.append(process)
        return found

    def commands(self, module: str) -> list[psutil.Process]:
        """Those of them that run a module."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if module in command and "ranvier.leash" not in command:
                    found.append(process)
        return found

    def crash(self) -> None:
        """Kill everything at once, as far as that can be done."""
        while processes := [each for each in self.processes() if each.status() != psutil.STATUS_ZOMBIE]:
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.1)
        self.stop()


class Site:
    """A centre, a lab server, and the network between them."""

    day, lab_name = DAY, LAB
    until = staticmethod(until)

    def __init__(self, centre: Machine, lab: Machine, wires: list[Any]) -> None:
        self.centre, self.lab, self.wires = centre, lab, wires
        self.database = Database.from_settings(centre.settings)

    def copy(self, *notes: str, flag: bool = True) -> str:
        """Copy a session as a rig does, one probe a note; returns its subject."""
        subject = f"mouse_{next(numbers):03d}"
        session = self.lab.settings.lab_root / subject / DAY / "001"
        collections = {f"probe{number:02d}": f"raw_ephys_data/probe{number:02d}" for number in range(len(notes))}
        for collection, note in zip(collections.values(), notes, strict=True):
            (session / collection).mkdir(parents=True)
            (session / collection / "note.txt").write_text(note)
        devices = {"neuropixel": {probe: {"collection": collection} for probe, collection in collections.items()}}
        (session / "_ibl_experiment.description.yaml").write_text(yaml.safe_dump({"version": "1.0.0", "devices": devices}))
        if flag:
            (session / READY_FLAG).touch()
        return subject

    def eid(self, subject: str) -> str | None:
        found = self.database._get(f"/sessions?subject={subject}")
        return found[0]["id"] if len(found) else None

    def rows(self, subject: str) -> dict[str, dict[str, Any]]:
        eid = self.eid(subject)
        return {row["name"]: row for row in self.database.tasks(eid) if row["executable"] != "giant"} if eid else {}

    def prefect(self, path: str, body: dict[str, Any]) -> Any:
        return prefect_api.ask(self.centre.settings, "POST", path, body)

    def flow_runs(self, subject: str) -> list[dict[str, Any]]:
        return self.prefect("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [subject]}}})

    def under_way(self, subject: str, task: str = "mark[probe00]") -> None:
        """Wait until an attempt's child process is at work."""
        until(lambda: self.rows(subject).get(task, {}).get("status") == "Started", f"{task} of {subject} is started")
        until(lambda: self.lab.commands("ranvier.child"), f"{task} of {subject} is at work")

    def settled(self, subject: str) -> bool:
        rows = self.rows(subject)
        done = rows and all(row["status"] == "Complete" for row in rows.values()) and "gather" in rows
        return bool(done) and all(run["state"]["type"] == "COMPLETED" for run in self.flow_runs(subject))

    def assert_sound(self, *subjects: str) -> None:
        """Wait until sessions are settled by themselves; then nothing was lost, done twice, left half-written or left over."""
        for subject in subjects:
            until(lambda subject=subject: self.settled(subject), f"{subject} is settled: {self._standing(subject)}")
            self._assert_committed_once(subject)
            registered = [run for run in self.flow_runs(subject) if "session.registered" in run["tags"]]
            assert len(registered) == 1, "one flow run of the registration"
        work = self.lab.settings.work_folder
        until(lambda: not [*work.glob("spool/*.json"), *work.glob("locks/*")], "the spool is empty and no lock is held")
        assert [*work.glob("scratch/*/*"), *work.glob("spool/refused/*")] == []
        until(lambda: self.database.pending_events() == [], "every event is delivered")
        assert self.lab.commands("ranvier.child") == []

    def _assert_committed_once(self, subject: str) -> None:
        eid = self.eid(subject)
        registered = {(item["name"], item["hash"]) for item in self.database._get(f"/datasets?session={eid}")}
        folder = self.lab.settings.lab_root / subject / DAY / "001"
        for name, row in self.rows(subject).items():
            ends = Counter(attempt["status"] for attempt in self.database.attempts(row["id"]))
            assert ends["Complete"] == 1, (name, ends)
            assert ends["Started"] == 0, (name, ends)
            for output in row["outputs"]:
                md5 = hashlib.md5((folder / output["path"]).read_bytes()).hexdigest()
                assert output["hash"] == md5
                assert (Path(output["path"]).name, md5) in registered, f"{output['path']} of {subject} is registered as it is"

    def _standing(self, subject: str) -> Any:
        with contextlib.suppress(Exception):
            return {name: (row["status"], row["reason"]) for name, row in self.rows(subject).items()}
        return "the database does not answer"


@contextlib.contextmanager
def make_site(folder: Path, wire: Callable[[int], Any], engine: str = "") -> Iterator[Site]:
    """A site in a folder, running; its database is SQLite, or the PostgreSQL at `engine`."""
    ports = free_ports(4)
    wires = [wire(port) for port in ports[:2]]
    configs = {
        "centre": CENTRE.format(*ports[:2], lab=LAB) + (f'[database]\nengine = "{engine}"\n' if engine else ""),
        "lab": SERVER.format(wires[0].port, wires[1].port, *ports[2:], lab=LAB) + "".join(f"[tasks.{n}]\nenabled = false\n" for n in OURS),
    }
    homes = {name: folder / name for name in configs}
    for name, home in homes.items():
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(configs[name])
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("PYTHONPATH", str(PLUGIN), prepend=os.pathsep)
        centre, lab = (Machine(settings_module.load(home)) for home in homes.values())
        stack.callback(centre.stop)
        centre.start()
        shutil.copytree(homes["centre"] / "secrets", homes["lab"] / "secrets")
        database = Database.from_settings(centre.settings)
        database._post("/data-repository", {"name": lab.settings.repository, "globus_path": f"/{LAB}/Subjects/"})
        database._post("/labs", {"name": LAB, "repositories": [lab.settings.repository]})
        stack.callback(lab.stop)
        lab.start()
        yield Site(centre, lab, wires)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, wire: Any) -> Iterator[Site]:
    """One site for all the tests of a module."""
    with make_site(tmp_path_factory.mktemp("site"), wire) as made:
        yield made


@pytest.fixture
def a_site(tmp_path: Path, wire: Any) -> Iterator[Callable[..., Site]]:
    """Makes a site of its own for a test, from the arguments of `make_site` that are not a fixture's."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(make_site(tmp_path, wire, **options))
