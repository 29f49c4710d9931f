"""``ranvier failures``: what fails, how often, and where."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import typer


def failures(
    lab: Annotated[str | None, typer.Option(help="Those of one lab only; default: all labs.")] = None,
    task: Annotated[str | None, typer.Option(help="Those of one task only.")] = None,
    since: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day from which on to look; default: 30 days ago.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many kinds of failures to list.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="For a script.")] = False,
) -> None:
    """List equal failures over sessions and labs: how many sessions, since when, and how many have been put right since."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.client import Database
    from ranvier.plugins import registry

    first = since or dt.datetime.now(dt.UTC).replace(tzinfo=None) - dt.timedelta(days=30)
    database = Database.from_settings(settings.load(), patience_s=3.0)
    found = database.failures(lab=lab, task=task, since=first.isoformat(timespec="seconds"), limit=limit)
    if json:
        screen.print_json(found)
    elif not found:
        if task and not database.has_task(task):
            registry().get(task)  # which says that there is none
        screen.out.print(f"No failures since {first:%Y-%m-%d}.")
    for each in [] if json else found:
        _show(each)


def _show(each: dict[str, Any]) -> None:
    from ranvier.amounts import counted
    from ranvier.cli import screen

    paused = f"  [bold red]paused in {', '.join(each['paused'])}[/]" if each["paused"] else ""
    what = " at ".join(filter(None, (each["error_type"], each["place"])))
    name, version, what = (screen.escape(text) for text in (each["task"], each["version"], what))
    where = f"{counted(each['sessions'], 'session')} in {', '.join(each['labs'])}"
    lines = (
        f"[cyan]{each['fingerprint']}[/] [bold]{name}[/] {version}: {what}{paused}",
        f"  {where}; {each['put_right']} of {each['tasks']} tasks are right by now; "
        f"{each['first_seen'][:16]} to {each['last_seen'][:16]} UTC",
        f"  [dim]{each['session_path']}:[/] {screen.escape(each['message'][:400])}",
    )
    for line in lines:
        screen.out.print(line, soft_wrap=True)
