"""Names that follow from the line: `<line>_0001` for an animal, `<line>_L_001` for a litter, `<line>_BP_001` for a pair; and weaning."""

from __future__ import annotations

import datetime
import re

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Model

from ranvier.database.people.models import Lab, User
from ranvier.database.subjects.colony import BreedingPair, Litter
from ranvier.database.subjects.genetics import inherit
from ranvier.database.subjects.models import Line, Subject

#: What stands for a name that the database is to choose, as in Alyx.
AUTOMATIC = "-"
#: More pups than any litter has.
MOST_PUPS = 40

_COUNTERS: dict[type[Model], tuple[str, str, str]] = {
    Subject: ("named_subjects", "nickname", "{line}_{number:04d}"),
    Litter: ("named_litters", "name", "{line}_L_{number:03d}"),
    BreedingPair: ("named_pairs", "name", "{line}_BP_{number:03d}"),
}


@transaction.atomic
def next_name(kind: type[Model], line: Line | None) -> str:
    """The next name of a line's animals, litters or pairs that nothing has yet.

    Raises
    ------
    ValidationError
        If there is no line to name it by.
    """
    if line is None:
        raise ValidationError("give it a name, or the line by which the database can name it")
    counter, field, pattern = _COUNTERS[kind]
    prefix = re.sub(r"[^\w.-]", "_", line.nickname or line.name)
    while True:
        Line.objects.filter(pk=line.pk).update(**{counter: F(counter) + 1})  # locks the row, so that two ask one after the other
        name = pattern.format(line=prefix, number=Line.objects.values_list(counter, flat=True).get(pk=line.pk))
        if not kind._default_manager.filter(**{field: name}).exists():
            return name


@transaction.atomic
def wean(litter: Litter, lab: Lab, males: int, females: int, day: datetime.date | None = None, user: User | None = None) -> list[Subject]:
    """Make the animals of a litter, named by its line, with the zygosities that follow from the parents.

    Raises
    ------
    ValidationError
        If the litter has no line, or the numbers or the day cannot be.
    """
    if not 0 < males + females <= MOST_PUPS or min(males, females) < 0:
        raise ValidationError(f"a litter is of 1 to {MOST_PUPS} animals, not of {males} males and {females} females")
    day = day or datetime.date.today()
    if litter.birth_date and day < litter.birth_date:
        raise ValidationError(f"{litter} was born on {litter.birth_date} and cannot be weaned on {day}")
    weaned = []
    for sex in ["M"] * males + ["F"] * females:
        name = next_name(Subject, litter.line)
        pup = Subject(nickname=name, lab=lab, line=litter.line, litter=litter, sex=sex, responsible_user=user)
        pup.birth_date, pup.wean_date = litter.birth_date, day
        pup.to_be_genotyped = bool(litter.line and litter.line.sequences.exists())
        pup.save()
        inherit(pup)
        weaned.append(pup)
    return weaned
