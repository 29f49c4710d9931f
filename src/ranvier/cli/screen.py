"""How things look on a terminal: colours of statuses, tables, times, and the one way to show an error."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ranvier.amounts import duration as duration
from ranvier.amounts import size as size
from ranvier.errors import RanvierError
from ranvier.states import Status

#: Columns where nobody says how many there are: wide, so that a file or another program gets whole lines.
WIDE = 200

#: Seconds between two lines of progress where there is no terminal.
LINE_S = 10.0
#: Characters of an error that are shown; of a longer one the beginning and the end.
LONGEST_ERROR = 1500


def _columns() -> int:
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() and 0 < int(given) < 10_000 else WIDE


_width = None if sys.stdout.isatty() else _columns()
out = Console(highlight=False, width=_width)
err = Console(stderr=True, highlight=False)

STYLES = {
    Status.WAITING: "cyan",
    Status.HELD: "yellow",
    Status.STARTED: "blue",
    Status.ERRORED: "bold red",
    Status.ABANDONED: "dim",
    Status.EMPTY: "magenta",
    Status.INCOMPLETE: "yellow",
    Status.COMPLETE: "green",
}
QC_STYLES = {"PASS": "green", "WARNING": "yellow", "FAIL": "red", "CRITICAL": "bold red"}


def complain(error: RanvierError) -> None:
    """Show an error that a person can put right: what is wrong, and what to do."""
    err.print(f"[bold red]Error:[/] {escape(_short(error.message))}", soft_wrap=True)
    if error.hint:
        err.print(f"[dim]→[/] {escape(_short(error.hint))}", soft_wrap=True)


def _short(text: str) -> str:
    half = LONGEST_ERROR // 2
    return text if len(text) <= LONGEST_ERROR else f"{text[:half]} … {text[-half:]}"


def print_json(content: Any) -> None:
    """Write for a script; nothing else goes to standard output then."""
    json.dump(content, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")


def coloured(status: str) -> str:
    """A task's status, in its colour."""
    return f"[{STYLES[Status.parse(status)]}]{status}[/]"


def coloured_qc(outcome: str) -> str:
    """A quality outcome, in its colour."""
    return f"[{QC_STYLES.get(outcome, 'dim')}]{outcome}[/]"


def ago(stamp: str) -> str:
    """How long ago a time of the database was (UTC), such as ``12.0 s ago``."""
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    return f"{duration(max(0.0, (now - dt.datetime.fromisoformat(stamp)).total_seconds()))} ago"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], title: str = "") -> Table:
    """A plain table; its cells may hold markup, so escape what comes from elsewhere."""
    made = Table(*columns, title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for row in rows:
        made.add_row(*row)
    return made


@contextmanager
def progress(title: str) -> Iterator[Callable[[float, str], None]]:
    """How far long work is, on the error stream: a bar on a terminal, else a line now and then.

    Yields
    ------
    callable
        Takes the fraction done and what is being done.
    """
    if not err.is_terminal:
        yield _Lines(title)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=err, transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda fraction, doing: bar.update(task, completed=fraction, description=f"{title}: {escape(doing)}" if doing else title)


class _Lines:
    """Progress for a log file or another program: a line every `LINE_S` seconds."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.told = time.monotonic()

    def __call__(self, fraction: float, doing: str) -> None:
        if time.monotonic() - self.told >= LINE_S:
            self.told = time.monotonic()
            err.print(f"{self.title}: {fraction:.0%}{f', {escape(doing)}' if doing else ''}", soft_wrap=True)


@contextmanager
def watching() -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """Show task rows as they change: a table that redraws itself on a terminal, else a line for each change."""
    if not out.is_terminal:
        yield _Changes()
        return
    from rich.live import Live

    with Live(console=out, refresh_per_second=4, transient=True) as live:
        yield lambda rows: live.update(table(("task", "status", "time"), [_watched(row) for row in sorted(rows, key=_by_level)]))


class _Changes:
    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def __call__(self, rows: list[dict[str, Any]]) -> None:
        for row in sorted(rows, key=_by_level):
            if self.seen.get(row["name"]) != row["status"]:
                self.seen[row["name"]] = row["status"]
                out.print("  ".join(_watched(row)))


def _watched(row: dict[str, Any]) -> tuple[str, str, str]:
    return escape(row["name"]), coloured(row["status"]), duration(row.get("time_elapsed_secs"))


def _by_level(row: dict[str, Any]) -> tuple[int, str]:
    return row["level"], row["name"]
