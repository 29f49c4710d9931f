"""The whole of Ranvier on one machine, for a first look: every service, a simulated session, the main job, and what came out of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranvier import runs
from ranvier.client import Database
from ranvier.errors import RanvierError
from ranvier.ports import port_near
from ranvier.session import Session, locate
from ranvier.settings import PortSettings, Settings, home_folder, load
from ranvier.simulate import Score, score, score_behaviour, score_cells, score_film, simulate_session
from ranvier.simulate.truth import FOLDER as TRUTH

LAB, SUBJECT, DAY = "demolab", "demo_mouse", "2026-01-15"
PROBES, CAMERAS, FOV = ("probe00", "probe01"), ("left", "right"), "FOV_00"
#: The recording that shared tests and documentation quote: 64 channels for 60 s with 20 neurons.
RECORDING: dict[str, Any] = {"n_channels": 64, "n_units": 20, "duration_s": 60.0, "seed": 0}
_CONFIG = """\
# Settings of the demo; `ranvier --home {home} doctor` checks them.

[lab]
name = "{lab}"

[registration]
unknown_subject = "create"

[ports]
{ports}
"""

Advance = Callable[[float, str], None]


class DemoError(RanvierError):
    """The demo did not come to its end; the message says where it stopped."""


@dataclass(frozen=True)
class Loaded:
    """Lines of ONE code, and what comes of them in a Python of their own.

    Attributes
    ----------
    code
        The lines.
    printed
        What they loaded, in words.
    """

    code: str
    printed: str


def prepare(home: Path | str | None = None) -> Settings:
    """The demo's settings; written at the first time, with ports that are free.

    Raises
    ------
    DemoError
        If the home is that of a real lab.
    """
    folder = home_folder(home)
    load(folder)
    path = folder / "config.toml"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        numbers = {name: field.default for name, field in PortSettings.model_fields.items() if name != "host" and field.default}
        lines = "\n".join(f"{name} = {port_near(number)}" for name, number in numbers.items())
        path.write_text(_CONFIG.format(home=folder, lab=LAB, ports=lines))
    settings = load(folder)
    if settings.lab.name != LAB:
        raise DemoError(
            f"{folder} is the home of the lab {settings.lab.name}", "give the demo a home of its own: ranvier --home .demo demo"
        )
    return settings


def record(settings: Settings, advance: Advance) -> tuple[Session, bool]:
    """Simulate the demo's session where it is not there yet.

    It is written elsewhere on the same file system and moved into the lab's folder, as a rig's copy arrives; nothing else is done to start
    its preprocessing.

    Returns
    -------
    Session, bool
        The session, and whether it is new.
    """
    import datetime as dt

    session = locate(settings.lab_root, SUBJECT, dt.date.fromisoformat(DAY), 1)
    if session.path.exists():
        return session, False
    session.path.parent.mkdir(parents=True, exist_ok=True)
    devices: dict[str, Any] = {"probes": PROBES, "cameras": CAMERAS, "behaviour": True, "fovs": [FOV] if with_suite2p() else []}
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="rig-") as rig:
        made = simulate_session(Path(rig) / LAB / "Subjects", SUBJECT, DAY, 1, progress=advance, **devices, **RECORDING)
        made.path.rename(session.path)
    return session, True


def follow(settings: Settings, database: Database, session: Session, *, new: bool, advance: Callable[[list[dict[str, Any]]], None]) -> str:
    """Wait until the session's preprocessing has come to an end.

    Parameters
    ----------
    settings, database, session
        Where it runs.
    new
        Whether the session has just arrived; one that is there already is asked for again, and nothing of it is computed twice.
    advance
        Called with the task rows, about once a second.

    Returns
    -------
    str
        What the flow run says of itself.

    Raises
    ------
    DemoError
        If it does not come to an end.
    """
    eid = _registered(database, session, settings)
    try:
        flow_run = _first_flow_run(database, eid, advance) if new else runs.await_delivery(database, runs.ask(database, eid))
        return runs.await_end(settings, flow_run, lambda: advance(database.tasks(eid)))[1]
    except runs.RunProblem as problem:
        raise DemoError(problem.message, "start the demo again: it goes on where it stopped") from None


def with_suite2p() -> bool:
    """Whether suite2p is installed, so that the session has a field of view."""
    return importlib.util.find_spec("suite2p") is not None


def found(session: Session, settings: Settings) -> dict[str, str]:
    """How much of each truth about the session was found, in words, by what it is about."""
    words = {}
    for name in sorted(path.stem for path in (session.path / TRUTH).glob("*.npz")):
        if name == "behaviour":
            words[name] = str(score_behaviour(session.path))
        elif name.endswith("Camera"):
            words[name] = str(score_film(session.path, name.removesuffix("Camera")))
        else:
            words[name] = str(score_cells(session.path, name) if name == FOV else result(session, settings, name))
    if FOV not in words:
        adds = f"{sys.executable} -m pip install 'ranvier[imaging]'"
        words[FOV] = f"not simulated, as suite2p was not installed; {adds} adds it (6 GB), for a demo in another home"
    return words


def result(session: Session, settings: Settings, probe: str = PROBES[0]) -> Score:
    """How many of a probe's true neurons were found."""
    return score(session.path, probe, sorter_of(settings))


