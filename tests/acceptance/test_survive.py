"""Parts of a centre and of a lab server are killed, and the network is cut, with sessions under way: each finishes by itself, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from one.api import ONE
from one.registration import RegistrationClient

from ranvier.services import environment
from ranvier.session import READY_FLAG

pytestmark = pytest.mark.whole

Site = Any  # of conftest.py


def kill_child(site: Site) -> None:
    site.lab.commands("ranvier.child")[0].kill()


def kill_flow_run(site: Site) -> None:
    host = psutil.Process(site.lab.pid("flow-host"))
    host.children()[0].kill()


def crash_lab(site: Site) -> None:
    site.lab.crash()
    site.lab.start()


def crash_centre(site: Site) -> None:
    site.centre.crash()
    site.centre.start()


QUICK = {
    "flow run": kill_flow_run,
    "dask-worker": lambda site: site.lab.kill("dask-worker"),
    "dask-scheduler": lambda site: site.lab.kill("dask-scheduler"),
    "prefect-worker": lambda site: site.lab.kill("prefect-worker"),
    "prefect-server": lambda site: site.centre.kill("prefect-server"),
    "database": lambda site: site.centre.kill("database"),
    "dispatcher": lambda site: site.centre.kill("dispatcher"),
    "agent": lambda site: site.lab.kill("agent"),
    "reviver": lambda site: site.lab.kill("reviver"),
    "flow-host": lambda site: site.lab.kill("flow-host"),
}
LONG = {"the lab server": crash_lab, "the centre": crash_centre}


@pytest.mark.parametrize("victim", [*QUICK, *LONG])
def test_sessions_finish_by_themselves_after_a_kill(site: Site, victim: str) -> None:
    slow = site.copy("sleep 3", "fine")
    site.under_way(slow)
    (QUICK | LONG)[victim](site)
    late = site.copy("fine")  # arrives while something is down
    site.assert_sound(slow, late)


def test_an_attempt_whose_process_is_killed_says_so_and_can_be_run_again(site: Site) -> None:
    subject = site.copy("sleep 3")
    site.under_way(subject)
    kill_child(site)
    site.until(lambda: any(attempt["status"] == "Errored" for attempt in site.database.attempts(site.rows(subject)["mark[probe00]"]["id"])))
    site.until(lambda: all(run["state"]["type"] in ("COMPLETED", "FAILED") for run in site.flow_runs(subject)))
    if not site.settled(subject):
        assert "killed by signal 9" in site.rows(subject)["mark[probe00]"]["reason"]
        retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}, "force": True}
        site.prefect(f"/flow_runs/{site.flow_runs(subject)[0]['id']}/set_state", retry)
    site.assert_sound(subject)


def test_a_lab_whose_network_is_cut_goes_on_with_what_it_has_claimed_and_hands_it_in_later(site: Site) -> None:
    lease_s = site.lab.settings.attempts.lease_s
    subject = site.copy("sleep 8", "sleep 5")
    site.under_way(subject)
    site.until(lambda: site.rows(subject)["mark[probe01]"]["status"] == "Started")
    for wire in site.wires:
        wire.cut()
    arrived = site.copy("fine")  # registered when the network is back
    work = site.lab.settings.work_folder
    site.until(lambda: len([*work.glob("spool/*.json")]) == 2, "both reports wait")
    folder = site.lab.settings.lab_root / subject / site.day / "001"
    site.until(lambda: len([*folder.glob("alf/*/marks.times.npy")]) == 2, "the outputs are in place")
    site.until(lambda: {row["status"] for name, row in site.rows(subject).items() if "mark" in name} == {"Waiting"}, "given back")
    time.sleep(lease_s)
    for wire in site.wires:
        wire.mend()
    site.assert_sound(subject, arrived)
    for row in site.rows(subject).values():
        assert [attempt["number"] for attempt in site.database.attempts(row["id"])] == [1], "nothing was run twice"


def test_ten_registrations_of_one_session_at_once_are_one_flow_run(site: Site, tmp_path: Path) -> None:
    password = site.centre.settings.secret("admin_password")
    subject = site.copy("fine", flag=False)
    folder = site.lab.settings.lab_root / subject / site.day / "001"
    site.database.create_subject(subject, site.lab_name)
    (folder / READY_FLAG).touch()  # the agent takes part, too

    def by_command(_: int) -> int:
        command = [sys.executable, "-c", "from ranvier.cli import main; main()", "register", str(folder)]
        return subprocess.run(command, env=environment(site.lab.settings), capture_output=True, timeout=300).returncode

    def by_rest(_: int) -> int:
        body = {"subject": subject, "lab": site.lab_name, "users": ["ranvier"], "start_time": f"{site.day}T00:00:00", "number": 1}
        body |= {"type": "Experiment", "projects": [], "procedures": []}
        headers = {"Authorization": f"Token {site.centre.settings.secret('token')}"}
        return requests.post(f"{site.database.url}/sessions", json=body, headers=headers, timeout=60).status_code

    # ONE keeps a file of its own for all of its clients, which they do not share well while they are made
    options = {"base_url": site.database.url, "username": "admin", "password": password, "silent": True, "cache_rest": None}
    clients = [ONE(cache_dir=tmp_path / f"cache{number}", **options) for number in range(3)]

    def by_one(number: int) -> str:
        try:
            RegistrationClient(one=clients[number]).register_session(folder, file_list=False, users=["admin"])
        except requests.HTTPError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(way, number) for way, times in ((by_command, 3), (by_rest, 4), (by_one, 3)) for number in range(times)]
    codes = [answer.result() for answer in answers]
    assert codes[:3] == [0, 0, 0]
    assert set(codes[3:7]) <= {201, 409}
    site.assert_sound(subject)
    events = site.database._get(f"/events?session={site.eid(subject)}")
    assert [event["kind"] for event in events].count("session.registered") == 1


#: One round of a dispatcher that is killed before Prefect hears of the first event, or after that and before the database hears.
DIES = """
import os, sys
from prefect.client.orchestration import SyncPrefectClient
from ranvier import settings
from ranvier.client import Database
from ranvier.dispatcher import connected

def die(*_, **__):
    os.kill(os.getpid(), 9)

if sys.argv[1] == "before":
    SyncPrefectClient.create_flow_run_from_deployment = die
else:
    Database.event_delivered = die
with connected(settings.load()) as dispatcher:
    dispatcher.round()
"""


def test_a_dispatcher_that_is_killed_between_reading_and_sending_loses_and_doubles_nothing(site: Site) -> None:
    service = site.centre.pid("dispatcher")
    os.kill(service, signal.SIGSTOP)
    try:
        subjects = [site.copy("fine") for _ in range(2)]
        site.until(lambda: all(site.eid(subject) for subject in subjects), "registered")
        for point in ("before", "after", "after"):
            command = [sys.executable, "-c", DIES, point]
            assert subprocess.run(command, env=environment(site.centre.settings), timeout=300).returncode == -signal.SIGKILL
    finally:
        os.kill(service, signal.SIGKILL)
    site.assert_sound(*subjects)


def test_sessions_that_are_registered_while_prefect_is_away_run_once_each(site: Site) -> None:
    server = site.centre.pid("prefect-server")
    os.kill(server, signal.SIGSTOP)
    try:
        subjects = [site.copy("fine") for _ in range(4)]
        site.until(lambda: all(site.eid(subject) for subject in subjects), "registered")
        time.sleep(15)
    finally:
        os.kill(server, signal.SIGKILL)
    site.assert_sound(*subjects)
