"""``ranvier demo``: all of it on this machine, once through."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ranvier.session import Session
    from ranvier.settings import Settings
    from ranvier.supervisor import State


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C, to look around.")] = False,
) -> None:
    """Start every service, simulate a session, run the main job, say what came out. The home is .demo here unless --home names one."""
    from ranvier import demo as steps
    from ranvier.cli import screen
    from ranvier.cli.up import tell
    from ranvier.client import Database
    from ranvier.supervisor import running

    os.environ.setdefault("RANVIER_HOME", str(Path(".demo").absolute()))
    settings = steps.prepare()
    screen.out.rule("[bold]Starting the services")
    with running(settings, on_event=tell) as state:
        database = Database.from_settings(settings)
        screen.out.rule("[bold]A session arrives")
        with screen.progress("Simulating") as advance:
            session, new = steps.record(settings, advance)
        screen.out.print(f"{session.path} {'has arrived' if new else 'is there already: it is asked for again'}", soft_wrap=True)
        with screen.watching() as watch:
            words = steps.follow(settings, database, session, new=new, advance=watch)
        good = _summary(settings, database, session, words)
        _addresses(settings, state)
        if keep:
            _wait()
        else:
            screen.out.print("\nAll of it stops now; `ranvier demo --keep` leaves it running to look around in.")
    if not good:
        raise typer.Exit(1)


def _summary(settings: Settings, database: Any, session: Session, words: str) -> bool:
    from ranvier import demo as steps
    from ranvier.amounts import counted
    from ranvier.cli import screen, status
    from ranvier.lookup import find
    from ranvier.overview import overview
    from ranvier.states import GOOD_ENOUGH, Status

    seen = overview(find(str(session.path), database, settings), database, settings)
    screen.out.rule("[bold]What came out")
    screen.out.print(f"Prefect says: {screen.escape(words)}\n", soft_wrap=True)
    status.show(seen)
    if unfinished := [row["name"] for row in seen.tasks if Status.parse(row["status"]) not in GOOD_ENOUGH]:
        screen.err.print(f"[bold red]{counted(len(unfinished), 'task')} not done;[/] `ranvier logs` shows why", soft_wrap=True)
        return False
    screen.out.rule("[bold]How much of the truth was found")
    for what, found in steps.found(session, settings).items():
        screen.out.print(f"{what:<14}{screen.escape(found)}", soft_wrap=True)
    loaded = steps.load_with_one(settings, steps.sorter_of(settings))
    screen.out.rule("[bold]Load it with ONE")
    screen.out.print(
        f"{screen.escape(loaded.code)}\n[green]{screen.escape(loaded.printed)}[/] [dim]loaded just now by a fresh ONE[/]",
        soft_wrap=True,
    )
    return True


def _addresses(settings: Settings, state: State) -> None:
    from ranvier.cli import screen

    rows = [
        ("Prefect", settings.prefect_ui_url),
        ("Database", f"{settings.database_url}/admin  (user admin, password in {settings.home}/secrets/admin_password)"),
        ("Dask", state.services["dask-scheduler"].address),
        ("Logs", str(settings.home / "logs")),
    ]
    screen.out.rule("[bold]Where to look")
    for name, where in rows:
        screen.out.print(f"{name:<10}{screen.escape(where)}", soft_wrap=True)


def _wait() -> None:
    import contextlib
    import signal

    from ranvier.cli import screen

    screen.out.print("\nEverything runs on; Ctrl-C stops it.")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
