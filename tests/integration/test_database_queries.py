"""The number of queries of a request must not grow with the rows that it returns; and bootstrap may run again."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from typing import Any

import pytest

from ranvier.database.bootstrap import BootstrapError, bootstrap
from ranvier.database.engine import database_config
from ranvier.settings import initialise, load


@pytest.fixture(scope="module")
def filled(live_database: Any) -> list[str]:
    """Twelve sessions with datasets, insertions and tasks, of the first of all subjects; their ids."""
    live_database.make("/subjects", {"nickname": "000_QUERY", "lab": "testlab"})
    live_database.make("/projects", {"name": "query_project"})
    eids = []
    for number in range(1, 13):
        body = {"subject": "000_QUERY", "start_time": "2026-08-01T08:00:00", "number": number, "projects": ["query_project"]}
        eids.append(live_database.make("/sessions", body)["id"])
        names = [f"alf/probe0{probe}/spikes.{kind}.npy" for probe in range(2) for kind in ("times", "amps", "depths", "clusters")]
        names = names if number > 1 else names[:1]
        live_database.make("/register-file", {"path": f"000_QUERY/2026-08-01/{number:03d}", "filenames": names, "hashes": names})
        for probe in range(2 if number > 1 else 1):
            live_database.make("/insertions", {"session": eids[-1], "name": f"probe0{probe}"})
        tasks = [{"name": "a"}, *({"name": f"t{i}", "parents": ["a"]} for i in range(5))]
        live_database.make("/plans", {"session": eids[-1], "tasks": tasks if number > 1 else tasks[:1]})
    return eids


def queries(rest: Any, path: str, body: object = None, method: str = "post") -> int:
    """How many queries a request makes: a GET, or with a body another."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        answer = rest.get(path) if body is None else getattr(rest, method)(path, body, format="json")
    assert answer.status_code == 200, answer.content
    return len(captured)


def test_a_plan_takes_as_many_queries_for_twenty_tasks_as_for_two(live_database: Any, rest: Any, filled: list[str]) -> None:
    def plan(session: str, count: int) -> int:
        tasks = [{"name": f"new{number}", "data_repository": "testlab_server", "status": "Waiting"} for number in range(count)]
        return queries(rest, "/plans", {"session": session, "tasks": tasks})

    assert plan(filled[2], 20) == plan(filled[3], 2)
    assert plan(filled[2], 20) == plan(filled[3], 2), "a plan that changes nothing writes nothing"


def test_a_change_of_a_session_takes_as_many_queries_for_sixteen_datasets_as_for_one(rest: Any, filled: list[str]) -> None:
    _, few, many = (queries(rest, f"/sessions/{eid}", {"narrative": "a good one"}, "patch") for eid in (filled[0], *filled[:2]))
    assert many == few


def test_a_worker_asks_little_of_the_database(live_database: Any, rest: Any, filled: list[str]) -> None:
    tasks = live_database.request("GET", f"/tasks?session={filled[4]}").json()["results"]
    attempt = live_database.make("/attempts", {"task": tasks[0]["id"], "worker": "w"})["id"]
    told = queries(rest, f"/attempts/{attempt}", {"lease_s": 60}, "patch")
    ended = queries(rest, f"/attempts/{attempt}", {"status": "Complete"}, "patch")
    assert told <= 7, "the token, the transaction, and both rows: read and written"
    assert ended <= 15


@pytest.mark.parametrize(
    "endpoint",
    [
        "sessions",
        "datasets",
        "insertions",
        "tasks",
        "files",
        "events",
        "subjects",
        "labs",
        "lab-servers",
        "users",
        "projects",
        "attempts",
        "dataset-types",
        "tags",
    ],
)
def test_list_makes_as_many_queries_for_many_rows_as_for_two(rest: Any, filled: list[str], endpoint: str) -> None:
    rest.get(f"/{endpoint}?limit=1")
    assert queries(rest, f"/{endpoint}?limit=1000") <= max(queries(rest, f"/{endpoint}?limit=2"), 4)


