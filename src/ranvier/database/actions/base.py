"""What every action has in common."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from ranvier.database.base import NamedRecord, Record


class ProcedureType(NamedRecord):
    """A kind of procedure, as a licence names it."""

    description = models.TextField(blank=True)


class Action(Record):
    """Something done with a subject, by someone, somewhere, at some time."""

    subject = models.ForeignKey("subjects.Subject", models.PROTECT, related_name="%(app_label)s_%(class)ss")
    users = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="%(app_label)s_%(class)ss")
    location = models.ForeignKey("people.LabLocation", models.SET_NULL, null=True, blank=True)
    lab = models.ForeignKey("people.Lab", models.PROTECT, related_name="%(app_label)s_%(class)ss")
    procedures = models.ManyToManyField(ProcedureType, blank=True)
    name = models.CharField(max_length=255, blank=True)
    narrative = models.TextField(blank=True)
    start_time = models.DateTimeField(default=timezone.now)
    end_time = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
