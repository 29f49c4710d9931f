"""``ranvier logs``: what the attempts at a session's tasks have written."""

from __future__ import annotations

from typing import Annotated

import typer

from ranvier.cli.run import SessionArgument


def logs(
    session: SessionArgument,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="A task, or one instance such as 'spike_sorting[probe00]'.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until every task has come to an end.")] = False,
) -> None:
    """Print the logs of the latest attempts."""
    from ranvier import attempt_logs, settings
    from ranvier.cli import screen
    from ranvier.client import Database
    from ranvier.lookup import find

    here = settings.load()
    database = Database.from_settings(here, patience_s=3.0)
    source = attempt_logs.follow if follow else attempt_logs.read
    for line in source(database, find(session, database, here)["id"], task):
        screen.out.print(f"[cyan]{screen.escape(line.task)}[/] {screen.escape(line.text)}", soft_wrap=True)