@pytest.fixture(scope="module")
def colony(rest: Any, filled: list[str]) -> None:
    """Twelve rows of each table of the colony, the notebook and the brain, with what their rows show of others."""
    from django.contrib.contenttypes.models import ContentType

    from ranvier.database.actions import models as actions
    from ranvier.database.data import models as data
    from ranvier.database.experiments import models as experiments
    from ranvier.database.people.models import Lab, Project, User
    from ranvier.database.subjects import models as subjects

    lab, user, session = Lab.objects.get(name="testlab"), User.objects.get(username="ranvier"), actions.Session.objects.get(pk=filled[5])
    project, kind = Project.objects.get(name="query_project"), ContentType.objects.get_for_model(actions.Session)
    water, region = actions.WaterType.objects.get(name="Water"), experiments.BrainRegion.objects.get(acronym="CA1")
    for i in range(12):
        allele = subjects.Allele.objects.create(name=f"allele{i}")
        sequence = subjects.Sequence.objects.create(name=f"sequence{i}")
        line = subjects.Line.objects.create(name=f"line{i}", strain=subjects.Strain.objects.create(name=f"strain{i}"))
        line.alleles.add(allele)
        line.sequences.add(sequence)
        subjects.ZygosityRule.objects.create(line=line, allele=allele, sequence0=sequence, sequence0_result=1, zygosity=1)
        pair = subjects.BreedingPair.objects.create(name=f"pair{i}", line=line)
        litter = subjects.Litter.objects.create(name=f"litter{i}", line=line, breeding_pair=pair)
        request = subjects.SubjectRequest.objects.create(user=user, line=line, project=project)
        mouse = subjects.Subject.objects.create(nickname=f"mouse{i}", lab=lab, line=line, litter=litter, request=request)
        pair.father = pair.mother1 = mouse
        pair.save()
        subjects.GenotypeTest.objects.create(subject=mouse, sequence=sequence, test_result=1)
        cage = subjects.Cage.objects.create(name=f"cage{i}", lab=lab)
        subjects.CageStay.objects.create(subject=mouse, cage=cage)
        subjects.HumaneEndPoint.objects.create(subject=mouse, criterion="x", min_weight_pct=80)
        subjects.GrowthReference.objects.create(sex="F", age_weeks=i, mean=20, sd=2)
        of_mouse = {"subject": mouse, "lab": lab}
        surgery = actions.Surgery.objects.create(**of_mouse, implant_weight=1)
        actions.VirusInjection.objects.create(**of_mouse, surgery=surgery)
        actions.OtherAction.objects.create(**of_mouse)
        for _ in range(i):
            actions.Weighing.objects.create(subject=mouse, user=user, weight=20 + i)
            actions.WaterAdministration.objects.create(subject=mouse, user=user, water_administered=1, water_type=water, session=session)
        actions.WaterRestriction.objects.create(**of_mouse, water_type=water)
        actions.Note.objects.create(user=user, content_type=kind, object_id=session.pk, text=f"note {i}")
        chronic = experiments.ChronicInsertion.objects.create(**of_mouse, name="left")
        insertion = experiments.ProbeInsertion.objects.create(session=session, name=f"chronic{i}", chronic_insertion=chronic)
        trajectory = experiments.TrajectoryEstimate.objects.create(probe_insertion=insertion, x=0, y=0, depth=0, theta=0, phi=0)
        experiments.Channel.objects.create(trajectory_estimate=trajectory, brain_region=region, axial=i)
        stack = experiments.ImagingStack.objects.create(name=f"stack{i}")
        field = experiments.FOV.objects.create(session=session, name=f"FOV_{i:02d}", stack=stack)
        place = {"x": [0] * 4, "y": [0] * 4, "z": [0] * 4, "n_xyz": [1] * 3}
        experiments.FOVLocation.objects.create(field_of_view=field, provenance="E", **place).brain_region.add(region)
        dataset = data.Dataset.objects.all()[i]
        data.Download.objects.create(user=user, dataset=dataset)
        data.DataNotice.objects.create(name=f"notice{i}", created_by=user).datasets.add(dataset)
    for mouse in subjects.Subject.objects.filter(nickname__startswith="mouse1"):
        actions.Cull.objects.create(subject=mouse, user=user, reason=actions.CullReason.objects.first())


