"""``ranvier doctor``: what is wrong on this machine, and what mends it."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    days: Annotated[int, typer.Option(min=0, max=36500, help="Compare the sessions and files of the last so many days with the disk.")] = 7,
    hashes: Annotated[bool, typer.Option("--hashes", help="Read those files again and compare their md5.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For a script.")] = False,
) -> None:
    """Look into every part of this machine; exit code 1 when anything is wrong, each finding with the command that mends it."""
    from ranvier.cli import screen
    from ranvier.doctor import examine

    findings = []
    for finding in examine(days=days, hashes=hashes):
        findings.append(finding)
        if not json:
            mark = "[green]✓[/]" if finding.ok else "[bold red]✗[/]"
            screen.out.print(f"{mark} [bold]{finding.part:<18}[/] {screen.escape(finding.detail)}", soft_wrap=True)
            if finding.mend:
                screen.out.print(f"  [dim]→[/] [cyan]{screen.escape(finding.mend)}[/]", soft_wrap=True)
    if json:
        screen.print_json([vars(finding) for finding in findings])
    wrong = sum(not finding.ok for finding in findings)
    if wrong:
        raise typer.Exit(1)
