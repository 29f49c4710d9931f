"""``ranvier backfill``: a new version of a task over many sessions, with its price first, a canary next, and the rest when told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ranvier.cli.options import (
    JsonOption,
    LabOption,
    ProjectOption,
    SinceOption,
    SubjectOption,
    UntilOption,
    refuse_to_mean_all,
    selection,
)

if TYPE_CHECKING:
    from ranvier.client import Database

app = typer.Typer(help="A new version of a task over many sessions: its price, a canary, and the rest when told.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The backfill's id, or how it begins.")]


@app.command("plan")
def plan(
    task: Annotated[str, typer.Argument(help="Name of the task.")],
    lab: LabOption = None,
    project: ProjectOption = None,
    subject: SubjectOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    version: Annotated[str | None, typer.Option(help="That it shall have run; else the one installed on this machine.")] = None,
    canary: Annotated[int, typer.Option(min=0, help="Sessions that go first.")] = 5,
    at_once: Annotated[int | None, typer.Option(min=1, help="Attempts that a lab runs at once; else the most so far.")] = None,
    unplanned: Annotated[bool, typer.Option("--unplanned", help="Also sessions where the task was never planned.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what would run, why, and what it is expected to cost. Nothing runs."""
    from ranvier import backfill, settings
    from ranvier.cli import screen
    from ranvier.cli.backfill_screens import show_plan

    chosen = {name: value for name, value in selection(None, lab, project, subject, since, until).items() if value}
    refuse_to_mean_all(chosen, "give --lab, --project, --subject, --since or --until; --since 2000-01-01 means all there are")
    options = {"canary": canary, "at_once": at_once, "unplanned": unplanned}
    made = backfill.plan(_database(), settings.load(), task, chosen, version=version, **options)
    if json:
        screen.print_json(made)
    else:
        show_plan(made, backfill.warnings(made, settings.load()))


@app.command("list")
def list_backfills(json: JsonOption = False) -> None:
    """List the latest backfills."""
    from ranvier.cli import screen
    from ranvier.cli.backfill_screens import show_list

    found = _database().backfills()
    screen.print_json(found) if json else show_list(found)


@app.command("status")
def status(which: IdArgument, json: JsonOption = False) -> None:
    """Tell how a backfill goes: verdicts, cost against the estimate, quality before and after."""
    from ranvier import backfill
    from ranvier.cli import screen
    from ranvier.cli.backfill_screens import show_report

    found = backfill.find(_database(), which)
    screen.print_json(found) if json else show_report(found)


@app.command("start")
def start(which: IdArgument) -> None:
    """Ask for the canary's sessions, or for all where there is no canary."""
    _step(which, "canary")


@app.command("go")
def go(
    which: IdArgument,
    anyway: Annotated[bool, typer.Option("--anyway", help="Although the canary has not shown that the version runs.")] = False,
) -> None:
    """Ask for the rest, once the canary has come to its end."""
    _step(which, "going", anyway=anyway)


@app.command("stop")
def stop(which: IdArgument) -> None:
    """Start no more of its sessions; what is running comes to its end."""
    _step(which, "stopped")


def _database() -> Database:
    from ranvier import settings
    from ranvier.client import Database

    return Database.from_settings(settings.load(), patience_s=3.0)


def _step(which: str, state: str, **options: Any) -> None:
    from ranvier import backfill
    from ranvier.cli.backfill_screens import show_report

    database = _database()
    show_report(database.step_backfill(backfill.find(database, which)["id"], state, **options))
