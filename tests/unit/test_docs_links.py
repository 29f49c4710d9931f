"""No page of the documentation leads nowhere, and no example of it is a command that is refused."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import typer.main

from ranvier.cli import app


def test_every_link_between_pages_leads_somewhere(repository: Path) -> None:
    pages = [repository / "README.md", repository / "CHANGELOG.md", *(repository / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()) if "://" not in link]
    assert len(links) > 10
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_index(repository: Path) -> None:
    index = (repository / "docs" / "index.md").read_text()
    assert [page.name for page in (repository / "docs").glob("*.md") if page.name != "index.md" and f"]({page.name})" not in index] == []


def refusal(line: str) -> str:
    """What the command line has against an example, which is parsed and not run; empty where it takes it."""
    words = shlex.split(line, comments=True)
    command: Any = typer.main.get_command(app)
    try:
        context = command.make_context("ranvier", words[words.index("ranvier") + 1 :])
        while hasattr(command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
            name, command, rest = command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
    except typer.BadParameter.__mro__[1] as error:  # UsageError, of the click that typer brings
        return str(error)
    return ""


def test_every_example_is_a_command_that_is_understood(repository: Path) -> None:
    pages = [repository / "README.md", *(repository / "docs").glob("*.md")]
    examples = [
        (page.name, line)
        for page in pages
        for line in re.findall(r"^ {4}((?:RANVIER_\w+=\S+ )*ranvier .+?)(?: *[|\\] .*)?$", page.read_text(), re.M)
    ]
    assert len(examples) > 10
    assert [f"{page}: {line}: {why}" for page, line in examples if (why := refusal(line))] == []
