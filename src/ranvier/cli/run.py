"""``ranvier run``: ask for a session's preprocessing, through the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ranvier.cli.options import SessionArgument, TaskOption

if TYPE_CHECKING:
    from ranvier.client import Database
    from ranvier.settings import Settings

WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit code 1 when something failed.")]


def run(session: SessionArgument, task: TaskOption = None, wait: WaitOption = False) -> None:
    """Have what is due of a session run; what is done and unchanged stays."""
    from ranvier import runs

    database, here, eid = find_session(session)
    runs.refuse_unknown(database, eid, task or ())
    _report(session, database, here, runs.ask(database, eid, task), wait=wait)


def find_session(text: str) -> tuple[Database, Settings, str]:
    """The database, this machine's settings, and the id of the session that a text names."""
    from ranvier import settings
    from ranvier.client import Database
    from ranvier.lookup import find

    here = settings.load()
    database = Database.from_settings(here, patience_s=3.0)
    return database, here, find(text, database, here)["id"]


def _report(text: str, database: Database, here: Settings, event: dict[str, Any], *, wait: bool) -> None:
    from ranvier import runs
    from ranvier.cli import screen

    screen.err.print(f"Asked for; `ranvier status {screen.escape(text)}` tells how it stands.", soft_wrap=True)
    if not wait:
        return
    with screen.err.status("Waiting for the flow run") as line:
        flow_run = runs.await_delivery(database, event)
        line.update(f"Waiting for {here.prefect_ui_url}/runs/flow-run/{flow_run}")
        good, words = runs.await_end(here, flow_run)
    screen.out.print(f"[{'green' if good else 'bold red'}]{screen.escape(words)}[/]", soft_wrap=True)
    if not good:
        raise typer.Exit(1)
