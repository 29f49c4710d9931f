"""The flow that looks after a lab: what is not as it should be, once an hour, where an engineer sees it."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import StateType
from prefect.states import State

from ranvier import settings as settings_module
from ranvier.client import Database
from ranvier.finding import Finding
from ranvier.reconcile import differences

FLOW = "reconcile"


@flow(name=FLOW)
def reconcile(days: int = 30, hashes: bool = False) -> State[Any]:
    """Compare database, Prefect, Dask and disk of the lab; fails when something is not as it should be, and says what mends it.

    Parameters
    ----------
    days
        Sessions and datasets of the last so many days are looked at.
    hashes
        Read every file again and compare its md5 with the registered one.
    """
    settings = settings_module.load()
    since = dt.date.today() - dt.timedelta(days=days)
    found = list(differences(settings, Database.from_settings(settings), since=since, hashes=hashes))
    for finding in found:
        level = logging.INFO if finding.ok else logging.WARNING
        get_run_logger().log(level, "%s: %s%s", finding.part, finding.detail, f" → {finding.mend}" if finding.mend else "")
    create_markdown_artifact(_table(found), key="findings", description=f"What is not as it should be in {settings.lab.name}")
    wrong = [f"{finding.part}: {finding.detail}" for finding in found if not finding.ok]
    if wrong:
        return State(type=StateType.FAILED, name="Findings", message=f"{len(wrong)} findings: {'; '.join(wrong[:3])}")
    return State(type=StateType.COMPLETED, name="Completed", message="database, Prefect, cluster and disk agree")


def _table(found: list[Finding]) -> str:
    rows = [f"| {'✓' if each.ok else '✗'} | {each.part} | {_cell(each.detail)} | {_cell(each.mend, code=True)} |" for each in found]
    return "\n".join(["| | part | what was seen | what mends it |", "|---|---|---|---|", *rows])


def _cell(text: str, *, code: bool = False) -> str:
    plain = text.replace("|", "\\|").replace("\n", " ")
    return f"`{plain}`" if code and plain else plain
