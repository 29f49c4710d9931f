"""Every write of the OpenAPI document, tried by those who must not do it, on both engines: it is refused, and nothing is changed.

A new endpoint is in the document by itself; without a case here a test fails. The same requests are done by the services at the end,
so that none is refused here for another reason than who asks.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from ranvier.database.bootstrap import environment

# a second time over all writes on the other engine takes long
ENGINES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.heavy)]
pytestmark = pytest.mark.parametrize("each_database", ENGINES, indirect=True, scope="module")
WRITES = ("post", "put", "patch", "delete")
#: Which row an address names, by endpoint; the rest is filled in by `World`.
NAMED = {"alleles", "data-formats", "data-repository-type", "dataset-types", "lines", "revisions", "sequences", "sources", "species",
         "strains", "tags", "water-type", "projects"}  # fmt: skip
#: Rows that all labs share, which a lab admin of any lab adds and changes.
SHARED = NAMED - {"projects"} | {"procedures", "growth-references", "zygosity-rules", "brain-regions", "data-notices", "subject-requests"}
#: What is added without belonging to a lab yet, or to whoever asks.
ANYBODYS = {"/imaging-stack", "/data-repository", "/tokens", "/new-download", "/auth-token", "/subject-requests"}
#: Requests that are refused to the services, too: their rows are of other people, or are made otherwise.
NOT_OF_SERVICES = {("post", "/users"), ("put", "/users"), ("patch", "/users"), ("delete", "/users"), ("post", "/lab-servers"),
                   ("patch", "/lab-servers"), ("patch", "/downloads"), ("put", "/downloads"), ("delete", "/tokens")}  # fmt: skip

_PREPARE = """
import json, sys
import django
django.setup()
from rest_framework.authtoken.models import Token
from ranvier.database.data.models import Download, Dataset
from ranvier.database.jobs.models import Pause
from ranvier.database.people.models import AccessToken, Lab, LabMembership, Project, User
from ranvier.database.people.servers import ensure_server
for lab in ("crosslab", "otherlab"):
    ensure_server(lab)
def person(name, **membership):
    user = User.objects.create(username=name, is_public_user=name == "cross_public")
    if membership:
        LabMembership.objects.create(user=user, lab=Lab.objects.get(name=membership["lab"]), role=membership["role"])
    return user, Token.objects.create(user=user).key
owner, _ = person("cross_owner", lab="crosslab", role="lab admin")
tokens = {"stranger": person("cross_stranger", lab="otherlab", role="lab admin")[1], "public": person("cross_public")[1], "anonymous": ""}
tokens["reading"] = AccessToken.issue(user=owner, name="reading", scope="read")[1]
kept, _ = AccessToken.issue(user=owner, name="kept")
pause = Pause.objects.create(lab=Lab.objects.get(name="crosslab"), task="elsewhere", fingerprint="f" * 12, failures=5, reason="r")
project = Project.objects.create(name="cross_projects")
project.users.add(owner)
print(json.dumps({"people": tokens, "rows": {"tokens": str(kept.pk), "pauses": str(pause.pk), "users": "cross_owner"}}))
"""
_DOWNLOAD = """
import sys
import django
django.setup()
from ranvier.database.data.models import Download
from ranvier.database.people.models import User
print(Download.objects.create(user=User.objects.get(username="cross_owner"), dataset_id=sys.argv[1]).pk)
"""
_CONTENT = """
import hashlib, json
import django
django.setup()
from django.apps import apps
from ranvier.database.rest.rules import RULES
content = {}
for label in RULES:
    model = apps.get_model(label)
    rows = model._base_manager.order_by("pk").values()
    text = repr([{name: value for name, value in row.items() if name != "last_used"} for row in rows])
    for link in model._meta.local_many_to_many:
        text += repr(sorted(map(str, link.remote_field.through._base_manager.values_list())))
    content[label] = hashlib.sha256(text.encode()).hexdigest()