def sorter_of(settings: Settings) -> str:
    """The sorter that the lab has chosen."""
    from ranvier.plugins import registry

    task = registry().get("spike_sorting")
    return str(task.validated(settings.task(task.name).parameters)["sorter"])


def load_with_one(settings: Settings, sorter: str) -> Loaded:
    """Load the spikes with ONE as a user would: in a Python and a home folder of its own, over HTTP.

    Raises
    ------
    DemoError
        If it does not work.
    """
    code = one_code(settings, sorter)
    look = 'print(f"{len(spikes.times)} spikes of {len(set(spikes.clusters))} units")'
    with tempfile.TemporaryDirectory() as home:
        environment = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\n{look}"],
            env={**environment, "HOME": home},
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise DemoError(f"ONE could not load the spikes:\n{code}\n{done.stderr[-2000:]}")
    return Loaded(code, done.stdout.strip().splitlines()[-1])


def one_code(settings: Settings, sorter: str) -> str:
    """The lines that load the spikes of the demo's session."""
    server = '{"ALYX_URL": url, "HTTP_DATA_SERVER": url + "/data", "HTTP_DATA_SERVER_LOGIN": "admin", "HTTP_DATA_SERVER_PWD": password}'
    return "\n".join(
        [
            "# while it runs (`ranvier demo --keep`)",
            "import one.params; from one.api import ONE",
            f'url, password = "{settings.database_url}", open("{settings.home}/secrets/admin_password").read()',
            f"one.params.save({server}, url)  # once: from where files are downloaded",
            'one = ONE(base_url=url, username="admin", password=password, silent=True)',
            f'spikes = one.load_object(one.search(subject="{SUBJECT}")[0], "spikes", collection="alf/{PROBES[0]}/{sorter}")',
        ]
    )


def _registered(database: Database, session: Session, settings: Settings, timeout_s: float = 60.0) -> str:
    until = time.monotonic() + timeout_s
    while (found := database.find_session(session)) is None:
        if time.monotonic() > until:
            raise DemoError(f"{session.path} was not registered within {timeout_s:g} s", f"read {settings.home}/logs/agent.log")
        time.sleep(0.2)
    return str(found["id"])


def _first_flow_run(database: Database, eid: str, advance: Callable[[list[dict[str, Any]]], None], timeout_s: float = 120.0) -> str:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        rows = database.tasks(eid)
        advance(rows)
        attempts = [attempt for row in rows if row.get("attempt") for attempt in database.attempts(row["id"])]
        if known := [attempt["flow_run"] for attempt in attempts if attempt.get("flow_run")]:
            return str(known[0])
        time.sleep(0.5)
    raise DemoError(f"no attempt was made at the tasks of session {eid} within {timeout_s:g} s", "`ranvier doctor` looks into it")
