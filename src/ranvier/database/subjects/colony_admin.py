"""Admin pages of the colony."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from ranvier.database.people.models import Lab
from ranvier.database.rest.admin_site import RoleAdmin
from ranvier.database.subjects.models import (
    Allele,
    BreedingPair,
    Cage,
    CageStay,
    GenotypeTest,
    GrowthReference,
    HumaneEndPoint,
    Line,
    Litter,
    Sequence,
    Subject,
    SubjectRequest,
    ZygosityRule,
)
from ranvier.database.subjects.naming import AUTOMATIC, MOST_PUPS, next_name, wean


@admin.register(Allele, Sequence)
class GeneAdmin(RoleAdmin):
    """Alleles, and sequences that are tested for."""

    list_display = ("name", "description")
    search_fields = ("name", "description")


class ZygosityRuleInline(admin.TabularInline):
    """What tests say of alleles in a line."""

    model = ZygosityRule
    extra = 0
    fields = ("allele", "sequence0", "sequence0_result", "sequence1", "sequence1_result", "zygosity")
    autocomplete_fields = ("allele", "sequence0", "sequence1")


@admin.register(Line)
class LineAdmin(RoleAdmin):
    """Lines."""

    list_display = ("name", "nickname", "species", "strain", "target_phenotype")
    list_filter = ("species", "strain")
    list_select_related = ("species", "strain")
    search_fields = ("name", "nickname", "target_phenotype")
    autocomplete_fields = ("species", "strain", "alleles", "sequences")
    inlines = [ZygosityRuleInline]


class NamedByLine(forms.ModelForm):
    """A name that may be left to the line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].initial = AUTOMATIC
        self.fields["name"].help_text = f"{AUTOMATIC}: the next name of the line"

    def clean(self) -> dict[str, Any]:
        """A line names what has no name."""
        fields = super().clean() or {}
        if fields.get("name") == AUTOMATIC and not self.errors:
            fields["name"] = next_name(self._meta.model, fields.get("line"))
        return fields


class LitterForm(NamedByLine):
    """A litter, and how many animals it is of when it is weaned."""

    males = forms.IntegerField(min_value=0, max_value=MOST_PUPS, initial=0, required=False)
    females = forms.IntegerField(min_value=0, max_value=MOST_PUPS, initial=0, required=False)
    weaned_on = forms.DateField(required=False, widget=admin.widgets.AdminDateWidget)
    lab = forms.ModelChoiceField(Lab.objects.all(), required=False)

    def clean(self) -> dict[str, Any]:
        """Weaned animals are in a lab, and named by a line."""
        fields = super().clean()
        if self.pups and not (fields.get("lab") and fields.get("line")):
            raise ValidationError("to wean animals choose the lab that they are in, and the litter's line, which names them")
        day, born = fields.get("weaned_on"), fields.get("birth_date")
        if day and born and day < born:
            raise ValidationError({"weaned_on": f"born on {born}; choose a later day"})
        return fields

    @property
    def pups(self) -> int:
        """How many animals are weaned."""
        return sum(self.cleaned_data.get(name) or 0 for name in ("males", "females"))


class PupInline(admin.TabularInline):
    """Animals of a litter."""

    model = Subject
    extra = 0
    can_delete = False
    fields = ("nickname", "sex", "ear_mark", "to_be_genotyped", "wean_date", "death_date")
    readonly_fields = ("nickname",)
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, litter: Litter | None = None) -> bool:
        """They come by weaning."""
        return False