print(json.dumps(content))
"""


@dataclass
class World:
    """A lab with a row of every table, on one engine."""

    database: Any
    people: dict[str, str]
    rows: dict[str, Any]
    bodies: dict[str, Any]

    def run(self, script: str, *arguments: str) -> str:
        """What a script prints that has Django."""
        command = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(command, env=environment(self.database.settings), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def ask(self, method: str, path: str, token: str) -> requests.Response:
        """Send the request of the case."""
        headers = {"Authorization": f"Token {token}"} if token else {}
        address = re.sub(r"\{\w+\}", str(self.rows.get(endpoint(path))), path)
        body = self.bodies.get(f"{method} {path}", self.bodies.get(path) if method == "post" else {})
        return requests.request(method, self.database.url + address, json=body, headers=headers, timeout=60)

    def has_case(self, method: str, path: str) -> bool:
        """Whether it is known what to send."""
        return endpoint(path) in self.rows if "{" in path else path in self.bodies

    def writes(self) -> list[tuple[str, str]]:
        """All that is in the document."""
        paths = requests.get(f"{self.database.url}/api/schema", timeout=60).json()["paths"]
        return [(method, path) for path, methods in sorted(paths.items()) for method in WRITES if method in methods]


def endpoint(path: str) -> str:
    return path.split("/")[1]


@pytest.fixture(scope="module")
def world(each_database: Any) -> World:
    """The lab."""
    found = World(each_database, {}, {}, {})
    told = json.loads(found.run(_PREPARE))
    make, rows = each_database.make, dict(told["rows"])
    make("/subjects", {"nickname": "cross_F", "lab": "crosslab", "sex": "F"})
    make("/subjects", {"nickname": "cross_M", "lab": "crosslab", "sex": "M"})
    rows["subjects"] = "cross_F"
    session = rows["sessions"] = make("/sessions", {"subject": "cross_F", "start_time": "2026-09-01T08:00:00", "number": 1})["id"]
    shared = {name: {"name": f"cross_{name}"} for name in NAMED}
    shared["data-formats"]["file_extension"] = ".cross"
    for name, body in shared.items():
        if name != "projects":
            make(f"/{name}", body)
        rows[name] = f"cross_{name}"
    bodies: dict[str, Any] = {f"/{name}": {**body, "name": f"new_{name}"} for name, body in shared.items()}
    bodies["/data-formats"]["file_extension"] = ".newcross"
    bodies["/procedures"] = {"name": "cross procedure"}
    bodies["/growth-references"] = {"sex": "F", "age_weeks": 701, "mean": 20, "sd": 1}
    about, session_and_name = {"subject": "cross_F"}, {"session": session, "name": "probe00"}
    insertion = rows["insertions"] = make("/insertions", session_and_name)["id"]
    straight = {"probe_insertion": insertion, "x": 1, "y": 1, "z": 1, "depth": 1, "theta": 1, "phi": 1}
    trajectory = rows["trajectories"] = make("/trajectories", {**straight, "provenance": "Planned"})["id"]
    site = {"trajectory_estimate": trajectory, "axial": 1, "lateral": 1, "x": 1, "y": 1, "z": 1}
    rows["imaging-stack"] = make("/imaging-stack", {"name": "cross"})["id"]
    view = rows["fields-of-view"] = make("/fields-of-view", {"session": session, "name": "FOV_00", "stack": rows["imaging-stack"]})["id"]
    place = {"field_of_view": view, "x": [0] * 4, "y": [0] * 4, "z": [0] * 4, "n_xyz": [1] * 3}
    rows["fov-location"] = make("/fov-location", {**place, "provenance": "E"})["id"]
    dataset = make("/register-file", {"path": "cross_F/2026-09-01/001", "filenames": ["alf/spikes.times.npy"]})[0]
    rows["datasets"], rows["files"] = dataset["id"], dataset["file_records"][0]["id"]
    make("/data-repository", {"name": "cross_store"})
    each_database.request("PATCH", "/labs/crosslab", {"repositories": ["crosslab_server", "cross_store"]}).raise_for_status()
    task = rows["tasks"] = make("/plans", {"session": session, "tasks": [{"name": "a"}, {"name": "b"}]})[0]["id"]
    rows["attempts"] = make("/attempts", {"task": task, "worker": "w"})["id"]
    rerun = make("/reruns", {"sessions": [session]})["id"]
    rows["rerun-sessions"] = each_database.request("GET", f"/rerun-sessions?rerun={rerun}").json()["results"][0]["id"]
    backfill = {"task": "new", "unplanned": True, "selection": {"sessions": [session]}}
    rows["backfills"] = make("/backfills", {**backfill, "version": "2"})["id"]
    rows["events"] = each_database.request("GET", f"/events?session={session}").json()["results"][0]["id"]
    pair = {"father": "cross_M", "mother1": "cross_F"}
    rows["breeding-pairs"] = make("/breeding-pairs", {"name": "cross_pair", **pair})["name"]
    rows["litters"] = make("/litters", {"name": "cross_litter", "line": "cross_lines", "breeding_pair": "cross_pair"})["name"]
    rows["cages"] = make("/cages", {"name": "cross_cage", "lab": "crosslab"})["name"]
    of_subject: dict[str, Any] = {
        "weighings": {**about, "weight": 20},
        "water-administrations": {**about, "water_administered": 1},
        "surgeries": about,
        "other-actions": about,
        "virus-injections": about,
        "chronic-insertions": {**about, "name": "cross"},
        "humane-end-points": {**about, "criterion": "thin"},
        "cage-stays": {**about, "cage": "cross_cage"},
        "water-restriction": {**about, "start_time": "2026-09-01T08:00:00", "end_time": "2026-09-02T08:00:00"},
        "notes": {"content_type": "session", "object_id": session, "text": "a note"},
        "data-notices": {"name": "cross", "datasets": [dataset["id"]]},
        "subject-requests": {"line": "cross_lines", "user": "cross_owner"},
        "locations": {"name": "cross_rig", "lab": "crosslab"},
        "growth-references": {"sex": "F", "age_weeks": 700, "mean": 20, "sd": 1},
    }
    for name, body in of_subject.items():
        made = make(f"/{name}", body)
        rows[name] = made["name"] if name == "locations" else made["id"]
        bodies.setdefault(f"/{name}", body)
    rows["genotype-tests"] = make("/genotype-tests", {"subject": "cross_F", "sequence": "cross_sequences", "test_result": 1})["id"]
    rule = {"line": "cross_lines", "allele": "cross_alleles", "sequence0": "cross_sequences", "sequence0_result": 1}
    rows["zygosity-rules"] = make("/zygosity-rules", {**rule, "zygosity": 1})["id"]
    rows["culls"] = make("/culls", {"subject": "cross_M", "reason": "Surplus"})["id"]
    rows |= {"labs": "crosslab", "lab-servers": "crosslab", "data-repository": "cross_store", "brain-regions": 997}
    rows["downloads"] = found.run(_DOWNLOAD, dataset["id"])
    file = {"dataset": dataset["id"], "data_repository": "cross_store", "relative_path": "cross_F/2026-09-01/001/alf/spikes.times.npy"}
    kind = {"dataset_type": "spikes.times", "data_format": "npy"}
    bodies |= {
        "/subjects": {"nickname": "cross_new", "lab": "crosslab"},
        "/sessions": {**about, "start_time": "2026-09-02T08:00:00", "number": 7},
        "/insertions": {"session": session, "name": "probe07"},
        "/trajectories": {**straight, "provenance": "Micro-manipulator"},
        "/channels": site | {"axial": 2},
        "/imaging-stack": {"name": "another"},
        "/fields-of-view": {"session": session, "name": "FOV_07"},
        "/fov-location": {**place, "provenance": "H"},
        "/datasets": {**kind, "name": "spikes.new.npy", "session": session, "collection": "alf"},
        "/files": file,
        "/register-file": {"path": "cross_F/2026-09-01/001", "filenames": ["alf/spikes.amps.npy"]},
        "/plans": {"session": session, "tasks": [{"name": "c"}]},
        "/tasks": {"session": session, "name": "d"},
        "/attempts": {"task": make("/plans", {"session": session, "tasks": [{"name": "e"}]})[0]["id"], "worker": "me"},
        "/events": {"kind": "session.requested", "session": session, "key": "cross key"},
        "/reruns": {"sessions": [session]},
        "/backfills": {**backfill, "version": "3"},
        "/cancellations": {"session": session, "tasks": ["b"]},
        "/expired-leases": {"lab": "crosslab"},
        "/sync-file-status": {},
        "/breeding-pairs": {"name": "cross_pair_2", **pair},
        "/litters": {"name": "cross_litter_2", "breeding_pair": "cross_pair"},
        "post /litters/{name}/wean": {"lab": "crosslab", "males": 1},
        "/cages": {"name": "cross_cage_2", "lab": "crosslab"},
        "/locations": {"name": "cross_rig_2", "lab": "crosslab"},
        "/water-restriction": {**about, "start_time": "2026-09-03T08:00:00", "end_time": "2026-09-04T08:00:00"},
        "/genotype-tests": {"subject": "cross_M", "sequence": "cross_sequences", "test_result": 0},
        "/zygosity-rules": {**rule, "sequence0_result": 0, "zygosity": 0},
        "/culls": {"subject": "cross_F", "reason": "Surplus"},
        "/labs": {"name": "crossnewlab"},
        "/data-repository": {"name": "cross_store_2"},
        "/users": {"username": "cross_new"},
        "/lab-servers": {"lab": "crossserverlab"},
        "/tokens": {"name": "more"},
        "/new-download": {"datasets": [dataset["id"]]},
        "/auth-token": {"username": "cross_owner", "password": "x"},
        "patch /attempts/{id}": {"lease_s": 60},
        "patch /events/{id}": {"error": "e"},
        "patch /pauses/{id}": {"lifted": True},
        "patch /rerun-sessions/{id}": {"outcome": "done"},
        "patch /backfills/{id}": {"state": "stopped"},
        "patch /lab-servers/{name}": {"machine": "m"},
    }
    (each_database.settings.lab_root / "here").mkdir(parents=True)
    rows["channels"] = make("/channels", site)["id"]
    return World(each_database, told["people"], rows, bodies)


def test_every_write_has_a_case(world: World) -> None:
    writes = world.writes()
    assert len(writes) > 180
    assert not [f"{method} {path}" for method, path in writes if not world.has_case(method, path)], "say in World what to send"


@pytest.mark.parametrize("person", ["stranger", "public", "reading", "anonymous"])
def test_who_may_not_write_is_refused_everywhere(world: World, person: str) -> None:
    before = world.run(_CONTENT)
    writes = [write for write in world.writes() if write[1] != "/auth-token" and not (person == "stranger" and is_open(*write))]
    assert len(writes) > 110
    token = world.people[person]
    with ThreadPoolExecutor(4) as pool:
        codes = dict(zip(writes, pool.map(lambda write: world.ask(*write, token), writes), strict=True))
    through = {write: (code.status_code, code.text[:200]) for write, code in codes.items() if code.status_code not in (401, 403, 404)}
    assert not through
    after = world.run(_CONTENT)
    assert {label for label, content in json.loads(after).items() if content != json.loads(before)[label]} == set()


def is_open(method: str, path: str) -> bool:
    """Whether a lab admin of any lab may do it: rows that all labs share, and what belongs to whoever asks."""
    return (method == "post" and path in ANYBODYS | {"/projects"}) or endpoint(path) in SHARED


def test_the_services_may_do_all_of_it(world: World) -> None:
    token, failed = world.database.settings.secret("token"), {}
    writes = world.writes()
    for method, path in (write for kind in ("patch", "post", "delete") for write in writes if write[0] == kind):
        if (method, f"/{endpoint(path)}") in NOT_OF_SERVICES or path == "/auth-token":
            continue
        answer = world.ask(method, path, token)
        if not answer.ok and not (method == "delete" and answer.status_code in (404, 409)):  # in use, or gone with another
            failed[f"{method} {path}"] = (answer.status_code, answer.text[:300])
    assert not failed
