"""``ranvier register``: sessions of a folder become sessions of the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(
    paths: Annotated[list[Path], typer.Argument(help="Session folders.", exists=True, file_okay=False)],
    json: Annotated[bool, typer.Option("--json", help="For a script.")] = False,
) -> None:
    """Register sessions in the database; their preprocessing starts by itself. Twice changes nothing."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.client import Database
    from ranvier.errors import RanvierError
    from ranvier.registration import register as register_session

    here = settings.load()
    database, done, failed = Database.from_settings(here, patience_s=3.0), [], 0
    for path in paths:
        try:
            result = register_session(path, here, database)
        except RanvierError as error:
            screen.complain(error)
            failed += 1
            continue
        done.append({"eid": result.record["id"], "path": path, "created": result.created, "problems": result.problems})
        if not json:
            screen.out.print(f"{'registered' if result.created else 'was registered'}: {screen.escape(str(path))}", soft_wrap=True)
            for problem in result.problems:
                screen.err.print(f"[yellow]{screen.escape(str(problem))}[/]", soft_wrap=True)
    if json:
        screen.print_json(done)
    if failed:
        raise typer.Exit(1)
