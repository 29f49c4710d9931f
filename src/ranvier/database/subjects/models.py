"""The animals, and where they come from."""

from __future__ import annotations

import datetime

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models

from ranvier.database.base import NamedRecord, Record

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

    nickname = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)


class Subject(Record):
    """An animal."""

    class Sex(models.TextChoices):
        """As in Alyx."""

        MALE = "M"
        FEMALE = "F"
        UNKNOWN = "U"

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
    sex = models.CharField(max_length=1, choices=Sex, default=Sex.UNKNOWN)
    birth_date = models.DateField(null=True, blank=True)
    death_date = models.DateField(null=True, blank=True)
    description = models.TextField(blank=True)

    class Meta:
        ordering = ["nickname"]

    def __str__(self) -> str:
        return self.nickname

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
