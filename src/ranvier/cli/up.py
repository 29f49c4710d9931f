"""``ranvier up``: every service of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ranvier.settings import Settings
    from ranvier.supervisor import Event, State


def up(
    lab: Annotated[str | None, typer.Option(help="At the first start: the lab's name, as in session paths; default: lab.")] = None,
    create_subjects: Annotated[bool, typer.Option("--create-subjects", help="At the first start: register subjects nobody knows.")] = False,
    centre: Annotated[str | None, typer.Option(help="At the first start of a lab's server: address of the centre's database.")] = None,
    root: Annotated[str | None, typer.Option(help="At the first start of a lab's server: its data, ending in <lab>/Subjects.")] = None,
    centre_at: Annotated[str | None, typer.Option(help="At the first start of a centre: the name or IP that others reach it by.")] = None,
) -> None:
    """Run every service of this machine until Ctrl-C: database, Prefect, Dask, dispatcher, agent, or its role's part of them."""
    import sys

    from ranvier.cli import screen
    from ranvier.supervisor import up as run_services

    here = _settings(lab, create_subjects, centre, root, centre_at)
    screen.err.print(f"Home: {screen.escape(str(here.home))}", soft_wrap=True)
    run_services(here, on_event=tell, on_ready=lambda state: ready(state) if sys.stdout.isatty() else print("ready", flush=True))
    screen.err.print("All services have stopped.")


def _settings(lab: str | None, create_subjects: bool, centre: str | None, root: str | None, centre_at: str | None) -> Settings:
    """Settings of this machine, written at the first start; what an option says must not differ from what is written."""
    from ranvier import labs, settings

    subjects = "create" if create_subjects else "refuse"
    if centre and lab:
        here = labs.join(centre, lab, root, unknown_subject=subjects)
    elif centre or root:
        raise typer.BadParameter("a lab's server needs --centre and --lab, and may have --root", param_hint="--centre, --lab, --root")
    elif centre_at:
        here = settings.initialise_centre(address=centre_at)
    else:
        here = settings.initialise(lab=lab or "lab", unknown_subject=subjects)
    asked: dict[str, str | None] = {"lab.name": lab, "registration.unknown_subject": "create" if create_subjects else None}
    asked |= {"machine.role": "centre", "machine.address": centre_at} if centre_at else {}
    if differs := settings.otherwise(here, {name: value for name, value in asked.items() if value}):
        written = here.home / "config.toml"
        raise typer.BadParameter(
            f"{written} is there already and says otherwise: {differs}; change it there", param_hint="--lab, --create-subjects, --centre-at"
        )
    return here


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
    centre = "agent" not in state.services
    first = "`ranvier labs add NAME` adds a lab." if centre else "Copy a session into the lab's folder, or try `ranvier simulate`."
    screen.out.print(f"{first} Ctrl-C stops everything.")
