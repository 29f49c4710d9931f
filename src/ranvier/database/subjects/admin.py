"""Admin pages of subjects and where they come from."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import path
from django.utils.safestring import SafeString

from ranvier.database.actions.models import WaterRestriction
from ranvier.database.actions.notebook_admin import CullInline, NoteInline
from ranvier.database.actions.water import histories, history
from ranvier.database.rest.admin_site import RoleAdmin
from ranvier.database.subjects import colony_admin  # noqa: F401  registers its pages
from ranvier.database.subjects.models import CageStay, GenotypeTest, HumaneEndPoint, Source, Species, Strain, Subject, Zygosity


@admin.register(Species, Strain, Source)
class OriginAdmin(RoleAdmin):
    """What subjects are and come from."""

    list_display = ("name",)
    search_fields = ("name",)


class ZygosityInline(admin.TabularInline):
    """Alleles of a subject."""

    model = Zygosity
    extra = 0
    fields = ("allele", "zygosity")
    autocomplete_fields = ("allele",)


class GenotypeTestInline(admin.TabularInline):
    """Tests of a subject."""

    model = GenotypeTest
    extra = 0
    fields = ("sequence", "test_result", "date")
    autocomplete_fields = ("sequence",)


class CageStayInline(admin.TabularInline):
    """Where a subject is, and was."""

    model = CageStay
    extra = 0
    fields = ("cage", "start_date", "end_date")
    autocomplete_fields = ("cage",)


class HumaneEndPointInline(admin.TabularInline):
    """What ends a subject's experiment."""

    model = HumaneEndPoint
    extra = 0
    fields = ("criterion", "min_weight_pct", "reached_on", "action_taken")


class Restricted(admin.SimpleListFilter):
    """Under water restriction, or not."""

    title = "water restriction"
    parameter_name = "water_restricted"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        """What may be chosen."""
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, rows: QuerySet[Subject]) -> QuerySet[Subject]:
        """What was chosen."""
        restricted = Exists(WaterRestriction.objects.filter(subject=OuterRef("pk"), end_time=None))
        return {"yes": rows.filter(restricted), "no": rows.filter(~restricted)}.get(self.value() or "", rows)


@admin.register(Subject)
class SubjectAdmin(RoleAdmin):
    """Subjects."""

    list_display = ("nickname", "lab", "line", "alleles", "sex", "birth_date", "age_weeks", "cage", "alive", "responsible_user")
    list_filter = (
        "lab",
        "sex",
        ("death_date", admin.EmptyFieldListFilter),
        Restricted,
        "to_be_genotyped",
        "to_be_culled",
        "line",
        "species",
        "projects",
    )
    list_select_related = ("lab", "line", "responsible_user")
    search_fields = ("nickname", "description", "ear_mark", "litter__name", "line__name")
    autocomplete_fields = (
        "lab", "responsible_user", "species", "strain", "source", "line", "litter", "projects", "request",
    )  # fmt: skip
    actions = ("mark_to_be_culled", "mark_to_be_genotyped")
    readonly_fields = ("weight_and_water",)
    inlines = [ZygosityInline, GenotypeTestInline, CageStayInline, HumaneEndPointInline, NoteInline, CullInline]
    about = ("nickname", "lab", "responsible_user", "projects", "sex", "birth_date", "ear_mark", "description")
    origin = ("line", "species", "strain", "source", "litter", "wean_date", "request", "reduced_date")
    genes = ("to_be_genotyped", "genotype_date")
    law = ("protocol_number", "actual_severity", "adverse_effects", "to_be_culled", "death_date", "json")
    fieldsets = (
        ("Weight and water", {"fields": ("weight_and_water",)}),
        ("Who it is", {"fields": about}),
        ("Where it comes from", {"fields": origin}),
        ("Genotype", {"fields": genes}),
        ("Licence and end", {"fields": law}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subject]:
        """What the list shows, in few queries."""
        stays = Prefetch("cage_stays", CageStay.objects.filter(end_date=None).select_related("cage"), to_attr="current_stays")
        return super().get_queryset(request).prefetch_related("zygosities__allele", stays)

    def get_fieldsets(self, request: HttpRequest, subject: Subject | None = None) -> Any:
        """A subject that is being written has no weights yet."""
        return super().get_fieldsets(request, subject) if subject else self.fieldsets[1:]

    def get_urls(self) -> list[Any]:
        """The pages, and the plot of one subject."""
        plot = self.admin_site.admin_view(self.plot)
        return [path("<uuid:pk>/weight-and-water.svg", plot, name="subjects_subject_plot"), *super().get_urls()]

    def plot(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        """``GET …/weight-and-water.svg``."""
        from ranvier.database.actions.water_plot import plot

        return HttpResponse(plot(history(get_object_or_404(Subject, pk=pk))), content_type="image/svg+xml")

    @admin.display(boolean=True, ordering="death_date")
    def alive(self, subject: Subject) -> bool:
        """Whether no death is recorded."""
        return subject.alive

    @admin.display(description="genotype")
    def alleles(self, subject: Subject) -> str:
        """Alleles, joined."""
        return ", ".join(str(each) for each in subject.zygosities.all())

    @admin.display()
    def cage(self, subject: Any) -> str:
        """Where it is."""
        return next((stay.cage.name for stay in subject.current_stays), "")

    @admin.display(description="Today")
    def weight_and_water(self, subject: Subject) -> SafeString:
        """Today's weight and water, the plot, and the way to write down more."""
        water = histories([subject])[subject.pk]
        today = water.record(water.today)
        context = {"subject": subject, "today": today, "remaining": -today["excess_water"], "weighed": bool(water.weighings)}
        return render_to_string("subjects/weight_and_water.html", context)

    @admin.action(description="Mark as to be culled", permissions=["change"])
    def mark_to_be_culled(self, request: HttpRequest, subjects: QuerySet[Subject]) -> None:
        """Mark those that live."""
        self._mark(request, subjects.filter(death_date=None), "to_be_culled")

    @admin.action(description="Mark as to be genotyped", permissions=["change"])
    def mark_to_be_genotyped(self, request: HttpRequest, subjects: QuerySet[Subject]) -> None:
        """Mark those that live."""
        self._mark(request, subjects.filter(death_date=None), "to_be_genotyped")

    def _mark(self, request: HttpRequest, subjects: QuerySet[Subject], field: str) -> None:
        for subject in subjects:
            setattr(subject, field, True)
            subject.save(update_fields=[field])
            self.log_change(request, subject, [{"changed": {"fields": [field]}}])
        self.message_user(request, f"{field.replace('_', ' ')}: {', '.join(map(str, subjects))}", messages.SUCCESS)
