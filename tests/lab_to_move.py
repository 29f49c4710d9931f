"""A lab with all that the database has tables for, made by REST: what is to be moved to another database."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import requests
from PIL import Image

Make = Callable[[str, object], Any]
SUBJECTS = ("MOVE_001", "MOVE_002")
DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")


def fill(make: Make, url: str, token: str) -> None:
    """Fill a database whose lab is `oldlab`."""
    people(make)
    colony(make)
    notebook(make)
    for number, day in enumerate(DAYS):
        session(make, SUBJECTS[number % 2], day, number, url, token)
    aggregates(make)


def people(make: Make) -> None:
    """Users, a second lab, a room, projects."""
    make("/users", {"username": "ada", "email": "ada@lab.org"})
    make("/users", {"username": "ben", "email": "", "allowed_users": ["ada"], "is_stock_manager": True})
    make("/labs", {"name": "otherlab", "institution": "UCL", "timezone": "Europe/London", "reference_weight_pct": 0.8, "json": {"a": 1}})
    repository = {
        "name": "archive",
        "hostname": "archive.org",
        "data_url": "https://archive.org/oldlab/Subjects/",
        "globus_path": "/oldlab/",
    }
    make("/data-repository", {**repository, "repository_type": "Fileserver", "globus_is_personal": False})
    make("/locations", {"name": "rig_7", "lab": "otherlab", "json": {"screen": "left"}})
    make("/projects", {"name": "brainwide", "description": "all of it", "users": ["ada", "ben", "ranvier"]})
    make("/revisions", {"name": "2026-04-01", "description": "sorted anew"})
    make("/tags", {"name": "2026_Q2_paper", "description": "of a paper", "protected": True, "public": True})
    make("/dataset-types", {"name": "sniffs.times", "description": "of the nose", "created_by": "ada"})


def colony(make: Make) -> None:
    """Two animals of a litter, tested."""
    make("/species", {"name": "Mus musculus", "nickname": "mouse"})
    make("/strains", {"name": "C57BL6"})
    make("/sources", {"name": "Charles River"})
    make("/alleles", {"name": "Pvalb-Cre", "standard_name": "Pvalb<tm1(cre)Arbr>"})
    make("/sequences", {"name": "Cre", "base_pairs": "ACGT"})
    make(
        "/lines",
        {"name": "Pvalb", "nickname": "Pv", "species": "Mus musculus", "strain": "C57BL6", "alleles": ["Pvalb-Cre"], "sequences": ["Cre"]},
    )
    make(
        "/subjects",
        {"nickname": "FATHER", "lab": "oldlab", "sex": "M", "line": "Pvalb", "genotype": [{"allele": "Pvalb-Cre", "zygosity": 2}]},
    )
    make("/subjects", {"nickname": "MOTHER", "lab": "oldlab", "sex": "F", "line": "Pvalb"})
    make("/breeding-pairs", {"name": "Pv_BP_001", "line": "Pvalb", "father": "FATHER", "mother1": "MOTHER", "start_date": "2025-10-01"})
    make("/litters", {"name": "Pv_L_001", "line": "Pvalb", "breeding_pair": "Pv_BP_001", "birth_date": "2025-11-01"})
    for nickname in SUBJECTS:
        animal = {"nickname": nickname, "lab": "oldlab", "sex": "F", "birth_date": "2025-11-01", "litter": "Pv_L_001", "line": "Pvalb"}
        more = {
            "source": "Charles River",
            "projects": ["brainwide"],
            "responsible_user": "ada",
            "description": "tame",
            "json": {"ear": "left"},
        }
        make("/subjects", {**animal, **more, "genotype": [{"allele": "Pvalb-Cre", "zygosity": 1}]})
        make("/genotype-tests", {"subject": nickname, "sequence": "Cre", "test_result": 1, "date": "2025-12-01"})
    make("/cages", {"name": "cage_1", "lab": "oldlab", "food": "pellets"})
    make("/cage-stays", {"subject": "MOVE_001", "cage": "cage_1", "start_date": "2025-12-01"})


def notebook(make: Make) -> None:
    """Weights, water, surgeries, injections."""
    procedure, user = "Craniotomy", "ada"
    for nickname in SUBJECTS:
        for day in range(1, 4):
            make("/weighings", {"subject": nickname, "date_time": f"2026-02-0{day}T09:00:00", "weight": 20.0 + day, "user": user})
        make(
            "/water-restriction",
            {"subject": nickname, "start_time": "2026-02-10T09:00:00", "water_type": "Water", "reference_weight": 22.5},
        )
        make("/water-administrations", {"subject": nickname, "date_time": "2026-02-11T18:00:00", "water_administered": 0.5, "user": user})
    surgery = {
        "subject": "MOVE_001",
        "start_time": "2026-02-01T10:00:00",
        "implant_weight": 2,
        "outcome_type": "r",
        "narrative": "went well",
    }
    surgery = make("/surgeries", {**surgery, "procedures": [procedure_id(make, procedure)], "json": {"anaesthesia": "isoflurane"}})
    injection = {"subject": "MOVE_001", "surgery": surgery["id"], "virus_batch": "AAV9", "injection_volume": 100.0, "brain_region": 385}
    make("/virus-injections", {**injection, "start_time": "2026-02-01T11:00:00"})
    make("/other-actions", {"subject": "MOVE_002", "name": "handling", "start_time": "2026-02-01T10:00:00"})
    make("/notes", {"content_type": "subject", "object_id": subject_id(make, "MOVE_001"), "text": "likes nuts"})


def procedure_id(make: Make, name: str) -> str:
    """Id of a procedure that comes with the database."""
    rows = make("GET /procedures", None)["results"]
    return next(row["id"] for row in rows if row["name"] == name)


def subject_id(make: Make, nickname: str) -> str:
    """Id of an animal."""
    return make(f"GET /subjects/{nickname}", None)["id"]


def session(make: Make, subject: str, day: str, number: int, url: str, token: str) -> None:
    """A session with files, a probe and where it is, a field of view, tasks, water, and a note with a picture."""
    facts = {
        "subject": subject,
        "start_time": f"{day}T10:00:00.123456",
        "end_time": f"{day}T11:30:00",
        "number": number,
        "users": ["ada", "ben"],
    }
    told = {
        "narrative": "quiet",
        "task_protocol": "ephysChoiceWorld",
        "projects": ["brainwide"],
        "procedures": ["Craniotomy"],
        "location": "rig_7",
    }
    judged = {
        "qc": "PASS",
        "extended_qc": {"_task_go": 0.9, "task": "PASS"},
        "n_trials": 500,
        "n_correct_trials": 400,
        "json": {"IS_MOCK": False},
    }
    eid = make("/sessions", {**facts, **told, **judged})["id"]
    names = ["alf/probe00/spikes.times.npy", "alf/probe00/spikes.clusters.npy", "alf/_ibl_trials.table.pqt", "alf/FOV_00/mpci.times.npy"]
    names += ["alf/probe00/#2026-04-01#/spikes.times.npy", "sniffs.times.npy"]
    path = f"{subject}/{day}/{number:03d}"
    registered = make(
        "/register-file", {"path": path, "filenames": names, "hashes": [f"{i:032x}" for i in range(6)], "filesizes": [100] * 6}
    )
    make(f"PATCH /datasets/{registered[5]['id']}", {"tags": ["2026_Q2_paper"], "qc": "WARNING", "json": {"sniff": 1}})
    probe(make, subject, eid, number)
    field_of_view(make, eid)
    tasks(make, eid)
    given = {
        "subject": subject,
        "date_time": f"{day}T10:30:00",
        "water_administered": 1.25,
        "session": eid,
        "water_type": "Water",
        "user": "ada",
    }
    make("/water-administrations", given)
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(buffer, "PNG")
    form = {"content_type": "session", "object_id": eid, "text": "drift map", "width": "orig"}
    files = {"image": (f"drift_{number}.png", buffer.getvalue(), "image/png")}
    answer = requests.post(f"{url}/notes", data=form, files=files, headers={"Authorization": f"Token {token}"}, timeout=60)
    assert answer.ok, answer.text


def probe(make: Make, subject: str, eid: str, number: int) -> None:
    """A probe, in one session of a chronic one."""
    chronic = make(
        "/chronic-insertions", {"subject": subject, "name": f"stays_{number}", "start_time": "2026-02-20T10:00:00", "model": "3B2"}
    )["id"]
    place = {"x": 1.5, "y": -2000.0, "z": -100.0, "depth": 3000.0, "theta": 15.0, "phi": 180.0, "roll": 0.0}
    make("/trajectories", {"chronic_insertion": chronic, "provenance": "Planned", **place})
    pid = make(
        "/insertions",
        {"session": eid, "name": "probe00", "model": "3B2", "serial": "19", "chronic_insertion": chronic, "json": {"n_units": 3}},
    )["id"]
    make("/trajectories", {"probe_insertion": pid, "provenance": "Planned", "coordinate_system": "Needles-Allen", **place})
    track = make(
        "/trajectories", {"probe_insertion": pid, "provenance": "Ephys aligned histology track", **place, "json": {"points": [1, 2]}}
    )
    sites = [
        {"trajectory_estimate": track["id"], "axial": 20.0 * i, "lateral": 16.0, "x": 1.0, "y": 2.0, "z": -i, "brain_region": 385}
        for i in range(5)
    ]
    make("/channels", sites)
    make("/notes", {"content_type": "probeinsertion", "object_id": pid, "text": "blood at 1 mm"})


def field_of_view(make: Make, eid: str) -> None:
    """A field of view in a stack."""
    stack = make("/imaging-stack", {"name": "column", "json": {"depths": 1}})["id"]
    fov = make("/fields-of-view", {"session": eid, "name": "FOV_00", "imaging_type": "mesoscope", "stack": stack})["id"]
    corners = {axis: [0.0, 1.0, 2.0, 3.5] for axis in "xyz"}
    make(
        "/fov-location",
        {"field_of_view": fov, "provenance": "E", **corners, "n_xyz": [512, 512, 1], "brain_region": [385], "json": {"tilt": 2}},
    )


def tasks(make: Make, eid: str) -> None:
    """Two tasks, as an ibllib makes them."""
    first = {
        "session": eid,
        "name": "Compress_probe00",
        "executable": "ibllib.pipes.Compress",
        "graph": "G",
        "status": "Complete",
        "level": 0,
    }
    parent = make(
        "/tasks", {**first, "arguments": {"pname": "probe00"}, "priority": 60, "time_out_secs": 7200, "log": "done", "version": "3.0"}
    )
    make("/tasks", {**first, "name": "Sort_probe00", "status": "Errored", "level": 1, "parents": [parent["id"]]})


def aggregates(make: Make) -> None:
    """A dataset of no session, and something to know of it."""
    dataset = {
        "name": "_ibl_subjectTraining.table.pqt",
        "dataset_type": "subjectTraining.table",
        "data_format": "parquet",
        "created_by": "ada",
    }
    make("/dataset-types", {"name": "subjectTraining.table"})
    made = make("/datasets", {**dataset, "collection": "Subjects", "file_size": 7, "hash": "a" * 32})
    make(
        "/files",
        {"dataset": made["id"], "data_repository": "archive", "relative_path": "MOVE_001/_ibl_subjectTraining.table.pqt", "exists": True},
    )
    make("/data-notices", {"name": "clock", "description": "was late", "importance": 40, "datasets": [made["id"]]})
