"""How backfills look on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ranvier.amounts import span
from ranvier.cli import screen
from ranvier.client import Record

#: What may be done from each state.
_NEXT = {
    "planned": "`ranvier backfill start {}` runs the canary",
    "canary": "`ranvier backfill status {}` tells when the canary has come to its end; `ranvier backfill stop {}` stops it",
    "waiting": "`ranvier backfill go {}` asks for the rest; `ranvier backfill stop {}` leaves it at that",
    "going": "`ranvier backfill status {}` tells how it goes; `ranvier backfill stop {}` stops it",
}


def show_plan(backfill: Record, warnings: Sequence[str]) -> None:
    """Print what would run, why, and its price."""
    estimate = backfill["estimate"]
    _title(backfill)
    _counts("would run", estimate["reasons"])
    _counts("left out", estimate["left_out"])
    columns = ("task", "instances", "attempts known", "wall time", "CPU time", "memory", "written")
    screen.out.print(
        screen.table(columns, [_price(each) for each in estimate["tasks"]], title="\nFor each instance, median to 90th percentile")
    )
    screen.out.print(f"\nIn all    {_total(estimate['total'])}", soft_wrap=True)
    screen.out.print(
        screen.table(("lab", "sessions", "version there", "at once", "takes"), [_lab(each) for each in estimate["labs"]], title=" ")
    )
    for warning in warnings:
        screen.err.print(f"[yellow]Mind:[/] {screen.escape(warning)}", soft_wrap=True)
    _next(backfill)


def show_report(backfill: Record) -> None:
    """Print how it goes."""
    report, sessions = backfill["report"], backfill["estimate"]["sessions"]
    _title(backfill)
    screen.out.print(f"Sessions  {report['ended']} ended of {report['asked']} asked for, of {sessions}")
    if report["verdicts"]:
        screen.out.print("Verdicts  " + ", ".join(f"{count} {screen.coloured(name)}" for name, count in report["verdicts"].items()))
        screen.out.print("Versions  " + _counted(report["versions"]))
        screen.out.print(f"Quality   {_counted(report['qc']['before'])} before; {_counted(report['qc']['after'])} after", soft_wrap=True)
        screen.out.print(f"An attempt {_against(report)}", soft_wrap=True)
    if report["rest_h"]:
        screen.out.print(f"The rest  takes {screen.duration(3600 * report['rest_h'])} at the pace so far")
    if report["canary"]:
        columns = ("session", "task", "status", "version", "time", "quality", "")
        screen.out.print(screen.table(columns, [_canary(each) for each in report["canary"]], title="\nCanary"))
    _next(backfill)


def show_list(backfills: Sequence[Record]) -> None:
    """Print a line for each."""
    rows = [(each["id"][:8], f"{screen.escape(each['task'])} {each['version']}", each["state"], str(each["estimate"]["sessions"]),
             f"{each['created'][:16]} {each['created_by'] or ''}") for each in backfills]  # fmt: skip
    screen.out.print(screen.table(("id", "task", "state", "sessions", "planned"), rows) if rows else "No backfill has been planned yet.")


def _title(backfill: Record) -> None:
    state = "" if backfill["state"] == "planned" else f", {backfill['state']}"
    screen.out.print(f"[bold]{screen.escape(backfill['task'])} {backfill['version']}[/] [dim]{backfill['tag']}[/]{state}")


def _next(backfill: Record) -> None:
    if words := _NEXT.get(backfill["state"]):
        screen.err.print(f"[dim]→[/] {words.format(backfill['id'][:8], backfill['id'][:8])}", soft_wrap=True)


def _counts(title: str, counts: Mapping[str, int]) -> None:
    if counts:
        rows = [(str(count), screen.escape(reason)) for reason, count in sorted(counts.items(), key=lambda item: -item[1])]
        screen.out.print(screen.table(("sessions", title), rows, title=" "))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {screen.escape(name)}" for name, count in counts.items()) or "none"


def _price(each: Mapping[str, Any]) -> tuple[str, ...]:
    known = each["attempts"] > 0
    measures = (("wall_s", screen.duration), ("cpu_s", screen.duration), ("peak_memory_mb", _megabytes), ("written_bytes", screen.size))
    cells = [span(each[name], form) if known else "unknown" for name, form in measures]
    return screen.escape(each["task"]), str(each["instances"]), str(each["attempts"]), *cells


def _megabytes(value: float) -> str:
    return screen.size(value * 1e6)


def _total(total: Mapping[str, Sequence[float]]) -> str:
    words = [f"{span(total['cpu_h'], _hours)} of CPU"]
    words += [f"{span(total['gpu_h'], _hours)} of GPU"] if total["gpu_h"][1] else []
    return ", ".join(
        [*words, f"{span(total['written_gb'], _gigabytes)} written", f"at most {_gigabytes(total['memory_gb'][1])} of memory at a time"]
    )


def _hours(value: float) -> str:
    return screen.duration(3600 * value)


def _gigabytes(value: float) -> str:
    return screen.size(1e9 * value)


def _lab(each: Mapping[str, Any]) -> tuple[str, ...]:
    takes = span(each["days"], lambda days: _hours(24 * days))
    return each["lab"], str(each["sessions"]), each["installed"] or "-", str(each["at_once"]), takes


def _against(report: Mapping[str, Any]) -> str:
    measured, estimated = report["measured"], report["estimated"]
    parts = []
    for name, words in (("wall_s", "takes"), ("cpu_s", "uses CPU for")):
        expected = f" ({screen.duration(estimated[name][0])} expected)" if estimated.get("attempts") else ""
        parts += [f"{words} {screen.duration(measured[name][0])}{expected}"] if measured else []
    return ", ".join(parts) or "has not ended yet"


def _canary(each: Mapping[str, Any]) -> tuple[str, ...]:
    status = screen.coloured(each["status"]) if each["status"] else "-"
    quality = f"{screen.coloured_qc(each['qc_before'])} → {screen.coloured_qc(each['qc_after'] or '-')}"
    why = each["reason"] or each["flow_run"]
    return (
        screen.escape(each["reference"]),
        screen.escape(each["task"]),
        status,
        each["version"],
        screen.duration(each["wall_s"]),
        quality,
        screen.escape(why),
    )
