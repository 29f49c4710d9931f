"""``ranvier db import``: a lab moves in, from an Alyx or from the tables of a ONE cache."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ranvier.cli.options import JsonOption, LabOption, ProjectOption, SinceOption, SubjectOption

if TYPE_CHECKING:
    from ranvier.settings import Settings

app = typer.Typer(help="Moves a lab in: from an Alyx, or from the tables of a ONE cache.", no_args_is_help=True)
PASSWORD, TOKEN = "RANVIER_ALYX_PASSWORD", "RANVIER_ALYX_TOKEN"

DryOption = Annotated[bool, typer.Option("--dry-run", help="Only count what would come.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace rows that were changed here by what is there.")]
PreprocessOption = Annotated[bool, typer.Option("--preprocess", help="Have each session preprocessed, as one that is registered here.")]


@app.command("alyx")
def alyx(
    url: Annotated[str, typer.Option(help="Address of the Alyx.")],
    user: Annotated[str, typer.Option(help=f"Who signs in there; the password is in ${PASSWORD}, or asked for.")] = "",
    secret_file: Annotated[Path | None, typer.Option(help=f"File with the password; without --user, with a token (also ${TOKEN}).")] = None,
    lab: LabOption = None,
    project: ProjectOption = None,
    subject: SubjectOption = None,
    since: SinceOption = None,
    dry_run: DryOption = False,
    overwrite: OverwriteOption = False,
    preprocess: PreprocessOption = False,
    json: JsonOption = False,
) -> None:
    """Take the rows of an Alyx, with their ids, by reading its REST answers; done again it takes what is new or has changed there."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.database.imports.alyx import Alyx
    from ranvier.database.imports.running import import_alyx

    here = settings.load()
    secret = _secret(here, user, secret_file)
    with screen.progress("import") as tell:
        told = import_alyx(
            here,
            lambda: Alyx(url, user, **secret),
            tell,
            labs=tuple(lab or ()),
            projects=tuple(project or ()),
            subjects=tuple(subject or ()),
            since=since.date() if isinstance(since, dt.datetime) else None,
            overwrite=overwrite,
            preprocess=preprocess,
            dry=dry_run,
        )
    _show(told, json)


@app.command("cache")
def cache(
    folder: Annotated[Path, typer.Argument(help="With sessions.pqt and datasets.pqt, and the labs' folders beside them.")],
    repository: Annotated[
        str, typer.Option(help="Data repository that the files are in; default: this machine's, or <lab>_imported.")
    ] = "",
    lab: LabOption = None,
    dry_run: DryOption = False,
    overwrite: OverwriteOption = False,
    preprocess: PreprocessOption = False,
    json: JsonOption = False,
) -> None:
    """Take labs, subjects, sessions and datasets of a ONE cache, with their ids, and where their files are on this disk."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.database.imports.running import import_cache

    here = settings.load()
    with screen.progress("import") as tell:
        told = import_cache(
            here,
            folder,
            tell,
            repository=repository,
            labs=tuple(lab or ()),
            overwrite=overwrite,
            preprocess=preprocess,
            dry=dry_run,
        )
    _show(told, json)


def _secret(here: Settings, user: str, file: Path | None) -> dict[str, str]:
    """Password or token, from the environment, a file, or whoever sits there."""
    kind, variable = ("password", PASSWORD) if user else ("token", TOKEN)
    if file is not None:
        return {kind: _read(file)}
    if given := os.environ.get(variable):
        return {kind: given}
    if (kept := here.secret_file(f"alyx_{kind}")).exists():
        return {kind: _read(kept)}
    if not sys.stdin.isatty():
        from ranvier.errors import RanvierError

        raise RanvierError(f"no {kind} for the Alyx", f"put it into ${variable}, or into a file that --secret-file names")
    return {kind: typer.prompt(f"{kind} of the Alyx", hide_input=True)}


def _read(file: Path) -> str:
    from ranvier.errors import RanvierError

    try:
        return file.read_text().strip()
    except OSError as error:
        raise RanvierError(f"{file} cannot be read: {error.strerror}", "name a file with the password or the token in it") from None


def _show(told: dict[str, Any], as_json: bool) -> None:
    """Show counts, and what was left out; with that the exit code is 1."""
    from ranvier.cli import screen

    if as_json:
        screen.print_json(told)
    else:
        _show_counts(told, screen.out.print)
        _show_remarks(told, screen.err.print)
    if not told["whole"]:
        raise typer.Exit(1)


def _show_counts(told: dict[str, Any], write: Callable[..., None]) -> None:
    from ranvier.cli import screen

    kinds = list(dict.fromkeys(kind for counts in told["tables"].values() for kind in counts))
    rows = [(table, *(str(counts.get(kind, "")) for kind in kinds)) for table, counts in told["tables"].items()]
    write(screen.table(("table", *kinds), rows))


def _show_remarks(told: dict[str, Any], write: Callable[..., None]) -> None:
    from ranvier.cli import screen

    for remark in told["remarks"]:
        mend = f" → {remark['mend']}" if remark["mend"] else ""
        write(screen.escape(f"{remark['kind']}: {remark['address']}: {remark['reason']}{mend}"), soft_wrap=True)
    if told.get("earlier"):
        write(f"{told['earlier']} more before it was interrupted")
    if told["file"]:
        write(screen.escape(f"All of these, a line each: {told['file']}"), soft_wrap=True)
    for table, fields in told["not_taken"].items():
        named = ", ".join(f"{name} ({number} rows)" for name, number in fields.items())
        write(screen.escape(f"{table}: no place here for {named}"), soft_wrap=True)
