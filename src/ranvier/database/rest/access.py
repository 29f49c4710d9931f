"""Who is at work, and what they may write.

What somebody may do is looked up once a request. Every save of a row, whether by REST or in the admin, is held against it by a signal;
what is written many rows at a time has its labs checked by the view.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, Value
from django.http import HttpRequest, HttpResponse

from ranvier.database.rest.rules import CHANGES_SHARED, WRITES, Area, Role, rule_of

_acting: ContextVar[Access | None] = ContextVar("acting", default=None)
#: What a token for the pipeline writes, of what its user may.
PIPELINE_AREAS = frozenset({Area.NOTEBOOK, Area.DATA, Area.PIPELINE})


@dataclass(frozen=True)
class Access:
    """What somebody may do.

    Attributes
    ----------
    user
        Who.
    roles
        Pairs of a lab's id and a role there.
    everything
        Staff, and the service of this machine: no lab bounds them.
    reads_only
        A public user, or a token that may only read.
    lab
        The one lab that the token is for.
    areas
        What the token is for; None for all.
    by_named_token
        Whether the request came with a token that is not the whole of its user.
    closed_projects
        Ids of the projects whose sessions are kept from the user; None until they are asked for (`reading.closed_projects`).
    """

    user: Any
    roles: frozenset[tuple[Any, Role]] = frozenset()
    everything: bool = False
    reads_only: bool = False
    lab: Any = None
    areas: frozenset[Area] | None = None
    by_named_token: bool = False
    closed_projects: list[Any] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, user: Any, token: Any = None) -> Access:
        """Of a user who signed in, perhaps with a token."""
        from ranvier.database.people.models import AccessToken

        boundless = user.is_staff or user.is_superuser or user.username == settings.RANVIER.database.username
        roles = frozenset() if boundless else _roles(user)
        if not isinstance(token, AccessToken):
            return cls(user, roles, boundless, user.is_public_user)
        areas = PIPELINE_AREAS if token.scope == AccessToken.Scope.PIPELINE else None
        reads_only = user.is_public_user or token.scope == AccessToken.Scope.READ
        return cls(user, roles, boundless, reads_only, token.lab_id, areas, by_named_token=True)

    @property
    def is_machine(self) -> bool:
        """Whether this is a service and not a person."""
        return self.user.username == settings.RANVIER.database.username or any(role is Role.SERVER for _, role in self.roles)

    @property
    def is_public(self) -> bool:
        """Whether only what is public may be read: of a public user, and of one who is nothing else in any lab."""
        return not self.everything and (self.user.is_public_user or {role for _, role in self.roles} == {Role.PUBLIC})

    @property
    def labs(self) -> list[Any]:
        """Ids of the labs that the user belongs to."""
        return [lab for lab, role in self.roles if role is not Role.PUBLIC]

    def may(self, area: Area) -> bool:
        """Whether rows of this kind may be written in some lab."""
        if self.reads_only or (self.areas is not None and area not in self.areas):
            return False
        return self.everything or area is Area.OWN or any(area in WRITES[role] for _, role in self.roles)

    def may_in(self, area: Area, labs: Iterable[Any]) -> bool:
        """Whether rows that belong to all of these labs may be written."""
        within = set(labs)
        if not self.may(area) or (self.lab is not None and within - {self.lab}):
            return False
        return self.everything or area is Area.OWN or within <= {lab for lab, role in self.roles if area in WRITES[role]}

    def may_change_shared(self, area: Area) -> bool:
        """Whether rows that all labs share may be changed and deleted."""
        if not self.may(area) or self.lab is not None:
            return False
        return self.everything or area is Area.OWN or any(area in CHANGES_SHARED.get(role, ()) for _, role in self.roles)

    def may_touch(self, row: Model) -> bool:
        """Whether a row that is there may be changed or deleted."""
        rule, labs = rule_of(row), labs_of(row)
        if row._meta.label == "people.Project" and not self._opens(row):
            return False
        return self.may_in(rule.area, labs) if labs else self.may_change_shared(rule.area)

    def _opens(self, project: Any) -> bool:
        """Whether a project is open to the user: one that names people is changed by staff and those it names only."""
        users = set(project.users.values_list("pk", flat=True))
        return self.everything or not users or self.user.pk in users

    def works_in(self, labs: Iterable[Any]) -> bool:
        """Whether anything of all of these labs may be written; what a write brings about in other tables needs no more."""
        within = set(labs)
        if self.lab is not None and within - {self.lab}:
            return False
        return self.everything or within <= {lab for lab, role in self.roles if WRITES[role]}

    @property
    def is_bounded(self) -> bool:
        """Whether there is anything that may not be written."""
        return not self.everything or self.reads_only or self.lab is not None or self.areas is not None


def _roles(user: Any) -> frozenset[tuple[Any, Role]]:
    from ranvier.database.people.models import LabMembership, LabServer

    today = dt.date.today()
    now = LabMembership.objects.filter(Q(start_date=None) | Q(start_date__lte=today), Q(end_date=None) | Q(end_date__gte=today))
    people = now.filter(user=user).order_by().values_list("lab_id", "role")
    servers = LabServer.objects.filter(user=user).order_by().values_list("lab_id", Value(Role.SERVER.value))
    return frozenset((lab, Role(role)) for lab, role in people.union(servers))


def acting() -> Access | None:
    """Who is at work in this request; None outside of requests, where nothing is forbidden."""
    return _acting.get()


def access_of(request: Any) -> Access:
    """What whoever asks may do, looked up once a request."""
    inner = getattr(request, "_request", request)
    known: Access | None = getattr(inner, "ranvier_access", None)
    if known is None or known.user.pk != request.user.pk:
        known = inner.ranvier_access = Access.of(request.user, getattr(request, "auth", None))
    _acting.set(known)
    return known


class Acting:
    """Django middleware: in the admin whoever signed in is at work; after a request, nobody."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a request."""
        try:
            if request.path.startswith("/admin/") and request.user.is_authenticated:
                access_of(request)
            return self.get_response(request)
        finally:
            _acting.set(None)


