"""Use a database as ibllib does, for tests: by a Python that has ibllib, ``python ibllib_client.py request.json result.json``.

The request names the database, how to sign in, and a session's folder; the result has the tasks as they stood after each round of
work, and what else ibllib wrote, as it found it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from iblatlas.atlas import Insertion
from ibllib.pipes.tasks import Pipeline, Task, run_alyx_task
from iblutil.util import Bunch
from one.api import ONE

#: File that tells that the failure has been had.
AGAIN = "again"
#: After these nothing waits any more: the pipeline is no deeper.
ROUNDS = 4


class Sorting(Task):
    """Writes a dataset."""

    def _run(self) -> list[Path]:
        folder = self.session_path / "alf"
        folder.mkdir(exist_ok=True)
        np.save(folder / "spikes.times.npy", np.arange(3.0))
        return [folder / "spikes.times.npy"]


class Nothing(Task):
    """Has nothing to write."""

    def _run(self) -> None:
        return None


class Partly(Task):
    """Says that something is lacking."""

    def _run(self) -> list[Path]:
        self.status = -3
        return []


class Broken(Task):
    """Fails the first time."""

    def _run(self) -> list[Path]:
        marker = self.session_path / AGAIN
        if not marker.exists():
            marker.touch()
            raise ValueError("the recording is too short")
        return []


class Metrics(Task):
    """Comes after the sorting."""

    def _run(self) -> list[Path]:
        return []


class Report(Task):
    """Comes after what failed."""

    def _run(self) -> list[Path]:
        return []


def main(request: Path, result: Path) -> None:
    """Do all of it."""
    asked = json.loads(request.read_text())
    sign_in = {"base_url": asked["url"], "username": asked["user"], "password": asked["password"], "silent": True}
    one, session = ONE(**sign_in, cache_rest=None, cache_dir=asked["cache"]), Path(asked["session"])
    registered = register(one, session)
    found = {"session": registered, "rounds": rounds_of_work(one, session), "records": write_records(one, session, registered["url"][-36:])}
    result.write_text(json.dumps({**found, "served": serve(one, session.parents[2], asked["lab"])}))


def register(one: Any, session: Path) -> dict[str, Any]:
    """The session of a rig, twice: the second time it is found."""
    from ibllib.oneibl.registration import IBLRegistrationClient

    client = IBLRegistrationClient(one)
    client.register_session(session, file_list=True)
    registered, _ = client.register_session(session, file_list=True)
    return dict(registered)


def write_records(one: Any, session: Path, eid: str) -> dict[str, Any]:
    """Probes, quality, where a probe went, a picture and a reason for a bad probe: what ibllib's tasks and alignment write."""
    from ibllib.pipes import histology, misc
    from ibllib.plots.snapshot import Snapshot
    from ibllib.qc.base import QC
    from ibllib.qc.critical_reasons import CriticalInsertionNote
    from PIL import Image

    for force in (False, True):
        (probe,) = misc.create_alyx_probe_insertions(session, one=one, model="3B2", labels=["probe00"], force=force)
    pid = probe["id"]
    for endpoint, key in (("sessions", eid), ("insertions", pid)):
        quality = QC(key, one=one, endpoint=endpoint)
        quality.update("PASS", namespace="task")
        quality.update_extended_qc({"_task_wheel": 0.98, "_task_stimulus": np.nan})
        quality.update("FAIL")
    track = Insertion(x=-2.2e-3, y=-3.1e-3, z=-1e-4, phi=180.0, theta=15.0, depth=4e-3, beta=0.0)
    trajectory = one.alyx.rest("trajectories", "create", data=histology.create_trajectory_dict(pid, track, "Histology track"))
    where = Bunch(id=np.array([385, 382]), axial=np.array([20.0, 40.0]), lateral=np.zeros(2), xyz=np.full((2, 3), 1e-3))
    channels = one.alyx.rest("channels", "create", data=histology.create_channel_dict(trajectory, where))
    picture = session / "raster.png"
    Image.new("RGB", (20, 10)).save(picture)
    for _ in range(2):  # the second takes the first one's place
        Snapshot(eid, one=one).register_image(picture, text="raster", json_field={"name": "raster"}, width="orig")
    CriticalInsertionNote(pid, one.alyx).upload_note(nums="0", other_reason="the probe broke")
    return {
        "session": one.alyx.rest("sessions", "read", id=eid, no_cache=True),
        "insertion": one.alyx.rest("insertions", "read", id=pid, no_cache=True),
        "spikes": list(one.alyx.rest("datasets", "list", session=eid, name="spikes.times.npy", no_cache=True)),
        "trajectory": trajectory,
        "channels": channels,
        "notes": list(one.alyx.rest("notes", "list", object_id=eid, no_cache=True)),
        "reasons": list(one.alyx.rest("notes", "list", object_id=pid, no_cache=True)),
        "weighings": list(one.alyx.rest("weighings", "list", nickname=session.parts[-3], no_cache=True)),
    }


def serve(one: Any, root: Path, lab: str) -> list[dict[str, Any]]:
    """The tasks of IBL's own pipeline, once a lab server's jobs have found a session by its flag and worked on it."""
    from ibllib.pipes import local_server

    local_server._get_volume_usage = lambda *_: {}  # this machine has no /mnt/s0
    (pipeline,), _ = local_server.job_creator(root, one=one)
    for _ in range(ROUNDS):
        local_server.tasks_runner(root, local_server.task_queue(lab=lab, alyx=one.alyx), one=one, count=100)
    local_server.report_health(one.alyx)
    return listed(pipeline)


def rounds_of_work(one: Any, session: Path) -> dict[str, list[dict[str, Any]]]:
    """Create tasks, work on them, and then on what failed."""
    import ibllib_client  # by its name, as the database keeps where a task's class is

    pipeline = Pipeline(session_path=session, one=one)
    sorting, broken = ibllib_client.Sorting(session), ibllib_client.Broken(session)
    tasks = [ibllib_client.Nothing(session), ibllib_client.Partly(session), sorting, broken]
    tasks += [ibllib_client.Metrics(session, parents=[sorting]), ibllib_client.Report(session, parents=[sorting, broken])]
    pipeline.tasks = {task.name: task for task in tasks}
    rounds = {"created": pipeline.create_alyx_tasks()}
    # children first: they are Held until their parents are done
    for name in ("Metrics", "Report", *pipeline.tasks):
        rounds[f"{len(rounds)} {name}"] = work(pipeline, name)
    pipeline.run(machine="server")
    rounds["worked"] = listed(pipeline)
    rounds["created again"] = pipeline.create_alyx_tasks()
    pipeline.rerun_failed(machine="server")
    rounds["rerun"] = listed(pipeline)
    return rounds


def listed(pipeline: Pipeline) -> list[dict]:
    """The session's tasks as the database has them."""
    return list(pipeline.one.alyx.rest("tasks", "list", session=pipeline.eid, no_cache=True))


def work(pipeline: Pipeline, name: str) -> list[dict]:
    """Run one task, where it waits."""
    (task,) = (task for task in listed(pipeline) if task["name"] == name)
    if task["status"] == "Waiting":
        run_alyx_task(task, pipeline.session_path, pipeline.one, machine="server")
    return listed(pipeline)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
