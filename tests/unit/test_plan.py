"""The plan: fan-out, edges, refusals, and the reason to run or to skip."""

import pytest
import yaml

from ranvier import Input, Output, Resources, task
from ranvier.declare import with_source
from ranvier.hashes import HashBook
from ranvier.identity import identity, make_receipt
from ranvier.instances import Instance
from ranvier.plan import Request, Standing, hold_reason, plan_rows, plan_session
from ranvier.session import Session
from ranvier.settings import Settings, TaskSettings
from ranvier.states import Status


@task(version="1", per="probe", inputs=[Input("{collection}/*.ap.meta")], outputs=[Output("{collection}/*.ap.bin", in_place=True)])
def register(job):
    """Vouches for the raw files."""


@task(
    version="1",
    per="probe",
    inputs=[Input("{collection}/*.ap.*bin")],
    outputs=[Output("alf/{probe}/{sorter}/spikes.times.npy")],
    priority=60,
)
def sort(job, sorter: str = "fast"):
    """Sorts."""


@task(version="1", per="probe", inputs=[Input("alf/{probe}/*/spikes.times.npy")], outputs=[Output("alf/{probe}/rates.npy")])
def rates(job):
    """Reads what any sorter wrote."""


@task(version="1", inputs=[Input("alf/*/rates.npy")], outputs=[Output("alf/summary.json")])
def summary(job):
    """Reads all probes."""


@task(version="1", inputs=[Input("alf/trials.table.pqt")], outputs=[Output("alf/fits.json")])
def fits(job):
    """Does not apply to a session without trials."""


TASKS = [with_source(item, "ranvier") for item in (register, sort, rates, summary, fits)]


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, lab={"name": "lab"})


@pytest.fixture
def session(settings):
    path = settings.lab_root / "mouse" / "2026-11-22" / "001"
    for probe in ("probe00", "probe01"):
        folder = path / "raw_ephys_data" / probe
        folder.mkdir(parents=True)
        (folder / "g0.ap.bin").write_bytes(b"1234")
        (folder / "g0.ap.meta").write_text("typeThis=imec\n")
    devices = {"neuropixel": {probe: {"collection": f"raw_ephys_data/{probe}"} for probe in ("probe00", "probe01")}}
    (path / "_ibl_experiment.description.yaml").write_text(yaml.safe_dump({"devices": devices}))
    return Session.parse(path)


def decisions(session, settings, rows=(), request=None, tasks=TASKS):
    plan = plan_session(session, tasks, settings, rows, request)
    return {name: (decision.action, decision.reason) for name, decision in plan.decisions.items()}


def finished(session, settings, name, task_, inputs, parameters=None, status="Complete", **fields):
    """The row of a task that has run on the files that are there now."""
    with HashBook(settings.work_folder / "hashes.sqlite") as hashes:
        md5 = {session.relative(path): hashes.md5(path) for pattern in inputs for path in session.find(pattern)}
    receipt = make_receipt(task_.name, task_.version, parameters or {}, md5, {})
    return {"name": name, "status": status, "attempt": 1, "receipt": receipt, "identity": identity(receipt), "outputs": [], **fields}


def test_fans_out_over_probes_and_finds_parents(session, settings):
    plan = plan_session(session, TASKS, settings)
    parents = {instance.name: instance.parents for instance in plan.instances}
    assert parents == {
        "register[probe00]": [],
        "register[probe01]": [],
        "sort[probe00]": ["register[probe00]"],
        "sort[probe01]": ["register[probe01]"],
        "rates[probe00]": ["sort[probe00]"],
        "rates[probe01]": ["sort[probe01]"],
        "summary": ["rates[probe00]", "rates[probe01]"],
    }
    assert [instance.level for instance in plan.instances] == [0, 0, 1, 1, 2, 2, 3]
    assert plan.left_out == {"fits": "nothing here is or makes alf/trials.table.pqt"}


