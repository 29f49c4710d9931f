"""Finds sessions that a rig has copied to the lab's server and registers them (``python -m ranvier.agent``).

A session is found by its `raw_session.flag`, through the file system's notifications and, as these are lost now and then, through a full
scan. It is registered once nothing in it has changed for a while. A session that cannot be registered keeps its flag, gets the reason in
`raw_session.error` beside it, and is tried again when something in it has changed, or later.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import watchfiles

from ranvier import settings as settings_module
from ranvier.client import Database, DatabaseUnreachable
from ranvier.errors import RanvierError
from ranvier.registration import Registered, register
from ranvier.services import pulse
from ranvier.session import READY_FLAG
from ranvier.settings import Settings

log = logging.getLogger("ranvier.agent")

#: Where the reason stands why a session could not be registered, beside its flag.
ERROR_NOTE = "raw_session.error"
#: Seconds between two looks at the sessions that wait.
LOOK_S = 0.2
#: For so many seconds after a change its subject's flags are looked for: what is written into a folder that is just being made goes
#: unnoticed, because the system begins to watch the folder a little later.
RECENT_S = 2.0
#: A session that could not be registered is tried again after 10 s, 20 s, ... and at last every so many seconds.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 10.0, 600.0

#: Number of files, their size, and the newest change among them: what tells that a session has changed.
Footprint = tuple[int, int, int]


@dataclass
class Waiting:
    """A flagged session that is not registered yet."""

    footprint: Footprint
    quiet_since: float
    failures: int = 0
    not_before: float = 0.0

    def look(self, footprint: Footprint, now: float) -> None:
        """Note what the session looks like now; a change makes it due again at once."""
        if footprint != self.footprint:
            self.footprint, self.quiet_since, self.not_before = footprint, now, 0.0

    def put_off(self, now: float) -> float:
        """Note a failure; returns the seconds until the next try."""
        wait = min(FIRST_BACKOFF_S * 2.0**self.failures, LONGEST_BACKOFF_S)
        self.failures += 1
        self.not_before = now + wait
        return wait


class Agent:
    """Keeps the flagged sessions of a lab and registers those that have settled.

    Parameters
    ----------
    settings
        The machine's settings.
    register_session
        Registers one session folder; raises `RanvierError` where it cannot.
    """

    def __init__(self, settings: Settings, register_session: Callable[[Path], Registered]) -> None:
        self.settings = settings
        self.register_session = register_session
        self.waiting: dict[Path, Waiting] = {}
        self._changed: dict[Path, float] = {}
        self._database_away = False

    def scan(self) -> None:
        """Find every flag below the lab's folder."""
        self._take_up(self.settings.lab_root.glob(f"*/*/*/{READY_FLAG}"))

    def notice(self, paths: Iterable[Path]) -> None:
        """Note which subjects' folders have changed: their flags are looked for."""
        root = self.settings.lab_root
        self._changed |= {root / path.relative_to(root).parts[0]: time.monotonic() for path in paths if path != root}

    def look(self) -> None:
        """Register the sessions that have settled; one that fails does not keep the others waiting."""
        self._look_for_flags()
        for folder, waiting in list(self.waiting.items()):
            if not (folder / READY_FLAG).exists():
                del self.waiting[folder]
                continue
            now = time.monotonic()
            waiting.look(footprint(folder), now)
            if now >= waiting.not_before and now - waiting.quiet_since >= self.settings.registration.settle_s:
                self._register(folder, waiting)

    def _look_for_flags(self) -> None:
        for subject, changed in list(self._changed.items()):
            self._take_up(subject.glob(f"*/*/{READY_FLAG}"))
            if time.monotonic() - changed > RECENT_S:
                del self._changed[subject]

    def _take_up(self, flags: Iterable[Path]) -> None:
        for folder in (flag.parent for flag in flags):
            if folder not in self.waiting:
                self.waiting[folder] = Waiting(footprint(folder), time.monotonic())
                log.info("%s: found; waiting until nothing changes for %g s", folder, self.settings.registration.settle_s)

    def _register(self, folder: Path, waiting: Waiting) -> None:
        try:
            registered = self.register_session(folder)
        except DatabaseUnreachable as error:
            waiting.not_before = time.monotonic() + 2.0
            self._note_database(str(error))
        except (RanvierError, OSError) as error:
            self._note_failure(folder, waiting, str(error))
        except Exception as error:  # whatever is wrong with this session, the others go on
            log.exception("%s: unexpected error", folder)
            self._note_failure(folder, waiting, f"{type(error).__name__}: {error}")
        else:
            self._note_database("")
            self._note_success(folder, registered)

    def _note_database(self, error: str) -> None:
        if error and not self._database_away:
            log.warning("sessions wait to be registered: %s", error)
        if not error and self._database_away:
            log.info("the database answers again")
        self._database_away = bool(error)

    def _note_failure(self, folder: Path, waiting: Waiting, reason: str) -> None:
        wait = waiting.put_off(time.monotonic())
        log.error("%s: cannot be registered, next try in %.0f s or when it changes: %s", folder, wait, reason)
        try:
            (folder / ERROR_NOTE).write_text(f"{time.strftime('%Y-%m-%d %H:%M:%S %z')} this session could not be registered: {reason}\n")
        except OSError as error:
            log.warning("%s: the reason cannot be written beside the data: %s", folder, error)

    def _note_success(self, folder: Path, registered: Registered) -> None:
        self.waiting.pop(folder, None)
        (folder / ERROR_NOTE).unlink(missing_ok=True)
        log.info("%s: %s as session %s", folder, "registered" if registered.created else "was registered already", registered.record["id"])
        for problem in registered.problems:
            log.warning("%s: %s", folder, problem)


def footprint(folder: Path) -> Footprint:
    """What a session folder looks like, but for the agent's own note."""
    count = size = newest = 0
    for path in folder.rglob("*"):
        if path.name == ERROR_NOTE:
            continue
        with contextlib.suppress(FileNotFoundError):  # it was moved or removed while we looked
            stat = path.stat()
            # a folder's time and size change with our own note, the files' do not
            if not path.is_dir():
                count, size, newest = count + 1, size + stat.st_size, max(newest, stat.st_mtime_ns)
    return count, size, newest


def changes(root: Path) -> Iterator[list[Path]]:
    """Paths below `root` that have changed, every `LOOK_S` seconds; empty lists only where the system cannot watch the folder."""
    try:
        for changed in watchfiles.watch(root, debounce=200, step=50, rust_timeout=int(LOOK_S * 1000), yield_on_timeout=True):
            yield [Path(path) for _, path in changed]
    except OSError as error:
        log.warning("%s cannot be watched (%s); sessions are found by the full scan only", root, error)
    while True:
        time.sleep(LOOK_S)
        yield []


def main() -> None:
    """Watch the lab's folder until killed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    settings = settings_module.load()
    settings.lab_root.mkdir(parents=True, exist_ok=True)
    database = Database.from_settings(settings, patience_s=1.0)
    agent = Agent(settings, lambda folder: register(folder, settings, database))
    log.info("watching %s", settings.lab_root)
    sign = pulse(settings, "agent")
    scanned = -settings.registration.scan_s
    for changed in changes(settings.lab_root):
        if time.monotonic() - scanned >= settings.registration.scan_s:
            agent.scan()
            scanned = time.monotonic()
        agent.notice(changed)
        agent.look()
        sign.touch()


if __name__ == "__main__":
    main()
