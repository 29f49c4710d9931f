"""``ranvier tasks``: the tasks that are installed, one of them in full, and a package for a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The tasks that are installed, and a package for your own.", no_args_is_help=True)


@app.command("list")
def list_tasks(json: Annotated[bool, typer.Option("--json", help="For a script.")] = False) -> None:
    """List the installed tasks, and what of a plugin was left out and why (exit code 1 then)."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.plugins import registry

    found, lab = registry(), settings.load()
    if json:
        tasks = [{"name": each.name, "version": each.version, "per": each.per, "source": each.source} for each in found.values()]
        screen.print_json({"tasks": tasks, "problems": [vars(problem) for problem in found.problems]})
    else:
        rows = [
            (
                each.name,
                each.version,
                each.per,
                each.source,
                each.summary if lab.task(each.name).enabled else "[yellow]disabled in the settings[/]",
            )
            for each in found.values()
        ]
        screen.out.print(screen.table(("task", "version", "per", "from", ""), rows))
        for problem in found.problems:
            screen.err.print(f"[yellow]Left out:[/] {screen.escape(str(problem))}")
    if found.problems:
        raise typer.Exit(1)


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="Name of a task.")]) -> None:
    """Show what a task reads, writes, takes and needs."""
    import inspect

    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.plugins import registry

    task, lab = registry().get(name), settings.load()
    screen.out.print(f"[bold]{task.name}[/] {task.version}, per {task.per}, from {task.source} ({task.reference})\n")
    screen.out.print(screen.escape(inspect.getdoc(task.function) or "It has no description."), "\n")
    rows = [("reads", f"{item.pattern}{'' if item.required else '  (if there)'}") for item in task.inputs]
    rows += [("writes", f"{item.pattern}{'' if item.required else '  (may be absent)'}") for item in task.outputs]
    chosen = task.validated(lab.task(name).parameters)
    rows += [("takes", f"{key} = {value!r}{'' if value == task.defaults[key] else '  (set by the lab)'}") for key, value in chosen.items()]
    needs = {**vars(task.resources), **lab.task(name).resources}
    rows += [("needs", ", ".join(f"{key} {value:g}" for key, value in needs.items() if value))]
    screen.out.print(screen.table(("", ""), [(kind, screen.escape(text)) for kind, text in rows]))


@app.command("resume")
def resume(
    name: Annotated[str, typer.Argument(help="Name of a task that is paused.")],
    lab: Annotated[str | None, typer.Option(help="Lab in which it is paused; default: this machine's.")] = None,
) -> None:
    """Let a task run again that was paused for failing alike, and ask for the sessions in which it was held."""
    from ranvier import pauses, settings
    from ranvier.amounts import counted
    from ranvier.cli import screen
    from ranvier.client import Database

    here = settings.load()
    for lifted in pauses.resume(Database.from_settings(here, patience_s=3.0), name, lab or here.lab.name):
        screen.out.print(
            f"{screen.escape(lifted['task'])} {screen.escape(lifted['version'])} runs again in {lifted['lab']}; "
            f"{counted(lifted['sessions'], 'session')} asked for",
            soft_wrap=True,
        )


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the task and of its package, such as count_licks.")],
    per: Annotated[str, typer.Option(help="What it runs once for: session or probe.")] = "session",
    into: Annotated[Path, typer.Option(help="Folder in which to make the package's folder.", file_okay=False)] = Path(),
) -> None:
    """Write a package with a task, whose test passes once it is installed."""
    from ranvier.amounts import counted
    from ranvier.cli import screen
    from ranvier.scaffold import new_package

    made = new_package(name, into, per)
    screen.out.print(f"Wrote {counted(len(made.files), 'file')} in {screen.escape(str(made.folder))}. Now:\n")
    screen.out.print(
        f"  pip install pytest -e {screen.escape(str(made.folder))}\n  python -m pytest {screen.escape(str(made.folder))}\n", soft_wrap=True
    )
    screen.out.print(f"and write your task in {screen.escape(str(made.task))}", soft_wrap=True)