def test_everything_runs_the_first_time_with_its_reason(session, settings):
    found = decisions(session, settings)
    assert found["register[probe00]"] == ("run", "has never run")
    assert found["sort[probe00]"] == ("run", "after register[probe00]")
    assert {action for action, _ in found.values()} == {"run"}


def test_skips_what_is_unchanged_and_says_since_when(session, settings):
    rows = [finished(session, settings, "register[probe00]", register, ["raw_ephys_data/probe00/*.ap.meta"])]
    assert decisions(session, settings, rows)["register[probe00]"] == ("skip", "unchanged since attempt 1, which is Complete")


def test_what_comes_after_a_task_is_looked_at_and_not_forced(session, settings):
    rows = [{"name": "sort[probe00]", "status": "Complete", "attempt": 1}, {"name": "rates[probe00]", "status": "Complete", "attempt": 1}]
    asked = Request(tasks=["sort"], force=True)
    assert decisions(session, settings, rows, asked)["rates[probe00]"] == ("skip", "not asked for")
    plan = plan_session(session, TASKS, settings, rows, Request(tasks=["sort[probe00]"], force=True, downstream=True))
    forced = {name: decision.forced for name, decision in plan.decisions.items() if decision.run}
    assert forced == {"sort[probe00]": True, "rates[probe00]": False, "summary": False}
    assert plan.decisions["rates[probe00]"].provisional
    assert plan.decisions["register[probe00]"].reason == plan.decisions["sort[probe01]"].reason == "not asked for"


def test_a_new_instance_that_was_not_asked_for_gets_no_row(session, settings):
    rows = [{"name": "sort[probe01]", "status": "Complete", "attempt": 1}]
    plan = plan_session(session, TASKS, settings, rows, Request(tasks=["sort[probe00]"]))
    assert {row["name"] for row in plan_rows(plan, settings)} == {
        "sort[probe00]",  # asked for
        "register[probe00]",  # its parent
        "sort[probe01]",  # has a row
        "register[probe01]",
    }


def test_a_name_that_nothing_has_is_a_problem_and_one_that_does_not_apply_says_why(session, settings):
    plan = plan_session(session, TASKS, settings, [], Request(tasks=["sort", "nosuch", "fits"]))
    nosuch, fits = plan.problems
    assert nosuch.startswith("no task is called nosuch here; there is rates[probe00], ")
    assert fits.startswith("fits does not apply here: ")


def test_what_a_request_has_done_is_not_forced_again(session, settings):
    rows = [finished(session, settings, "register[probe00]", register, ["raw_ephys_data/probe00/*.ap.meta"])]
    asked = Request(tasks=["register[probe00]"], force=True, done={"register[probe00]"})
    assert decisions(session, settings, rows, asked)["register[probe00]"] == ("skip", "unchanged since attempt 1, which is Complete")


def test_a_changed_input_is_named(session, settings):
    rows = [finished(session, settings, "register[probe00]", register, ["raw_ephys_data/probe00/*.ap.meta"])]
    meta = session.path / "raw_ephys_data/probe00/g0.ap.meta"
    meta.write_text("typeThis=imec\nmore=1\n")
    action, reason = decisions(session, settings, rows)["register[probe00]"]
    assert (action, reason) == ("run", "input raw_ephys_data/probe00/g0.ap.meta has changed or was never hashed")
    with HashBook(settings.work_folder / "hashes.sqlite") as hashes:
        hashes.md5(meta)
    assert decisions(session, settings, rows)["register[probe00]"] == ("run", "input raw_ephys_data/probe00/g0.ap.meta changed")


def test_a_changed_parameter_is_named_with_its_values(session, settings):
    raw = ["raw_ephys_data/probe00/*.ap.meta"]
    rows = [
        finished(session, settings, "register[probe00]", register, raw),
        finished(session, settings, "sort[probe00]", sort, ["raw_ephys_data/probe00/*.ap.*bin"], {"sorter": "fast"}),
    ]
    settings.tasks["sort"] = TaskSettings(parameters={"sorter": "slow"})
    assert decisions(session, settings, rows)["sort[probe00]"] == ("run", "parameter sorter changed from fast to slow")


