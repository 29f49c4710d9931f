"""The child process of an attempt: results, time-outs, crashes, and nothing left behind."""

import contextlib
import os
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
from support import waiter

from ranvier.process import Child, thread_environment
from ranvier.usage import MemoryWatch

until = waiter(30)


TASK = """
    import multiprocessing, os, signal, subprocess, sys, time
    import numpy as np
    from ranvier import Output, task

    GRANDCHILD = "import time; time.sleep(600)"
    STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    DAEMON = f"import os; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); {GRANDCHILD}"

    def start(code, **options):
        return subprocess.Popen([sys.executable, "-c", code], **options)

    @task(version="1", outputs=[Output("alf/a.npy")])
    def work(job, how: str = "well"):
        job.log.info("working %s", how)
        job.progress(0.5, "half")
        if how == "niceness":
            job.qc("niceness", os.nice(0), "PASS")
        if how == "badly":
            raise ValueError("no good")
        if how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "exit":
            os._exit(7)
        if how == "forever":
            start(GRANDCHILD)
            time.sleep(600)
        if how == "runaway":
            start(GRANDCHILD, start_new_session=True)
            start(STUBBORN, start_new_session=True)
            start(DAEMON)
            pool = multiprocessing.get_context("fork").Pool(2)
            (job.session_path / "ready").touch()
            time.sleep(600)
        if how == "daemon":
            start(DAEMON).wait()
        if how == "busy daemon":
            done = job.session_path / "done"
            start(f"import os, time; os.fork() and os._exit(0)\\nwhile time.process_time() < 1: pass\\nos.mkdir('{done}')").wait()
            while not done.exists():
                time.sleep(0.05)
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
        child = Child(None, spec, tmp_path / "log", {**thread_environment(1), "MARK_OF_TEST": str(tmp_path)})
        return child.run(timeout_s, should_stop), child

    (tmp_path / "session_path").mkdir()
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
    assert 100 < ended.usage.written_bytes < 1_000_000


def test_it_gives_way_to_the_services(run):
    ended, _ = run("niceness")
    assert ended.result["checks"]["niceness"]["value"] == min(os.nice(0) + 10, 19)


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


def test_memory_is_counted_when_it_has_grown_and_seldom_else(monkeypatch):
    grow = "import sys; kept = []\nfor line in sys.stdin:\n    kept.append(b'x' * int(line)); print(len(kept), flush=True)"
    monkeypatch.setattr("ranvier.usage._SHARE", 1e-9)  # else a busy machine makes enough time pass for another count
    counted = []
    whole = psutil.Process.memory_full_info
    monkeypatch.setattr(psutil.Process, "memory_full_info", lambda process: counted.append(process.pid) or whole(process))
    with subprocess.Popen([sys.executable, "-c", grow], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        memory = MemoryWatch(process.pid)
        for megabytes in (50, 100):
            process.stdin.write(f"{megabytes * 1_000_000}\n")
            process.stdout.readline()
            before = len(counted)
            for _ in range(5):
                memory.look()
            assert len(counted) - before == 1, "of five looks at once the first has seen it all"
        process.stdin.close()
    assert 150e6 < memory.peak < 250e6


def test_a_time_out_ends_all_of_it(run, tmp_path):
    started = time.monotonic()
    ended, _ = run("forever", timeout_s=2.0)
    assert ended.stopped == "ran out of time after 2 s"
    assert time.monotonic() - started < 15
    assert marked(tmp_path) == []


def test_being_told_to_stop_ends_what_has_left_the_group_too(run, tmp_path):
    """A grandchild in a session of its own, one that takes no SIGTERM, a daemon, and the workers of a pool."""
    ready = tmp_path / "session_path/ready"
    ended, _ = run("runaway", should_stop=lambda: "cancelled" if ready.exists() and len(marked(tmp_path)) >= 7 else "")
    assert ended.stopped == "cancelled"
    assert marked(tmp_path) == []


def test_a_daemon_does_not_outlive_a_task_that_has_ended(run, tmp_path):
    ended, _ = run("daemon")
    assert (ended.exit_code, ended.result["error"]) == (0, None)
    assert marked(tmp_path) == []


def test_the_cpu_time_of_orphans_counts(run):
    assert run("busy daemon")[0].usage.cpu_s > 1.0


def test_nothing_survives_the_attempts_own_process(tmp_path):
    """As when a Dask worker is killed with -9: nobody is left to tidy up."""
    (tmp_path / "made_up_tasks.py").write_text(textwrap.dedent(TASK))
    folders = {name: str(tmp_path / name) for name in ("session_path", "scratch", "staging")}
    (tmp_path / "session_path").mkdir()
    job = {"device": "", "description": {}, "inputs": {}, "outputs": [], "values": {}, "parameters": {"how": "runaway"}, **folders}
    spec = {"reference": "made_up_tasks:work", "file": str(tmp_path / "made_up_tasks.py"), "task": "work", "version": "1", "job": job}
    attempt = textwrap.dedent(f"""
        from pathlib import Path
        from ranvier.process import Child
        Child(None, {spec!r}, Path({str(tmp_path / "log")!r}), {{"MARK_OF_TEST": {str(tmp_path)!r}}}).run(60, lambda: "")
    """)
    worker = subprocess.Popen([sys.executable, "-c", attempt])
    until(lambda: (tmp_path / "session_path/ready").exists() and len(marked(tmp_path)) >= 7)
    worker.kill()
    worker.wait()
    until(lambda: marked(tmp_path) == [])


def marked(mark):
    """Living processes that a test's child has started, itself among them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("MARK_OF_TEST") == str(mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
