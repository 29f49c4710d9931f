"""Tells people of failures, by e-mail and webhook: a task failed, was paused for failing alike, or was given up.

Each notice is an event of the database's outbox, so that none is lost while a mail server is away; it is tried again until it has gone.
Equal failures of a lab are told of once within `notify.quiet_h`, and a failure that is tried again by itself only once that has failed too.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ranvier.amounts import counted
from ranvier.channels import ChannelError, Notice, channels
from ranvier.client import Database, DatabaseUnreachable, Record
from ranvier.session import reference_of
from ranvier.settings import Settings
from ranvier.states import GOOD_ENOUGH, Status

log = logging.getLogger("ranvier.dispatcher")

#: Seconds between two looks at the outbox.
ROUND_S = 1.0
#: Seconds in which a flow may say that it tries a failed task again.
SETTLE_S = 10.0
#: A notice that did not go is tried again after 2 s, 4 s, ... and at last every so many seconds.
LONGEST_BACKOFF_S = 300.0
_UNDER_WAY = (Status.WAITING.label, Status.STARTED.label)
_GOOD = tuple(status.label for status in (*GOOD_ENOUGH, Status.EMPTY))


@dataclass
class _Progress:
    """How far the notifier has come with an event: since when it knows it, when it may try again, and which channels have it."""

    since: float
    not_before: float = 0.0
    sent: frozenset[str] = frozenset()


class Notifier:
    """Carries notices from the outbox to people.

    Parameters
    ----------
    database
        The database.
    settings
        Of the machine whose dispatcher this is.
    settle_s
        Seconds for which a failure is left alone, as its flow may try it again.
    """

    def __init__(self, database: Database, settings: Settings, settle_s: float = SETTLE_S) -> None:
        self.database = database
        self.settings = settings
        self.settle_s = settle_s
        self.channels = channels(settings)
        self._told_path = settings.home / "run" / "told.json"
        self._progress: dict[int, _Progress] = {}

    def round(self) -> int:
        """Deliver what is due.

        Returns
        -------
        int
            How many notices went to people.
        """
        events = self.database.pending_notices()
        self._progress = {event["id"]: self._progress.get(event["id"]) or _Progress(time.monotonic()) for event in events}
        return sum(self._attend(event) for event in events if time.monotonic() >= self._progress[event["id"]].not_before)

    def _attend(self, event: Record) -> bool:
        if event["kind"] == "task.failed":
            if time.monotonic() - self._progress[event["id"]].since < self.settle_s:
                return False
            status = self.database.task(event["payload"]["task"])["status"]
            if status in _UNDER_WAY:
                return False
            if status in _GOOD or self._is_told(event):
                return self._done(event)
        if not self.channels:
            return self._done(event)
        return self._send(event)

    def _done(self, event: Record) -> bool:
        """Mark an event as seen to, without telling anyone."""
        self.database.event_delivered(event["id"], "")
        return False

    def _send(self, event: Record) -> bool:
        progress = self._progress[event["id"]]
        notice = notice_of(event, self.database, self.settings)
        failed = []
        for channel in self.channels:
            if channel.name in progress.sent:
                continue
            try:
                channel.send(notice)
                progress.sent |= {channel.name}
            except ChannelError as error:
                failed.append(str(error))
        if failed:
            self._try_again(event, progress, "; ".join(failed))
            return False
        self._note_told(event)
        self.database.event_delivered(event["id"], "")
        log.info("told of event %s: %s", event["id"], notice.subject)
        return True

    def _try_again(self, event: Record, progress: _Progress, reason: str) -> None:
        wait = min(2.0 ** (event["tries"] + 1), LONGEST_BACKOFF_S)
        progress.not_before = time.monotonic() + wait
        log.error("the notice of event %s did not go, next try in %.0f s: %s", event["id"], wait, reason)
        self.database.event_failed(event["id"], reason)

    def _is_told(self, event: Record) -> bool:
        """Whether people know of an equal failure in this lab."""
        return time.time() - self._told().get(_key(event), 0.0) < self.settings.notify.quiet_h * 3600

    def _note_told(self, event: Record) -> None:
        oldest = time.time() - self.settings.notify.quiet_h * 3600
        told = {key: when for key, when in self._told().items() if when > oldest} | {_key(event): time.time()}
        self._told_path.parent.mkdir(parents=True, exist_ok=True)
        self._told_path.write_text(json.dumps(told, indent=1))

    def _told(self) -> dict[str, float]:
        try:
            return dict(json.loads(self._told_path.read_text()))
        except (OSError, ValueError):  # not there yet, or cut off: at worst something is told twice
            return {}


def _key(event: Record) -> str:
    return f"{event['kind']} {event['lab']} {event['payload'].get('fingerprint', '')}"


def notice_of(event: Record, database: Database, settings: Settings) -> Notice:
    """What to tell of an event."""
    payload, lab = event["payload"], event["lab"]
    session = database.session(event["session"])
    reference = reference_of(session)
    what = payload["name"]
    words: dict[str, Callable[[], tuple[str, str]]] = {
        "task.failed": lambda: (f"{what} of {reference} failed", f"{payload['reason']}\n\n{_equal(payload, database, settings)}"),
        "task.paused": lambda: (f"{what.split('[')[0]} is paused in {lab}", payload["reason"]),
        "task.abandoned": lambda: (f"{what} of {reference} was given up by {payload['by']}", payload["reason"]),
    }
    subject, body = words[event["kind"]]()
    link = f"{settings.database_url}/session/{event['session']}"
    return Notice(f"[{lab}] {subject}", f"{body.strip()}\n\nSession {reference}: {link}".strip(), event)


def _equal(payload: dict[str, Any], database: Database, settings: Settings) -> str:
    found = database.failures(fingerprint=payload["fingerprint"])
    if not found:
        return ""
    group = found[0]
    where = f"{counted(group['sessions'], 'session')} in {', '.join(group['labs'])}"
    return (
        f"Failure {group['fingerprint']}: {where} since {group['first_seen'][:16]} UTC, "
        f"{group['put_right']} of {group['tasks']} tasks right by now. `ranvier failures` lists all.\n"
        f"Equal failures are not told of again for {settings.notify.quiet_h:g} h."
    )


def watch(settings: Settings) -> None:
    """Tell of what there is to tell, until the process ends."""
    notifier = Notifier(Database.from_settings(settings, patience_s=1.0), settings)
    while True:
        try:
            with contextlib.suppress(DatabaseUnreachable):  # the dispatcher beside it says so, and what there is to tell stays
                notifier.round()
        except Exception:  # whatever is wrong with one notice, the dispatcher and the other notices go on
            log.exception("notices")
        time.sleep(ROUND_S)
