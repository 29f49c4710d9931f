"""``ranvier plan``: what would run, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ranvier.cli.options import SessionArgument, TaskOption

if TYPE_CHECKING:
    from ranvier.plan import Plan


def plan(
    session: SessionArgument,
    task: TaskOption = None,
    force: Annotated[bool, typer.Option("--force", help="As if nothing had been done.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For a script.")] = False,
) -> None:
    """Print the DAG of a session: each task instance, whether it runs, and why. Nothing runs."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.lookup import plan_of

    made = plan_of(session, settings.load(), task, force=force)
    if json:
        instances = [{"name": each.name, "parents": each.parents, **vars(made.decisions[each.name])} for each in made.instances]
        screen.print_json({"session": made.session.path, "instances": instances, "left_out": made.left_out, "problems": made.problems})
    else:
        _show(made)


def _show(made: Plan) -> None:
    from ranvier.cli import screen

    marks = {"run": "[green]run[/]", "skip": "[dim]skip[/]", "hold": "[yellow]hold[/]"}
    rows = []
    for each in made.instances:
        decision = made.decisions[each.name]
        after = f" [dim]← {screen.escape(', '.join(each.parents))}[/]" if each.parents else ""
        rows.append((marks[decision.action], f"{'  ' * each.level}{screen.escape(each.name)}{after}", screen.escape(decision.reason)))
    screen.out.print(screen.table(("", "task", "why"), rows, title=made.session.reference))
    for name, reason in made.left_out.items():
        screen.out.print(f"[dim]does not apply: {screen.escape(name)}: {screen.escape(reason)}[/]", soft_wrap=True)
    for problem in made.problems:
        screen.err.print(f"[yellow]{screen.escape(problem)}[/]", soft_wrap=True)
