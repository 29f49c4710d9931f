"""One task in a child process, as an attempt runs it, without an attempt: for the benchmarks of tasks."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from ranvier.acquisition import read
from ranvier.declare import Task
from ranvier.instances import make_instance
from ranvier.process import Child, Ended, thread_environment
from ranvier.session import Session
from ranvier.settings import load


def run(task: Task, session: Session, device: str, log: Path, cpu: int | None = None) -> Ended:
    """Run a task for one device, on as many cores as it declares or as are given, and leave its outputs in the session.

    Raises
    ------
    SystemExit
        If it fails; the message names the log.
    """
    instance = make_instance(task, device, read(session).of(task.per)[device], load())
    cores = instance.resources.cpu if cpu is None else cpu
    with tempfile.TemporaryDirectory(dir=session.path) as scratch:
        job = {
            "session_path": str(session.path),
            "device": device,
            "description": instance.description,
            "inputs": {pattern: [str(path) for path in paths] for pattern, paths in instance.input_files(session).items()},
            "outputs": [output.pattern for output in instance.outputs],
            "parameters": instance.parameters,
            "values": instance.values,
            "scratch": scratch,
            "staging": str(session.path),
            "cpu": cores,
        }
        file = sys.modules[task.function.__module__].__file__
        spec = {"reference": task.reference, "file": file, "task": task.name, "version": task.version, "job": job}
        ended = Child(None, spec, log, thread_environment(cores, ())).run(instance.resources.timeout_s, lambda: "")
    if ended.exit_code:
        raise SystemExit(f"{task.name} failed; see {log}")
    return ended
