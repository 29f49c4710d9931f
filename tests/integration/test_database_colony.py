"""The colony: lines, tests and zygosities, pairs and litters, cages, requests, culls and humane end points; on both engines."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

#: Alyx's numbers for zygosities.
ABSENT, HETEROZYGOUS, HOMOZYGOUS, PRESENT = range(4)

_numbers = itertools.count()


@pytest.fixture
def line(each_database: Any) -> str:
    """A line whose animals are tested for one transgene, with the rules of the test."""
    return new_line(each_database)


@pytest.fixture(scope="module")
def settled(each_database: Any) -> str:
    """A line with a male, a female and a litter."""
    line = new_line(each_database)
    animal(each_database, line, "M")
    animal(each_database, line, "F")
    each_database.make("/litters", {"line": line, "birth_date": "2026-09-01"})
    return line


def new_line(each_database: Any) -> str:
    """Make a line, and say its name."""
    name = f"Pv{next(_numbers)}"
    for sequence in ("Cre", "WT"):
        if each_database.request("GET", f"/sequences/{sequence}").status_code == 404:
            each_database.make("/sequences", {"name": sequence})
    each_database.make("/alleles", {"name": f"{name}-Cre"})
    each_database.make("/lines", {"name": name, "nickname": name, "alleles": [f"{name}-Cre"], "sequences": ["Cre", "WT"]})
    for wild_type, copies in ((1, HETEROZYGOUS), (0, HOMOZYGOUS)):
        rule = {"sequence0": "Cre", "sequence0_result": 1, "sequence1": "WT", "sequence1_result": wild_type, "zygosity": copies}
        each_database.make("/zygosity-rules", {"line": name, "allele": f"{name}-Cre", **rule})
    each_database.make("/zygosity-rules", {"line": name, "allele": f"{name}-Cre", "sequence0": "Cre", "sequence0_result": 0, "zygosity": 0})
    return name


def animal(database: Any, line: str, sex: str, copies: int | None = None) -> str:
    """Nickname of a new animal, which its line names."""
    genotype = [] if copies is None else [{"allele": f"{line}-Cre", "zygosity": copies}]
    return str(database.make("/subjects", {"nickname": "-", "lab": "testlab", "line": line, "sex": sex, "genotype": genotype})["nickname"])


def genotype(database: Any, subject: str) -> dict[str, int]:
    """Zygosities of an animal by allele."""
    return {each["allele"]: each["zygosity"] for each in database.request("GET", f"/subjects/{subject}").json()["genotype"]}


@pytest.mark.parametrize(
    ("outcomes", "copies"),
    [({"Cre": 1, "WT": 0}, HOMOZYGOUS), ({"Cre": 0}, ABSENT), ({"Cre": 1}, None)],
)
def test_zygosity_follows_from_tests(each_database: Any, line: str, outcomes: dict[str, int], copies: int | None) -> None:
    subject = animal(each_database, line, "M")
    for sequence, result in outcomes.items():
        each_database.make("/genotype-tests", {"subject": subject, "sequence": sequence, "test_result": result})
    assert genotype(each_database, subject) == ({} if copies is None else {f"{line}-Cre": copies})
    found = each_database.request("GET", f"/subjects?line={line}&genotype_test=Cre").json()["results"]
    assert [row["nickname"] for row in found] == [subject]


@pytest.mark.parametrize(
    ("father", "mother", "pups"),
    [
        (HOMOZYGOUS, ABSENT, HETEROZYGOUS),
        (HETEROZYGOUS, HOMOZYGOUS, PRESENT),
        (HETEROZYGOUS, None, None),
    ],
)
def test_weaned_pups_have_what_their_parents_must_have_given(
    each_database: Any, line: str, father: int, mother: int | None, pups: int | None
) -> None:
    parents = {"father": animal(each_database, line, "M", father), "mother1": animal(each_database, line, "F", mother)}
    pair = each_database.make("/breeding-pairs", {"line": line, **parents})["name"]
    litter = each_database.make("/litters", {"line": line, "breeding_pair": pair, "birth_date": "2026-09-01"})["name"]
    assert (pair, litter) == (f"{line}_BP_001", f"{line}_L_001")
    weaned = each_database.make(f"/litters/{litter}/wean", {"lab": "testlab", "males": 1, "females": 2, "date": "2026-09-22"})
    assert weaned["subjects"] == [f"{line}_{number:04d}" for number in (3, 4, 5)]
    pup = each_database.request("GET", f"/subjects/{line}_0004").json()
    assert (pup["litter"], pup["birth_date"], pup["wean_date"], pup["sex"], pup["to_be_genotyped"]) == (
        litter, "2026-09-01", "2026-09-22", "F", True,
    )  # fmt: skip
    assert genotype(each_database, pup["nickname"]) == ({} if pups is None else {f"{line}-Cre": pups})
    assert len(each_database.request("GET", f"/subjects?litter={litter}").json()["results"]) == 3


def test_an_animal_is_in_one_cage(each_database: Any, line: str) -> None:
    subject = animal(each_database, line, "M")
    for cage in ("A", "B"):
        each_database.make("/cages", {"name": f"{line} {cage}", "lab": "testlab"})
    each_database.make("/cage-stays", {"subject": subject, "cage": f"{line} A", "start_date": "2026-09-01"})
    each_database.make("/cage-stays", {"subject": subject, "cage": f"{line} B", "start_date": "2026-09-05"})
    stays = each_database.request("GET", f"/cage-stays?subject={subject}").json()["results"]
    assert {stay["cage"][-1]: stay["end_date"] for stay in stays} == {"A": "2026-09-05", "B": None}
    assert each_database.request("GET", f"/subjects/{subject}").json()["cage"] == f"{line} B"
    assert each_database.request("GET", f"/subjects?cage={line} A").json()["count"] == 0
    assert each_database.request("GET", f"/subjects?cage={line} B").json()["count"] == 1


def test_a_cull_ends_what_goes_on_and_may_be_taken_back(each_database: Any, line: str) -> None:
    subject = animal(each_database, line, "M")
    each_database.make("/weighings", {"subject": subject, "weight": 30, "date_time": "2026-09-01T09:00:00"})
    each_database.make("/water-restriction", {"subject": subject, "start_time": "2026-09-02T09:00:00"})
    assert each_database.request("GET", f"/subjects?line={line}&water_restricted=true").json()["count"] == 1
    cull = each_database.make("/culls", {"subject": subject, "date": "2026-10-01", "reason": "Experiment completed"})
    assert each_database.request("GET", f"/subjects/{subject}").json()["death_date"] == "2026-10-01"
    restriction = each_database.request("GET", f"/water-restriction?subject={subject}").json()["results"][0]
    assert (restriction["end_time"][:10], restriction["reference_weight"]) == ("2026-10-01", 30)
    again = each_database.request("POST", "/culls", {"subject": subject, "reason": "Age"})
    assert (again.status_code, "subject" in again.json()["detail"]) == (409, True)
    assert each_database.request("DELETE", f"/culls/{cull['id']}").status_code == 204
    assert each_database.request("GET", f"/subjects/{subject}").json()["alive"] is True


def test_a_weighing_reaches_a_humane_end_point(each_database: Any, line: str) -> None:
    each_database.request("PATCH", "/labs/testlab", {"reference_weight_pct": 0.8})
    subject = animal(each_database, line, "M")
    each_database.make("/weighings", {"subject": subject, "weight": 30, "date_time": "2026-09-01T09:00:00"})
    each_database.make("/water-restriction", {"subject": subject, "start_time": "2026-09-02T09:00:00"})
    point = each_database.make("/humane-end-points", {"subject": subject, "criterion": "a fifth lost", "min_weight_pct": 80})

    def reached(day: str, weight: float) -> str | None:
        each_database.make("/weighings", {"subject": subject, "weight": weight, "date_time": f"{day}T09:00:00"})
        return each_database.request("GET", f"/humane-end-points/{point['id']}").json()["reached_on"]

    assert reached("2026-09-03", 24.0) is None, "just 80 %"
    assert reached("2026-09-04", 23.9) == "2026-09-04"
    assert reached("2026-09-05", 22.0) == "2026-09-04", "the first time counts"


def test_requests_are_answered_with_animals(each_database: Any, line: str) -> None:
    request = each_database.make("/subject-requests", {"line": line, "count": 2, "due_date": "2026-12-01"})
    assert request["user"] == "ranvier"
    assert each_database.request("GET", f"/subjects?request={request['id']}").json()["count"] == 0


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/subjects", {"nickname": "-", "lab": "testlab"}, "line"),
        ("/litters", {}, "line"),
        ("/litters/LINE_L_001/wean", {"lab": "testlab", "males": 0}, "1 to 40"),
        ("/litters/LINE_L_001/wean", {"lab": "testlab", "males": 41}, "1 to 40"),
        ("/litters/LINE_L_001/wean", {"lab": "testlab", "males": 1, "date": "2026-08-01"}, "born on"),
        ("/genotype-tests", {"subject": "nobody", "sequence": "Cre", "test_result": 1}, "nobody"),
        ("/genotype-tests", {"subject": "LINE_0001", "sequence": "Cre", "test_result": 2}, "test_result"),
        ("/zygosity-rules", {"line": "LINE", "allele": "LINE-Cre", "sequence0": "Cre", "sequence0_result": 1, "sequence1": "WT",
                             "zygosity": 1}, "neither"),
        ("/breeding-pairs", {"line": "LINE", "father": "LINE_0002"}, "LINE_0002"),
        ("/humane-end-points", {"subject": "LINE_0001", "criterion": "x", "min_weight_pct": 101}, "100"),
        ("/culls", {"subject": "LINE_0001", "reason": "boredom"}, "boredom"),
        ("/subject-requests", {"line": "LINE", "count": 0}, "count"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(each_database: Any, settled: str, path: str, body: dict[str, Any], says: str) -> None:
    body = {key: value.replace("LINE", settled) if isinstance(value, str) else value for key, value in body.items()}
    answer = each_database.request("POST", path.replace("LINE", settled), body)
    assert answer.status_code == 400, answer.text
    assert says.replace("LINE", settled) in answer.json()["detail"]
