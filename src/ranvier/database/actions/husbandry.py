"""Weight and water."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models, transaction

from ranvier.database.actions.base import Action
from ranvier.database.base import NamedRecord, Record


class Measurement(Record):
    """Something measured on, or given to, an animal at one moment, by the lab's clock."""

    subject = models.ForeignKey("subjects.Subject", models.PROTECT)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    name = models.CharField(max_length=255, blank=True, default="")
    date_time = models.DateTimeField(blank=True, help_text="By the clock of the animal's lab; empty: now")

    class Meta:
        abstract = True
        ordering = ["-date_time"]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the row; where no time is given it is now."""
        from ranvier.database.people.clock import local_now

        self.date_time = self.date_time or local_now(self.subject.lab)
        super().save(*args, **kwargs)


class Weighing(Measurement):
    """A weight."""

    subject = models.ForeignKey("subjects.Subject", models.PROTECT, related_name="weighings")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="weighings")
    weight = models.FloatField(validators=[MinValueValidator(0)], help_text="Grams")

    class Meta(Measurement.Meta):
        indexes = [models.Index(fields=["subject", "date_time"])]

    def __str__(self) -> str:
        return f"{self.subject}: {self.weight:g} g"

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the row, and whether the animal has come to a humane end point with it."""
        from ranvier.database.actions.water import note_end_points

        super().save(*args, **kwargs)
        note_end_points(self)


class WaterType(NamedRecord):
    """What is given to drink."""


class WaterAdministration(Measurement):
    """Water that was given: in a session as reward, or beside it."""

    subject = models.ForeignKey("subjects.Subject", models.PROTECT, related_name="water_administrations")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="water_administrations")
    session = models.ForeignKey("actions.Session", models.SET_NULL, null=True, blank=True, related_name="wateradmin_session_related")
    water_administered = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0)], help_text="Millilitres")
    water_type = models.ForeignKey(WaterType, models.SET_NULL, null=True, blank=True, related_name="administrations")
    adlib = models.BooleanField(default=False, help_text="As much as it would drink")

    class Meta(Measurement.Meta):
        indexes = [models.Index(fields=["subject", "date_time"])]

    def __str__(self) -> str:
        return f"{self.subject}: {'as it likes' if self.water_administered is None else f'{self.water_administered:g} ml'}"


class WaterRestriction(Action):
    """A time in which an animal drinks what it is given; while it has no end it goes on."""

    reference_weight = models.FloatField(
        default=0.0, validators=[MinValueValidator(0)], help_text="Grams; 0: the last weight before it began"
    )
    water_type = models.ForeignKey(WaterType, models.SET_NULL, null=True, blank=True, related_name="restrictions")

    class Meta:
        ordering = ["-start_time"]
        constraints = [models.UniqueConstraint(fields=["subject"], condition=models.Q(end_time=None), name="one_restriction_at_a_time")]

    def __str__(self) -> str:
        return f"{self.subject} since {self.start_time:%Y-%m-%d}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the row; a reference weight that nobody gave is the last one before."""
        if not self.reference_weight:
            before = Weighing.objects.filter(subject=self.subject, date_time__date__lte=self.start_time.date()).first()
            self.reference_weight = before.weight if before else 0.0
        super().save(*args, **kwargs)
