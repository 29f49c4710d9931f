"""``ranvier tokens``: tokens with names, for scripts and machines that need only a part of what a user may."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from ranvier.cli.options import JsonOption

app = typer.Typer(help="Tokens with names: made, listed and revoked.", no_args_is_help=True)
SCOPES = "all, read, lab (writes in one lab) or pipeline (sessions, data and tasks)"


@app.command("list")
def list_tokens(json: JsonOption = False) -> None:
    """List them: whose, for what, until when, and when each was used last."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.client import Database

    found = Database.as_administrator(settings.load()).tokens()
    if json:
        screen.print_json(found)
        return
    rows = [
        (
            each["id"],
            each["user"],
            screen.escape(each["name"]),
            each["scope"],
            each["lab"] or "",
            each["expires"] or "never",
            each["last_used"] or "never",
        )
        for each in found
    ]
    screen.out.print(screen.table(("id", "user", "name", "scope", "lab", "expires", "last used"), rows))


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    user: Annotated[str | None, typer.Option(help="Whose rights it has; default: yours.")] = None,
    scope: Annotated[str, typer.Option(help=f"What it is good for: {SCOPES}.")] = "all",
    lab: Annotated[str | None, typer.Option(help="The only lab that it writes in.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires; default: never.")] = None,
    json: JsonOption = False,
) -> None:
    """Make one and print it, this once: only its hash is kept."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.client import Database

    end = (dt.datetime.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(days=days)).isoformat(timespec="seconds") if days else None
    asked = {"name": name, "scope": scope, "lab": lab, "expires": end, **({"user": user} if user else {})}
    made = Database.as_administrator(settings.load()).new_token(**asked)
    if json:
        screen.print_json(made)
    else:
        print(made["token"])


@app.command("revoke")
def revoke(token: Annotated[str, typer.Argument(help="Its id, as `ranvier tokens list` shows it.")], json: JsonOption = False) -> None:
    """Revoke one: from now on it is refused."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.client import Database

    Database.as_administrator(settings.load()).revoke_token(token)
    if json:
        screen.print_json({"revoked": token})
    else:
        screen.err.print(f"{token} is revoked.")
