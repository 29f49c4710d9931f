"""The end of an animal, and why."""

from __future__ import annotations

import datetime
from typing import Any

from django.conf import settings
from django.db import models, transaction

from ranvier.database.base import NamedRecord, Record


class CullReason(NamedRecord):
    """Why an animal is culled."""

    description = models.TextField(blank=True)


class CullMethod(NamedRecord):
    """How."""

    description = models.TextField(blank=True)


class Cull(Record):
    """The end of an animal."""

    subject = models.OneToOneField("subjects.Subject", models.PROTECT, related_name="cull")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="culls")
    date = models.DateField(default=datetime.date.today)
    reason = models.ForeignKey(CullReason, models.PROTECT, related_name="culls")
    method = models.ForeignKey(CullMethod, models.PROTECT, null=True, blank=True, related_name="culls")
    humane_end_point = models.ForeignKey("subjects.HumaneEndPoint", models.PROTECT, null=True, blank=True, related_name="culls")
    description = models.TextField(blank=True)

    class Meta:
        ordering = ["-date"]

    def __str__(self) -> str:
        return f"{self.subject}, {self.date}: {self.reason}"

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the row, and with it the animal's death, the end of its water restriction and of its time in a cage."""
        from ranvier.database.actions.husbandry import WaterRestriction

        super().save(*args, **kwargs)
        self.subject.death_date, self.subject.to_be_culled = self.date, False
        self.subject.save()
        end = datetime.datetime.combine(self.date, datetime.time(23, 59))
        WaterRestriction.objects.filter(subject=self.subject, end_time=None).update(end_time=end)
        self.subject.cage_stays.filter(end_date=None).update(end_date=self.date)

    @transaction.atomic
    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Take back an entry that was a mistake: the animal lives."""
        self.subject.death_date = None
        self.subject.save()
        return super().delete(*args, **kwargs)
