"""A whole lab server with quick tasks: a session is copied, and everything else happens by itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml
from support import free_ports, waiter

from ranvier import settings as settings_module
from ranvier.client import Database
from ranvier.session import READY_FLAG
from ranvier.settings import Settings
from ranvier.states import NOTHING_APPLIES
from ranvier.supervisor import read_state, running

until = waiter(60, 0.2)


PLUGIN = Path(__file__).with_name("chain")
DAY = "2026-11-22"
CONFIG = """
[lab]
name = "churchlandlab"
[registration]
unknown_subject = "create"
settle_s = 0.5
[ports]
database = {}
prefect = {}
dask = {}
dask_dashboard = {}
[cluster]
cpu = 4
memory_gb = 8
[attempts]
lease_s = 6
heartbeat_s = 1
returns = 1
"""
ALL_COMPLETE = {"mark[probe00]": "Complete", "rate[probe00]": "Complete", "gather": "Complete"}
OURS = ("raw_registration", "raw_ephys_qc", "spike_sorting", "unit_metrics")


@dataclass
class LabServer:
    """A running lab server, as a person at it has it in hand."""

    settings: Settings
    database: Database
    up: contextlib.ExitStack
    plugin: Path

    def start(self) -> None:
        """Run every service, until `stop`."""
        self.up.enter_context(running(self.settings))

    def stop(self) -> None:
        """Stop every service, as SIGTERM to `ranvier up` does."""
        self.up.close()

    def copy(self, subject: str, notes: dict[str, str], *, flag: bool = True) -> Path:
        """Copy a session as a rig does: the flag comes last."""
        session = self.settings.lab_root / subject / DAY / "001"
        for probe, note in notes.items():
            folder = session / "raw_ephys_data" / probe
            folder.mkdir(parents=True)
            (folder / "note.txt").write_text(note)
        devices = {"neuropixel": {probe: {"collection": f"raw_ephys_data/{probe}"} for probe in notes}}
        (session / "_ibl_experiment.description.yaml").write_text(yaml.safe_dump({"version": "1.0.0", "devices": devices}))
        if flag:
            (session / READY_FLAG).touch()
        return session

    def ranvier(self, *words: str) -> Any:
        """What a command of this lab server says to a script."""
        environment = {**os.environ, "RANVIER_HOME": str(self.settings.home)}
        done = subprocess.run([sys.executable, "-m", "ranvier", *words], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout) if "--json" in words else done.stdout

    def prefect(self, path: str, body: dict[str, Any]) -> Any:
        for _ in range(20):
            answer = requests.post(f"{self.settings.prefect_api_url}{path}", json=body, timeout=20)
            if answer.status_code != 503:
                break
            time.sleep(1)  # and again, as Prefect's own client does: its SQLite is locked for a moment
        answer.raise_for_status()
        return answer.json()

    def flow_runs(self, subject: str) -> list[dict[str, Any]]:
        return self.prefect("/flow_runs/filter", {"flow_runs": {"name": {"any_": [f"{subject}/{DAY}/001"]}}, "sort": "START_TIME_ASC"})

    def deployment(self, flow: str) -> dict[str, Any]:
        return requests.get(f"{self.settings.prefect_api_url}/deployments/name/{flow}/{self.settings.lab.name}", timeout=20).json()

    def submit_form(self, flow: str, **parameters: Any) -> dict[str, Any]:
        """Run a deployment as the form of Prefect's UI does; the flow run once it has ended."""
        deployment = self.deployment(flow)
        state = {"type": "SCHEDULED", "message": "Run from the Prefect UI", "state_details": {}}
        filled = {**deployment["parameters"], **parameters}
        body = {"state": state, "parameters": filled, "enforce_parameter_schema": True, "tags": []}
        run = self.prefect(f"/deployments/{deployment['id']}/create_flow_run", body)
        until(lambda: self._flow_run(run["id"])["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED"))
        return self._flow_run(run["id"])

    def _flow_run(self, flow_run: str) -> dict[str, Any]:
        return requests.get(f"{self.settings.prefect_api_url}/flow_runs/{flow_run}", timeout=20).json()

    def task_runs(self, flow_run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Task runs of the latest run of a flow run, by name."""
        body = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}, "limit": 200}
        found = self.prefect("/task_runs/filter", body)
        return {run["name"]: run for run in found if run["flow_run_run_count"] == flow_run["run_count"]}

    def latest(self, subject: str) -> dict[str, dict[str, Any]]:
        """Task runs of the subject's latest flow run, by name; none before it has begun."""
        runs = self.flow_runs(subject)
        return self.task_runs(runs[-1]) if runs else {}

    def ended(self, subject: str, number: int = 1, after: str = "", timeout_s: float = 90) -> list[dict[str, Any]]:
        """The subject's flow runs, once there are so many and all have ended."""

        def have_ended() -> bool:
            runs = self.flow_runs(subject)
            ends = [run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED") and run["state"]["timestamp"] > after for run in runs]
            return len(runs) == number and all(ends)

        until(have_ended, timeout_s)
        return self.flow_runs(subject)

    def rows(self, subject: str) -> dict[str, dict[str, Any]]:
        """The database's task rows of the subject's session, by name."""
        return {row["name"]: row for row in self.database.tasks(self.eid(subject))}

    def eid(self, subject: str) -> str:
        return next(each["id"] for each in self.database.sessions(100) if each["subject"] == subject)

    def pid(self, service: str) -> int:
        state = read_state(self.settings)
        assert state is not None
        pid = state.services[service].pid
        assert pid is not None
        return pid


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """One lab server for all the tests here: `ranvier up` with a lab's plugin and our own tasks turned off."""
    home = tmp_path_factory.mktemp("lab") / "home"
    home.mkdir()
    (home / "config.toml").write_text(CONFIG.format(*free_ports(4)) + "".join(f"[tasks.{name}]\nenabled = false\n" for name in OURS))
    settings = settings_module.load(home)
    with pytest.MonkeyPatch.context() as patch:
        plugin = shutil.copytree(PLUGIN, home.parent / "plugin")
        patch.setenv("PYTHONPATH", str(plugin))
        with contextlib.ExitStack() as up:
            up.enter_context(running(settings))
            yield LabServer(settings, Database.from_settings(settings), up, plugin / "lab_chain.py")


@pytest.fixture(scope="module")
def half_broken(lab: LabServer) -> dict[str, Any]:
    """A session whose second probe is broken, copied and left alone; the end of its flow run."""
    lab.copy("half", {"probe00": "fine", "probe01": "broken"})
    return lab.ended("half")[0]


def states(runs: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {name: (run["state"]["type"], run["state"]["name"]) for name, run in runs.items()}


def test_a_copied_session_is_preprocessed_and_one_failure_stays_small(lab, half_broken) -> None:
    assert states(lab.task_runs(half_broken)) == {
        "mark[probe00]": ("COMPLETED", "Complete"),
        "rate[probe00]": ("COMPLETED", "Complete"),
        "mark[probe01]": ("FAILED", "Errored"),
        "rate[probe01]": ("CANCELLED", "Held"),
        "gather": ("CANCELLED", "Held"),
        "giant[probe00]": ("CANCELLED", "Held"),
        "giant[probe01]": ("CANCELLED", "Held"),
    }
    assert half_broken["state"]["name"] == "Failed"
    assert half_broken["state"]["message"] == "1 of 7 failed: mark[probe01]: ValueError: the note says broken; 4 held; 2 complete"


def test_a_session_to_which_no_task_applies_is_done(lab) -> None:
    folder = lab.settings.lab_root / "bare" / DAY / "001"
    folder.mkdir(parents=True)
    (folder / READY_FLAG).touch()
    (run,) = lab.ended("bare")
    assert (run["state"]["name"], run["state"]["message"]) == ("Completed", "no task applies to this session")
    assert (lab.rows("bare"), lab.database.session(lab.eid("bare"))["json"].keys()) == ({}, {"ready", NOTHING_APPLIES})
    told = lab.ranvier("status", f"bare/{DAY}/001", "--json")
    assert (told["good"], told["verdict"]) == (True, "Nothing to do: no task applies to it; `ranvier plan` says why.")
    assert "Nothing to do: no task applies to it" in next(line for line in lab.ranvier("status").splitlines() if line.startswith("bare/"))


def test_a_held_task_says_which_parent_and_why(lab, half_broken) -> None:
    runs, rows = lab.task_runs(half_broken), lab.rows("half")
    assert runs["rate[probe01]"]["state"]["message"] == "mark[probe01] is Errored: ValueError: the note says broken"
    assert runs["gather"]["state"]["message"] == "rate[probe01] is Held: mark[probe01] is Errored: ValueError: the note says broken"
    assert "512 CPU (4 at most here)" in runs["giant[probe00]"]["state"]["message"]
    for name, row in rows.items():
        assert row["status"] == runs[name]["state"]["name"]
        if row["status"] == "Held":
            assert row["reason"] == runs[name]["state"]["message"]


def test_the_graph_has_the_plan_s_edges(lab, half_broken) -> None:
    runs = lab.task_runs(half_broken)
    names = {run["id"]: name for name, run in runs.items()}
    edges = {(names[item["id"]], name) for name, run in runs.items() for items in run["task_inputs"].values() for item in items}
    assert edges == {
        ("mark[probe00]", "rate[probe00]"),
        ("mark[probe01]", "rate[probe01]"),
        ("rate[probe00]", "gather"),
        ("rate[probe01]", "gather"),
    }


def test_session_and_flow_run_link_to_each_other(lab, half_broken) -> None:
    attempts = lab.database.attempts(lab.rows("half")["mark[probe01]"]["id"])
    assert [attempt["flow_run"] for attempt in attempts] == [half_broken["id"]]
    artifacts = lab.prefect("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [half_broken["id"]]}}})
    link = next(each["data"] for each in artifacts if each["key"] == "session")
    assert f"{lab.database.url}/session/{lab.eid('half')}" in link
    outcome = next(each["data"] for each in artifacts if each["key"] == "outcome")
    assert "| `rate[probe01]` | Held |" in outcome


def test_an_attempt_s_log_reaches_prefect(lab, half_broken) -> None:
    run = lab.task_runs(half_broken)["mark[probe00]"]
    logs = lab.prefect("/logs/filter", {"logs": {"task_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_ASC"})
    assert any("the note says fine" in each["message"] for each in logs)


def test_retry_from_the_ui_runs_what_failed_and_nothing_else(lab, half_broken) -> None:
    note = lab.settings.lab_root / "half" / DAY / "001" / "raw_ephys_data" / "probe01" / "note.txt"
    note.write_text("fine")
    retry = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
    answer = lab.prefect(f"/flow_runs/{half_broken['id']}/set_state", {"state": retry, "force": True})
    run = lab.ended("half", after=answer["state"]["timestamp"])[0]
    assert run["state"]["message"] == "2 held, 2 unchanged, 3 complete"
    assert {name: row["attempt"] for name, row in lab.rows("half").items()} == {
        "mark[probe00]": 1,
        "rate[probe00]": 1,
        "mark[probe01]": 2,
        "rate[probe01]": 1,
        "gather": 1,
        "giant[probe00]": 0,
        "giant[probe01]": 0,
    }


@pytest.mark.whole
def test_the_button_retry_is_pressed_in_a_browser(lab, tmp_path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine")
    lab.copy("pressed", {"probe00": "fine", "probe01": "broken"})
    run = lab.ended("pressed")[0]
    (lab.settings.lab_root / "pressed" / DAY / "001" / "raw_ephys_data" / "probe01" / "note.txt").write_text("fine")
    ui = lab.settings.prefect_api_url.removesuffix("/api")
    with playwright.sync_playwright() as browsers, browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1200})
        page.goto(f"{ui}/runs/flow-run/{run['id']}")
        playwright.expect(page.get_by_text("1 of 7 failed: mark[probe01]").first).to_be_visible()
        page.screenshot(path=tmp_path / "failed.png")
        page.get_by_role("button", name="Retry").click()
        page.get_by_role("dialog").get_by_role("button", name="Retry").click()
        again = lab.ended("pressed", after=run["state"]["timestamp"])[0]
        page.reload()
        playwright.expect(page.get_by_text("Completed", exact=True).first).to_be_visible(timeout=30_000)
        page.screenshot(path=tmp_path / "done.png")
    assert again["state"]["message"] == "2 held, 2 unchanged, 3 complete"


def test_an_attempt_that_waits_for_cores_is_seen_to_wait(lab) -> None:
    lab.copy("crowd", {f"probe0{number}": "sleep 8" for number in range(5)})
    until(lambda: [name for name, each in lab.latest("crowd").items() if each["state_name"] == "Queued"], 180)
    name, queued = next((name, each) for name, each in lab.latest("crowd").items() if each["state_name"] == "Queued")
    message = queued["state"]["message"]
    assert message.startswith("waits for 1 CPU, 0.1 GB of memory")
    until(lambda: "; at work on the cluster: mark[probe0" in lab.rows("crowd")[name]["reason"])
    assert f"of crowd/{DAY}/001" in lab.rows("crowd")[name]["reason"]
    assert lab.rows("crowd")[name]["status"] == "Waiting"
    until(lambda: lab.latest("crowd")[name]["state_name"] == "Running")
    assert (lab.rows("crowd")[name]["status"], lab.rows("crowd")[name]["reason"]) == ("Started", "")
    assert lab.ended("crowd")[0]["state"]["message"] == "5 held, 11 complete"
    assert states(lab.latest("crowd"))[name] == ("COMPLETED", "Complete")


def test_a_retry_of_a_forced_run_forces_nothing_twice(lab) -> None:
    lab.copy("forced", {"probe00": "fine", "probe01": "broken"})
    lab.ended("forced")
    lab.database.request_run(lab.eid("forced"), "session.requested", "forced:all", {"force": True, "tasks": ["mark"]})
    run = lab.ended("forced", 2)[1]
    (lab.settings.lab_root / "forced" / DAY / "001" / "raw_ephys_data" / "probe01" / "note.txt").write_text("fine")
    retry = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
    lab.prefect(f"/flow_runs/{run['id']}/set_state", {"state": retry, "force": True})
    until(lambda: lab.flow_runs("forced")[1]["run_count"] == 2 and lab.ended("forced", 2))
    assert {name: row["attempt"] for name, row in lab.rows("forced").items() if "mark" in name} == {"mark[probe00]": 2, "mark[probe01]": 3}


@pytest.fixture(scope="module")
def lost(lab: LabServer) -> tuple[str, ...]:
    """The subjects of three sessions that failed in the same way."""
    subjects = ("lost1", "lost2", "lost3")
    for subject in subjects:
        lab.copy(subject, {"probe00": "broken"})
    for subject in subjects:
        lab.ended(subject)
    return subjects


def test_one_failure_across_sessions_is_rerun_from_the_form(lab, lost) -> None:
    subjects = lost
    for subject in subjects:
        assert lab.rows(subject)["rate[probe00]"]["status"] == "Held"
    attempts = [lab.database.attempts(lab.rows(subject)["mark[probe00]"]["id"])[0] for subject in subjects]
    (fingerprint,) = {attempt["fingerprint"] for attempt in attempts}
    for subject in subjects[:2]:
        (lab.settings.lab_root / subject / DAY / "001" / "raw_ephys_data" / "probe00" / "note.txt").write_text("fine")

    run = lab.submit_form("rerun", sessions=[f"{subject}/{DAY}/001" for subject in subjects], statuses=["Errored"], failure=fingerprint)
    assert run["state"]["type"] == "COMPLETED", run["state"]["message"]
    tag = f"rerun-{run['id'][:8]}"
    for subject in subjects:
        again = lab.ended(subject, 2)[1]
        assert tag in again["tags"]
        assert again["work_queue_name"] == "backfill"
        assert again["parameters"]["tasks"] == ["mark[probe00]"]
        assert again["parameters"]["downstream"]
    for subject in subjects[:2]:
        rows = {name: (row["status"], row["attempt"]) for name, row in lab.rows(subject).items() if "giant" not in name}
        assert rows == {"mark[probe00]": ("Complete", 2), "rate[probe00]": ("Complete", 1), "gather": ("Complete", 1)}
    assert lab.rows("lost3")["mark[probe00]"]["attempt"] == 2
    until(lambda: all(row["outcome"] for row in lab.database.rerun_sessions(run["id"])))
    outcomes = [row["outcome"] for row in lab.database.rerun_sessions(run["id"])]
    assert [outcome.split(":")[0] for outcome in sorted(outcomes)] == ["Completed", "Completed", "Failed"]


def test_the_form_shows_before_it_asks_and_says_what_is_wrong(lab) -> None:
    lab.copy("shown", {"probe00": "fine"})
    lab.ended("shown")
    run = lab.submit_form("rerun", sessions=[f"shown/{DAY}/001"], dry=True)
    artifacts = lab.prefect("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert f"| shown/{DAY}/001 | all | all that is due |" in artifacts[0]["data"]
    assert len(lab.flow_runs("shown")) == 1
    refused = lab.submit_form("rerun", sessions=["nobody/2026-01-01/001"])
    assert refused["state"]["type"] == "FAILED"
    assert "no such session: nobody/2026-01-01/001" in refused["state"]["message"]


def test_the_form_describes_each_field(lab) -> None:
    fields = lab.deployment("rerun")["parameter_openapi_schema"]["properties"]
    assert [name for name, field in fields.items() if not field.get("description")] == []
    assert fields["since"]["anyOf"][0]["format"] == "date"


def test_a_session_that_somebody_waits_for_goes_before_a_backfill(lab, lost, tmp_path) -> None:
    go = tmp_path / "go"
    for subject in lost:
        (lab.settings.lab_root / subject / DAY / "001" / "raw_ephys_data" / "probe00" / "note.txt").write_text(f"await {go}")
    before = {subject: len(lab.flow_runs(subject)) for subject in lost}
    lab.database.rerun(sessions=[f"{subject}/{DAY}/001" for subject in lost], tasks=["mark"], force=True, downstream=False)
    until(lambda: sum(lab.rows(subject)["mark[probe00]"]["status"] == "Started" for subject in lost) == 2)
    lab.copy("urgent", {"probe00": "fine"})
    assert lab.ended("urgent")[0]["state"]["type"] == "COMPLETED", "two of the three run at once; who waits is not behind them"
    open_ = [run for subject in lost for run in lab.flow_runs(subject) if run["end_time"] is None]
    assert len(open_) == 3, "none of them has ended meanwhile"
    go.touch()
    again = [lab.ended(subject, before[subject] + 1)[-1] for subject in lost]
    starts, ends = (sorted(run[name] for run in again) for name in ("start_time", "end_time"))
    assert starts[2] >= ends[0], "never more than two of them at once"


def test_a_registered_session_without_data_waits_for_them(lab) -> None:
    lab.database.create_subject("early", "churchlandlab")
    record = {
        "subject": "early",
        "users": ["ranvier"],
        "lab": "churchlandlab",
        "number": 1,
        "start_time": f"{DAY}T00:00:00",
        "procedures": [],
    }
    lab.database.create_session({**record, "projects": [], "type": "Experiment"})
    run = lab.ended("early")[0]
    assert (run["state"]["type"], run["state"]["name"]) == ("COMPLETED", "NoData")
    assert "waiting for the data" in run["state"]["message"]
    lab.copy("early", {"probe00": "fine"})
    assert lab.ended("early", 2)[1]["state"]["message"] == "1 held, 3 complete"


def test_a_broken_session_beside_a_good_one(lab) -> None:
    broken = lab.copy("torn", {"probe00": "fine"}, flag=False)
    (broken / "_ibl_experiment.description.yaml").write_text("devices: [unclosed")
    (broken / READY_FLAG).touch()
    lab.copy("whole", {"probe00": "fine"})
    assert lab.ended("whole")[0]["state"]["message"] == "1 held, 3 complete"
    assert "is not valid YAML" in (broken / "raw_session.error").read_text()
    assert (broken / READY_FLAG).exists()
    shutil.rmtree(broken)


def test_two_runs_of_one_session_share_the_work(lab) -> None:
    lab.copy("twice", {"probe00": "sleep 6"})
    until(lambda: len(lab.flow_runs("twice")) == 1)
    until(lambda: lab.rows("twice").get("mark[probe00]", {}).get("status") == "Started")
    lab.database.request_run(lab.eid("twice"), "session.requested", "twice:again")
    first, second = lab.ended("twice", 2)
    assert first["state"]["message"] == "1 held, 3 complete"
    assert second["state"]["message"] == "1 held, 3 unchanged"
    assert {row["attempt"] for row in lab.rows("twice").values()} == {0, 1}


def cancelled_in_time(lab: LabServer, subject: str) -> dict[str, Any]:
    """The flow run of a subject that was cancelled, once its tasks have stopped, and Prefect shows so."""
    until(lambda: not any(row["status"] == "Started" for row in lab.rows(subject).values()), 40)
    until(lambda: lab.flow_runs(subject)[0]["state"]["type"] == "CANCELLED", 60)
    run = lab.flow_runs(subject)[0]
    until(lambda: {each["state"]["type"] for each in lab.task_runs(run).values()} == {"CANCELLED"}, 40)
    return run


def test_cancelling_in_prefect_ends_what_runs_and_frees_the_cluster(lab) -> None:
    """All cores are taken when the flow run is cancelled as the UI does it; another session then finds them free."""
    session = lab.copy("stopped", {f"probe0{number}": "sleep 50" for number in range(4)})
    until(lambda: list(row["status"] for row in lab.rows("stopped").values()).count("Started") == 4 if lab.flow_runs("stopped") else False)
    run = lab.flow_runs("stopped")[0]
    lab.prefect(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    run = cancelled_in_time(lab, "stopped")
    rows = lab.rows("stopped")
    assert (rows["mark[probe02]"]["status"], rows["mark[probe02]"]["reason"]) == ("Errored", "cancelled by someone in Prefect")
    assert (rows["gather"]["status"], rows["gather"]["reason"]) == ("Held", "cancelled by someone in Prefect before it started")
    assert {name: row["attempt"] for name, row in rows.items()} == {name: int("mark" in name) for name in rows}
    # until the database's word has come, it may be that of an attempt that the ending flow run had asked for once more
    until(lambda: lab.task_runs(run)["mark[probe02]"]["state"]["message"] == "cancelled by someone in Prefect", 20)
    assert not list(session.glob("alf/**/*.npy"))
    assert not list((lab.settings.work_folder / "scratch" / lab.eid("stopped")).iterdir())
    lab.copy("next", {"probe00": "fine"})
    assert lab.ended("next")[0]["state"]["message"] == "1 held, 3 complete"
    assert lab.flow_runs("stopped")[0]["run_count"] == 1, "nobody has revived it"


def test_retry_takes_up_what_was_cancelled(lab) -> None:
    for note in (lab.settings.lab_root / "stopped" / DAY / "001").glob("raw_ephys_data/*/note.txt"):
        note.write_text("fine")
    run = lab.flow_runs("stopped")[0]
    answer = lab.prefect(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True})
    run = lab.ended("stopped", after=answer["state"]["timestamp"])[0]
    assert run["state"]["message"] == "4 held, 9 complete"


def test_cancelling_a_session_in_the_database_cancels_its_flow_run(lab) -> None:
    lab.copy("called_off", {"probe00": "sleep 50"})
    until(lambda: lab.flow_runs("called_off") and lab.rows("called_off").get("mark[probe00]", {}).get("status") == "Started")
    stopped = lab.database.cancel(session=lab.eid("called_off"), by="olivier")
    assert {row["name"] for row in stopped} == {"mark[probe00]", "rate[probe00]", "gather"}
    # where the task has stopped before Prefect has heard of it, the flow run ends by itself, as failed
    until(lambda: lab.flow_runs("called_off")[0]["state"]["type"] in ("CANCELLED", "FAILED"))
    until(lambda: lab.rows("called_off")["mark[probe00]"]["reason"] == "cancelled by olivier")
    run = lab.flow_runs("called_off")[0]
    until(lambda: lab.task_runs(run)["mark[probe00]"]["state"]["message"] == "cancelled by olivier")
    assert {lab.rows("called_off")[name]["status"] for name in ("rate[probe00]", "gather")} == {"Held"}


def test_a_task_alone_is_cancelled_and_the_others_go_on(lab) -> None:
    lab.copy("partly", {"probe00": "sleep 50", "probe01": "sleep 3"})
    until(lambda: lab.flow_runs("partly") and lab.rows("partly").get("mark[probe00]", {}).get("status") == "Started")
    lab.database.cancel(session=lab.eid("partly"), tasks=["mark[probe00]"], by="olivier")
    run = lab.ended("partly")[0]
    assert run["state"]["message"] == "1 of 7 failed: mark[probe00]: cancelled by olivier; 4 held; 2 complete"


def test_events_outlive_prefect_and_make_one_flow_run_each(lab) -> None:
    os.kill(lab.pid("prefect-server"), signal.SIGKILL)
    lab.copy("away", {"probe00": "fine"})
    until(lambda: any(event["session"] == lab.eid("away") for event in lab.database.pending_events()), 20)
    until(lambda: _answers(lab) and lab.flow_runs("away"))
    assert lab.ended("away")[0]["state"]["message"] == "1 held, 3 complete"
    assert lab.database.pending_events() == []
    log = (lab.settings.home / "logs" / "dispatcher.log").read_text()
    assert log.count("Prefect does not answer") == 1
    assert log.count("Prefect answers again") == 1


def test_a_dask_worker_that_dies_costs_one_attempt(lab) -> None:
    lab.copy("hit", {"probe00": "sleep 5"})
    until(lambda: lab.flow_runs("hit") and lab.rows("hit").get("mark[probe00]", {}).get("status") == "Started")
    os.kill(lab.pid("dask-worker"), signal.SIGKILL)
    until(lambda: all(run["state"]["type"] == "COMPLETED" for run in lab.flow_runs("hit")))
    assert {name: row["status"] for name, row in lab.rows("hit").items() if "giant" not in name} == ALL_COMPLETE
    attempts = lab.database.attempts(lab.rows("hit")["mark[probe00]"]["id"])
    assert [attempt["status"] for attempt in attempts] == ["Complete", "Errored"]
    assert "fell silent" in attempts[1]["reason"]


def test_a_flow_run_whose_process_is_killed_goes_on(lab) -> None:
    lab.copy("cut", {"probe00": "sleep 3"})
    until(lambda: lab.flow_runs("cut") and lab.rows("cut").get("mark[probe00]", {}).get("status") == "Started")
    os.kill(lab.pid("prefect-worker"), signal.SIGKILL)
    until(lambda: lab.flow_runs("cut")[0]["run_count"] == 2)
    run = lab.ended("cut")[0]
    assert run["state"]["type"] == "COMPLETED"
    assert {name: row["status"] for name, row in lab.rows("cut").items() if "giant" not in name} == ALL_COMPLETE
    assert {row["attempt"] for name, row in lab.rows("cut").items() if "giant" not in name} == {1}, (
        "the attempt went on without its flow run"
    )


def attempts(lab, subject: str, name: str) -> list[dict[str, Any]]:
    """All attempts at a task of the subject's session, oldest first."""
    return lab.database.attempts(lab.rows(subject)[name]["id"])[::-1]


def ask(lab, subject: str, tag: str) -> dict[str, Any]:
    """Ask for another run of the subject's session, and wait for its end."""
    before = len(lab.flow_runs(subject))
    lab.database.request_run(lab.eid(subject), "session.requested", f"{subject}:{tag}")
    return lab.ended(subject, before + 1)[-1]


def test_a_task_that_asks_to_be_run_later_is_run_later(lab) -> None:
    session = lab.copy("later", {"probe00": "later"})
    until(lambda: lab.flow_runs("later") and lab.rows("later").get("mark[probe00]", {}).get("reason", "").startswith("tried again at"))
    row = lab.rows("later")["mark[probe00]"]
    assert row["status"] == "Waiting"
    assert "UTC (try 2 of 4), as the task asks to be run again later (Again: the note says later)" in row["reason"]
    until(lambda: lab.latest("later")["mark[probe00]"]["state_name"] == "AwaitingRetry")
    assert lab.latest("later")["mark[probe00]"]["state"]["message"] == row["reason"]
    (session / "raw_ephys_data" / "probe00" / "note.txt").write_text("fine")
    assert lab.ended("later")[0]["state"]["message"] == "1 held, 3 complete"
    first, second = attempts(lab, "later", "mark[probe00]")
    assert (first["status"], second["status"]) == ("Errored", "Complete")
    why = "why: try 2 of 4, as the task asks to be run again later (Again: the note says later)"
    assert why in Path(second["log_path"]).read_text()


def test_a_task_that_runs_out_of_memory_is_tried_smaller_and_with_a_larger_share(lab) -> None:
    lab.copy("large", {"probe00": "large"})
    run = lab.ended("large")[0]
    assert run["state"]["message"] == "1 held, 3 complete"
    assert [each["status"] for each in attempts(lab, "large", "mark[probe00]")] == ["Errored", "Errored", "Complete"]
    log = Path(attempts(lab, "large", "mark[probe00]")[2]["log_path"]).read_text()
    assert "try 3 of 4, as it ran out of memory (MemoryError: 50 is too much); with memory_gb 0.2 -> 0.4, size 50 -> 25" in log
    assert ask(lab, "large", "again")["state"]["message"] == "1 held, 3 unchanged", "a smaller try gives the same result"


def test_a_task_s_own_error_is_not_tried_again(lab, half_broken) -> None:
    assert len([each for each in attempts(lab, "half", "mark[probe01]") if each["status"] == "Errored"]) == 1


def test_a_task_that_kills_its_worker_is_given_up(lab) -> None:
    lab.copy("deadly", {"probe00": "deadly"})
    until(lambda: lab.flow_runs("deadly") and lab.flow_runs("deadly")[0]["state"]["type"] == "FAILED", 240)
    until(lambda: all(run["state"]["type"] in ("FAILED", "COMPLETED") for run in lab.flow_runs("deadly")), 240)
    row = lab.rows("deadly")["mark[probe00]"]
    assert row["status"] == "Errored"
    assert row["reason"].startswith("given up: its worker fell silent ")
    assert lab.rows("deadly")["rate[probe00]"]["reason"].startswith("mark[probe00] is Errored: given up: its worker fell silent")
    assert len(attempts(lab, "deadly", "mark[probe00]")) <= 3, "two, and one of the flow run of the first return"
    returned = [run for run in lab.flow_runs("deadly") if "task.returned" in run["tags"]]
    assert all(run["parameters"]["tasks"] == ["mark[probe00]"] for run in returned)


def test_a_task_whose_input_is_too_bad_for_it_is_held_until_it_is_forced(lab) -> None:
    lab.copy("poor", {"probe00": "poor"})
    reason = "the QC of mark[probe00] is FAIL, and rate wants WARNING or better; force it to run it all the same"
    assert lab.ended("poor")[0]["state"]["message"] == "3 held, 1 complete"
    assert (lab.rows("poor")["mark[probe00]"]["qc"], lab.rows("poor")["rate[probe00]"]["reason"]) == ("FAIL", reason)
    lab.database.rerun(sessions=[f"poor/{DAY}/001"], tasks=["rate"], force=True)
    assert {name: row["status"] for name, row in lab.ended("poor", 2) and lab.rows("poor").items() if "giant" not in name} == ALL_COMPLETE


def test_a_parent_that_ran_again_runs_its_children_only_where_its_outputs_changed(lab) -> None:
    session = lab.copy("again", {"probe00": "fine"})
    assert lab.ended("again")[0]["state"]["message"] == "1 held, 3 complete"
    note = session / "raw_ephys_data" / "probe00" / "note.txt"
    note.write_text("fine, too")
    run = ask(lab, "again", "same outputs")
    assert run["state"]["message"] == "1 held, 1 complete, 2 unchanged"
    messages = {name: each["state"]["message"] for name, each in lab.task_runs(run).items()}
    assert messages["mark[probe00]"].endswith("as: input raw_ephys_data/probe00/note.txt has changed or was never hashed")
    assert messages["rate[probe00]"] == messages["gather"] == "unchanged since attempt 1"
    note.write_text("otherwise")
    run = ask(lab, "again", "other outputs")
    assert run["state"]["message"] == "1 held, 2 complete, 1 unchanged"
    messages = {name: each["state"]["message"] for name, each in lab.task_runs(run).items()}
    assert messages["rate[probe00]"].endswith("after mark[probe00]; runs if that changes what it reads; "
                                              "input alf/probe00/marks.times.npy changed")  # fmt: skip
    assert messages["gather"] == "unchanged since attempt 1", "what rate wrote is the same as before"


def test_every_run_and_every_skip_says_why(lab, half_broken) -> None:
    for subject in ("half", "whole", "twice", "again"):
        for run in lab.flow_runs(subject):
            assert all(each["state"]["message"] for each in lab.task_runs(run).values())
    log = Path(attempts(lab, "whole", "mark[probe00]")[0]["log_path"]).read_text()
    assert "why: has never run" in log


def test_the_next_look_after_the_lab_is_scheduled(lab) -> None:
    deployment = lab.deployment("reconcile")["id"]
    wanted = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    until(lambda: lab.prefect("/flow_runs/filter", {"flow_runs": wanted}), 120)


def test_a_flow_run_whose_end_prefect_did_not_hear_goes_on(lab) -> None:
    lab.copy("unheard", {"probe00": "fine"})
    run = lab.ended("unheard")[0]
    unheard = {"type": "FAILED", "message": "Flow run encountered an exception: ReadTimeout: timed out"}
    lab.prefect(f"/flow_runs/{run['id']}/set_state", {"state": unheard, "force": True})
    until(lambda: lab._flow_run(run["id"])["state"]["type"] == "COMPLETED")
    assert lab._flow_run(run["id"])["state"]["message"] == "1 held, 3 unchanged"


def test_an_event_that_nobody_takes_says_why(lab) -> None:
    token = {"Authorization": f"Token {lab.settings.secret('token')}"}
    requests.post(f"{lab.database.url}/labs", json={"name": "otherlab"}, headers=token, timeout=20).raise_for_status()
    lab.database.create_subject("stray", "otherlab")
    record = {"subject": "stray", "users": ["ranvier"], "lab": "otherlab", "number": 1, "start_time": f"{DAY}T00:00:00"}
    created = lab.database.create_session({**record, "projects": [], "procedures": [], "type": "Experiment"})
    pending = {}
    until(lambda: pending.update({event["session"]: event for event in lab.database.pending_events() if event["tries"]}) or pending)
    assert "Prefect has no deployment preprocess-session/otherlab" in pending[created["id"]]["error"]


@pytest.mark.heavy
def test_after_a_stop_in_mid_session_everything_goes_on_and_nothing_is_done_twice(lab) -> None:
    """The last test here: whatever the others have left running is stopped, too."""
    subjects = ("halted_1", "halted_2")
    for subject in subjects:
        lab.copy(subject, {"probe00": "fine", "probe01": "sleep 40"})
    until(lambda: all(lab.flow_runs(subject) for subject in subjects))
    until(lambda: all(lab.rows(subject).get("mark[probe01]", {}).get("status") == "Started" for subject in subjects))
    until(lambda: all(lab.rows(subject)["rate[probe00]"]["status"] == "Complete" for subject in subjects))
    done = {subject: lab.rows(subject)["rate[probe00]"]["outputs"] for subject in subjects}
    lab.stop()
    assert of_this_home(lab.settings) == []
    lab.start()
    for subject in subjects:
        until(lambda subject=subject: lab.rows(subject)["gather"]["status"] == "Complete", 180)
        until(lambda subject=subject: {run["state"]["type"] for run in lab.flow_runs(subject)} == {"COMPLETED"}, 60)
        rows = lab.rows(subject)
        assert rows["rate[probe00]"]["outputs"] == done[subject]
        ends = {name: [each["status"] for each in lab.database.attempts(row["id"])] for name, row in rows.items() if "giant" not in name}
        first, *_, last = reversed(ends.pop("mark[probe01]"))
        assert (first, last) == ("Errored", "Complete"), "it was cut off once"
        assert lab.database.attempts(rows["mark[probe01]"]["id"])[-1]["error_type"] == "WorkerStopped", "nothing has failed"
        assert len(lab.flow_runs(subject)) == 1, "the one that was running goes on"
        assert ends == {name: ["Complete"] for name in ends}


def of_this_home(settings: Settings) -> list[str]:
    """Command lines of living processes that were started for this home."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            alive = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get("RANVIER_HOME") == str(settings.home):
                found.append(" ".join(process.cmdline()))
    return found


def _answers(lab: LabServer) -> bool:
    try:
        return requests.get(f"{lab.settings.prefect_api_url}/health", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.mark.heavy
def test_a_backfill_runs_a_new_version_first_on_the_canary_then_on_the_rest(lab) -> None:
    subjects = [f"older{number}" for number in range(3)]
    for subject in subjects:
        lab.copy(subject, {"probe00": "fine"})
    for subject in subjects:
        lab.ended(subject)
    source = lab.plugin.read_text()
    lab.plugin.write_text(
        source.replace(
            'version="1",\n    per="probe",\n    inputs=[Input("alf/{probe}/marks',
            'version="2",\n    per="probe",\n    inputs=[Input("alf/{probe}/marks',
        )
    )
    assert lab.plugin.read_text() != source

    chosen = [word for subject in subjects for word in ("--subject", subject)]
    planned = lab.ranvier("backfill", "plan", "rate", *chosen, "--canary", "1", "--json")
    assert (planned["task"], planned["version"], planned["estimate"]["sessions"]) == ("rate", "2", 3)
    assert [len(lab.flow_runs(subject)) for subject in subjects] == [1, 1, 1], "a plan runs nothing"

    def state() -> str:
        return str(lab.database.backfill(planned["id"])["state"])

    lab.ranvier("backfill", "start", planned["id"])
    until(lambda: state() == "waiting", 120)
    versions = [lab.rows(subject)["rate[probe00]"]["version"] for subject in subjects]
    assert sorted(versions) == ["1", "1", "2"]
    lab.ranvier("backfill", "go", planned["id"])
    until(lambda: state() == "done", 120)
    for subject in subjects:
        run = lab.ended(subject, 2)[1]
        assert (run["work_queue_name"], planned["tag"] in run["tags"]) == ("backfill", True)
        rows = {name: (row["status"], row["version"], row["attempt"]) for name, row in lab.rows(subject).items() if "giant" not in name}
        assert rows == {"mark[probe00]": ("Complete", "1", 1), "rate[probe00]": ("Complete", "2", 2), "gather": ("Complete", "1", 1)}
    again = lab.ranvier("backfill", "plan", "rate", *chosen, "--json")
    assert again["estimate"]["sessions"] == 0, "what it has done counts as done"
