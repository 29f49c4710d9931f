"""A new package with one task and its test, for a lab's own tasks: ``ranvier tasks new NAME``."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from ranvier.errors import RanvierError

#: For what a scaffolded task can fan out over: the files that it reads, the folder that it writes to, and a device to test it with.
SHAPES = {"session": ("raw_*/*/*", "alf", ""), "probe": ("{collection}/*", "alf/{probe}", "probe00")}
_SUFFIX = ".template"


class ScaffoldError(RanvierError):
    """The package cannot be made; the message names the reason and the mend."""


@dataclass(frozen=True)
class Scaffold:
    """A package that was written.

    Attributes
    ----------
    folder
        Its folder.
    files
        Its files.
    task
        The file to write the task in.
    """

    folder: Path
    files: list[Path]
    task: Path


def new_package(name: str, where: Path, per: str = "session") -> Scaffold:
    """Write a package that installs, is discovered, and whose test passes.

    Parameters
    ----------
    name
        Name of the task, and of the package: lower case letters, digits and underscores.
    where
        Folder in which the package's folder is made.
    per
        What the task fans out over, see `SHAPES`.

    Raises
    ------
    ScaffoldError
        If the name cannot be used or if the folder is there already. Nothing is written then.
    """
    folder = where.absolute() / name
    _check(name, folder, per)
    reads, writes, device = SHAPES[per]
    values = {
        "name": name,
        "distribution": name.replace("_", "-"),
        "title": name.replace("_", " "),
        "per": per,
        "reads": reads,
        "writes": writes,
        "written": writes.replace("{probe}", device),
        "device": f', device="{device}"' if device else "",
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    written = [_write(template, folder / Template(path).substitute(values), values) for path, template in _templates()]
    return Scaffold(folder, written, folder / "src" / name / f"{name}.py")


def _check(name: str, folder: Path, per: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) or keyword.iskeyword(name):
        raise ScaffoldError(
            f"{name!r} cannot be a task's name", "use lower case letters, digits and underscores, 40 at most, such as count_licks"
        )
    if importlib.util.find_spec(name) is not None:
        raise ScaffoldError(f"a module {name!r} is installed already, so a package of that name would hide it", "choose another name")
    if folder.exists():
        raise ScaffoldError(f"{folder} is there already", "choose another name, or another folder with --into")
    if per not in SHAPES:
        raise ScaffoldError(f"there is no template for a task per {per}", f"begin with one of {', '.join(SHAPES)}, and change it")


def _templates() -> Iterator[tuple[str, Traversable]]:
    yield from _below(files("ranvier.scaffold") / "templates", "")


def _below(folder: Traversable, before: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{before}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield (before + entry.name.removesuffix(_SUFFIX)).replace("NAME", "$name"), entry


def _write(template: Traversable, target: Path, values: dict[str, str]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(Template(template.read_text()).substitute(values))
    return target
