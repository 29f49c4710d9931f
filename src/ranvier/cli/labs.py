"""``ranvier labs``: the labs of the database."""

from __future__ import annotations

from typing import Annotated

import typer


def labs(json: Annotated[bool, typer.Option("--json", help="For a script.")] = False) -> None:
    """List the labs of the database, with their data repositories; this machine's own is marked."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.client import Database

    here = settings.load()
    found = Database.from_settings(here, patience_s=3.0).labs()
    if json:
        screen.print_json(found)
        return
    rows = [
        ("→" if lab["name"] == here.lab.name else "", lab["name"], lab.get("timezone") or "", ", ".join(lab.get("repositories") or []))
        for lab in found
    ]
    screen.out.print(screen.table(("", "lab", "time zone", "data repositories"), rows))
