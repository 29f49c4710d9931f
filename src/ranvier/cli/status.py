"""``ranvier status``: is my session done, and is it good?"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ranvier.client import Database
    from ranvier.overview import Overview


def status(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="Its id, its folder, or subject/yyyy-mm-dd/number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=250, help="How many sessions to list without SESSION.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="For a script.")] = False,
) -> None:
    """Tell of one session whether it is done and good (exit code 1 when something is wrong), or list the latest ones."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.client import Database
    from ranvier.lookup import find
    from ranvier.overview import overview

    here = settings.load()
    database = Database.from_settings(here, patience_s=3.0)
    if session is None:
        _list(database, limit, json=json)
        return
    seen = overview(find(session, database, here), database, here)
    if json:
        screen.print_json(vars(seen))
    else:
        show(seen)
    if seen.good is False:
        raise typer.Exit(1)


def show(seen: Overview) -> None:
    """Print a session on one screen."""
    from ranvier.cli import screen

    colour = {True: "green", False: "red", None: "blue"}[seen.good]
    screen.out.print(
        f"[bold]{screen.escape(seen.reference)}[/] [dim]{seen.lab} {seen.eid}[/]\n[bold {colour}]{seen.verdict}[/]\n", soft_wrap=True
    )
    screen.out.print(screen.table(("task", "status", "time", "attempt"), [_row(row) for row in seen.tasks]))
    for row in seen.tasks:
        if row.get("reason"):
            screen.out.print(
                f"\n{screen.escape(row['name'])} is {screen.coloured(row['status'])}: {screen.escape(row['reason'])}", soft_wrap=True
            )
    screen.out.print(f"\nQuality   {screen.coloured_qc(seen.qc)}{_judged(seen.checks)}", soft_wrap=True)
    if seen.units:
        screen.out.print("Units     " + ", ".join(f"{count} ({screen.escape(name)})" for name, count in seen.units.items()), soft_wrap=True)
    screen.out.print(f"Datasets  {seen.datasets}, {screen.size(seen.size)}{_kept_there(seen)}", soft_wrap=True)
    folders = Counter(str(figure.parent) for figure in seen.figures)
    for index, (folder, count) in enumerate(folders.items()):
        screen.out.print(f"{'' if index else 'Figures':<10}{screen.escape(folder)} ({count})", soft_wrap=True)
    for name, address in seen.links.items():
        screen.out.print(f"{name.capitalize():<10}{address}", soft_wrap=True)


def _kept_there(seen: Overview) -> str:
    """That datasets can only be had where they are, where that is so."""
    if seen.downloadable >= seen.datasets:
        return ""
    return f"; {seen.downloadable} of them can be downloaded: a repository is served once it has a data_url (docs/labs.md)"


def _judged(checks: dict[str, str]) -> str:
    """What is not as it should be, by name, and how much is."""
    from ranvier.cli import screen

    told = [f"{screen.escape(name)} {screen.coloured_qc(outcome)}" for name, outcome in checks.items() if outcome != "PASS"]
    if good := len(checks) - len(told):
        told.append(f"{good} {screen.coloured_qc('PASS')}")
    return f" ({', '.join(told)})" if told else ""


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    from ranvier.cli import screen
    from ranvier.states import Status

    under_way = Status.parse(row["status"]) in (Status.WAITING, Status.STARTED)  # the time is that of the attempt before
    elapsed = "-" if under_way else screen.duration(row.get("time_elapsed_secs"))
    return screen.escape(row["name"]), screen.coloured(row["status"]), elapsed, str(row.get("attempt") or "-")


def _list(database: Database, limit: int, *, json: bool) -> None:
    from ranvier.cli import screen
    from ranvier.overview import verdict
    from ranvier.session import reference_of

    rows = []
    for record in database.sessions(limit):
        eid = record["id"]
        full = database.session(eid)
        good, sentence = verdict(database.tasks(eid), full.get("qc") or "NOT_SET", full.get("json"))
        reference = reference_of(record)
        rows.append({"eid": eid, "session": reference, "lab": record["lab"], "good": good, "verdict": sentence})
    if json:
        screen.print_json(rows)
    elif not rows:
        screen.out.print("No session is registered yet; `ranvier simulate` makes one.")
    else:
        colours = {True: "green", False: "red", None: "blue"}
        lines = [(screen.escape(row["session"]), row["lab"], f"[{colours[row['good']]}]{row['verdict']}[/]") for row in rows]
        screen.out.print(screen.table(("session", "lab", ""), lines))
