"""``ranvier labs``: the labs of the database, and adding one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ranvier.labs import LabState

app = typer.Typer(help="The labs of the database and their servers.", invoke_without_command=True)


@app.callback()
def labs(context: typer.Context, json: Annotated[bool, typer.Option("--json", help="For a script.")] = False) -> None:
    """List the labs: data repository, work pool and whether a worker polls it, cluster, last sign of life; this machine's own is marked."""
    if context.invoked_subcommand:
        return
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.client import Database
    from ranvier.labs import overview

    here = settings.load()
    found = overview(Database.from_settings(here, patience_s=3.0), here)
    if json:
        screen.print_json([{**each.lab, "server": each.server, "polled": each.polled, "polling": each.polling} for each in found])
        return
    columns = ("", "lab", "time zone", "data repositories", "work pool", "cluster", "last sign of life")
    screen.out.print(screen.table(columns, [_row(each, here.lab.name) for each in found]))


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Name of the lab, as in session paths.")],
    root: Annotated[str | None, typer.Option(help="On the lab's server: folder of its data; must end in <lab>/Subjects.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Time zone of the rigs, such as Europe/London; default: UTC, or as it is.")] = None,
    repository: Annotated[str | None, typer.Option(help="Name of its data repository; default: <lab>_server.")] = None,
    data_url: Annotated[str | None, typer.Option(help="Address of the folder <lab>/Subjects, where a web server serves it.")] = None,
) -> None:
    """Make a lab, its data repository and a user for its server, and print the one command to run there. Again: the same, but as asked."""
    from ranvier import labs, settings
    from ranvier.cli import screen
    from ranvier.client import Database

    if root is not None:
        labs.check_root(root, name)
    here = settings.load()
    server = labs.add(Database.as_administrator(here), name, timezone=timezone, repository=repository, data_url=data_url)
    screen.err.print(
        f"{name} has the data repository {server['repository']}. Run this on its server, where Ranvier is installed:", soft_wrap=True
    )
    print(labs.command(server, here.database_url, root))
    if here.address in ("127.0.0.1", "localhost") and not here.database.url:
        screen.err.print("Only this machine reaches that address; for others set machine.address and ports.host.", soft_wrap=True)


def _row(state: LabState, own: str) -> tuple[str, ...]:
    from ranvier.cli import screen
    from ranvier.labs import describe_cluster

    lab, server = state.lab, state.server or {}
    seen = screen.ago(server["last_seen"]) if server.get("last_seen") else "never"
    cells = (lab["name"], lab.get("timezone") or "", ", ".join(lab.get("repositories") or []))
    polled = "polled by a worker" if state.polling else "no worker polls"
    return ("→" if lab["name"] == own else "", *cells, polled, screen.escape(describe_cluster(server.get("cluster"))), seen)
