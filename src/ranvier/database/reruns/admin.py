"""Admin pages of reruns: to be read only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from ranvier.amounts import counted, duration, size, span
from ranvier.database.reruns.models import Backfill, BackfillSession, Rerun, RerunSession
from ranvier.database.rest.admin_site import RoleAdmin


class ReadOnly(admin.options.BaseModelAdmin):
    """What REST writes, and people read."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """It is asked for by the command line, by REST or in Prefect."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """It is what was asked for."""
        return False


def chosen(selection: dict[str, Any]) -> str:
    """A selection in words, such as ``labs: cortexlab; tasks: spike_sorting``."""
    return "; ".join(f"{name}: {', '.join(value) if isinstance(value, list) else value}" for name, value in selection.items() if value)


class RerunSessionInline(ReadOnly, admin.TabularInline):
    """The sessions of a rerun."""

    model = RerunSession
    extra = 0
    can_delete = False
    fields = readonly_fields = ("session", "named", "reason", "outcome", "ended", "prefect")

    def get_queryset(self, request: HttpRequest) -> QuerySet[RerunSession]:
        """With all that a row shows."""
        return super().get_queryset(request).select_related("session__subject", "event")

    @admin.display(description="tasks")
    def named(self, row: RerunSession) -> str:
        """The tasks that were asked for."""
        return ", ".join(row.tasks or ["all that is due"])

    @admin.display(description="in Prefect")
    def prefect(self, row: RerunSession) -> str:
        """Link to the flow run."""
        flow_run = row.event.flow_run if row.event else ""
        return format_html('<a href="{}/runs/flow-run/{}">flow run</a>', settings.RANVIER.prefect_ui_url, flow_run) if flow_run else "-"


@admin.register(Rerun)
class RerunAdmin(ReadOnly, RoleAdmin):
    """Reruns."""

    list_display = ("created", "tag", "created_by", "sessions_chosen", "priority", "force", "still_open")
    list_filter = ("priority", "force", "created_by")
    date_hierarchy = "created"
    fields = readonly_fields = ("created", "created_by", "sessions_chosen", "force", "downstream", "priority")
    inlines = [RerunSessionInline]

    @admin.display(description="selection")
    def sessions_chosen(self, rerun: Rerun) -> str:
        """What was asked for."""
        return chosen(rerun.selection)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rerun]:
        """With their numbers of sessions."""
        rows = super().get_queryset(request).select_related("created_by")
        return rows.annotate(count=Count("sessions"), open=Count("sessions", filter=Q(sessions__ended=None)))

    @admin.display(description="sessions")
    def still_open(self, rerun: Rerun) -> str:
        """How many of its sessions there are, and how many have not ended."""
        return f"{rerun.count}, {rerun.open} not ended"


class BackfillSessionInline(ReadOnly, admin.TabularInline):
    """The sessions of a backfill."""

    model = BackfillSession
    extra = 0
    can_delete = False
    fields = readonly_fields = ("session", "is_canary", "named", "reason", "quality_before", "outcome")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackfillSession]:
        """With all that a row shows."""
        return super().get_queryset(request).select_related("session__subject", "rerun_session")

    @admin.display(description="tasks")
    def named(self, row: BackfillSession) -> str:
        """The instances that would run."""
        return ", ".join(row.tasks)

    @admin.display(description="quality before")
    def quality_before(self, row: BackfillSession) -> str:
        """The outcome of each instance as it stood when the backfill was planned."""
        return ", ".join(f"{name} {outcome}" for name, outcome in row.before.items()) or "-"

    @admin.display(description="outcome")
    def outcome(self, row: BackfillSession) -> str:
        """How its flow run ended."""
        return row.rerun_session.outcome or "has not ended" if row.rerun_session else "not asked for"


@admin.register(Backfill)
class BackfillAdmin(ReadOnly, RoleAdmin):
    """Backfills."""

    list_display = ("created", "task", "version", "state", "created_by", "sessions_chosen", "number")
    list_filter = ("state", "task", "created_by")
    date_hierarchy = "created"
    fields = readonly_fields = (
        "created",
        "created_by",
        "task",
        "version",
        "sessions_chosen",
        "canary",
        "state",
        "reasons",
        "price",
        "takes",
    )
    inlines = [BackfillSessionInline]

    @admin.display(description="selection")
    def sessions_chosen(self, backfill: Backfill) -> str:
        """What was asked for."""
        return chosen(backfill.selection)

    @admin.display(description="would run")
    def reasons(self, backfill: Backfill) -> str:
        """In how many sessions, and why."""
        return _lines((f"{counted(count, 'session')}: {reason}" for reason, count in backfill.estimate.get("reasons", {}).items()))

    @admin.display(description="price, median to 90th percentile of each instance")
    def price(self, backfill: Backfill) -> str:
        """What each task takes, from recorded attempts."""
        return _lines(_price(each) for each in backfill.estimate.get("tasks", []))

    @admin.display(description="takes")
    def takes(self, backfill: Backfill) -> str:
        """How long each lab is at it."""
        labs = backfill.estimate.get("labs", [])
        return _lines(
            f"{each['lab']}: {counted(each['sessions'], 'session')}, {_days(each['days'])}, {each['at_once']} at once" for each in labs
        )

    @admin.display(description="sessions")
    def number(self, backfill: Backfill) -> int:
        """How many there are."""
        return backfill.estimate.get("sessions", 0)


def _lines(lines: Iterable[str]) -> str:
    return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines))


def _price(each: dict[str, Any]) -> str:
    name = f"{each['instances']} x {each['task']}"
    if not each["attempts"]:
        return f"{name}: no attempt is recorded"
    return f"{name}: {span(each['wall_s'], duration)}, CPU {span(each['cpu_s'], duration)}, {span(each['written_bytes'], size)} written"


def _days(days: Sequence[float]) -> str:
    return span(days, lambda each: duration(86400 * each))
