"""Options that several commands share."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import typer

SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="Its id, its folder, or subject/yyyy-mm-dd/number.")]
SessionArguments = Annotated[
    list[str] | None, typer.Argument(metavar="[SESSION]...", help="Each by its id, its folder, or subject/yyyy-mm-dd/number.")
]
TaskOption = Annotated[
    list[str] | None, typer.Option("--task", help="A task, or one instance such as 'spike_sorting[probe00]'; may be repeated.")
]
LabOption = Annotated[list[str] | None, typer.Option("--lab", help="Sessions of this lab; may be repeated.")]
ProjectOption = Annotated[list[str] | None, typer.Option("--project", help="Sessions of this project; may be repeated.")]
SubjectOption = Annotated[list[str] | None, typer.Option("--subject", help="Sessions of this subject; may be repeated.")]
SinceOption = Annotated[dt.datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help="First day of the sessions.")]
UntilOption = Annotated[dt.datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="Last day of the sessions.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For a script.")]


def selection(
    sessions: list[str] | None,
    labs: list[str] | None,
    projects: list[str] | None,
    subjects: list[str] | None,
    since: dt.datetime | None,
    until: dt.datetime | None,
) -> dict[str, Any]:
    """Which sessions the options mean, as the database takes it."""
    from ranvier import settings
    from ranvier.lookup import reference

    here = settings.load()
    return {
        "sessions": [reference(text, here) for text in sessions or ()],
        "labs": labs or [],
        "projects": projects or [],
        "subjects": subjects or [],
        "since": since and since.date().isoformat(),
        "until": until and until.date().isoformat(),
    }


def refuse_to_mean_all(chosen: dict[str, Any], hint: str) -> None:
    """Refuse a selection that restricts nothing, as nobody means every session of every lab by saying nothing.

    Raises
    ------
    RanvierError
        With the options that would restrict it.
    """
    from ranvier.errors import RanvierError

    if not any(chosen.values()):
        raise RanvierError("which sessions?", hint)
