"""What is kept from somebody does not come to them by a filter, within another row, or in a message."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

WORD = "quagga"  # stands in the hidden session and in all that belongs to it, and nowhere else
HOPS = 3


@pytest.fixture(scope="module")
def closed(live_database: Any, rest: Any) -> dict[str, Any]:
    """A lab with a session that a project keeps to its people, and with what belongs to the session."""
    from ranvier.database.actions.models import Session
    from ranvier.database.people.models import Lab, Project, User
    from ranvier.database.people.servers import ensure_server

    make = live_database.make
    for lab in ("leaklab", "peekinglab"):
        ensure_server(lab)
    make("/subjects", {"nickname": "leak_1", "lab": "leaklab", "responsible_user": "admin"})
    about = {"subject": "leak_1", "lab": "leaklab", "start_time": "2024-09-01T08:00:00", "procedures": ["Histology"]}
    session = make("/sessions", {**about, "number": 1, "narrative": WORD, "json": {WORD: 1}})["id"]
    child = make("/sessions", {"subject": "leak_1", "start_time": "2024-09-02T08:00:00", "number": 1, "parent_session": session})["id"]
    chronic = make("/chronic-insertions", {"subject": "leak_1", "name": "leak"})["id"]
    insertion = make("/insertions", {"session": session, "name": "probe00", "serial": WORD, "chronic_insertion": chronic})["id"]
    stack = make("/imaging-stack", {"name": "leak"})["id"]
    for eid, name in ((session, WORD), (child, "FOV_00")):
        make("/fields-of-view", {"session": eid, "name": name, "stack": stack})
    dataset = make("/register-file", {"path": "leak_1/2024-09-01/001", "filenames": ["alf/probe00/spikes.times.npy"], "versions": [WORD]})[
        0
    ]
    task = make("/plans", {"session": session, "tasks": [{"name": WORD}]})[0]["id"]
    water = make("/water-administrations", {"subject": "leak_1", "water_administered": 1, "session": session})["id"]
    notice = make("/data-notices", {"name": "leak", "datasets": [dataset["id"]]})["id"]
    notes = {
        kind: make("/notes", {"content_type": kind, "object_id": key, "text": WORD})["id"]
        for kind, key in (("session", session), ("dataset", dataset["id"]), ("task", task), ("probeinsertion", insertion))
    }
    project = Project.objects.create(name="leakproject")
    project.users.add(User.objects.get(username="admin"))
    Session.objects.get(pk=session).projects.add(project)
    return {"lab": Lab.objects.get(name="leaklab"), "session": session, "child": child, "chronic": chronic, "stack": stack,
            "dataset": dataset["id"], "task": task, "water": water, "notice": notice, "notes": notes, "insertion": insertion}  # fmt: skip


@pytest.fixture(scope="module")
def reader(closed: Any) -> Callable[..., Any]:
    """Makes a client of somebody who may not read the session."""
    from rest_framework.authtoken.models import Token
    from rest_framework.test import APIClient

    from ranvier.database.people.models import Lab, LabMembership, User

    def make(role: str) -> Any:
        user, is_new = User.objects.get_or_create(username=f"leak {role}".replace(" ", "_"))
        if is_new:
            LabMembership.objects.create(user=user, lab=Lab.objects.get(name="peekinglab"), role=role)
        client = APIClient(SERVER_NAME="localhost")
        client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.get_or_create(user=user)[0].key}")
        client.user = user
        return client

    return make


def ways(model: Any, target: Any, hops: int = HOPS) -> Iterator[str]:
    """Every path from a table to another that the filter knows."""
    from rest_framework.exceptions import ValidationError

    from ranvier.database.rest.lookups import allowed_field

    for name in {field.name for field in model._meta.get_fields() if field.related_model}:
        try:
            field = allowed_field(model, name, name)
        except ValidationError:
            continue
        if field.related_model is target:
            yield name
        elif hops > 1:
            yield from (f"{name}__{rest}" for rest in ways(field.related_model, target, hops - 1))


def lists() -> dict[str, Any]:
    """The tables of all lists that have the filter, by endpoint."""
    from django.apps import apps

    from ranvier.database.rest.rules import table_of
    from ranvier.database.urls import ENDPOINTS

    return {name: apps.get_model(table_of(view)) for name, view in ENDPOINTS.items() if getattr(view, "filterset_class", None)}


def count(client: Any, endpoint: str, **query: Any) -> int:
    answer = client.get(f"/{endpoint}", {"limit": 1, **query})
    assert answer.status_code == 200, (endpoint, query, answer.content)
    return answer.json()["count"]


SECRETS = [("actions.Session", "narrative"), ("jobs.Task", "name"), ("data.Dataset", "version"), ("experiments.ProbeInsertion", "serial"),
           ("actions.Note", "text")]  # fmt: skip


@pytest.mark.parametrize("role", ["experimenter", "public"])
@pytest.mark.parametrize(("table", "field"), SECRETS)
def test_no_filter_is_an_oracle(rest: Any, closed: Any, reader: Any, role: str, table: str, field: str) -> None:
    from django.apps import apps

    client, told, asked = reader(role), [], 0
    for endpoint, model in lists().items():
        own = [field] if model._meta.label == table else []
        for path in [*own, *(f"{way}__{field}" for way in ways(model, apps.get_model(table), 2))]:
            asked += 1
            if count(client, endpoint, django=f"{path}__contains,{WORD}"):
                told.append((endpoint, path))
    assert asked > 15
    assert not told
    assert count(rest, "subjects", django=f"actions_sessions__narrative__contains,{WORD}") == 1, "who may read it finds it"


def test_longer_ways_and_opposites_are_none_either(rest: Any, closed: Any, reader: Any) -> None:
    client = reader("experimenter")
    of_subject = ("subjects", "actions_sessions__tasks__name"), ("weighings", "subject__actions_sessions__narrative")
    for endpoint, path in (*of_subject, ("labs", "subjects__actions_sessions__notes__text"), ("users", "projects__sessions__narrative")):
        assert count(client, endpoint, django=f"{path}__contains,{WORD}") == 0
        assert count(client, endpoint, django=f"~{path}__contains,{WORD}") == count(client, endpoint)
    session = closed["session"]
    for path, seen in (
        (f"actions_sessions,{session}", 0),
        (f"actions_sessions__in,['{session}']", 0),
        (f"actions_sessions__id,{session}", 0),
        (f"actions_sessions__json__{WORD},1", 0),
        ("actions_sessions__procedures__name,Histology", 0),
        (f"~actions_sessions,{session}", 1),
        (f"actions_sessions__pk,{closed['child']}", 1),
        ("actions_sessions__isnull,False", 1),
    ):
        assert count(client, "subjects", nickname="leak_1", django=path) == seen, path
    water = {"id": closed["water"]}
    assert count(client, "water-administrations", **water, django="session__isnull,True") == 1
    assert count(client, "water-administrations", **water, django="session__isnull,False") == 0
    assert count(rest, "water-administrations", **water, django="session__isnull,False") == 1
    assert count(client, "sessions", id=closed["child"], django="parent_session__isnull,False") == 0


def test_filters_with_names_do_not_tell_either(rest: Any, closed: Any, reader: Any) -> None:
    client, session = reader("experimenter"), closed["session"]
    for endpoint, query in (
        ("sessions", {"id": closed["child"], "histology": True}),
        ("water-administrations", {"session": session}),
        ("chronic-insertions", {"session": session}),
        ("chronic-insertions", {"probe": closed["insertion"]}),
        ("data-notices", {"datasets": closed["dataset"]}),
    ):
        assert count(client, endpoint, **query) == 0, (endpoint, query)
        assert count(rest, endpoint, **query) == 1, (endpoint, query)


def test_answers_hold_nothing_of_it(rest: Any, closed: Any, reader: Any) -> None:
    client = reader("experimenter")
    pages = [
        f"/sessions/{closed['child']}",
        "/subjects/leak_1",
        "/subjects?nickname=leak_1",
        f"/chronic-insertions/{closed['chronic']}",
        "/chronic-insertions?subject=leak_1",
        f"/imaging-stack/{closed['stack']}",
        f"/data-notices/{closed['notice']}",
        f"/water-administrations/{closed['water']}",
        "/water-administrations?subject=leak_1",
        f"/history?model=session&id={closed['child']}",
        *(f"/{name}?limit=1000" for name in ("notes", "events", "reruns", "backfills", "rerun-sessions", "attempts", "files", "channels")),
        "/failures",
        "/task-counts",
    ]
    hidden = [WORD, "leakproject", *(str(closed[name]) for name in ("session", "dataset", "task", "insertion"))]
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200, page
        told = answer.content.decode()
        assert not [text for text in hidden if text in told], page
    for note in closed["notes"].values():
        assert client.get(f"/notes/{note}").status_code == 404
        assert rest.get(f"/notes/{note}").status_code == 200


def test_messages_do_not_say_that_it_is_there(closed: Any, reader: Any) -> None:
    client, session = reader("experimenter"), closed["session"]

    def told(method: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
        answer = client.get(path, body) if method == "get" else client.post(path, body, format="json")
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", answer.content.decode())
        return answer.status_code, re.sub(r"00[19]|number [19]", "N", text)

    nobody = str(uuid.uuid4())
    for method, path, body in (
        ("get", "/check-protected", {"path": "leak_1/2024-09-01/001", "filenames": "a.npy"}),
        ("post", "/register-file", {"path": "leak_1/2024-09-01/001", "filenames": ["a.npy"]}),
        ("post", "/reruns", {"sessions": ["leak_1/2024-09-01/001"], "dry": True}),
        ("post", "/reruns", {"sessions": [session]}),
        ("post", "/plans", {"session": session, "tasks": []}),
        ("post", "/cancellations", {"session": session}),
        ("post", "/notes", {"content_type": "session", "object_id": session, "text": "t"}),
        ("post", "/insertions", {"session": session, "name": "probe09"}),
        ("post", "/new-download", {"datasets": [closed["dataset"]]}),
    ):
        nowhere = json.loads(json.dumps(body).replace(session, nobody).replace(closed["dataset"], nobody).replace("/001", "/009"))
        there = told(method, path, body)
        assert there[0] == 400, (path, there)
        assert there == told(method, path, nowhere), path
    key = client.post("/events", {"kind": "session.requested", "key": f"{session}:created"}, format="json")
    assert key.status_code == 409
    assert session not in key.json().get("session", "")


def test_a_person_of_the_lab_sees_as_much_as_before(rest: Any, closed: Any) -> None:
    from rest_framework.authtoken.models import Token
    from rest_framework.test import APIClient

    from ranvier.database.people.models import LabMembership, User

    user = User.objects.create(username="leak_owner")
    LabMembership.objects.create(user=user, lab=closed["lab"], role="experimenter")
    client = APIClient(SERVER_NAME="localhost")
    client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=user).key}")
    assert count(client, "subjects", django=f"actions_sessions__narrative__contains,{WORD}") == 1
    assert client.get(f"/sessions/{closed['child']}").json()["parent_session"].endswith(closed["session"])
    assert client.get(f"/water-administrations/{closed['water']}").json()["session"] == closed["session"]
    shown = client.get(f"/chronic-insertions/{closed['chronic']}").json()["probe_insertion"]
    assert [each["session"] for each in shown] == [closed["session"]]
    assert len(client.get(f"/imaging-stack/{closed['stack']}").json()["slices"]) == 2


def test_labs_that_are_kept_apart_hide_their_animals_too(closed: Any, reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    apart = settings.RANVIER.model_copy(update={"database": settings.RANVIER.database.model_copy(update={"read_across_labs": False})})
    monkeypatch.setattr(settings, "RANVIER", apart)
    client = reader("experimenter")
    assert count(client, "labs", name="leaklab", django="subjects__nickname,leak_1") == 0
    assert count(client, "users", username="admin", django="subjects_responsible__nickname,leak_1") == 0
    assert "leak_1" not in client.get("/users/admin").json()["subjects_responsible"]
    assert count(client, "notes", object_id=closed["session"]) == 0


def test_a_subject_in_use_does_not_name_what_may_not_be_read(closed: Any, reader: Any) -> None:
    from ranvier.database.actions.models import Session
    from ranvier.database.people.models import Lab
    from ranvier.database.subjects.models import Subject

    mine = Subject.objects.create(nickname="leak_mine", lab=Lab.objects.get(name="peekinglab"))
    kept = Session.objects.create(subject=mine, lab=closed["lab"], number=4)
    kept.projects.add(*Session.objects.get(pk=closed["session"]).projects.all())
    answer = reader("lab admin").delete("/subjects/leak_mine")
    assert answer.status_code == 409
    assert str(kept) not in answer.json()["detail"]
