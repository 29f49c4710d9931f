"""A centre and two labs on one machine: each lab has a server, a home, ports and a plugin of its own, set up as an operator does it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from support import free_ports, waiter

from ranvier import labs, prefect_api
from ranvier.client import Database
from ranvier.session import READY_FLAG
from ranvier.settings import Settings, load

until = waiter(240, 0.3)


pytestmark = pytest.mark.whole
DAY = "2026-11-23"
#: A lab's plugin: a task that no other lab has; it says in its output in which home it ran.
PLUGIN = """
import os
from ranvier import Input, Job, Output, Resources, task

@task(
    version="1",
    per="probe",
    inputs=[Input("{{collection}}/note.txt")],
    outputs=[Output("alf/{{probe}}/labcount.table.csv")],
    resources=Resources(cpu=1, memory_gb=0.1, timeout_s=60),
)
def {name}(job: Job) -> None:
    '''Writes where it ran.'''
    path = job.output("alf/{{probe}}/labcount.table.csv")
    path.write_text(os.environ["RANVIER_HOME"])
"""


def plugin(folder: Path, name: str) -> Path:
    """A folder with a plugin that is installed for whoever has it on his path."""
    info = folder / f"{name}_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ranvier.tasks]\n{name} = {name}_plugin\n")
    (folder / f"{name}_plugin.py").write_text(PLUGIN.format(name=name))
    return folder


@contextlib.contextmanager
def up(home: Path, *arguments: str, **environment: str) -> Iterator[Settings]:
    """`ranvier up` in a home of its own, until the end of the block."""
    command = [str(Path(sys.executable).with_name("ranvier")), "--home", str(home), "up", *arguments]
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield load(home)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@dataclass
class Lab:
    """A lab: the command that its server is started with, and its own plugin."""

    name: str
    home: Path
    command: str
    plugins: Path

    def up(self) -> contextlib.AbstractContextManager[Settings]:
        variable, *arguments = shlex.split(self.command)
        token = variable.removeprefix("RANVIER_TOKEN=")
        assert arguments[:2] == ["ranvier", "up"]
        ports = dict(zip(("RANVIER_PORTS_DASK", "RANVIER_PORTS_DASK_DASHBOARD"), map(str, free_ports(2)), strict=True))
        return up(self.home, *arguments[2:], "--create-subjects", RANVIER_TOKEN=token, PYTHONPATH=str(self.plugins), **ports)

    def copy(self, subject: str, *, flag: bool = True) -> Path:
        """A session arrives in the lab's own folder."""
        session = load(self.home).lab_root / subject / DAY / "001"
        folder = session / "raw_ephys_data" / "probe00"
        folder.mkdir(parents=True)
        (folder / "note.txt").write_text("fine")
        devices = {"neuropixel": {"probe00": {"collection": "raw_ephys_data/probe00"}}}
        (session / "_ibl_experiment.description.yaml").write_text(yaml.safe_dump({"version": "1.0.0", "devices": devices}))
        if flag:
            (session / READY_FLAG).touch()
        return session


@dataclass
class Centre:
    """The centre, as a person there has it in hand."""

    settings: Settings
    database: Database
    folder: Path

    def add(self, name: str) -> Lab:
        """Add a lab as an operator does, by the command line."""
        root = self.folder / name / "data" / name / "Subjects"
        command = [sys.executable, "-c", "from ranvier.cli import main; main()", "--home", str(self.settings.home), "labs", "add", name]
        done = subprocess.run([*command, "--root", str(root)], capture_output=True, text=True, check=True)
        lab = Lab(name, self.folder / name / "home", done.stdout, plugin(self.folder / name / "plugins", f"count_{name[-1]}"))
        return lab

    def counted(self, subject: str) -> dict[str, str]:
        """The status of the plugins' tasks of the subject's session, by their names; empty until all of them are Complete."""
        eid = next((each["id"] for each in self.database.sessions(100) if each["subject"] == subject), None)
        rows = {row["name"]: row["status"] for row in self.database.tasks(eid) if row["name"].startswith("count")} if eid else {}
        return rows if set(rows.values()) == {"Complete"} else {}

    def register(self, subject: str, lab: str) -> str:
        """A session is registered at the centre, as a rig may do by ONE; returns its id."""
        self.database.create_subject(subject, lab)
        record = {"subject": subject, "users": [self.database.username], "lab": lab, "number": 1, "start_time": f"{DAY}T00:00:00"}
        return str(self.database.create_session({**record, "projects": [], "procedures": [], "type": "Experiment"})["id"])

    def flow_runs(self, subject: str) -> list[dict[str, Any]]:
        body = {"flow_runs": {"name": {"any_": [f"{subject}/{DAY}/001"]}}}
        return list(self.prefect("POST", "/flow_runs/filter", body))

    def prefect(self, method: str, path: str, body: object = None) -> Any:
        """Ask Prefect, again where its SQLite was busy (503)."""

        def asked() -> list[Any]:
            try:
                return [prefect_api.ask(self.settings, method, path, body)]
            except requests.HTTPError as error:
                if error.response.status_code != 503:
                    raise
                return []

        return until(asked)[0]


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    folder = tmp_path_factory.mktemp("labs")
    home = folder / "centre"
    home.mkdir()
    database, prefect = free_ports(2)
    (home / "config.toml").write_text(
        f'[machine]\nrole = "centre"\naddress = "127.0.0.1"\n[ports]\ndatabase = {database}\nprefect = {prefect}\n'
    )
    with up(home) as settings:
        yield Centre(settings, Database.from_settings(settings), folder)