@pytest.mark.parametrize(
    "endpoint",
    [
        "subjects",
        "water-restricted-subjects",
        "weighings",
        "water-administrations",
        "water-restriction",
        "water-type",
        "surgeries",
        "virus-injections",
        "other-actions",
        "culls",
        "notes",
        "species",
        "strains",
        "lines",
        "alleles",
        "sequences",
        "zygosity-rules",
        "genotype-tests",
        "breeding-pairs",
        "litters",
        "subject-requests",
        "cages",
        "cage-stays",
        "humane-end-points",
        "growth-references",
        "chronic-insertions",
        "trajectories",
        "channels",
        "brain-regions",
        "fields-of-view",
        "fov-location",
        "imaging-stack",
        "data-notices",
        "downloads",
        "data-repository-type",
        "insertions",
    ],
)
def test_lists_of_the_colony_do_too(rest: Any, colony: None, endpoint: str) -> None:
    rest.get(f"/{endpoint}?limit=1")
    assert queries(rest, f"/{endpoint}?limit=1000") <= max(queries(rest, f"/{endpoint}?limit=2"), 4)


def test_a_probe_of_channels_is_written_in_as_many_queries_as_two_of_them(rest: Any, colony: None) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    trajectory = rest.get("/trajectories?limit=1").json()["results"][0]["id"]
    counts = []
    for lateral, count in ((100.0, 2), (200.0, 384)):
        rows = [{"trajectory_estimate": trajectory, "axial": 20.0 * i, "lateral": lateral, "brain_region": 382} for i in range(count)]
        with CaptureQueriesContext(connection) as captured:
            assert rest.post("/channels", rows, format="json").status_code == 201
        counts.append(len(captured))
    assert counts[1] <= counts[0] + 5, "SQLite takes no more than so many values at once"


def test_a_session_with_notes_water_and_fields_of_view_makes_few_more(rest: Any, colony: None, filled: list[str]) -> None:
    assert queries(rest, f"/sessions/{filled[5]}") <= queries(rest, f"/sessions/{filled[1]}") + 9


def test_session_with_many_datasets_makes_as_many_queries_as_one_with_one(rest: Any, filled: list[str]) -> None:
    few, many = (queries(rest, f"/sessions/{eid}") for eid in filled[:2])
    assert many <= few + 1, "the revision's table is asked only where there is one"
    assert many <= 20


def test_registration_makes_as_many_queries_for_thirty_files_as_for_two(rest: Any, filled: list[str]) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for number, count in ((1, 2), (2, 30)):
        names = [f"raw/part{i}/spikes.samples.npy" for i in range(count)]
        body = {"path": f"000_QUERY/2026-08-01/{number:03d}", "filenames": names, "hashes": names}
        with CaptureQueriesContext(connection) as captured:
            answer = rest.post("/register-file", body)
        assert answer.status_code == 201
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 25


def test_bootstrap_again_changes_nothing_and_is_quick(live_database: Any) -> None:
    path = database_config(live_database.settings.database_engine)["NAME"]

    def content() -> dict[str, Any]:
        with sqlite3.connect(path) as connection:
            tables = ("people_user", "authtoken_token", "people_lab", "data_datasettype", "data_datarepository", "django_migrations")
            return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}

    before, start = content(), time.process_time()
    command = [sys.executable, "-m", "ranvier.database.bootstrap", "--url", live_database.url]
    subprocess.run(command, env={**os.environ, "RANVIER_HOME": str(live_database.settings.home)}, check=True)
    assert content() == before
    assert time.process_time() - start < 2


def test_bootstrap_that_cannot_says_why(tmp_path: Any) -> None:
    initialise(tmp_path)
    (tmp_path / "database").write_text("in the way")
    with pytest.raises(BootstrapError, match="database"):
        bootstrap(load(tmp_path))


def test_models_have_no_changes_without_a_migration(rest: Any) -> None:
    from django.core.management import call_command

    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
