"""Looks into every part of this machine's Ranvier; each finding that is wrong comes with what mends it."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.util
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from ranvier import dialect, plugins, settings
from ranvier.client import Database, DatabaseRefused, DatabaseUnreachable
from ranvier.declare import DeclarationError
from ranvier.finding import Finding
from ranvier.instances import make_instance
from ranvier.reconcile import differences
from ranvier.services import Service, services
from ranvier.settings import Settings, SettingsError
from ranvier.spool import Spool
from ranvier.supervisor import read_state

#: Less free space than this, in gigabytes, is a finding.
ENOUGH_GB = 10
#: A service that has given no sign of life for so many seconds is a finding.
SILENT_S = 120.0
#: A clock that is further from the database's, in seconds, is a finding; HTTP tells whole seconds.
CLOCK_S = 5.0


def examine(home: Path | str | None = None, *, days: int = 7, hashes: bool = False) -> Iterator[Finding]:
    """Look into every part, one after the other.

    Parameters
    ----------
    home
        The home folder; see `ranvier.settings.home_folder`.
    days
        Sessions and datasets of the last so many days are compared with what is on disk; see `ranvier.reconcile`.
    hashes
        Whether their files are read again, and their md5 compared.
    """
    folder = settings.home_folder(home)
    try:
        read = settings.load(folder)
    except SettingsError as error:
        yield Finding("settings", False, error.message, error.hint or f"put it right in {folder / 'config.toml'}")
        return
    written = (folder / "config.toml").exists()
    yield Finding(
        "settings", True, str(folder / "config.toml") if written else f"{folder} has no config.toml: every setting has its default"
    )
    has_data = read.machine.role != "centre"
    for look in (_secrets, *((_storage, _spool, _tasks, _environments, _extras) if has_data else ()), _services):
        yield from look(read)
    yield from _database(read, dt.date.today() - dt.timedelta(days=days) if has_data else None, hashes)


def _secrets(read: Settings) -> Iterator[Finding]:
    folder = read.home / "secrets"
    if not folder.is_dir():
        yield Finding("secrets", False, f"{folder} is not there", _up(read))
        return
    loose = [path for path in sorted(folder.iterdir()) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    yield Finding(
        "secrets", not loose, f"{loose[0]} can be read by others" if loose else str(folder), f"chmod 600 {folder}/*" if loose else ""
    )


def _storage(read: Settings) -> Iterator[Finding]:
    root, work = read.lab_root, read.work_folder
    there = next(path for path in (root, *root.parents) if path.exists())
    if not os.access(there, os.W_OK):
        yield Finding(
            "data folder",
            False,
            f"{there} cannot be written to",
            f"let the user of this process write there, or set lab.root in {read.home}/config.toml",
        )
        return
    if root.parts[-2:] != (read.lab.name, "Subjects"):
        yield Finding("data folder", False, f"{root} does not end in {read.lab.name}/Subjects", f"set lab.root in {read.home}/config.toml")
    elif root.exists() and work.exists() and root.stat().st_dev != work.stat().st_dev:
        yield Finding(
            "data folder",
            False,
            f"{work} is on another file system than {root}, so outputs cannot be moved by a rename",
            "mount one level higher",
        )
    else:
        yield Finding("data folder", True, str(root))
    free = shutil.disk_usage(there).free / 1e9
    yield Finding(
        "free space", free > ENOUGH_GB, f"{free:.0f} GB at {there}", "" if free > ENOUGH_GB else f"du -xsh {there}/* shows what takes it"
    )


def _spool(read: Settings) -> Iterator[Finding]:
    spool = Spool(read)
    waiting, refused = spool.waiting(), spool.refused()
    if refused:
        why = json.loads(refused[0].read_text())["refused"]
        mend = f"look at them in {refused[0].parent}, run their tasks again, remove them"
        yield Finding("reports of attempts", False, f"the database refused {len(refused)}; {refused[0].name}: {why}", mend)
    late = [path for path in waiting if time.time() - path.stat().st_mtime > SILENT_S]
    detail = f"{len(late)} have waited for over {SILENT_S:g} s" if late else f"{len(waiting)} wait to be handed in"
    yield Finding("reports of attempts", not late, detail, f"less {read.home}/logs/reviver.log" if late else "")


def _tasks(read: Settings) -> Iterator[Finding]:
    found = plugins.registry()
    for problem in found.problems:
        yield Finding("tasks", False, str(problem), "mend or uninstall the plugin; it is left out meanwhile")
    for name, chosen in read.tasks.items():
        try:
            found.get(name).validated(chosen.parameters)
        except (plugins.UnknownTask, DeclarationError) as error:
            yield Finding("tasks", False, error.message, f"put [tasks.{name}] right in {read.home}/config.toml")
    yield Finding("tasks", bool(len(found)), f"{len(found)} installed", "" if len(found) else "pip install --force-reinstall ranvier")


def _environments(read: Settings) -> Iterator[Finding]:
    everywhere = [make_instance(each, "", {}, read) for each in plugins.registry().values() if read.task(each.name).enabled]
    named = {name: each.task.name for each in everywhere if (name := each.task.environment) and not each.left_out}
    for name in sorted({*named, *read.environments}):
        where = read.environments.get(name)
        if where is None:
            yield Finding(
                f"environment {name}", False, f"the task {named[name]} wants it", f"set it under [environments] in {read.home}/config.toml"
            )
        else:
            ok = os.access(where, os.X_OK)
            yield Finding(
                f"environment {name}",
                ok,
                where if ok else f"{where} is not a program",
                "" if ok else f"python3 -m venv {Path(where).parents[1]}",
            )


def _extras(read: Settings) -> Iterator[Finding]:
    for package, extra in (("spikeinterface", "ephys"),):
        there = importlib.util.find_spec(package) is not None
        yield Finding(
            f"extra {extra}", there, f"{package} is {'' if there else 'not '}installed", "" if there else f"pip install 'ranvier[{extra}]'"
        )


def _services(read: Settings) -> Iterator[Finding]:
    state = read_state(read)
    running = f"process {state.pid}" if state else f"no `ranvier up` runs in {read.home}"
    if coming := state.coming if state else []:
        yield Finding("ranvier up", False, f"{running} is still starting {', '.join(coming)}", "look again in half a minute")
    else:
        yield Finding("ranvier up", state is not None, running, "" if state else _up(read))
    for service in services(read):
        if service.once or service.name in coming:
            continue
        problem = service.answers(time.time() - SILENT_S)
        # a sign of life that is not two minutes old tells nothing of a service that has just ended
        if state is None and (problem or not (service.address or _is_there(service, read))):
            yield Finding(service.name, False, "does not run", _up(read))
            continue
        seen = state.services.get(service.name) if state else None
        died = f"; restarted {seen.restarts} times" if seen and seen.restarts else ""
        mend = f"less {read.home / 'logs' / service.name}.log" if problem or died else ""
        answer = service.address or "answers"
        answer = answer if state else f"something answers{f' at {answer}' if service.address else ''}, started elsewhere"
        yield Finding(service.name, not problem, (problem or answer) + died, mend)


def _is_there(service: Service, read: Settings) -> bool:
    """Whether a process of this home runs a service's command."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get("RANVIER_HOME") == str(read.home)
            if ours and process.cmdline()[1:] == list(service.command[1:]) and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _database(read: Settings, since: dt.date | None, hashes: bool) -> Iterator[Finding]:
    state = read_state(read)
    if state and "database" in state.coming:
        return  # said already
    try:
        database = Database.from_settings(read, patience_s=0.0)
        yield from _ask(database, read)
        yield from _clock(database)
        yield (kind := _kind(database, read))
        if not kind.ok:
            return
        yield from _events(database, read)
        if since is not None:
            yield from differences(read, database, since=since, hashes=hashes)
    except (SettingsError, DatabaseUnreachable) as error:
        yield Finding("sign-in", False, error.message, error.hint or _up(read))
    except DatabaseRefused as error:
        yield Finding("sign-in", False, error.message, error.hint or f"less {read.home}/logs/database.log")


