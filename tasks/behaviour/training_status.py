"""Which of IBL's stages of training an animal has reached, over its latest days."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranvier import Input, Output, Resources, acquisition, task
from ranvier.errors import RanvierError
from ranvier.job import Job
from ranvier.session import Session, SessionPathError
from ranvier.tasks.behaviour.bpod import TASK_SETTINGS
from ranvier.tasks.behaviour.training_stage import COLUMNS, Day, status
from ranvier.tasks.behaviour.trials import TABLE

if TYPE_CHECKING:
    import pandas as pd

STATUS = "{alf}/_ranvier_training.status.json"
#: Days that are drawn; the latest three decide.
SHOWN = 30
_CHOICE_WORLD = re.compile(r"(training|biased|ephys)ChoiceWorld")


@task(
    version="1.1.0",
    per="protocol",
    inputs=[Input(TABLE), Input(TASK_SETTINGS)],
    outputs=[Output(STATUS)],
    resources=Resources(cpu=1, memory_gb=2, timeout_s=1800),
    packages=("numpy", "scipy"),
    priority=20,
)
def training_status(job: Job) -> None:
    """IBL's stage of training, from the trials of this day and of the animal's days before it.

    Those days are read from the tables that `trials` has written into the subject's folder; what has none yet does not count, and a table
    that cannot be read is left out with a warning. A protocol other than IBL's ChoiceWorlds has no stages: nothing is written.
    """
    from ranvier.tasks.behaviour import behaviour_figures

    session = Session.parse(job.session_path)
    if _kind(job.description, job.device, _settings(job.files(TASK_SETTINGS)[0])) is None:
        job.log.info("%s is none of IBL's ChoiceWorlds, which stages of training are told from", job.device)
        return
    days = read_days(job, session)
    found = status(days)
    told = {"status": found.stage, "asking": found.asking, "days": [_told(day) for day in days[-SHOWN:]]}
    job.save(STATUS, {**told, "criteria": {name: asdict(each) for name, each in found.criteria.items()}})
    job.qc("training_status", found.stage)
    lacking = [f"{name} {each.value} ({each.asked})" for name, each in found.criteria.items() if not each.met]
    job.qc("lacking", f"{found.asking}: {'; '.join(lacking)}" if lacking else "nothing")
    job.qc("n_days", len(days))
    figure = behaviour_figures.training(days[-SHOWN:], found.stage, session.subject)
    job.figure("training", figure, "Performance on easy trials and number of trials, by day")


def read_days(job: Job, session: Session) -> list[Day]:
    """The days of a session's animal up to that of the session, in order; sessions of the same day are put together."""
    import pandas as pd

    days: dict[str, Day] = {}
    for each in earlier(session):
        for day in _of_session(job, each):
            before = days.get(day.date)
            table = pd.concat([before.table, day.table], ignore_index=True) if before else day.table
            rig, delay = (
                (day.ephys_rig, day.delay_s) if not before else (day.ephys_rig or before.ephys_rig, max(day.delay_s, before.delay_s))
            )
            days[day.date] = Day(day.date, day.protocol, table, rig, delay)
    return [days[date] for date in sorted(days)]


def earlier(session: Session) -> list[Session]:
    """Sessions of the same subject in the same folder up to this one, in order, it included."""
    found = []
    for folder in session.path.parents[1].glob("*/*"):
        try:
            found.append(Session.parse(folder))
        except SessionPathError:
            continue
    key = lambda each: (each.date, each.number)  # noqa: E731
    return sorted((each for each in found if key(each) <= key(session)), key=key)


def _of_session(job: Job, session: Session) -> list[Day]:
    try:
        described = acquisition.read(session).of("protocol")
    except RanvierError as error:
        job.log.warning("%s is left out: %s", session.reference, error)
        return []
    days = []
    for device, description in described.items():
        collection = description["collection"]
        settings = session.find(TASK_SETTINGS.format(collection=collection))
        tables = session.find(TABLE.format(alf=acquisition.alf_folder(collection)))
        content = _settings(settings[0]) if settings else {}
        kind = _kind(description, device, content)
        if kind and tables and (table := _table(job, tables[0])) is not None:
            days.append(Day(session.date.isoformat(), kind, table, _ephys_rig(kind, content), _delay(content)))
    return days


def _table(job: Job, path: Path) -> pd.DataFrame | None:
    import pandas as pd

    try:
        return pd.read_parquet(path, columns=list(COLUMNS))
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are among these
        job.log.warning("%s is left out: %s", path, error)
        return None


def _settings(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}  # the task `trials` has told of it
    return content if isinstance(content, dict) else {}


def _kind(description: dict[str, Any], device: str, settings: dict[str, Any]) -> str | None:
    """Which ChoiceWorld it is, by its name in the description or by the rig's settings."""
    for name in (device, str(settings.get("PYBPOD_PROTOCOL") or "")):
        if found := _CHOICE_WORLD.search(name):
            return found[1]
    return None


def _ephys_rig(kind: str, settings: dict[str, Any]) -> bool:
    rig = settings.get("RIG_NAME") or settings.get("PYBPOD_BOARD") or ""
    return kind == "ephys" or "ephys" in str(rig).lower()


def _delay(settings: dict[str, Any]) -> float:
    return float(settings.get("SESSION_DELAY_START") or settings.get("SESSION_START_DELAY_SEC") or 0)


def _told(day: Day) -> dict[str, Any]:
    return {
        "date": day.date,
        "protocol": day.protocol,
        "n_trials": len(day.table),
        "performance_easy": None if day.easy != day.easy else round(day.easy, 4),
        "ephys_rig": day.ephys_rig,
        "delay_s": day.delay_s,
    }
