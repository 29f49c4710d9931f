"""The child process of an attempt: results, time-outs, crashes, and nothing left behind."""

import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from ranvier.process import Child, thread_environment

TASK = """
    import os, signal, subprocess, sys, time
    import numpy as np
    from ranvier import Output, task

    @task(version="1", outputs=[Output("alf/a.npy")])
    def work(job, how: str = "well"):
        job.log.info("working %s", how)
        job.progress(0.5, "half")
        if how == "badly":
            raise ValueError("no good")
        if how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "exit":
            os._exit(7)
        if how == "forever":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "grandchild-of-test"])
            time.sleep(600)
        if how == "memory":
            kept = np.ones(50_000_000 // 8)
            time.sleep(0.6)
        job.save("alf/a.npy", np.arange(3))
        job.qc("rows", np.int64(3), "PASS")
"""


@pytest.fixture
def run(tmp_path):
    file = tmp_path / "made_up_tasks.py"
    file.write_text(textwrap.dedent(TASK))

    def run(how, timeout_s=60.0, should_stop=lambda: ""):
        folders = {name: str(tmp_path / name) for name in ("session_path", "scratch", "staging")}
        job = {"device": "", "description": {}, "inputs": {}, "outputs": ["alf/a.npy"], "values": {}, "parameters": {"how": how}, **folders}
        spec = {"reference": "made_up_tasks:work", "file": str(file), "task": "work", "version": "1", "job": job}
        child = Child(None, spec, tmp_path / "log", thread_environment(1, 0))
        return child.run(timeout_s, should_stop), child

    return run


def test_result_checks_log_and_usage(run, tmp_path):
    ended, child = run("well")
    assert ended.exit_code == 0
    assert ended.result["error"] is None
    assert (ended.result["outcome"], ended.result["checks"]["rows"]["value"]) == ("PASS", 3)
    assert child.progress == {"progress": 0.5, "message": "half"}
    assert (tmp_path / "staging/alf/a.npy").exists()
    assert "working well" in (tmp_path / "log").read_text()
    assert 0 < ended.usage.cpu_s < 30
    assert ended.usage.written_bytes > 0


def test_an_exception_comes_back_with_traceback_and_fingerprint(run):
    ended, _ = run("badly")
    error = ended.result["error"]
    assert (ended.exit_code, error["type"], error["message"]) == (1, "ValueError", "no good")
    assert 'raise ValueError("no good")' in error["traceback"]
    assert run("badly")[0].result["error"]["fingerprint"] == error["fingerprint"]


@pytest.mark.parametrize(("how", "code"), [("segfault", -11), ("exit", 7)])
def test_a_crash_stays_inside(run, how, code):
    ended, _ = run(how)
    assert (ended.exit_code, ended.result, ended.stopped) == (code, None, "")


def test_peak_memory_is_measured(run):
    assert 50 < run("memory")[0].usage.peak_memory_mb < 1000


def test_a_time_out_ends_the_whole_group(run):
    started = time.monotonic()
    ended, _ = run("forever", timeout_s=2.0)
    assert ended.stopped == "ran out of time after 2 s"
    assert time.monotonic() - started < 15
    assert not grandchildren()


def test_being_told_to_stop_ends_the_whole_group(run):
    started = time.monotonic()
    ended, _ = run("forever", should_stop=lambda: "cancelled on request" if time.monotonic() - started > 1.5 else "")
    assert ended.stopped == "cancelled on request"
    assert not grandchildren()


def grandchildren():
    gone_by = time.monotonic() + 5
    while (found := _named("grandchild-of-test")) and time.monotonic() < gone_by:
        time.sleep(0.1)
    return found


def _named(word):
    return [process.pid for process in psutil.process_iter(["cmdline"]) if word in (process.info["cmdline"] or [])]


def test_nothing_of_the_group_survives_the_attempts_own_process(tmp_path):
    """As when a Dask worker is killed with -9: nobody is left to tidy up."""
    (tmp_path / "made_up_tasks.py").write_text(textwrap.dedent(TASK))
    folders = {name: str(tmp_path / name) for name in ("session_path", "scratch", "staging")}
    job = {"device": "", "description": {}, "inputs": {}, "outputs": [], "values": {}, "parameters": {"how": "forever"}, **folders}
    spec = {"reference": "made_up_tasks:work", "file": str(tmp_path / "made_up_tasks.py"), "task": "work", "version": "1", "job": job}
    attempt = textwrap.dedent(f"""
        from pathlib import Path
        from ranvier.process import Child
        Child(None, {spec!r}, Path({str(tmp_path / "log")!r}), {{}}).run(60, lambda: "")
    """)
    worker = subprocess.Popen([sys.executable, "-c", attempt])
    started_by = time.monotonic() + 20
    while not _named("grandchild-of-test") and time.monotonic() < started_by:
        time.sleep(0.05)
    assert _named("grandchild-of-test")
    worker.kill()
    worker.wait()
    assert not grandchildren()
