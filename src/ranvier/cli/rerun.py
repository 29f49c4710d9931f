"""``ranvier rerun``: have tasks of one session run again, or of as many as a selection finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ranvier.cli.options import (
    JsonOption,
    LabOption,
    ProjectOption,
    SessionArguments,
    SinceOption,
    SubjectOption,
    TaskOption,
    UntilOption,
    refuse_to_mean_all,
    selection,
)
from ranvier.priority import Priority

if TYPE_CHECKING:
    from ranvier.client import Database

StatusOption = Annotated[list[str] | None, typer.Option("--status", help="Tasks that are now so, such as Errored; may be repeated.")]
FailureOption = Annotated[
    list[str] | None,
    typer.Option("--failure", help="Tasks whose last attempt failed so: a fingerprint, or its beginning; may be repeated."),
]
PriorityOption = Annotated[Priority | None, typer.Option(help="How soon; else now for one session, behind all others for more.")]


def rerun(
    sessions: SessionArguments = None,
    task: TaskOption = None,
    status: StatusOption = None,
    failure: FailureOption = None,
    lab: LabOption = None,
    project: ProjectOption = None,
    subject: SubjectOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    force: Annotated[bool, typer.Option("--force", help="Also what is done and unchanged.")] = False,
    only: Annotated[bool, typer.Option("--only", help="Leave out what comes after the tasks.")] = False,
    priority: PriorityOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be asked for, and ask for nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all have ended; exit code 1 when something failed.")] = False,
    json: JsonOption = False,
) -> None:
    """Have what failed, was not done or was given up (Abandoned) run again; what is given must all agree."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.client import Database

    database = Database.from_settings(settings.load(), patience_s=3.0)
    chosen = selection(sessions, lab, project, subject, since, until)
    chosen |= {"statuses": status or [], "failures": failure or []}
    refuse_to_mean_all(chosen, "name them, or give --lab, --project, --subject, --since, --until, --status or --failure")
    chosen["tasks"] = task or []
    answer = database.rerun(**chosen, force=force, downstream=not only, priority=priority, dry=dry_run)
    if json:
        screen.print_json(answer)
    else:
        show(answer)
        if not force and answer["sessions"]:
            screen.err.print("[dim]What is done and unchanged stays as it is; --force runs it all the same.[/]")
    if wait and not dry_run:
        _wait(database, answer)


def show(answer: dict[str, Any]) -> None:
    """Print what was asked for, or would be."""
    from ranvier import runs
    from ranvier.cli import screen

    columns = ((each["reference"], ", ".join(each["tasks"] or ["all"]), each["reason"]) for each in answer["sessions"])
    rows = [[screen.escape(text) for text in row] for row in columns]
    if rows:
        screen.out.print(screen.table(("session", "tasks", "why"), rows))
    screen.err.print(screen.escape(runs.summary(answer)), soft_wrap=True)


def _wait(database: Database, answer: dict[str, Any]) -> None:
    from ranvier import runs, settings
    from ranvier.cli import screen

    all_good = True
    with screen.err.status("Waiting for the flow runs"):
        for reference, good, words in runs.await_rerun(database, settings.load(), answer["id"]):
            all_good &= good
            screen.out.print(f"{screen.escape(reference)}: [{'green' if good else 'bold red'}]{screen.escape(words)}[/]", soft_wrap=True)
    if not all_good:
        raise typer.Exit(1)