def test_a_lost_output_runs_again(session, settings):
    lost = [{"path": "raw_ephys_data/probe00/g0.ap.bin", "size": 5, "hash": "0"}]
    rows = [finished(session, settings, "register[probe00]", register, ["raw_ephys_data/probe00/*.ap.meta"], outputs=lost)]
    action, reason = decisions(session, settings, rows)["register[probe00]"]
    assert action == "run"
    assert "raw_ephys_data/probe00/g0.ap.bin is not there as it was written" in reason


def test_a_failed_parent_runs_again_and_its_settled_child_looks_again(session, settings):
    failed = finished(session, settings, "register[probe00]", register, [], status="Errored", reason="ValueError: broken")
    child = finished(session, settings, "sort[probe00]", sort, [], {"sorter": "fast"})
    plan = plan_session(session, TASKS, settings, [failed, child])
    assert plan.decisions["register[probe00]"].reason == "attempt 1 failed: ValueError: broken"
    assert plan.decisions["sort[probe00]"].provisional
    statuses = {row["name"]: row["status"] for row in plan_rows(plan, settings)}
    assert statuses["register[probe00]"] == "Waiting"
    assert statuses["sort[probe00]"] is None


def test_a_child_of_an_empty_parent_is_held_and_says_so(session, settings):
    rows = [
        finished(session, settings, "register[probe00]", register, ["raw_ephys_data/probe00/*.ap.meta"], status="Empty"),
        finished(session, settings, "sort[probe00]", sort, [], status="Waiting"),
    ]
    assert decisions(session, settings, rows)["sort[probe00]"] == ("hold", "register[probe00] is Empty")


def test_abandoned_stays_abandoned_and_running_is_waited_for(session, settings):
    rows = [
        {"name": "register[probe00]", "status": "Abandoned", "attempt": 3},
        {"name": "register[probe01]", "status": "Started", "attempt": 2, "leased": True},
    ]
    found = decisions(session, settings, rows)
    assert found["register[probe00]"][0] == "skip"
    assert found["register[probe01]"] == ("run", "attempt 2 is running; this run waits for it")
    plan = plan_session(session, [register], settings, rows)
    written = {row["name"]: row["status"] for row in plan_rows(plan, settings)}
    assert written["register[probe01]"] is None, "it may have ended when the plan is written"


def test_a_request_limits_and_forces(session, settings):
    rows = [finished(session, settings, "register[probe00]", register, ["raw_ephys_data/probe00/*.ap.meta"])]
    found = decisions(session, settings, rows, Request(tasks=["register[probe00]"], force=True))
    assert found["register[probe00]"] == ("run", "forced")
    assert found["register[probe01]"] == ("skip", "not asked for")


def test_two_writers_of_one_file_are_refused_by_name_and_the_rest_goes_on(session, settings):
    @task(version="1", per="probe", outputs=[Output("alf/{probe}/mine.npy")])
    def first(job):
        """One of two."""

    @task(version="1", per="probe", outputs=[Output("alf/{probe}/*.npy")])
    def second(job):
        """The other."""

    both = [with_source(first, "plugin-a"), with_source(second, "plugin-b")]
    found = decisions(session, settings, tasks=[*TASKS, *both])
    assert found["first[probe00]"][0] == found["second[probe00]"][0] == "hold"
    assert "first[probe00] and second[probe00] both write" in found["first[probe00]"][1]
    assert found["sort[probe00]"][0] == "run"


def test_a_plugin_does_not_displace_a_built_in_task(session, settings):
    @task(version="1", per="probe", outputs=[Output("alf/{probe}/rates.npy")])
    def other_rates(job):
        """Wants to write what a built-in task writes."""

    plan = plan_session(session, [*TASKS, with_source(other_rates, "plugin")], settings)
    assert plan.decisions["other_rates[probe00]"].action == "hold"
    assert plan.decisions["rates[probe00]"].action == "run"
    assert plan["summary"].parents == ["rates[probe00]", "rates[probe01]"]


