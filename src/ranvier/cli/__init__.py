"""The command line: a file for each command or group, which parses, imports late and calls one library function.

Exit codes: 0 all is well, 1 something is wrong or has failed (said on the error stream, with what to do), 2 the command was not understood.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ranvier.cli import (
    backfill,
    cancel,
    db,
    demo,
    doctor,
    failures,
    labs,
    logs,
    plan,
    register,
    rerun,
    run,
    simulate,
    status,
    tasks,
    tokens,
    up,
)
from ranvier.errors import RanvierError

#: Characters; Linux takes no longer path.
LONGEST_ARGUMENT = 4096


class NotUnderstood(RanvierError):
    """The command line holds what no command can take."""


app = typer.Typer(
    help="From the rig to results that anyone allowed can search, load, look at and trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (up.up, demo.demo, simulate.simulate, register.register, plan.plan, run.run, rerun.rerun, status.status, logs.logs):
    app.command()(command)
app.command("cancel")(cancel.cancel)
app.command("failures")(failures.failures)
app.command("doctor")(doctor.doctor)
app.add_typer(labs.app, name="labs")
app.add_typer(tokens.app, name="tokens")
app.add_typer(db.app, name="db")
app.add_typer(tasks.app, name="tasks")
app.add_typer(backfill.app, name="backfill")


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
    if home is None:
        return
    try:  # into the environment, so that every process that a command starts has the same home
        os.environ["RANVIER_HOME"] = str(home.expanduser().absolute())
    except RuntimeError:
        raise typer.BadParameter(f"{home}: there is no such user", param_hint="--home") from None


def main() -> None:
    """Run the command line; whatever goes wrong becomes a line, a hint and an exit code."""
    try:
        _refuse_unreadable(sys.argv[1:])
        app()
    except Exception as error:  # the edge: nobody should have to read a traceback who did not ask for it
        if os.environ.get("RANVIER_DEBUG") == "1":
            raise
        from ranvier.cli.screen import complain

        complain(_told(error))
        sys.exit(2 if isinstance(error, NotUnderstood) else 1)


def _refuse_unreadable(arguments: list[str]) -> None:
    """Say no to what can be no name, number or path of a session."""
    for number, argument in enumerate(arguments, start=1):
        if len(argument) > LONGEST_ARGUMENT:
            raise NotUnderstood(
                f"argument {number} has {len(argument)} characters, of which {LONGEST_ARGUMENT} are allowed", "name a file or a session"
            )
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise NotUnderstood(f"argument {number} is not UTF-8: {os.fsencode(argument)!r}", "rename it, or set LANG to a UTF-8 locale")


def _told(error: Exception) -> RanvierError:
    """An error in the words of a person."""
    if isinstance(error, RanvierError):
        return error
    if isinstance(error, OSError) and error.strerror:
        return _of_the_system(error)
    return RanvierError(
        f"Ranvier made a mistake: {type(error).__name__}: {error}", "RANVIER_DEBUG=1 shows where; please report it with the command"
    )


def _of_the_system(error: OSError) -> RanvierError:
    """What the operating system would not do; a user without a home folder is told so, for ONE-api keeps its parameters there."""
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    user = Path(os.environ.get("HOME", "/"))
    if not user.is_dir():
        return RanvierError(what, f"the user's home folder HOME={user} is not there; make it, or set HOME to a folder that is")
    return RanvierError(what, "put it right, or name another folder; RANVIER_DEBUG=1 shows what wanted it")


__all__ = ["app", "main"]
