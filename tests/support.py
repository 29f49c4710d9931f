"""What many tests need that is no fixture."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from one.alf.spec import is_valid

from ranvier import acquisition
from ranvier.contract import judge
from ranvier.declare import Task
from ranvier.instances import make_instance
from ranvier.job import Job
from ranvier.session import Session
from ranvier.settings import Settings
from ranvier.simulate import SimulatedSession, simulate_session
from ranvier.states import Status

PROTOCOL = "_iblrig_tasks_biasedChoiceWorld_00"


def waiter(usual_s: float, every_s: float = 0.05) -> Callable[..., Any]:
    """What waits until something is true and returns it: for so many seconds, unless a test says otherwise."""

    def until(condition: Callable[[], Any], timeout_s: float = usual_s) -> Any:
        end = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < end, f"it did not come about within {timeout_s:g} s"
            time.sleep(every_s)
        return found

    return until


def free_ports(number: int) -> list[int]:
    """TCP ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)]


def connect(url: str, settings: Settings, folder: Path, mode: str = "remote") -> Any:
    """The real ONE as the administrator of another machine has it: files by HTTP, tables and downloads in a folder."""
    import one.params
    from one.api import ONE

    password = settings.secret("admin_password")
    server = {"HTTP_DATA_SERVER": f"{url}/data", "HTTP_DATA_SERVER_LOGIN": "admin", "HTTP_DATA_SERVER_PWD": password}
    one.params.save({"ALYX_URL": url, **server}, url)
    return ONE(base_url=url, username="admin", password=password, silent=True, cache_dir=folder, cache_rest=None, mode=mode)


def caller(root: Path, settings: Settings) -> Callable[..., Job]:
    """What calls a task on a device of a session; what it wrote stays in the job's staging folder, judged."""

    def call(task: Task, path: Path, device: str = PROTOCOL, **parameters: object) -> Job:
        session = Session.parse(path)
        instance = make_instance(task, device, acquisition.read(session).of(task.per)[device], settings)
        job = Job(
            session_path=path,
            device=device,
            description=instance.description,
            inputs=instance.input_files(session),
            outputs=[output.pattern for output in instance.outputs],
            parameters=task.validated(parameters),
            values=instance.values,
            scratch=Path(tempfile.mkdtemp(dir=root)),
            staging=Path(tempfile.mkdtemp(dir=root)),
        )
        task(job, **job.parameters)
        judgement = judge(session, instance.outputs, job.staging)
        assert judgement.verdict is Status.COMPLETE, judgement.reason
        assert all(is_valid(Path(name).name) for name in judgement.files)
        return job

    return call


def keep(job: Job) -> Job:
    """Put what a job wrote into its session, as the commit does."""
    shutil.copytree(job.staging, job.session_path, dirs_exist_ok=True)
    return job


def simulated(tmp_path: Path, **options: object) -> SimulatedSession:
    """A minute of a mouse at its task."""
    options = dict(probes=(), behaviour=True, duration_s=60.0, seed=5) | options
    return simulate_session(tmp_path / "lab" / "Subjects", "m1", "2026-01-15", **options)
