"""Admin pages of failures, and of the pauses that they lead to."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from ranvier.amounts import counted
from ranvier.database.jobs import breaker, failures
from ranvier.database.jobs.models import Attempt, Failure, Pause
from ranvier.database.rest.admin_site import RoleAdmin
from ranvier.database.rest.reading import seen

#: Groups on the page.
SHOWN = 200


class _ReadOnly(RoleAdmin):
    """Pages of what the pipeline writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The pipeline adds them."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """They are history."""
        return False


@admin.register(Failure)
class FailureAdmin(_ReadOnly):
    """Equal failures, over sessions and labs."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """To be looked at only."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """A row for each fingerprint."""
        context = {
            **self.admin_site.each_context(request),
            "title": "Failures",
            "groups": failures.groups(seen(Attempt.objects), limit=SHOWN),
            "opts": self.opts,
        }
        return TemplateResponse(request, "jobs/failures.html", context)


@admin.register(Pause)
class PauseAdmin(_ReadOnly):
    """Task versions that may not run in a lab."""

    list_display = ("task", "version", "lab", "failures", "fingerprint", "created", "lifted", "lifted_by")
    list_filter = ("lab", "task", ("lifted", admin.EmptyFieldListFilter))
    list_select_related = ("lab",)
    search_fields = ("task", "fingerprint", "reason")
    actions = ["lift"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """All of them: the action lifts a pause."""
        return [field.name for field in Pause._meta.fields]

    @admin.action(description="Lift: let these tasks run again")
    def lift(self, request: HttpRequest, rows: QuerySet[Pause]) -> None:
        """Lift the chosen pauses, and ask for the sessions in which tasks were held."""
        sessions = sum(breaker.lift(pause, request.user.get_username()) for pause in rows.filter(lifted=None))
        self.message_user(request, f"{counted(sessions, 'session')} asked for")
