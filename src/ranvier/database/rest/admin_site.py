"""The admin pages by role: who gets in, which tables, and which rows of them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.forms import AuthenticationForm
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from ranvier.database.rest.access import Access, access_of
from ranvier.database.rest.models import Change
from ranvier.database.rest.reading import visible, writable
from ranvier.database.rest.rules import RULES, WRITES, Area, rule_of
from ranvier.database.rest.throttling import note_guess, refuse_guessing

#: The order of the pages: what is in the hand most comes first.
APPS = ("subjects", "actions", "experiments", "data", "jobs", "reruns", "people")
#: Changes that the page of a row's history shows.
SHOWN = 100


class RanvierSite(admin.AdminSite):
    """Admin pages for staff, and for everyone with a role in a lab by which something may be written."""

    login_form = AuthenticationForm

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether the user gets in."""
        if not (request.user.is_active and request.user.is_authenticated):
            return False
        access = access_of(request)
        return access.user.is_staff or (not access.reads_only and any(WRITES[role] for _, role in access.roles))

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The apps, in the order of `APPS`; others follow."""
        places = {name: place for place, name in enumerate(APPS)}
        return sorted(super().get_app_list(request, app_label), key=lambda app: places.get(app["app_label"], len(APPS)))


class ByRole(ModelBackend):
    """Django's permissions, from the roles; what concerns accounts is as Django has it: given by hand, or to superusers."""

    def authenticate(self, request: Any, username: str | None = None, password: str | None = None, **kwargs: Any) -> Any:
        """The user of a name and password, by whatever way they came.

        Raises
        ------
        TooOften
            If too many were wrong before.
        """
        name = str(username or "")
        if request is not None:
            refuse_guessing(request, name)
        user = super().authenticate(request, username=username, password=password, **kwargs)
        if user is None and request is not None:
            note_guess(request, name)
        return user

    def has_perm(self, user_obj: Any, perm: str, obj: Model | None = None) -> bool:
        """Whether a user may do something with a table."""
        app, _, what = perm.partition(".")
        action, _, model = what.partition("_")
        label = next((label for label in RULES if label.lower() == f"{app}.{model}"), "")
        if not user_obj.is_active or not label or rule_of(label).area is Area.STAFF:
            return super().has_perm(user_obj, perm, obj)
        access = _access(user_obj)
        area = rule_of(label).area
        if action == "view":
            return access.user.is_staff or any(WRITES[role] for _, role in access.roles)
        shared_change = action in ("change", "delete") and not rule_of(label).labs and label != "actions.Note"
        return access.may_change_shared(area) if shared_change else access.may(area)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        """Whether there is anything for a user in an app."""
        labels = [label.lower().split(".") for label in RULES if label.startswith(f"{app_label}.")]
        return any(self.has_perm(user_obj, f"{app}.view_{model}") for app, model in labels) or super().has_module_perms(user_obj, app_label)


def _access(user: Any) -> Access:
    """What a user may do, looked up once a request, of which Django makes a user each."""
    if not hasattr(user, "ranvier_access"):
        user.ranvier_access = Access.of(user)
    known: Access = user.ranvier_access
    return known


class RoleAdmin(admin.ModelAdmin):
    """Base of the admin pages: rows that the user may read, changed where their labs allow; each with its history."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Rows that the user may read."""
        return visible(super().get_queryset(request), access_of(request))

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whether the row may be changed."""
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whether the row may be deleted."""
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Actions leave out rows of other labs, whatever was chosen."""
        return super().response_action(request, writable(queryset, access_of(request)))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Who changed the row, by whatever way."""
        changes = Change.objects.filter(model=self.model._meta.label_lower, row=object_id).select_related("user")
        page = Paginator(changes, SHOWN).get_page(request.GET.get("p"))
        return super().history_view(request, object_id, {"action_list": page, **(extra_context or {})})


def _may_touch(request: HttpRequest, row: Model | None) -> bool:
    access = access_of(request)
    return row is None or not access.is_bounded or rule_of(row).area is Area.STAFF or access.may_touch(row)