@pytest.fixture(scope="module")
def two_labs(centre: Centre) -> Iterator[tuple[Lab, Lab]]:
    """The labs `lab_a`, which a test starts and stops, and `lab_b`, which is up."""
    first, second = centre.add("lab_a"), centre.add("lab_b")
    with second.up():
        yield first, second


def test_each_lab_works_on_its_own_data_with_its_own_plugins_whatever_becomes_of_the_other(centre, two_labs) -> None:
    first, second = two_labs
    with first.up():
        sessions = {lab.home: lab.copy(f"mouse_{lab.name[-1]}") for lab in two_labs}
        until(lambda: centre.counted("mouse_a") and centre.counted("mouse_b"))
        assert centre.counted("mouse_a") == {"count_a[probe00]": "Complete"}
        assert centre.counted("mouse_b") == {"count_b[probe00]": "Complete"}
        for home, session in sessions.items():
            (table,) = session.glob("alf/probe00/*.table.csv")
            assert table.read_text() == str(home)
        assert {run["work_pool_name"] for subject in ("mouse_a", "mouse_b") for run in centre.flow_runs(subject)} == {"lab_a", "lab_b"}
        _seen_at_the_centre(centre)
        _refused_by_the_other(centre, "mouse_a", "lab_b")
    first.copy("mouse_a2", flag=False)
    centre.register("mouse_a2", "lab_a")
    second.copy("mouse_b2")
    until(lambda: centre.counted("mouse_b2"))
    assert [run["state"]["type"] for run in centre.flow_runs("mouse_a2")] == ["SCHEDULED"]
    with first.up():
        until(lambda: centre.counted("mouse_a2"))


def _seen_at_the_centre(centre: Centre) -> None:
    def seen() -> dict[str, tuple[bool, int]]:
        """Of each lab with a server whether a worker polls, and the workers of its cluster at its last sign of life."""
        states = labs.overview(centre.database, centre.settings)
        return {each.lab["name"]: (each.polling, each.server["cluster"]["workers"]) for each in states if each.server}

    # a server gives its first sign of life before its cluster has a worker, and the next one half a minute later
    until(lambda: seen().items() >= {"lab_a": (True, 1), "lab_b": (True, 1)}.items())


def _refused_by_the_other(centre: Centre, subject: str, other: str) -> None:
    """A run of a session by another lab's deployment, as one may start it in Prefect's UI, fails with the reason and touches nothing."""
    eid = next(each["id"] for each in centre.database.sessions(100) if each["subject"] == subject)
    found = centre.prefect("GET", f"/deployments/name/preprocess-session/{other}")
    body = {"parameters": {"session": eid}, "state": {"type": "SCHEDULED"}}
    run = centre.prefect("POST", f"/deployments/{found['id']}/create_flow_run", body)

    def ended() -> dict[str, Any] | None:
        state = dict(centre.prefect("GET", f"/flow_runs/{run['id']}")["state"])
        return state if state["type"] in ("FAILED", "COMPLETED", "CRASHED") else None

    state = until(ended)
    assert state["type"] == "FAILED"
    assert f"its data are not on the server of {other}" in state["message"]
    assert centre.counted(subject) == {"count_a[probe00]": "Complete"}


def test_the_event_of_a_lab_that_has_no_server_yet_waits_with_its_reason(centre: Centre) -> None:
    labs.add(Database.as_administrator(centre.settings), "lab_c")
    eid = centre.register("mouse_c", "lab_c")

    def reason() -> str:
        return next(event["error"] for event in centre.database.pending_events() if event["session"] == eid)

    assert "Prefect has no deployment preprocess-session/lab_c; `ranvier up` on the server of lab_c makes it" in until(reason)


def test_prefect_lets_nobody_in_who_has_not_joined(centre: Centre) -> None:
    answer = requests.post(f"{centre.settings.prefect_api_url}/flow_runs/filter", json={}, timeout=20)
    assert answer.status_code == 401
