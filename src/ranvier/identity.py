"""The identity of a result: what it was made by and from. The same identity means the same result, so nothing needs to run.

identity = sha256 of the receipt: task, version, canonical parameters, content hashes of the inputs, and the versions of the packages
that the task names, with the Python environment it runs in.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
from collections.abc import Sequence
from typing import Any

from ranvier.errors import RanvierError

Receipt = dict[str, Any]


class EnvironmentProblem(RanvierError):
    """The Python environment that a task names is not on this machine, or does not answer."""


def make_receipt(task: str, version: str, parameters: dict[str, Any], inputs: dict[str, str], packages: dict[str, str]) -> Receipt:
    """What a result is made by and from.

    Parameters
    ----------
    task, version
        Name and version of the task.
    parameters
        All its parameters, validated.
    inputs
        md5 of each input file by its path below the session folder.
    packages
        Versions, from `package_versions`.
    """
    return {
        "task": task,
        "version": version,
        "parameters": parameters,
        "inputs": dict(sorted(inputs.items())),
        "packages": packages,
    }


def identity(receipt: Receipt) -> str:
    """The identity: 64 hexadecimal digits of sha256 over the receipt's canonical JSON."""
    canonical = json.dumps(receipt, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def difference(before: Receipt, now: Receipt) -> list[str]:
    """What has changed from one receipt to another, each change in words; empty where nothing has."""
    changes = []
    if before.get("version") != now["version"]:
        changes.append(f"version {before.get('version')} is now {now['version']}")
    changes += _changed("parameter", before.get("parameters") or {}, now["parameters"], show=True)
    changes += _changed("input", before.get("inputs") or {}, now["inputs"], show=False)
    changes += _changed("package", before.get("packages") or {}, now["packages"], show=True)
    return changes


def package_versions(packages: Sequence[str], interpreter: str | None = None) -> dict[str, str]:
    """Versions of the packages that a task names, ``absent`` for those that are not installed.

    Parameters
    ----------
    packages
        Names of distributions.
    interpreter
        Python interpreter of the environment that it runs in; None for this one.

    Raises
    ------
    EnvironmentProblem
        If the interpreter cannot be run.
    """
    if interpreter is None:
        return {name: _version(name) for name in packages}
    return _versions_elsewhere(interpreter, packages)


def _changed(what: str, before: dict[str, Any], now: dict[str, Any], *, show: bool) -> list[str]:
    changes = [f"{what} {name} is new" for name in sorted(now.keys() - before.keys())]
    changes += [f"{what} {name} is gone" for name in sorted(before.keys() - now.keys())]
    for name in sorted(name for name in now.keys() & before.keys() if now[name] != before[name]):
        changes.append(f"{what} {name} changed" + (f" from {before[name]} to {now[name]}" if show else ""))
    return changes


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


_ASK = """
import importlib.metadata as m, json, sys
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = m.version(name)
    except m.PackageNotFoundError:
        versions[name] = "absent"
versions["python"] = ".".join(map(str, sys.version_info[:3]))
print(json.dumps(versions))
"""


def _versions_elsewhere(interpreter: str, packages: Sequence[str]) -> dict[str, str]:
    try:
        answer = subprocess.run([interpreter, "-c", _ASK, *packages], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentProblem(f"Python interpreter {interpreter} cannot be run: {error}", "mend [environments] in config.toml") from None
    versions: dict[str, str] = json.loads(answer.stdout)
    return versions
