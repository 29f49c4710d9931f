"""What tests and parents say of the alleles of an animal."""

from __future__ import annotations

from itertools import product

from ranvier.database.subjects.colony import BreedingPair, Copies, GenotypeTest, Zygosity, ZygosityRule
from ranvier.database.subjects.models import Subject

#: Copies of an allele that one gamete of a parent may carry.
GAMETES: dict[int, set[int]] = {Copies.ABSENT: {0}, Copies.HETEROZYGOUS: {0, 1}, Copies.HOMOZYGOUS: {1}, Copies.PRESENT: {0, 1}}


def apply_tests(subject: Subject) -> None:
    """Write the zygosities that follow from an animal's tests, by the rules of its line."""
    results = dict(GenotypeTest.objects.filter(subject=subject).values_list("sequence", "test_result"))
    for rule in ZygosityRule.objects.filter(line=subject.line_id):
        first = results.get(rule.sequence0_id) == rule.sequence0_result
        if first and (rule.sequence1_id is None or results.get(rule.sequence1_id) == rule.sequence1_result):
            _write(subject, rule.allele_id, rule.zygosity)


def inherit(subject: Subject) -> None:
    """Write the zygosities that an animal must have from its parents, for alleles of which nothing is known yet."""
    pair = subject.litter.breeding_pair if subject.litter else None
    if pair is None:
        return
    known = set(subject.zygosities.values_list("allele", flat=True))
    for allele, copies in of_offspring(pair).items():
        if allele not in known:
            _write(subject, allele, copies)


def of_offspring(pair: BreedingPair) -> dict[object, int]:
    """Alleles whose zygosity in a pair's offspring is certain, by the allele's key.

    An allele of which nothing is recorded in a parent counts as absent there. Where there are two mothers, it has to follow from either.
    """
    mothers = [mother for mother in (pair.mother1, pair.mother2) if mother]
    if pair.father is None or not mothers:
        return {}
    father, *others = ({z.allele_id: int(z.zygosity) for z in parent.zygosities.all()} for parent in (pair.father, *mothers))
    certain: dict[object, int] = {}
    for allele in set(father).union(*others):
        here = father.get(allele, Copies.ABSENT)
        found = {cross(here, mother.get(allele, Copies.ABSENT)) for mother in others}
        if len(found) == 1 and (copies := found.pop()) is not None:
            certain[allele] = copies
    return certain


def cross(father: int, mother: int) -> int | None:
    """Zygosity of all the offspring of two animals, by Mendel; None where it may or may not have the allele."""
    possible = {a + b for a, b in product(GAMETES[father], GAMETES[mother])}
    if len(possible) == 1:
        return possible.pop()
    return None if 0 in possible else int(Copies.PRESENT)


def _write(subject: Subject, allele: object, copies: int) -> None:
    Zygosity.objects.update_or_create(subject=subject, allele_id=allele, defaults={"zygosity": copies})
