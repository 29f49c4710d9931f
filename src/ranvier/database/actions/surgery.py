"""Surgeries, injections, and whatever else is done with an animal."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models

from ranvier.database.actions.base import Action


class Surgery(Action):
    """A surgery; what it leaves on the head is weighed with the animal from then on."""

    class OutcomeType(models.TextChoices):
        """Whether the animal wakes up again."""

        ACUTE = "a"
        RECOVERY = "r"
        NON_RECOVERY = "n", "Non-recovery"

    outcome_type = models.CharField(max_length=1, choices=OutcomeType, blank=True, default="")
    implant_weight = models.FloatField(
        default=0.0, validators=[MinValueValidator(0)], help_text="Grams of all that is on the head from then on; 0: nothing new"
    )

    class Meta:
        ordering = ["-start_time"]
        verbose_name_plural = "surgeries"

    def __str__(self) -> str:
        return f"surgery of {self.subject}, {self.start_time:%Y-%m-%d}"


class VirusInjection(Action):
    """An injection of a virus."""

    class InjectionType(models.TextChoices):
        """How it was driven."""

        IONTOPHORESIS = "I"
        PRESSURE = "P"

    surgery = models.ForeignKey(Surgery, models.SET_NULL, null=True, blank=True, related_name="virus_injections")
    virus_batch = models.CharField(max_length=255, blank=True)
    injection_volume = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0)], help_text="Nanolitres")
    rate_of_injection = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0)], help_text="Nanolitres a minute")
    injection_type = models.CharField(max_length=1, choices=InjectionType, default=InjectionType.PRESSURE)
    brain_region = models.ForeignKey("experiments.BrainRegion", models.PROTECT, null=True, blank=True, related_name="virus_injections")
    x = models.FloatField(null=True, blank=True, help_text="Micrometres right of bregma")
    y = models.FloatField(null=True, blank=True, help_text="Micrometres in front of bregma")
    z = models.FloatField(null=True, blank=True, help_text="Micrometres above bregma")

    class Meta:
        ordering = ["-start_time"]

    def __str__(self) -> str:
        return f"{self.virus_batch or 'virus'} in {self.subject}, {self.start_time:%Y-%m-%d}"


class OtherAction(Action):
    """Anything that has no table of its own, by its procedures."""

    class Meta:
        ordering = ["-start_time"]

    def __str__(self) -> str:
        return f"{self.name or 'action'} on {self.subject}, {self.start_time:%Y-%m-%d}"
