"""Brain regions, the tree of the Allen Mouse Brain Common Coordinate Framework, and the coordinates that places are given in."""

from __future__ import annotations

import csv
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from django.db import models

from ranvier.database.base import NamedRecord


class CoordinateSystem(NamedRecord):
    """Origin, axes and unit of coordinates."""

    description = models.TextField(blank=True)


class BrainRegion(models.Model):
    """A region of the brain, under Allen's number."""

    id = models.IntegerField(primary_key=True)
    acronym = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=255, unique=True)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    path = models.CharField(max_length=255, db_index=True, editable=False, help_text="Numbers from the root: /997/8/")
    description = models.TextField(null=True, blank=True)

    class Meta:
        ordering = ["path"]

    def __str__(self) -> str:
        return f"{self.acronym}: {self.name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the row with its path."""
        self.path = f"{self.parent.path if self.parent else '/'}{self.pk}/"
        super().save(*args, **kwargs)

    @property
    def level(self) -> int:
        """How many regions it is in."""
        return self.path.count("/") - 2

    @property
    def lineage(self) -> list[int]:
        """Numbers of the regions it is in, and its own."""
        return [int(number) for number in self.path.split("/") if number]


def within(regions: models.QuerySet[BrainRegion]) -> models.QuerySet[BrainRegion]:
    """Regions and all that is in them."""
    paths = list(regions.values_list("path", flat=True))
    highest = [path for path in paths if not any(path != other and path.startswith(other) for other in paths)]
    if not highest:
        return BrainRegion.objects.none()
    return BrainRegion.objects.filter(reduce(or_, (models.Q(path__startswith=path) for path in highest)))


def load_regions(path: Path) -> None:
    """Add the regions of a table (`id,acronym,name,path`) that are not there yet."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    known = set(BrainRegion.objects.values_list("pk", flat=True))
    new = [row for row in rows if int(row["id"]) not in known]
    parents = {row["id"]: next(iter(row["path"].strip("/").split("/")[-2:-1]), None) for row in new}
    BrainRegion.objects.bulk_create([BrainRegion(**row, parent_id=parents[row["id"]]) for row in new])