def test_a_circle_is_refused_by_name(session, settings):
    @task(version="1", inputs=[Input("alf/a.npy")], outputs=[Output("alf/b.npy")])
    def hen(job):
        """Waits for the egg."""

    @task(version="1", inputs=[Input("alf/b.npy")], outputs=[Output("alf/a.npy")])
    def egg(job):
        """Waits for the hen."""

    @task(version="1", inputs=[Input("alf/b.npy")], outputs=[Output("alf/c.npy")])
    def chick(job):
        """Waits for both."""

    found = decisions(session, settings, tasks=[*TASKS, hen, egg, chick])
    assert found["hen"][0] == found["egg"][0] == found["chick"][0] == "hold"
    assert "circle" in found["hen"][1]
    assert "hen" in found["egg"][1]
    assert "hen" in found["chick"][1]
    assert found["sort[probe01]"][0] == "run"


def test_missing_raw_data_of_a_described_probe_stay_in_the_plan(session, settings):
    (session.path / "raw_ephys_data/probe01/g0.ap.meta").unlink()
    assert decisions(session, settings)["register[probe01]"][0] == "run"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"parameters": {"sorter": 3}}, "sorter"),
        ({"parameters": {"nothing": 3}}, "it takes: sorter"),
        ({"resources": {"cores": 3}}, "cores unknown"),
    ],
)
def test_wrong_settings_hold_the_task_and_say_what_is_wrong(session, settings, changed, words):
    settings.tasks["sort"] = TaskSettings(**changed)
    action, reason = decisions(session, settings)["sort[probe00]"]
    assert action == "hold"
    assert words in reason


def test_an_absent_environment_is_said_at_planning(session, settings):
    @task(version="1", per="probe", outputs=[Output("alf/{probe}/pose.npy")], python="sleap")
    def pose(job):
        """Runs in an environment of its own."""

    assert "which this server does not have" in decisions(session, settings, tasks=[pose])["pose[probe00]"][1]
    settings.environments["sleap"] = "/nowhere/python"
    assert "is not there: /nowhere/python" in decisions(session, settings, tasks=[pose])["pose[probe00]"][1]


def test_a_task_that_leaves_a_device_out_says_why_before_anything_else_is_asked_of_it(session, settings):
    @task(
        version="1",
        per="probe",
        outputs=[Output("alf/{probe}/pose.npy")],
        python="sleap",
        left_out=lambda said, taken: "" if said.get("lit") or taken["model"] else "no model is chosen",
    )
    def pose(job, model: str = ""):
        """Wants a model, and an environment that is not there."""

    @task(version="1", per="probe", inputs=[Input("alf/{probe}/pose.npy")], outputs=[Output("alf/{probe}/speed.npy")])
    def speed(job):
        """Comes after it."""

    plan = plan_session(session, [pose, speed], settings)
    assert plan.instances == []
    assert plan.left_out["pose[probe00]"] == "no model is chosen"
    assert plan.left_out["speed[probe00]"] == "nothing here is or makes alf/probe00/pose.npy"
    settings.tasks["pose"] = TaskSettings(parameters={"model": "mouse"})
    assert "which this server does not have" in decisions(session, settings, tasks=[pose])["pose[probe00]"][1]


def test_a_task_that_cannot_tell_whether_it_is_left_out_is_held_and_the_others_run(session, settings):
    @task(version="1", per="probe", outputs=[Output("alf/{probe}/pose.npy")], left_out=lambda said, taken: said["nothing"])
    def pose(job):
        """Its function is wrong."""

    found = decisions(session, settings, tasks=[*TASKS, pose])
    assert found["pose[probe00]"][0] == "hold"
    assert "KeyError: 'nothing'" in found["pose[probe00]"][1]
    assert found["register[probe00]"] == ("run", "has never run")