def _ask(database: Database, read: Settings) -> Iterator[Finding]:
    database.sessions(limit=1)
    yield Finding("sign-in", True, f"{database.username} at {database.url}")
    if database.lacks:
        yield from _in_alyx(database, read)


def _clock(database: Database) -> Iterator[Finding]:
    """How far this machine's clock is from the database's: by them runs are scheduled and leases are told."""
    ahead = database.clock_ahead_s()
    if ahead is None:
        return
    detail = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
    yield Finding(
        "clock", abs(ahead) < CLOCK_S, detail, "" if abs(ahead) < CLOCK_S else "timedatectl set-ntp true, on the machine that is wrong"
    )


def _events(database: Database, read: Settings) -> Iterator[Finding]:
    stuck = [event for event in [*database.pending_events(), *database.pending_notices()] if event.get("error")]
    detail = f"{len(stuck)} events cannot be delivered: {stuck[0]['error']}" if stuck else "nothing is stuck"
    yield Finding("events", not stuck, detail, f"less {read.home}/logs/dispatcher.log" if stuck else "")


def _kind(database: Database, read: Settings) -> Finding:
    """Whether it is Ranvier's own database or a plain Alyx, and what that lacks."""
    if not dialect.is_plain(read, anew=True):
        return Finding("endpoints", True, "all of Ranvier's own")
    kind = f"a plain Alyx, without {', '.join(dialect.missing_endpoints(read))}"
    if not database.lacks:
        detail = f'{kind}; what stands in for them works where the lab\'s data are, and machine.role is "{read.machine.role}"'
        return Finding("endpoints", False, detail, f'set machine.role = "all" in {read.home}/config.toml')
    return Finding("endpoints", True, f"{kind}; the pipeline runs on it, but it lacks {'; '.join(database.lacks)}")


def _in_alyx(database: Database, read: Settings) -> Iterator[Finding]:
    """What the lab must have in an Alyx that it brings."""
    for part, address, setting in (
        ("user in Alyx", f"users/{database.username}", "database.username"),
        ("lab in Alyx", f"labs/{read.lab.name}", "lab.name"),
        ("repository in Alyx", f"data-repository/{read.repository}", "lab.repository"),
    ):
        name = address.partition("/")[2]
        there = database.knows(address)
        mend = f"add it at {read.database_url}/admin, or set {setting} in {read.home}/config.toml"
        yield Finding(part, there, f"{name} is {'there' if there else 'not there'}", "" if there else mend)


def _up(read: Settings) -> str:
    return "ranvier up" if read.home == settings.home_folder() else f"ranvier --home {read.home} up"