@admin.register(Litter)
class LitterAdmin(RoleAdmin):
    """Litters."""

    form = LitterForm
    list_display = ("name", "line", "breeding_pair", "birth_date", "animals")
    list_filter = ("line", ("birth_date", admin.DateFieldListFilter))
    list_select_related = ("line", "breeding_pair")
    search_fields = ("name", "line__name", "breeding_pair__name")
    autocomplete_fields = ("line", "breeding_pair")
    inlines = [PupInline]
    fieldsets = (
        (None, {"fields": ("name", "line", "breeding_pair", "birth_date", "description")}),
        ("Wean: makes the animals, named by the line", {"fields": (("males", "females"), ("weaned_on", "lab"))}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Litter]:
        """What the list shows."""
        return super().get_queryset(request).annotate(animal_count=Count("subjects"))

    @admin.display(ordering="animal_count")
    def animals(self, litter: Any) -> int:
        """How many it is of."""
        return int(litter.animal_count)

    def save_related(self, request: HttpRequest, form: LitterForm, formsets: Any, change: bool) -> None:
        """Wean after the litter is written."""
        super().save_related(request, form, formsets, change)
        if form.pups:
            asked = form.cleaned_data
            counts = (asked.get("males") or 0, asked.get("females") or 0)
            pups = wean(form.instance, asked["lab"], *counts, asked.get("weaned_on"), request.user)
            self.message_user(request, f"weaned {', '.join(map(str, pups))}", messages.SUCCESS)


class LitterInline(admin.TabularInline):
    """Litters of a pair."""

    model = Litter
    extra = 0
    fields = ("name", "birth_date", "description")
    show_change_link = True


@admin.register(BreedingPair)
class BreedingPairAdmin(RoleAdmin):
    """Pairs."""

    form = NamedByLine
    list_display = ("name", "line", "father", "mother1", "mother2", "start_date", "end_date")
    list_filter = ("line", ("end_date", admin.EmptyFieldListFilter))
    list_select_related = ("line", "father", "mother1", "mother2")
    search_fields = ("name", "line__name", "father__nickname", "mother1__nickname", "mother2__nickname")
    autocomplete_fields = ("line", "father", "mother1", "mother2")
    inlines = [LitterInline]


@admin.register(GenotypeTest)
class GenotypeTestAdmin(RoleAdmin):
    """Tests."""

    list_display = ("subject", "sequence", "test_result", "date")
    list_filter = ("test_result", "sequence", "subject__line")
    list_select_related = ("subject", "sequence")
    search_fields = ("subject__nickname", "sequence__name")
    autocomplete_fields = ("subject", "sequence")


class StayInline(admin.TabularInline):
    """Animals of a cage."""

    model = CageStay
    extra = 0
    fields = ("subject", "start_date", "end_date")
    autocomplete_fields = ("subject",)


@admin.register(Cage)
class CageAdmin(RoleAdmin):
    """Cages."""

    list_display = ("name", "lab", "cage_type", "light_cycle")
    list_filter = ("lab", "cage_type", "light_cycle")
    list_select_related = ("lab",)
    search_fields = ("name",)
    autocomplete_fields = ("lab",)
    inlines = [StayInline]


@admin.register(SubjectRequest)
class SubjectRequestAdmin(RoleAdmin):
    """Animals that are asked for."""

    list_display = ("line", "count", "given", "user", "project", "date", "due_date")
    list_filter = ("line", "project", "user")
    list_select_related = ("line", "user", "project")
    search_fields = ("line__name", "user__username", "description")
    autocomplete_fields = ("line", "user", "project")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SubjectRequest]:
        """What the list shows."""
        return super().get_queryset(request).annotate(given_count=Count("subjects"))

    @admin.display(ordering="given_count")
    def given(self, request: Any) -> int:
        """How many animals were given."""
        return int(request.given_count)


@admin.register(HumaneEndPoint)
class HumaneEndPointAdmin(RoleAdmin):
    """What ends experiments."""

    list_display = ("subject", "criterion", "min_weight_pct", "reached_on")
    list_filter = (("reached_on", admin.EmptyFieldListFilter), "subject__lab")
    list_select_related = ("subject",)
    search_fields = ("subject__nickname", "criterion")
    autocomplete_fields = ("subject",)


@admin.register(GrowthReference)
class GrowthReferenceAdmin(RoleAdmin):
    """What animals weigh at an age."""

    list_display = ("sex", "age_weeks", "mean", "sd")
    list_display_links = ("age_weeks",)
    list_editable = ("mean", "sd")
    list_filter = ("sex",)
