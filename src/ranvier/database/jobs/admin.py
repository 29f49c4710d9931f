"""Admin pages of tasks, attempts and events."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ranvier.database.jobs import (
    failure_admin,  # noqa: F401  its pages are registered with these
    leases,
)
from ranvier.database.jobs.models import Attempt, Event, Task
from ranvier.database.rest.admin_site import RoleAdmin
from ranvier.states import Status, may_follow, refusal


class TaskForm(forms.ModelForm):
    """A task's form, which knows what may follow what."""

    def clean_status(self) -> int:
        """Refuse what `ranvier.states` refuses."""
        before, after = Status(self.initial.get("status", Status.WAITING)), Status(self.cleaned_data["status"])
        if not may_follow(before, after):
            raise ValidationError(refusal(before, after))
        return after


class AttemptInline(admin.TabularInline):
    """Attempts at a task; they are history, and not to be written."""

    model = Attempt
    extra = 0
    can_delete = False
    show_change_link = True
    fields = readonly_fields = ("number", "status", "reason", "worker", "started", "finished", "wall_s", "peak_memory_mb")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Workers add attempts."""
        return False


@admin.register(Task)
class TaskAdmin(RoleAdmin):
    """Tasks."""

    form = TaskForm
    list_display = ("name", "session", "state", "reason", "attempt", "time_elapsed_secs", "datetime")
    list_filter = ("status", "session__lab", "executable", "graph")
    list_select_related = ("session__subject",)
    search_fields = ("name", "executable", "session__subject__nickname", "reason")
    autocomplete_fields = ("session", "parents", "data_repository")
    readonly_fields = ("id", "attempt", "lease_until", "time_elapsed_secs", "identity", "datetime")
    inlines = [AttemptInline]
    show_full_result_count = False

    def save_model(self, request: HttpRequest, task: Task, form: TaskForm, change: bool) -> None:
        """Save, and end the attempt of a task that was taken out of Started."""
        super().save_model(request, task, form, change)
        if change:
            leases.set_from_outside(task, Status(form.initial["status"]), request.user.get_username())

    @admin.display(description="status", ordering="status")
    def state(self, task: Task) -> SafeString:
        """The status, coloured."""
        return render_to_string("actions/outcome.html", {"outcome": task.get_status_display()})


@admin.register(Attempt)
class AttemptAdmin(RoleAdmin):
    """Attempts: to be read only."""

    list_display = ("__str__", "state", "reason", "worker", "started", "wall_s", "peak_memory_mb")
    list_filter = ("status", "task__session__lab", "task__executable")
    list_select_related = ("task__session__subject",)
    search_fields = ("task__name", "worker", "fingerprint", "flow_run", "task__session__subject__nickname")
    date_hierarchy = "started"

    @admin.display(description="status", ordering="status")
    def state(self, attempt: Attempt) -> SafeString:
        """The status, coloured."""
        return render_to_string("actions/outcome.html", {"outcome": attempt.get_status_display()})

    @admin.display(description="in Prefect")
    def prefect(self, attempt: Attempt) -> str:
        """Link to the flow run."""
        address = f"{settings.RANVIER.prefect_ui_url}/runs/flow-run/{attempt.flow_run}"
        return format_html('<a href="{}">{}</a>', address, attempt.flow_run) if attempt.flow_run else "-"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Every column, and the link."""
        return [*super().get_fields(request, obj), "prefect"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """All of them."""
        return [*(field.name for field in Attempt._meta.fields), "prefect"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Workers add attempts."""
        return False


@admin.register(Event)
class EventAdmin(RoleAdmin):
    """Events."""

    list_display = ("id", "kind", "session", "lab", "created", "delivered", "tries", "error")
    list_filter = ("kind", "lab", ("delivered", admin.EmptyFieldListFilter))
    list_select_related = ("session__subject", "lab")
    search_fields = ("key", "session__subject__nickname", "error")
    autocomplete_fields = ("session", "lab")
    readonly_fields = ("created", "tries", "flow_run")
