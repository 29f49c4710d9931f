"""``ranvier db``: what an operator does with the database of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranvier.cli import db_import
from ranvier.cli.options import JsonOption

app = typer.Typer(
    help="The database of this machine: make it ready, back it up, put a backup in place, move a lab in.", no_args_is_help=True
)
app.add_typer(db_import.app, name="import")


@app.command("init")
def init(json: JsonOption = False) -> None:
    """Make secrets, tables, fixtures, users and the lab where they are not there yet; `ranvier up` does the same at each start."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.database.bootstrap import bootstrap

    here = settings.initialise()
    bootstrap(here)
    told = {"home": str(here.home), "url": here.database_url, "admin_password": str(here.secret_file("admin_password"))}
    if json:
        screen.print_json(told)
        return
    screen.out.print(
        f"The database of {told['home']} is ready; its user admin has the password in {told['admin_password']}.", soft_wrap=True
    )


@app.command("fixtures")
def fixtures(json: JsonOption = False) -> None:
    """Add dataset types, formats, procedures and the like by name, update those that nobody has changed, and say which."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.database.commands import bring_fixtures

    done = bring_fixtures(settings.load())
    if json:
        screen.print_json(done)
        return
    for table, names in done.items():
        for what, those in names.items():
            if those:
                screen.out.print(f"{table}: {len(those)} {what}: {screen.escape(', '.join(those))}", soft_wrap=True)
    if not any(names["added"] or names["updated"] for names in done.values()):
        screen.err.print("Nothing to add, nothing to update.")


@app.command("cache")
def cache(
    tag: Annotated[str, typer.Option(help="Only datasets with this tag, and their sessions.")] = "",
    json: JsonOption = False,
) -> None:
    """Make the tables with which ONE works offline; the database does so by itself when ONE asks and something has changed."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.database.commands import make_cache

    told = make_cache(settings.load(), tag)
    if json:
        screen.print_json(told)
        return
    rows = " and ".join(f"{table['nrecs']} {name}" for name, table in told["tables"].items())
    screen.out.print(f"{rows} in {screen.escape(told['archive'])}", soft_wrap=True)


@app.command("backup")
def backup(
    file: Annotated[Path | None, typer.Argument(help="Where to; default: backups/<time>.tar.gz of the home.")] = None,
    json: JsonOption = False,
) -> None:
    """Write the database and its uploads into one file, while it runs; secrets and settings are left out."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.database.backups import back_up

    done = back_up(settings.load(), file)
    if json:
        screen.print_json(done)
        return
    rows = _counted(done["rows"])
    screen.out.print(f"{screen.escape(done['file'])}: {screen.size(done['size'])}, with {rows}", soft_wrap=True)


@app.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="A file of `ranvier db backup`.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the database that is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Put a backup in place of this machine's database, which must not run, and bring it up to this version of Ranvier."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.database.restoring import put_back
    from ranvier.running_state import only_one

    here = settings.initialise()
    with only_one(here):
        done = put_back(here, file, overwrite=overwrite)
    if json:
        screen.print_json(done)
        return
    rows = _counted(done["rows"])
    screen.out.print(
        f"The database of {done['home']} is that of {done['made']}, with {rows}. Users have the passwords they had.", soft_wrap=True
    )


def _counted(rows: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in rows.items())
