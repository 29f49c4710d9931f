"""Admin pages of weights, water, surgeries, culls and notes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.contenttypes.admin import GenericTabularInline
from django.http import HttpRequest

from ranvier.database.actions.models import (
    Cull,
    CullMethod,
    CullReason,
    Note,
    OtherAction,
    Surgery,
    VirusInjection,
    WaterAdministration,
    WaterRestriction,
    WaterType,
    Weighing,
)
from ranvier.database.rest.admin_site import RoleAdmin


class ByMe(RoleAdmin):
    """What is written down is by the one who writes, unless something else is said."""

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Values of a new row."""
        names = {field.name for field in self.model._meta.get_fields()}
        me = {"user": request.user.pk} if "user" in names else {"users": [request.user.pk]} if "users" in names else {}
        return {**me, **super().get_changeform_initial_data(request)}


@admin.register(Weighing)
class WeighingAdmin(ByMe):
    """Weights."""

    list_display = ("subject", "weight", "date_time", "user")
    list_filter = ("subject__lab", "date_time")
    list_select_related = ("subject", "user")
    search_fields = ("subject__nickname",)
    autocomplete_fields = ("subject", "user")
    date_hierarchy = "date_time"
    fields = ("subject", "weight", "date_time", "user")


@admin.register(WaterAdministration)
class WaterAdministrationAdmin(ByMe):
    """Water that was given."""

    list_display = ("subject", "water_administered", "water_type", "adlib", "date_time", "session", "user")
    list_filter = ("subject__lab", "water_type", "date_time")
    list_select_related = ("subject", "water_type", "session__subject", "user")
    search_fields = ("subject__nickname",)
    autocomplete_fields = ("subject", "user", "session", "water_type")
    date_hierarchy = "date_time"
    fields = ("subject", "water_administered", "water_type", "adlib", "date_time", "session", "user")


@admin.register(WaterType, CullReason, CullMethod)
class ChoiceAdmin(RoleAdmin):
    """What may be chosen elsewhere."""

    list_display = search_fields = ("name",)


class ActionAdmin(ByMe):
    """Base of what is done with subjects."""

    list_filter: tuple[Any, ...] = ("lab", "start_time")
    search_fields: tuple[str, ...] = ("subject__nickname", "narrative", "name")
    autocomplete_fields: tuple[str, ...] = ("subject", "users", "lab", "location", "procedures")
    list_select_related: tuple[str, ...] = ("subject", "lab")
    date_hierarchy = "start_time"


@admin.register(WaterRestriction)
class WaterRestrictionAdmin(ActionAdmin):
    """Times under water restriction."""

    list_display = ("subject", "start_time", "end_time", "reference_weight", "water_type")
    list_filter = ("lab", ("end_time", admin.EmptyFieldListFilter))
    list_select_related = ("subject", "water_type")
    autocomplete_fields = (*ActionAdmin.autocomplete_fields, "water_type")
    fields = ("subject", "lab", "start_time", "end_time", "reference_weight", "water_type", "users", "narrative")


class VirusInjectionInline(admin.TabularInline):
    """Injections of a surgery."""

    model = VirusInjection
    extra = 0
    fields = ("subject", "lab", "virus_batch", "injection_volume", "rate_of_injection", "injection_type", "brain_region", "x", "y", "z")
    autocomplete_fields = ("subject", "lab", "brain_region")


@admin.register(Surgery)
class SurgeryAdmin(ActionAdmin):
    """Surgeries."""

    list_display = ("subject", "start_time", "outcome_type", "implant_weight", "lab")
    list_filter = ("lab", "outcome_type", "procedures", "start_time")
    inlines = [VirusInjectionInline]
    fields = ("subject", "lab", "start_time", "end_time", "outcome_type", "implant_weight", "procedures", "location", "users", "narrative")


@admin.register(VirusInjection)
class VirusInjectionAdmin(ActionAdmin):
    """Virus injections."""

    list_display = ("subject", "virus_batch", "injection_volume", "brain_region", "start_time")
    list_select_related = ("subject", "brain_region")
    search_fields = (*ActionAdmin.search_fields, "virus_batch")
    autocomplete_fields = (*ActionAdmin.autocomplete_fields, "surgery", "brain_region")


@admin.register(OtherAction)
class OtherActionAdmin(ActionAdmin):
    """Other actions."""

    list_display = ("subject", "name", "start_time", "lab")


class CullInline(admin.StackedInline):
    """The end of a subject."""

    model = Cull
    extra = 0
    fields = (("date", "reason", "method"), "user", "description")
    autocomplete_fields = ("reason", "method", "user")


@admin.register(Cull)
class CullAdmin(ByMe):
    """Culls."""

    list_display = ("subject", "date", "reason", "method", "user")
    list_filter = ("subject__lab", "reason", "method", "date")
    list_select_related = ("subject", "reason", "method", "user")
    search_fields = ("subject__nickname", "description")
    autocomplete_fields = ("subject", "reason", "method", "user", "humane_end_point")
    date_hierarchy = "date"

    def delete_queryset(self, request: HttpRequest, rows: Any) -> None:
        """Each by itself, for its animal lives again."""
        for cull in rows:
            cull.delete()


class NoteInline(GenericTabularInline):
    """Notes on a row."""

    model = Note
    ct_fk_field = "object_id"
    extra = 0
    fields = ("text", "image", "user", "date_time")
    autocomplete_fields = ("user",)


@admin.register(Note)
class NoteAdmin(ByMe):
    """Notes."""

    list_display = ("__str__", "content_type", "content_object", "user", "date_time")
    list_filter = ("content_type", "date_time")
    list_select_related = ("content_type", "user")
    search_fields = ("text",)
    autocomplete_fields = ("user",)
    date_hierarchy = "date_time"

    def get_queryset(self, request: HttpRequest) -> Any:
        """What the list shows, in few queries."""
        return super().get_queryset(request).prefetch_related("content_object")
