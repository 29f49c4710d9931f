"""Which rows somebody sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db.models import Manager, Model, Q, QuerySet

from ranvier.database.rest.access import Access, acting
from ranvier.database.rest.rules import RULES, WRITES, Area, Role, rule_of


def visible(rows: QuerySet[Any], access: Access) -> QuerySet[Any]:
    """Rows that somebody may read."""
    rule = rule_of(rows.model)
    if access.everything or rule.open:
        return rows
    shown = _shown(rows.model, access)
    return rows if shown is None else rows.filter(pk__in=rows.model._base_manager.filter(shown).values("pk"))


def seen(rows: QuerySet[Any] | Manager[Any]) -> QuerySet[Any]:
    """Of some rows those that whoever is at work may read; outside of requests all of them."""
    access = acting()
    return rows.all() if access is None else visible(rows.all(), access)


def may_read(row: Model) -> bool:
    """Whether whoever is at work may read a row."""
    access = acting()
    return access is None or access.everything or seen(type(row)._base_manager.filter(pk=row.pk)).exists()


def all_readable(model: type[Model], access: Access) -> bool:
    """Whether a table has nothing that is kept from somebody, whatever its rows."""
    return access.everything or rule_of(model).open or _shown(model, access) is None


def writable(rows: QuerySet[Any], access: Access) -> QuerySet[Any]:
    """Rows of those labs only whose rows of this kind somebody may write."""
    rule = rule_of(rows.model)
    if not access.is_bounded or rule.area is Area.STAFF:
        return rows
    labs = [lab for lab, role in access.roles if rule.area in WRITES[role]]
    for path in rule.labs:
        rows = rows.filter(Q(**{f"{path}__isnull": True}) | Q(**{f"{path}__in": labs}))
    return rows


def _shown(model: type[Model], access: Access) -> Q | None:
    """What is asked of rows that may be read; None where all may."""
    rule, across = rule_of(model), settings.RANVIER.database.read_across_labs
    if rule.area is Area.OWN:
        return _owned(model, access)
    if model._meta.label == "actions.Note":
        return _of_notes(access)
    if (rule.session or rule.sessions) and _all_sessions(access):
        return None
    if rule.sessions:
        return Q(pk=None) if access.is_public else ~Q(**{f"{rule.sessions}__in": hidden_sessions(access).values("pk")})
    path = rule.session or (rule.shows_to_public if access.is_public else "")
    of_session = Q(**{f"{path}__in": readable_sessions(access).values("pk")}) if path else Q(pk=None)
    if access.is_public or rule.area is Area.STAFF:
        return of_session
    elsewhere = Q() if across else _in_labs(rule.labs, access)
    if not rule.session:
        return None if across or not rule.labs else elsewhere
    return of_session | (Q(**{f"{rule.session}__isnull": True}) & elsewhere)


def _owned(model: type[Model], access: Access) -> Q:
    """Rows of the person itself; tokens also of the people of a lab that it is an admin of."""
    administers = [lab for lab, role in access.roles if role is Role.LAB_ADMIN]
    mine = Q(user=access.user)
    return mine | Q(user__memberships__lab__in=administers) if model._meta.label == "people.AccessToken" and administers else mine


def _of_notes(access: Access) -> Q | None:
    """Notes on what may be read, each table's by itself."""
    kept, shown = [], Q()
    for model in (apps.get_model(label) for label in RULES if label != "actions.Note"):
        condition = None if rule_of(model).open else _shown(model, access)
        if condition is None:
            continue
        kind = ContentType.objects.get_for_model(model, for_concrete_model=False)
        kept.append(kind.pk)
        if rule_of(model).area is not Area.OWN and model._meta.pk.get_internal_type() == "UUIDField":
            shown |= Q(content_type=kind, object_id__in=model._base_manager.order_by().filter(condition).values("pk"))
    return shown | ~Q(content_type__in=kept)


def _in_labs(paths: Iterable[str], access: Access) -> Q:
    """Rows of the user's labs, and of no lab."""
    inside, nowhere = Q(), Q()
    for path in paths:
        inside |= Q(**{f"{path}__in": access.labs})
        nowhere &= Q(**{f"{path}__isnull": True})
    return inside | nowhere


def _all_sessions(access: Access) -> bool:
    """Whether there is nothing by which a session would be kept from somebody."""
    across = settings.RANVIER.database.read_across_labs
    return access.everything or (across and not access.is_public and not closed_projects(access))


def closed_projects(access: Access) -> list[Any]:
    """Projects that name who reads their sessions, and not this user; asked for once a request."""
    from ranvier.database.people.models import Project

    if access.closed_projects is None:
        named = Project.users.through.objects
        mine = named.filter(user=access.user).values("project")
        found = named.exclude(project__in=mine).order_by().values_list("project", flat=True).distinct()
        object.__setattr__(access, "closed_projects", list(found))
    return access.closed_projects or []


def readable_sessions(access: Access) -> QuerySet[Any]:
    """Sessions that somebody may read.

    They are those of the own labs and of projects that name the user, and others unless one of their projects names who may read it, or
    this database keeps labs apart.
    """
    from ranvier.database.actions.models import Session

    rows, of_projects = Session.objects.order_by(), Session.projects.through.objects
    if _all_sessions(access):
        return rows
    if access.is_public:
        return rows.filter(pk__in=of_projects.filter(project__public=True).values("session"))
    mine = Q(lab__in=access.labs) | Q(pk__in=of_projects.filter(project__users=access.user).values("session"))
    if settings.RANVIER.database.read_across_labs:
        mine |= ~Q(pk__in=of_projects.filter(project__in=closed_projects(access)).values("session"))
    return rows.filter(mine)


def hidden_sessions(access: Access) -> QuerySet[Any]:
    """Sessions that somebody may not read."""
    from ranvier.database.actions.models import Session

    return Session.objects.order_by().exclude(pk__in=readable_sessions(access).values("pk"))


def sees_all_sessions(access: Access) -> bool:
    """Whether nothing is kept from somebody."""
    return _all_sessions(access) or not hidden_sessions(access).exists()
