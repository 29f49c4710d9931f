"""A selection: which sessions, and which of their tasks, a request means. The database finds them in a few queries."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from rest_framework.exceptions import ValidationError

from ranvier.database.actions.models import Session
from ranvier.database.jobs.models import Attempt, Task
from ranvier.database.rest.reading import seen
from ranvier.states import Status

#: A fingerprint may be shortened to so many digits.
SHORTEST_FINGERPRINT = 6


@dataclass
class Selection:
    """What all of the criteria that are given agree on.

    Attributes
    ----------
    sessions
        Ids, or ``subject/yyyy-mm-dd/number``.
    labs, projects, subjects
        Names.
    since, until
        First and last day of the sessions.
    tasks
        Names of tasks (``spike_sorting``) or of instances (``spike_sorting[probe00]``).
    statuses
        Where the tasks stand.
    failures
        Fingerprints, or their beginnings: tasks whose last attempt failed so.
    """

    sessions: Sequence[str] = ()
    labs: Sequence[str] = ()
    projects: Sequence[str] = ()
    subjects: Sequence[str] = ()
    since: datetime.date | None = None
    until: datetime.date | None = None
    tasks: Sequence[str] = ()
    statuses: Sequence[Status] = ()
    failures: Sequence[str] = ()
    _named: list[uuid.UUID] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        named = (self.sessions, self.labs, self.projects, self.subjects, self.since, self.until, self.statuses, self.failures)
        if not any(named):
            known = "sessions, labs, projects, subjects, dates, statuses or failures"
            raise ValidationError({"selection": [f"says not which sessions: give {known}"]})
        if short := [text for text in self.failures if len(text) < SHORTEST_FINGERPRINT]:
            raise ValidationError({"failures": [f"{', '.join(short)}: give {SHORTEST_FINGERPRINT} digits of a fingerprint at least"]})
        self._named = _resolve(self.sessions)

    @property
    def by_task(self) -> bool:
        """Whether it chooses among the tasks; else it means all that are due."""
        return bool(self.tasks or self.statuses or self.failures)

    @property
    def takes_abandoned(self) -> bool:
        """Whether it means what was given up by hand, too: only where the session, the task or the status is named."""
        return bool(self.sessions or self.tasks or Status.ABANDONED in self.statuses)

    def find_sessions(self) -> QuerySet[Session]:
        """The sessions, whatever their tasks."""
        rows = seen(Session.objects)
        if self.sessions:
            rows = rows.filter(pk__in=self._named)
        for lookup, names in (("lab__name", self.labs), ("subject__nickname", self.subjects)):
            rows = rows.filter(**{f"{lookup}__in": names}) if names else rows
        if self.projects:
            rows = rows.filter(Exists(Session.projects.through.objects.filter(session=OuterRef("pk"), project__name__in=self.projects)))
        if self.since:
            rows = rows.filter(date__gte=self.since)
        return rows.filter(date__lte=self.until) if self.until else rows

    def find_tasks(self) -> QuerySet[Task]:
        """The tasks that it chooses."""
        rows = Task.objects.filter(session__in=self.find_sessions().order_by())
        if self.tasks:
            rows = rows.filter(Q(name__in=self.tasks) | Q(executable__in=self.tasks))
        if self.statuses:
            rows = rows.filter(status__in=self.statuses)
        if self.failures:
            rows = rows.filter(Exists(Attempt.objects.filter(_failed_so(self.failures), task=OuterRef("pk"), number=OuterRef("attempt"))))
        return rows if self.takes_abandoned else rows.exclude(status=Status.ABANDONED)

    def unknown_tasks(self) -> list[str]:
        """Those of the named tasks that no session has."""
        return [name for name in self.tasks if not seen(Task.objects).filter(Q(name=name) | Q(executable=name)).exists()]


def _failed_so(fingerprints: Iterable[str]) -> Q:
    condition = Q()
    for text in fingerprints:
        condition |= Q(fingerprint__startswith=text)
    return condition & Q(status=Status.ERRORED)


def _resolve(names: Iterable[str]) -> list[uuid.UUID]:
    """Ids of the sessions that are named, all of which must be there."""
    wanted = list(dict.fromkeys(name.strip().strip("/") for name in names))
    found = _by_id(wanted) | _by_path(wanted)
    if missing := [name for name in wanted if name not in found]:
        raise ValidationError({"sessions": [f"no such session: {', '.join(missing)}; give its id, or subject/yyyy-mm-dd/number"]})
    return list(found.values())


def _by_id(names: Iterable[str]) -> dict[str, uuid.UUID]:
    ids = {name: pk for name in names if (pk := _as_id(name))}
    there = set(seen(Session.objects).filter(pk__in=ids.values()).values_list("pk", flat=True))
    return {name: pk for name, pk in ids.items() if pk in there}


def _as_id(name: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(name)
    except ValueError:
        return None


def _by_path(names: Iterable[str]) -> dict[str, uuid.UUID]:
    paths = {}
    for name in names:
        if match := re.fullmatch(r"([^/]+)/(\d{4}-\d\d-\d\d)/(\d{1,3})", name):
            paths[match[1], match[2], int(match[3])] = name
    subjects, days = {subject for subject, _, _ in paths}, {day for _, day, _ in paths}
    rows = seen(Session.objects).filter(subject__nickname__in=subjects, date__in=days).annotate(nickname=F("subject__nickname"))
    keys = rows.values_list("nickname", "date", "number", "pk")
    return {paths[key]: pk for subject, day, number, pk in keys if (key := (subject, day.isoformat(), number or 0)) in paths}
