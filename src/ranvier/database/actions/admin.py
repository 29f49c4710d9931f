"""Admin pages of sessions; that of one session is its page for people."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from ranvier.database.actions.models import ProcedureType, Session
from ranvier.database.actions.notebook_admin import NoteInline
from ranvier.database.experiments.admin import ProbeInsertionInline
from ranvier.database.jobs import cancellations
from ranvier.database.rest.admin_site import RoleAdmin
from ranvier.states import GOOD_ENOUGH, NOTHING_APPLIES, Status

#: Statuses after which nothing more happens by itself and all is well.
WELL = (*GOOD_ENOUGH, Status.EMPTY)
#: Name of the button that cancels a session.
CANCEL = "_cancel_session"


@admin.register(ProcedureType)
class ProcedureTypeAdmin(RoleAdmin):
    """Kinds of procedures."""

    list_display = ("name", "description")
    search_fields = ("name",)


@admin.register(Session)
class SessionAdmin(RoleAdmin):
    """Sessions."""

    list_display = ("__str__", "lab", "task_protocol", "project_names", "quality", "tasks_done")
    list_filter = ("lab", "qc", "projects", "date")
    search_fields = ("subject__nickname", "task_protocol", "narrative", "projects__name", "id")
    autocomplete_fields = ("subject", "users", "lab", "location", "projects", "procedures", "parent_session")
    date_hierarchy = "date"
    inlines = [ProbeInsertionInline, NoteInline]
    readonly_fields = ("tasks_table", "datasets_table", "figures_list", "id", "auto_datetime")
    actions = ("cancel",)
    about = ("subject", "number", "lab", "start_time", "end_time", "task_protocol", "projects", "users", "narrative")
    details = (
        "id",
        "type",
        "location",
        "procedures",
        "parent_session",
        "n_trials",
        "n_correct_trials",
        "extended_qc",
        "json",
        "auto_datetime",
    )
    fieldsets = (
        ("What became of it", {"fields": ("qc", "tasks_table", "figures_list", "datasets_table")}),
        ("What it was", {"fields": about}),
        ("More", {"classes": ("collapse",), "fields": details}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        """What the list shows, in few queries."""
        well = Count("tasks", filter=Q(tasks__status__in=WELL), distinct=True)
        bad = Count("tasks", filter=Q(tasks__status=Status.ERRORED), distinct=True)
        rows = super().get_queryset(request).select_related("subject", "lab").prefetch_related("projects")
        return rows.annotate(all_tasks=Count("tasks", distinct=True), well_tasks=well, bad_tasks=bad)

    def get_fieldsets(self, request: HttpRequest, session: Session | None = None) -> Any:
        """A session that is being written has nothing to show yet."""
        return super().get_fieldsets(request, session) if session else self.fieldsets[1:]

    @admin.action(description="Cancel what runs or waits of the selected sessions", permissions=["change"])
    def cancel(self, request: HttpRequest, sessions: QuerySet[Session]) -> None:
        """Stop the tasks of sessions, and say which."""
        for session in sessions:
            stopped = cancellations.cancel_session(session, request.user.get_username())
            names = ", ".join(task.name for task in stopped) or "nothing, as nothing ran or waited"
            self.message_user(request, f"{session}: cancelled {names}")

    def response_change(self, request: HttpRequest, session: Session) -> HttpResponse:
        """Also the answer to the button that cancels, which leaves the page where it is."""
        if CANCEL not in request.POST:
            return super().response_change(request, session)
        self.cancel(request, [session])
        return HttpResponseRedirect(request.path)

    @admin.display(description="projects")
    def project_names(self, session: Session) -> str:
        """Projects, joined."""
        return ", ".join(project.name for project in session.projects.all())

    @admin.display(description="QC", ordering="qc")
    def quality(self, session: Session) -> SafeString:
        """The outcome, coloured."""
        return render_to_string("actions/outcome.html", {"outcome": session.get_qc_display()})

    @admin.display(description="tasks", ordering="all_tasks")
    def tasks_done(self, session: Any) -> str:
        """How many tasks are done, and how many failed."""
        if not session.all_tasks:
            return "none yet"
        failed = f", {session.bad_tasks} errored" if session.bad_tasks else ""
        return f"{session.well_tasks} of {session.all_tasks} done{failed}"

    @admin.display(description="Tasks")
    def tasks_table(self, session: Session) -> SafeString:
        """Tasks with status, reason and the way to the flow run."""
        tasks = list(session.tasks.prefetch_related("attempts"))
        rows = [(task, next(iter(task.attempts.all()), None)) for task in tasks]
        is_open = any(task.status in cancellations.OPEN for task in tasks)
        context = {"rows": rows, "prefect": settings.RANVIER.prefect_ui_url, "open": is_open, "cancel": CANCEL}
        context["nothing_applies"] = (session.json or {}).get(NOTHING_APPLIES)
        return render_to_string("actions/tasks.html", context)

    @admin.display(description="Datasets")
    def datasets_table(self, session: Session) -> SafeString:
        """Datasets that are there, and those that are not."""
        rows = session.data_dataset_session_related.select_related("revision", "dataset_type").prefetch_related(
            "file_records__data_repository"
        )
        return render_to_string("actions/datasets.html", {"datasets": rows})

    @admin.display(description="Figures")
    def figures_list(self, session: Session) -> SafeString:
        """The figures of each task's last attempt."""
        shown = []
        for task in session.tasks.prefetch_related("attempts"):
            attempt = next((a for a in task.attempts.all() if a.figures), None)
            for figure in attempt.figures if attempt else ():
                path = str(figure.get("path", "")).removeprefix("figures/")
                shown.append({**figure, "task": task.name, "url": reverse("figure", args=[session.pk, path]) if path else ""})
        return render_to_string("actions/figures.html", {"figures": shown})
