"""The colony: genes and tests for them, pairs and litters, cages, requests, and when an experiment has to end."""

from __future__ import annotations

import datetime

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction

from ranvier.database.base import NamedRecord, Record


class Outcome(models.IntegerChoices):
    """Of a test for a sequence."""

    ABSENT = 0
    PRESENT = 1


class Copies(models.IntegerChoices):
    """How many copies of an allele an animal has; Present means one or two."""

    ABSENT = 0
    HETEROZYGOUS = 1
    HOMOZYGOUS = 2
    PRESENT = 3


#: As geneticists write them.
SYMBOLS = {Copies.ABSENT: "-/-", Copies.HETEROZYGOUS: "+/-", Copies.HOMOZYGOUS: "+/+", Copies.PRESENT: "+"}


class Allele(NamedRecord):
    """An allele, by its informal name, such as Pvalb-Cre."""

    standard_name = models.CharField(max_length=1023, blank=True, help_text="MGI's name, such as Pvalb<tm1(cre)Arbr>")
    description = models.TextField(blank=True)


class Sequence(NamedRecord):
    """A sequence that animals are tested for."""

    base_pairs = models.TextField(blank=True)
    description = models.CharField(max_length=1023, blank=True)


class ZygosityRule(Record):
    """What one or two tests say of an allele in a line."""

    line = models.ForeignKey("subjects.Line", models.CASCADE, related_name="zygosity_rules")
    allele = models.ForeignKey(Allele, models.CASCADE, related_name="zygosity_rules")
    sequence0 = models.ForeignKey(Sequence, models.CASCADE, related_name="+", verbose_name="sequence")
    sequence0_result = models.IntegerField(choices=Outcome, verbose_name="result")
    sequence1 = models.ForeignKey(Sequence, models.CASCADE, null=True, blank=True, related_name="+", verbose_name="and sequence")
    sequence1_result = models.IntegerField(choices=Outcome, null=True, blank=True, verbose_name="with result")
    zygosity = models.IntegerField(choices=Copies)

    class Meta:
        ordering = ["line__name", "allele__name", "zygosity"]
        constraints = [
            models.UniqueConstraint(
                fields=["line", "allele", "sequence0", "sequence0_result", "sequence1", "sequence1_result"], name="one_rule_per_results"
            ),
            models.CheckConstraint(
                condition=models.Q(sequence1=None, sequence1_result=None)
                | models.Q(sequence1__isnull=False, sequence1_result__isnull=False),
                name="second_sequence_with_its_result",
                violation_error_message="name the second sequence together with its result, or neither",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.allele} {SYMBOLS[Copies(self.zygosity)]} in {self.line}"


class Zygosity(Record):
    """How many copies of an allele an animal has."""

    subject = models.ForeignKey("subjects.Subject", models.CASCADE, related_name="zygosities")
    allele = models.ForeignKey(Allele, models.PROTECT, related_name="zygosities")
    zygosity = models.IntegerField(choices=Copies)

    class Meta:
        ordering = ["allele__name"]
        verbose_name_plural = "zygosities"
        constraints = [models.UniqueConstraint(fields=["subject", "allele"], name="one_zygosity_per_allele")]

    def __str__(self) -> str:
        return f"{self.allele} {SYMBOLS[Copies(self.zygosity)]}"


class GenotypeTest(Record):
    """A test of an animal for a sequence."""

    subject = models.ForeignKey("subjects.Subject", models.CASCADE, related_name="genotype_tests")
    sequence = models.ForeignKey(Sequence, models.PROTECT, related_name="genotype_tests")
    test_result = models.IntegerField(choices=Outcome)
    date = models.DateField(default=datetime.date.today)

    class Meta:
        ordering = ["sequence__name"]
        constraints = [models.UniqueConstraint(fields=["subject", "sequence"], name="one_test_per_sequence")]

    def __str__(self) -> str:
        return f"{self.sequence} {'-+'[self.test_result]}"

    @transaction.atomic
    def save(self, *args: object, **kwargs: object) -> None:
        """Write the row, and what follows from the animal's tests."""
        from ranvier.database.subjects import genetics

        super().save(*args, **kwargs)
        genetics.apply_tests(self.subject)


class BreedingPair(NamedRecord):
    """A father and one or two mothers."""

    line = models.ForeignKey("subjects.Line", models.SET_NULL, null=True, blank=True, related_name="breeding_pairs")
    father = models.ForeignKey(
        "subjects.Subject", models.PROTECT, null=True, blank=True, related_name="pairs_as_father", limit_choices_to={"sex": "M"}
    )
    mother1 = models.ForeignKey(
        "subjects.Subject", models.PROTECT, null=True, blank=True, related_name="pairs_as_mother1", limit_choices_to={"sex": "F"}
    )
    mother2 = models.ForeignKey(
        "subjects.Subject", models.PROTECT, null=True, blank=True, related_name="pairs_as_mother2", limit_choices_to={"sex": "F"}
    )
    start_date = models.DateField(null=True, blank=True)
    end_date = models.DateField(null=True, blank=True)
    description = models.TextField(blank=True)


class Litter(NamedRecord):
    """Animals born together."""

    line = models.ForeignKey("subjects.Line", models.SET_NULL, null=True, blank=True, related_name="litters")
    breeding_pair = models.ForeignKey(BreedingPair, models.SET_NULL, null=True, blank=True, related_name="litters")
    birth_date = models.DateField(null=True, blank=True)
    description = models.TextField(blank=True)


class SubjectRequest(Record):
    """Animals that somebody asks the colony for."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="subject_requests")
    line = models.ForeignKey("subjects.Line", models.PROTECT, related_name="requests")
    count = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(10_000)])
    project = models.ForeignKey("people.Project", models.SET_NULL, null=True, blank=True, related_name="subject_requests")
    date = models.DateField(default=datetime.date.today)
    due_date = models.DateField(null=True, blank=True)
    description = models.TextField(blank=True)

    class Meta:
        ordering = ["due_date", "date"]

    def __str__(self) -> str:
        due = f", due {self.due_date}" if self.due_date else ""
        return f"{self.count} of {self.line} for {self.user}{due}"


class Cage(NamedRecord):
    """A cage, and how its animals are kept; what is empty is as the lab says."""

    lab = models.ForeignKey("people.Lab", models.PROTECT, related_name="cages")
    cage_type = models.CharField(max_length=255, blank=True)
    enrichment = models.CharField(max_length=255, blank=True)
    food = models.CharField(max_length=255, blank=True)
    light_cycle = models.CharField(max_length=255, blank=True)
    cage_cleaning_frequency_days = models.PositiveIntegerField(null=True, blank=True)


class CageStay(Record):
    """An animal's time in a cage; the one without an end is where it is."""

    subject = models.ForeignKey("subjects.Subject", models.CASCADE, related_name="cage_stays")
    cage = models.ForeignKey(Cage, models.PROTECT, related_name="stays")
    start_date = models.DateField(default=datetime.date.today)
    end_date = models.DateField(null=True, blank=True)

    class Meta:
        ordering = ["-start_date"]
        constraints = [models.UniqueConstraint(fields=["subject"], condition=models.Q(end_date=None), name="one_cage_at_a_time")]

    def __str__(self) -> str:
        return f"{self.subject} in {self.cage}"

    @transaction.atomic
    def save(self, *args: object, **kwargs: object) -> None:
        """Write the row; moving into a cage ends the stay in the one before."""
        if self.end_date is None:
            CageStay.objects.filter(subject=self.subject, end_date=None).exclude(pk=self.pk).update(end_date=self.start_date)
        super().save(*args, **kwargs)


class HumaneEndPoint(Record):
    """What, once it is reached, ends an animal's experiment."""

    subject = models.ForeignKey("subjects.Subject", models.CASCADE, related_name="humane_end_points")
    criterion = models.CharField(max_length=1023, help_text="As the licence has it")
    min_weight_pct = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="A weighing below this percentage of the expected weight reaches it",
    )
    reached_on = models.DateField(null=True, blank=True)
    action_taken = models.TextField(blank=True)

    class Meta:
        ordering = ["criterion"]

    def __str__(self) -> str:
        return f"{self.criterion} ({self.subject})"
