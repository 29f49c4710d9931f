"""What runs in an attempt's child process: ``python -m ranvier.child RESULT_FD PARENT``, with the job as JSON on its standard input.

It calls the task's function, in a process that `ranvier.leash` holds together with all that it starts, and hands messages back over a pipe,
one JSON object a line: ``{"progress", "message"}`` while it runs, ``{"result"}`` at the end. It imports the standard library and the task
only, so that it can run in a Python environment of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import logging
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from ranvier.declare import Task
from ranvier.job import QC_OUTCOMES, Job
from ranvier.leash import hold
from ranvier.retries import cause_of

#: Of attempts, as `nice` counts it.
_NICENESS = 10


def main() -> int:
    """Run the job that stands on the standard input; 0 when the task returned, 1 when it raised."""
    result_fd, attempt_pid = map(int, sys.argv[1:3])
    hold(attempt_pid)
    give_way()
    with os.fdopen(result_fd, "w", buffering=1) as pipe:

        def send(message: dict[str, Any]) -> None:
            pipe.write(json.dumps(message) + "\n")

        _log_to_stdout()
        result = run(json.load(sys.stdin), send)
        send({"result": result})
    return 0 if result["error"] is None else 1


def give_way() -> None:
    """Let the services of this machine go before: on cores that are all computing, the database and Prefect must still answer at once."""
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):  # there is no such file where the kernel does not weigh sessions as a whole
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


def run(spec: dict[str, Any], send: Any = None) -> dict[str, Any]:
    """Call a task's function.

    Parameters
    ----------
    spec
        ``reference`` and ``file`` of the task, and the fields of its `Job`.
    send
        Called with each message while the task runs.

    Returns
    -------
    dict
        ``error`` (None, or its type, message, traceback, fingerprint), ``checks``, ``outcome`` (worst of the checks) and ``figures``.
    """
    job = _make_job(spec["job"], send)
    error = None
    try:
        task = load(spec["reference"], spec["file"])
        task(job, **job.parameters)
    except Exception as raised:  # the edge: whatever a task raises becomes its attempt's error, with the traceback
        error = describe(raised, spec)
        job.log.error("%s", error["traceback"])
    outcome = max((check["outcome"] for check in job.checks.values()), key=QC_OUTCOMES.index, default="NOT_SET")
    return {"error": error, "checks": job.checks, "outcome": outcome, "figures": job.figures}


def load(reference: str, file: str) -> Task:
    """Import a task from ``module:qualname``; from its file where the module is not importable by name."""
    module_name, _, qualname = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        module = _import_file(module_name, file)
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part)
    if not isinstance(found, Task):
        raise TypeError(f"{reference} is {type(found).__name__}, not a task; was it declared with @task?")
    return found


def describe(error: BaseException, spec: dict[str, Any]) -> dict[str, Any]:
    """An exception as the database keeps it; equal failures of a task version have equal fingerprints."""
    place = _place(error.__traceback__, spec["file"])
    fingerprint = hashlib.sha256(f"{type(error).__qualname__}|{place}|{spec['task']}@{spec['version']}".encode()).hexdigest()[:12]
    return {
        "type": type(error).__qualname__,
        "message": f"{error}{_mend(error, spec['reference'])}",
        "traceback": "".join(traceback.format_exception(error)),
        "fingerprint": fingerprint,
        "cause": str(cause_of(error)),
        "wait_s": getattr(error, "wait_s", None),
    }


def _mend(error: BaseException, reference: str) -> str:
    """What to install where one of Ranvier's own tasks finds a library missing: the extra is named as the tasks' folder is."""
    package, _, rest = reference.partition("ranvier.tasks.")
    if not isinstance(error, ModuleNotFoundError) or package or not rest:
        return ""
    return f"; pip install 'ranvier[{rest.split('.')[0]}]' in the lab server's environment"


def _place(trace: TracebackType | None, file: str) -> str:
    """Where it happened: the innermost frame in the task's own file, else the innermost of all."""
    frames = [(frame.f_code.co_filename, frame.f_code.co_qualname) for frame, _ in traceback.walk_tb(trace)]
    own = [frame for frame in frames if frame[0] == file]
    filename, function = (own or frames or [("", "")])[-1]
    return f"{Path(filename).name}:{function}"


def _import_file(name: str, file: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None:
        raise ModuleNotFoundError(f"{name} cannot be imported, nor its file {file}", name=name)
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    return module


def _make_job(fields: dict[str, Any], send: Any) -> Job:
    paths = {name: Path(fields[name]) for name in ("session_path", "scratch", "staging")}
    inputs = {pattern: [Path(path) for path in files] for pattern, files in fields["inputs"].items()}
    return Job(**{**fields, **paths, "inputs": inputs}, notify=send)


def _log_to_stdout() -> None:
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S", force=True
    )
    logging.captureWarnings(True)


if __name__ == "__main__":
    sys.exit(main())
