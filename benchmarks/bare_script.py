"""What somebody would write without Ranvier: the functions of the ephys tasks, one after the other, on one session folder."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

from ranvier import acquisition
from ranvier.declare import Task
from ranvier.hashes import digest
from ranvier.instances import make_instance
from ranvier.job import Job
from ranvier.session import Session
from ranvier.settings import load
from ranvier.tasks.ephys.raw_ephys_qc import raw_ephys_qc
from ranvier.tasks.ephys.raw_registration import raw_registration
from ranvier.tasks.ephys.spike_sorting import spike_sorting
from ranvier.tasks.ephys.unit_metrics import unit_metrics


def run(task: Task, session: Session, probe: str, description: dict[str, str]) -> None:
    """Call one task's function; its outputs are written straight into the session."""
    instance = make_instance(task, probe, description, load())
    with tempfile.TemporaryDirectory(dir=session.path) as scratch:
        job = Job(
            session_path=session.path,
            device=probe,
            description=description,
            inputs=instance.input_files(session),
            outputs=[output.pattern for output in instance.outputs],
            parameters=instance.parameters,
            values=instance.values,
            scratch=Path(scratch),
            staging=session.path,
            cpu=instance.resources.cpu,
        )
        task(job, **instance.parameters)


def main() -> None:
    """Process every probe of the session named on the command line."""
    logging.basicConfig(level=logging.INFO)
    session = Session.parse(sys.argv[1])
    for path in session.path.glob("raw_ephys_data/*/*"):
        digest(path)  # the raw files' md5 belongs to the job
    for probe, description in acquisition.read(session).of("probe").items():
        for task in (raw_registration, raw_ephys_qc, spike_sorting, unit_metrics):
            run(task, session, probe, description)


if __name__ == "__main__":
    main()
