"""The animals, and where they come from."""

from __future__ import annotations

import datetime

from django.conf import settings
from django.contrib.contenttypes.fields import GenericRelation
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models

from ranvier.database.base import NamedRecord, Record
from ranvier.database.subjects.colony import (
    Allele,
    BreedingPair,
    Cage,
    CageStay,
    GenotypeTest,
    HumaneEndPoint,
    Litter,
    Sequence,
    SubjectRequest,
    Zygosity,
    ZygosityRule,
)

__all__ = [
    "Allele",
    "BreedingPair",
    "Cage",
    "CageStay",
    "GenotypeTest",
    "GrowthReference",
    "HumaneEndPoint",
    "Line",
    "Litter",
    "Sequence",
    "Source",
    "Species",
    "Strain",
    "Subject",
    "SubjectRequest",
    "Zygosity",
    "ZygosityRule",
]

path_part = RegexValidator(
    r"^[\w.-]+$", "use letters, digits, '_', '-' and '.' only: the nickname becomes a folder of every session's path"
)


class Species(NamedRecord):
    """A species, such as Mus musculus."""

    nickname = models.CharField(max_length=255, blank=True)

    class Meta(NamedRecord.Meta):
        verbose_name_plural = "species"


class Strain(NamedRecord):
    """A strain, such as C57BL/6J."""

    description = models.CharField(max_length=1023, blank=True)


class Source(NamedRecord):
    """A supplier of animals."""

    notes = models.TextField(blank=True)


class Line(NamedRecord):
    """A genetic line."""

    nickname = models.CharField(max_length=255, blank=True, help_text="What names of its animals, litters and pairs start with")
    description = models.TextField(blank=True)
    target_phenotype = models.CharField(max_length=1023, blank=True)
    species = models.ForeignKey(Species, models.SET_NULL, null=True, blank=True)
    strain = models.ForeignKey(Strain, models.SET_NULL, null=True, blank=True, help_text="Of its animals, where nothing else is said")
    alleles = models.ManyToManyField(Allele, blank=True, related_name="lines")
    sequences = models.ManyToManyField(Sequence, blank=True, related_name="lines", help_text="What its animals are tested for")
    named_subjects = models.PositiveIntegerField(default=0, editable=False)
    named_litters = models.PositiveIntegerField(default=0, editable=False)
    named_pairs = models.PositiveIntegerField(default=0, editable=False)


class GrowthReference(Record):
    """What animals of a sex weigh at an age, with which a lab's `zscore_weight_pct` is reckoned."""

    sex = models.CharField(max_length=1, choices=[("M", "Male"), ("F", "Female")])
    age_weeks = models.PositiveIntegerField()
    mean = models.FloatField(validators=[MinValueValidator(0)], help_text="Grams")
    sd = models.FloatField(validators=[MinValueValidator(0.01)], help_text="Grams")

    class Meta:
        ordering = ["sex", "age_weeks"]
        constraints = [models.UniqueConstraint(fields=["sex", "age_weeks"], name="one_growth_reference_per_age")]

    def __str__(self) -> str:
        return f"{self.get_sex_display()} of {self.age_weeks} weeks"


class Subject(Record):
    """An animal."""

    class Sex(models.TextChoices):
        """As in Alyx."""

        MALE = "M"
        FEMALE = "F"
        UNKNOWN = "U"

    class Severity(models.IntegerChoices):
        """What an animal went through, by the classes of the law."""

        SUB_THRESHOLD = 1, "Sub-threshold"
        MILD = 2
        MODERATE = 3
        SEVERE = 4
        NON_RECOVERY = 5, "Non-recovery"

    nickname = models.CharField(max_length=64, unique=True, validators=[path_part], help_text="Easy-to-remember name (e.g. 'Hercules').")
    lab = models.ForeignKey("people.Lab", models.PROTECT, related_name="subjects")
    responsible_user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="subjects_responsible"
    )
    projects = models.ManyToManyField("people.Project", blank=True, related_name="subjects")
    species = models.ForeignKey(Species, models.SET_NULL, null=True, blank=True)
    strain = models.ForeignKey(Strain, models.SET_NULL, null=True, blank=True)
    source = models.ForeignKey(Source, models.SET_NULL, null=True, blank=True)
    line = models.ForeignKey(Line, models.SET_NULL, null=True, blank=True)
    litter = models.ForeignKey(Litter, models.SET_NULL, null=True, blank=True, related_name="subjects")
    request = models.ForeignKey(SubjectRequest, models.SET_NULL, null=True, blank=True, related_name="subjects")
    genotype = models.ManyToManyField(Allele, through=Zygosity, related_name="subjects")
    genotype_test = models.ManyToManyField(Sequence, through=GenotypeTest, related_name="subjects")
    sex = models.CharField(max_length=1, choices=Sex, default=Sex.UNKNOWN)
    birth_date = models.DateField(null=True, blank=True)
    wean_date = models.DateField(null=True, blank=True)
    genotype_date = models.DateField(null=True, blank=True)
    death_date = models.DateField(null=True, blank=True)
    reduced_date = models.DateField(null=True, blank=True, help_text="The day it left the colony's stock")
    ear_mark = models.CharField(max_length=32, blank=True, default="")
    protocol_number = models.CharField(max_length=32, blank=True, default="", help_text="Of the licence that it is used under")
    description = models.TextField(blank=True)
    adverse_effects = models.TextField(blank=True, default="")
    actual_severity = models.IntegerField(choices=Severity, null=True, blank=True)
    to_be_genotyped = models.BooleanField(default=False)
    to_be_culled = models.BooleanField(default=False)
    notes = GenericRelation("actions.Note")

    class Meta:
        ordering = ["nickname"]

    def __str__(self) -> str:
        return self.nickname

    def save(self, *args: object, **kwargs: object) -> None:
        """Write the row; an animal of a line has its strain and species, and one that is genotyped need not be."""
        if self.line:
            self.strain = self.strain or self.line.strain
            self.species = self.species or self.line.species
        if self.genotype_date:
            self.to_be_genotyped = False
        super().save(*args, **kwargs)

    @property
    def alive(self) -> bool:
        """Whether no death is recorded."""
        return self.death_date is None

    @property
    def age_weeks(self) -> int:
        """Whole weeks from birth to death or today; 0 where the birth is not known."""
        if self.birth_date is None:
            return 0
        return ((self.death_date or datetime.date.today()) - self.birth_date).days // 7
