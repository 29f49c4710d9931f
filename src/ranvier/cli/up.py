"""``ranvier up``: every service of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ranvier.supervisor import Event, State


def up(
    lab: Annotated[str | None, typer.Option(help="At the first start: the lab's name, as in session paths; default: lab.")] = None,
    create_subjects: Annotated[bool, typer.Option("--create-subjects", help="At the first start: register subjects nobody knows.")] = False,
) -> None:
    """Run every service of this machine until Ctrl-C: database, Prefect, Dask, dispatcher, agent."""
    import sys

    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.supervisor import up as run_services

    here = settings.initialise(lab=lab or "lab", unknown_subject="create" if create_subjects else "refuse")
    if (lab and lab != here.lab.name) or (create_subjects and here.registration.unknown_subject != "create"):
        written = here.home / "config.toml"
        raise typer.BadParameter(f"{written} is there already and says otherwise; change it there", param_hint="--lab, --create-subjects")
    screen.err.print(f"Home: {screen.escape(str(here.home))}", soft_wrap=True)
    run_services(here, on_event=tell, on_ready=lambda state: ready(state) if sys.stdout.isatty() else print("ready", flush=True))
    screen.err.print("All services have stopped.")


def tell(event: Event) -> None:
    """Say what happened to a service."""
    from ranvier.cli import screen

    marks = {"healthy": "[green]✓[/]", "done": "[green]✓[/]", "died": "[bold red]✗[/]", "stopped": "[dim]■[/]"}
    if event.kind in marks:
        screen.err.print(f"{marks[event.kind]} {event.service} [dim]{event.kind} {screen.escape(event.detail)}[/]", soft_wrap=True)


def ready(state: State) -> None:
    """Say where everything is."""
    from ranvier.cli import screen

    rows = [(name, service.address) for name, service in state.services.items() if service.address]
    screen.out.print(screen.table(("", ""), rows, title="Ready"))
    screen.out.print("Copy a session into the lab's folder, or try `ranvier simulate`. Ctrl-C stops everything.")
