"""Admin pages of subjects and where they come from."""

from __future__ import annotations

from django.contrib import admin

from ranvier.database.subjects.models import Line, Source, Species, Strain, Subject


@admin.register(Species, Strain, Source, Line)
class OriginAdmin(admin.ModelAdmin):
    """What subjects are and come from."""

    list_display = ("name",)
    search_fields = ("name",)


@admin.register(Subject)
class SubjectAdmin(admin.ModelAdmin):
    """Subjects."""

    list_display = ("nickname", "lab", "species", "sex", "birth_date", "age_weeks", "alive", "responsible_user")
    list_filter = ("lab", "sex", ("death_date", admin.EmptyFieldListFilter), "species", "projects")
    list_select_related = ("lab", "species", "responsible_user")
    search_fields = ("nickname", "description")
    autocomplete_fields = ("lab", "responsible_user", "species", "strain", "source", "line", "projects")

    @admin.display(boolean=True, ordering="death_date")
    def alive(self, subject: Subject) -> bool:
        """Whether no death is recorded."""
        return subject.alive