def labs_of(row: Model, *, added: bool = False) -> set[Any]:
    """Ids of the labs that a row belongs to; a note belongs where what it is on does.

    Parameters
    ----------
    row
        The row.
    added
        Whether it is new, which some rules make more of.
    """
    if row._meta.label == "actions.Note":
        return labs_of(row.content_object) if row.content_object is not None else set()
    rule = rule_of(row)
    return {lab for path in (*rule.labs, *(rule.when_added if added else ())) for lab in _follow(row, path)}


def _follow(row: Any, path: str) -> set[Any]:
    """Ids at the end of a path; of any number of rows in one query."""
    name, _, rest = path.partition("__")
    value = getattr(row, name)
    if value is None:
        return set()
    if hasattr(value, "order_by"):
        return set(value.order_by().values_list(rest, flat=True).distinct()) - {None}
    return _follow(value, rest) if rest else {value}


def require(area: Area, labs: Iterable[Any]) -> None:
    """Refuse to go on unless whoever is at work may write rows of these labs.

    Raises
    ------
    PermissionDenied
        If not.
    """
    access = acting()
    if access is not None and access.is_bounded and not access.may_in(area, labs):
        raise refusal(access, area)


def refusal(access: Access, area: Area) -> PermissionDenied:
    """What somebody is told who may not write a row."""
    if access.user.is_public_user:
        return PermissionDenied("a public user may only read; ask the lab for an account of your own")
    if access.reads_only:
        return PermissionDenied("this token may only read; use another, or ask for one by POST /tokens")
    if access.by_named_token and not access.may(area):
        return PermissionDenied(f"this token is not for the {area}; use another, or ask for one by POST /tokens")
    return PermissionDenied(
        f"{access.user.username} may not write this part of the {area} of this lab; ask one of its admins for a role there"
    )