def test_settings_change_resources_and_disable_tasks(session, settings):
    settings.tasks["sort"] = TaskSettings(resources={"cpu": 8, "memory_gb": 3.5})
    settings.tasks["summary"] = TaskSettings(enabled=False)
    plan = plan_session(session, TASKS, settings)
    assert plan["sort[probe00]"].resources == Resources(cpu=8, memory_gb=3.5)
    assert "summary" not in plan.decisions


@pytest.mark.parametrize(
    ("parents", "reason"),
    [
        ({"a": (Status.COMPLETE, "")}, ""),
        ({"a": (Status.EMPTY, "")}, "a is Empty"),
        ({"a": (Status.ERRORED, "ValueError: no spikes\nmore of it")}, "a is Errored: ValueError: no spikes"),
        ({"a": (Status.EMPTY, "nothing"), "b": (Status.ERRORED, "it broke")}, "a is Empty, b is Errored: it broke"),
        ({"b": (Status.HELD, "a is Errored: it broke")}, "b is Held: a is Errored: it broke"),
        ({"c": (Status.HELD, "b is Held: a is Errored: it broke")}, "c is Held: a is Errored: it broke"),
        ({name: (Status.HELD, "") for name in "abcde"}, "a is Held, b is Held, c is Held and 2 more"),
    ],
)
def test_why_a_task_is_held(parents, reason):
    standing = {name: Standing(*parent) for name, parent in parents.items()}
    assert hold_reason(Instance("child", rates, "", {}, parents=list(parents)), standing) == reason


@pytest.mark.parametrize(
    ("qc", "reason"),
    [
        ("", ""),
        ("NOT_SET", ""),
        ("WARNING", ""),
        ("FAIL", "the QC of a is FAIL, and rates wants WARNING or better; force it to run it all the same"),
        ("CRITICAL", "the QC of a is CRITICAL, and rates wants WARNING or better; force it to run it all the same"),
    ],
)
def test_a_gate_holds_what_comes_after_bad_data(qc, reason):
    child = Instance("rates", rates, "", {}, parents=["a"], gates={"a": "WARNING"})
    assert hold_reason(child, {"a": Standing(Status.COMPLETE, "", qc)}) == reason
    assert hold_reason(child, {"a": Standing(Status.ERRORED, "it broke", qc)}) == "a is Errored: it broke"


def test_the_gate_of_an_input_is_seen_before_anything_runs(session, settings):
    @task(version="1", inputs=[Input("alf/*/rates.npy", qc="FAIL"), Input("alf/probe00/rates.npy", qc="WARNING")],
          outputs=[Output("alf/picky.json")])  # fmt: skip
    def picky(job):
        """Wants good data of the first probe."""

    made = {f"rates[{probe}]": finished(session, settings, f"rates[{probe}]", rates, [], qc="FAIL") for probe in ("probe00", "probe01")}
    rows = [*made.values(), finished(session, settings, "sort[probe00]", sort, []), finished(session, settings, "sort[probe01]", sort, [])]
    tasks = [*TASKS, with_source(picky, "ranvier")]
    assert plan_session(session, tasks, settings)["picky"].gates == {"rates[probe00]": "WARNING", "rates[probe01]": "FAIL"}
    only = Request(tasks=["picky"])
    reason = "the QC of rates[probe00] is FAIL, and picky wants WARNING or better; force it to run it all the same"
    assert decisions(session, settings, rows, only, tasks)["picky"] == ("hold", reason)
    assert decisions(session, settings, rows, Request(tasks=["picky"], force=True), tasks)["picky"] == ("run", "forced")


def test_why_a_task_is_held_stays_short():
    parents = {"a": Standing(Status.ERRORED, "x" * 5000)}
    assert len(hold_reason(Instance("child", rates, "", {}, parents=["a"]), parents)) < 200
