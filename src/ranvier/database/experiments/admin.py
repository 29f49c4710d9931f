"""Admin pages of insertions."""

from __future__ import annotations

from django.contrib import admin

from ranvier.database.experiments.models import ProbeInsertion, ProbeModel


@admin.register(ProbeModel)
class ProbeModelAdmin(admin.ModelAdmin):
    """Kinds of probes."""

    list_display = ("name", "manufacturer", "model")
    search_fields = ("name", "model")


class ProbeInsertionInline(admin.TabularInline):
    """Insertions of a session."""

    model = ProbeInsertion
    extra = 0
    fields = ("name", "model", "serial")
    show_change_link = True


@admin.register(ProbeInsertion)
class ProbeInsertionAdmin(admin.ModelAdmin):
    """Insertions."""

    list_display = ("name", "session", "model", "serial")
    list_filter = ("session__lab", "model")
    list_select_related = ("session__subject", "model")
    search_fields = ("name", "serial", "session__subject__nickname")
    autocomplete_fields = ("session", "model", "datasets")
