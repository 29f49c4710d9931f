"""The command line: a file for each command or group, which parses, imports late and calls one library function.

Exit codes: 0 all is well, 1 something is wrong or has failed (said on the error stream, with what to do), 2 the command was not understood.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ranvier.cli import demo, doctor, labs, logs, plan, register, run, simulate, status, tasks, up
from ranvier.errors import RanvierError

app = typer.Typer(
    help="From the rig to results that anyone allowed can search, load, look at and trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (up.up, demo.demo, simulate.simulate, register.register, plan.plan, run.run, run.rerun, status.status, logs.logs):
    app.command()(command)
app.command("labs")(labs.labs)
app.command("doctor")(doctor.doctor)
app.add_typer(tasks.app, name="tasks")


def _version(asked: bool) -> None:
    if asked:
        from ranvier import __version__

        typer.echo(f"ranvier {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    home: Annotated[
        Path | None, typer.Option(help="Folder of this machine's settings and state; else $RANVIER_HOME, else ~/.ranvier.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")] = False,
) -> None:
    if home is not None:  # into the environment, so that every process that a command starts has the same home
        os.environ["RANVIER_HOME"] = str(home.expanduser().absolute())


def main() -> None:
    """Run the command line; an error that a person can put right becomes a line, a hint and exit code 1."""
    try:
        app()
    except RanvierError as error:
        if os.environ.get("RANVIER_DEBUG") == "1":
            raise
        from ranvier.cli.screen import complain

        complain(error)
        sys.exit(1)


__all__ = ["app", "main"]
