"""Roles: nobody writes what is another lab's, or reads what is kept from them; every table and endpoint has a rule."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

ROLES = ("public", "experimenter", "stock manager", "lab admin", "data engineer")
LABS = ("rolelab", "foreignlab")


@pytest.fixture(scope="module")
def labs(live_database: Any, rest: Any) -> dict[str, dict[str, Any]]:
    """Two labs with a row of each table that belongs to one: by table, address and id, and what creates another."""
    from ranvier.database.people.servers import ensure_server

    return {lab: _fill(live_database, ensure_server(lab).lab) for lab in LABS}


def _fill(database: Any, lab: Any) -> dict[str, Any]:
    make, name = database.make, lab.name
    make("/subjects", {"nickname": f"{name}_1", "lab": name})
    session = make("/sessions", {"subject": f"{name}_1", "lab": name, "start_time": "2026-09-01T08:00:00", "number": 1})["id"]
    insertion = make("/insertions", {"session": session, "name": "probe00"})["id"]
    trajectory = make("/trajectories", {"probe_insertion": insertion, "provenance": "Planned", "x": 1, "y": 1, "z": 1, "depth": 1,
                                        "theta": 1, "phi": 1})["id"]  # fmt: skip
    dataset = make("/register-file", {"path": f"{name}_1/2026-09-01/001", "filenames": ["alf/spikes.times.npy"]})[0]
    task = make("/plans", {"session": session, "tasks": [{"name": "a"}]})[0]["id"]
    attempt = make("/attempts", {"task": task, "worker": "w"})["id"]
    note = make("/notes", {"content_type": "session", "object_id": session, "text": "a note", "user": "ranvier"})["id"]
    rows = {
        "subjects": f"{name}_1",
        "sessions": session,
        "insertions": insertion,
        "trajectories": trajectory,
        "datasets": dataset["id"],
        "files": dataset["file_records"][0]["id"],
        "tasks": task,
        "attempts": attempt,
        "notes": note,
        "locations": make("/locations", {"name": f"{name}_rig", "lab": name})["name"],
        "cages": make("/cages", {"name": f"{name}_cage", "lab": name})["name"],
        "weighings": make("/weighings", {"subject": f"{name}_1", "weight": 20})["id"],
        "water-administrations": make("/water-administrations", {"subject": f"{name}_1", "water_administered": 1})["id"],
        "surgeries": make("/surgeries", {"subject": f"{name}_1"})["id"],
        "other-actions": make("/other-actions", {"subject": f"{name}_1"})["id"],
        "labs": name,
        "data-repository": f"{name}_server",
    }
    return {"rows": rows, "subject": f"{name}_1", "session": session, "dataset": dataset["id"], "task": task, "lab": name}


@pytest.fixture(scope="module")
def client_of(labs: Any, rest: Any) -> Callable[..., Any]:
    """Makes a client of a user with a role in the first lab."""
    from rest_framework.authtoken.models import Token
    from rest_framework.test import APIClient

    from ranvier.database.people.models import Lab, LabMembership, User

    def make(role: str | None, lab: str = "rolelab") -> Any:
        user, is_new = User.objects.get_or_create(username=f"{lab} {role}".replace(" ", "_"))
        if is_new and role:
            LabMembership.objects.create(user=user, lab=Lab.objects.get(name=lab), role=role)
        client = APIClient(SERVER_NAME="localhost")
        client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.get_or_create(user=user)[0].key}")
        client.user = user
        return client

    return make


def changes(lab: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests that change a lab's rows, delete them, or add others to it."""
    for endpoint, row in lab["rows"].items():
        yield "patch", f"/{endpoint}/{row}", {}
        yield "delete", f"/{endpoint}/{row}", {}
    subject, session, name = lab["subject"], lab["session"], lab["lab"]
    where = {"subject": subject, "lab": name}
    for path, body in {
        "/subjects": {"nickname": f"{name}_{uuid.uuid4().hex[:6]}", "lab": name},
        "/sessions": {**where, "start_time": "2026-09-02T08:00:00", "number": 7},
        "/weighings": {"subject": subject, "weight": 21},
        "/water-administrations": {"subject": subject, "water_administered": 1},
        "/water-restriction": {"subject": subject},
        "/surgeries": {"subject": subject},
        "/other-actions": {"subject": subject},
        "/culls": {"subject": subject, "reason": "Surplus"},
        "/cages": {"name": f"cage_{uuid.uuid4().hex[:6]}", "lab": name},
        "/locations": {"name": f"rig_{uuid.uuid4().hex[:6]}", "lab": name},
        "/insertions": {"session": session, "name": "probe07"},
        "/notes": {"content_type": "session", "object_id": session, "text": "mine"},
        "/register-file": {"path": f"{subject}/2026-09-01/001", "filenames": ["alf/spikes.amps.npy"]},
        "/channels": {"trajectory_estimate": lab["rows"]["trajectories"], "axial": 1, "lateral": 1, "x": 1, "y": 1, "z": 1},
        "/plans": {"session": session, "tasks": [{"name": "b"}]},
        "/cancellations": {"session": session},
        "/attempts": {"task": lab["task"], "worker": "me"},
        "/events": {"kind": "session.requested", "session": session, "key": f"key {uuid.uuid4()}"},
        "/expired-leases": {"lab": name},
        "/reruns": {"sessions": [session]},
        "/backfills": {"task": "a", "version": "2", "selection": {"sessions": [session]}},
    }.items():
        yield "post", path, body


@pytest.mark.parametrize("role", [*ROLES, None])
def test_nobody_writes_in_another_lab(labs: Any, client_of: Any, role: str | None) -> None:
    client, through = client_of(role), []
    for method, path, body in changes(labs["foreignlab"]):
        answer = getattr(client, method)(path, body, format="json")
        if answer.status_code not in (403, 404, 405):
            through.append((method, path, answer.status_code))
    assert not through
    assert _unchanged(labs["foreignlab"])


def _unchanged(lab: dict[str, Any]) -> bool:
    from ranvier.database.actions.models import Session
    from ranvier.database.jobs.models import Task
    from ranvier.database.subjects.models import Subject

    return (
        Subject.objects.filter(lab__name=lab["lab"]).count() == 1
        and Session.objects.filter(lab__name=lab["lab"]).count() == 1
        and Task.objects.get(pk=lab["task"]).cancel_requested is False
    )


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("experimenter", ("weighings", "notes", "insertions", "tasks", "subjects"), ("labs", "locations", "data-repository")),
        ("stock manager", ("weighings", "cages", "subjects"), ("tasks", "datasets", "files", "labs")),
        ("lab admin", ("weighings", "tasks", "labs", "locations", "data-repository"), ()),
        ("data engineer", ("tasks", "datasets", "files"), ("subjects", "sessions", "weighings", "notes", "labs")),
        ("public", (), ("weighings", "sessions", "subjects", "tasks", "notes", "labs")),
    ],
)
def test_a_role_writes_its_part_of_its_lab(labs: Any, client_of: Any, role: str, may: tuple[str, ...], may_not: tuple[str, ...]) -> None:
    client, rows = client_of(role), labs["rolelab"]["rows"]
    codes = {endpoint: client.patch(f"/{endpoint}/{rows[endpoint]}", {}, format="json").status_code for endpoint in may + may_not}
    assert {endpoint: codes[endpoint] for endpoint in may} == dict.fromkeys(may, 200)
    assert all(codes[endpoint] in (403, 404) for endpoint in may_not), codes


def test_a_row_does_not_move_into_another_lab(labs: Any, client_of: Any) -> None:
    client = client_of("experimenter")
    moved = client.patch(f"/subjects/{labs['rolelab']['subject']}", {"lab": "foreignlab"}, format="json")
    assert moved.status_code == 403, moved.content
    assert "role" in moved.json()["detail"]
    mixed = {"subject": labs["foreignlab"]["subject"], "lab": "rolelab", "start_time": "2026-09-03T08:00:00", "number": 1}
    assert client.post("/sessions", mixed, format="json").status_code == 403


def test_a_lab_server_works_for_its_own_lab(labs: Any, rest: Any) -> None:
    from rest_framework.test import APIClient

    from ranvier.database.people.models import LabServer
    from ranvier.database.people.servers import token_of

    client = APIClient(SERVER_NAME="localhost")
    client.credentials(HTTP_AUTHORIZATION=f"Token {token_of(LabServer.objects.get(lab__name='rolelab'))}")
    for name, code in (("rolelab", 200), ("foreignlab", 403)):
        asked = {"session": labs[name]["session"], "tasks": [{"name": "served"}]}
        assert client.post("/plans", asked, format="json").status_code == code, name
        assert client.patch(f"/lab-servers/{name}", {"machine": "m"}, format="json").status_code == code, name
        assert client.patch(f"/sessions/{labs[name]['session']}", {"narrative": "n"}, format="json").status_code == code, name
    assert client.post("/expired-leases", {}, format="json").status_code == 200


def test_a_closed_project_is_read_by_those_it_names(labs: Any, client_of: Any, rest: Any) -> None:
    from ranvier.database.actions.models import Session
    from ranvier.database.people.models import Project

    lab = labs["foreignlab"]
    outsider, member, public = client_of("experimenter"), client_of("data engineer"), client_of("public")
    addresses = [f"/{endpoint}/{lab['rows'][endpoint]}" for endpoint in ("sessions", "datasets", "files", "insertions", "tasks", "notes")]
    assert {outsider.get(address).status_code for address in addresses} == {200}, "labs read across"
    assert {public.get(address).status_code for address in addresses} == {404}
    project = Project.objects.create(name="closed")
    project.users.add(member.user)
    Session.objects.get(pk=lab["session"]).projects.add(project)
    try:
        assert {outsider.get(address).status_code for address in addresses} == {404}
        assert {member.get(address).status_code for address in addresses} == {200}
        assert {client_of("experimenter", "foreignlab").get(address).status_code for address in addresses} == {200}, "their own"
        assert outsider.get(f"/datasets?session={lab['session']}").json()["count"] == 0
        assert outsider.get("/cache/info").status_code == 403
        assert outsider.get("/history", {"model": "session", "id": lab["session"]}).status_code == 404
        project.users.clear()
        Project.objects.filter(pk=project.pk).update(public=True)
        assert {public.get(address).status_code for address in addresses} == {200}
        assert public.get("/sessions").json()["count"] == 1
        assert public.get("/subjects").json()["count"] == 1
        assert public.get(f"/weighings/{lab['rows']['weighings']}").status_code == 404
    finally:
        project.delete()


def test_labs_may_be_kept_apart(labs: Any, client_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    apart = settings.RANVIER.model_copy(update={"database": settings.RANVIER.database.model_copy(update={"read_across_labs": False})})
    monkeypatch.setattr(settings, "RANVIER", apart)
    client = client_of("experimenter")
    for endpoint in ("sessions", "datasets", "subjects", "weighings", "tasks", "cages"):
        assert client.get(f"/{endpoint}/{labs['foreignlab']['rows'][endpoint]}").status_code == 404, endpoint
        assert client.get(f"/{endpoint}/{labs['rolelab']['rows'][endpoint]}").status_code == 200, endpoint


def test_shared_rows_are_added_by_many_and_changed_by_few(labs: Any, client_of: Any) -> None:
    experimenter, engineer = client_of("experimenter"), client_of("data engineer")
    assert experimenter.post("/dataset-types", {"name": "roles.test"}, format="json").status_code == 201
    change = {"description": "changed"}
    assert experimenter.patch("/dataset-types/roles.test", change, format="json").status_code == 403
    assert engineer.patch("/dataset-types/roles.test", change, format="json").status_code == 200
    assert client_of(None).post("/dataset-types", {"name": "roles.nobody"}, format="json").status_code == 403


def test_every_table_and_endpoint_has_a_rule(rest: Any) -> None:
    from django.apps import apps
    from django.urls import get_resolver

    from ranvier.database.rest.rules import ENDPOINTS, RULES, table_of

    ours = {m._meta.label for m in apps.get_models() if m.__module__.startswith("ranvier.")}
    assert ours == set(RULES), "each table of the project has a rule in ranvier.database.rest.rules"
    views = {view for pattern in _patterns(get_resolver()) if (view := getattr(pattern.callback, "cls", None))}
    assert len(views) > 50
    for view in views:
        assert table_of(view) in RULES, view
    assert set(ENDPOINTS) <= {view.__name__ for view in views}, "no rule of an endpoint that is gone"


def test_the_paths_of_every_rule_lead_somewhere(rest: Any, client_of: Any) -> None:
    from django.apps import apps

    from ranvier.database.rest.access import Access
    from ranvier.database.rest.reading import visible
    from ranvier.database.rest.rules import RULES

    for role in ("public", "experimenter", "lab admin", None):
        access = Access.of(client_of(role).user)
        for label, rule in RULES.items():
            rows = apps.get_model(label)._base_manager.all()
            visible(rows, access).exists()
            rows.filter(**{f"{path}__isnull": False for path in rule.labs}).exists()


def _patterns(resolver: Any) -> Iterator[Any]:
    for pattern in resolver.url_patterns:
        if hasattr(pattern, "url_patterns"):
            if pattern.app_name != "admin":
                yield from _patterns(pattern)
        else:
            yield pattern


def test_roles_take_no_query_a_row(labs: Any, client_of: Any) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client = client_of("experimenter")

    def count(method: str, path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert getattr(client, method)(path, {}, format="json").status_code == 200
        return len(captured)

    assert count("get", "/datasets?limit=1000") <= count("get", "/datasets?limit=1") + 1
    task = labs["rolelab"]["task"]
    services = client_of(None)
    services.user.is_superuser = True
    services.user.save()
    client_of_staff, client = client, services
    plain = count("patch", f"/tasks/{task}")
    client = client_of_staff
    assert count("patch", f"/tasks/{task}") <= plain + 3, "the roles once, and the session of the task"


def test_the_admin_shows_and_changes_by_role(labs: Any, client_of: Any) -> None:
    from django.test import Client

    def page(role: str | None, path: str) -> Any:
        browser = Client(SERVER_NAME="localhost")
        browser.force_login(client_of(role).user)
        return browser.get(f"/admin/{path}")

    from ranvier.database.actions.models import Weighing
    from ranvier.database.subjects.models import Subject

    own, other = (Weighing.objects.filter(subject__lab__name=lab).first().pk for lab in LABS)
    assert page("public", "").status_code == 302, "to sign in as somebody else"
    assert page("experimenter", "").status_code == 200
    assert b"Save and continue" in page("experimenter", f"actions/weighing/{own}/change/").content
    assert b"Save and continue" not in page("experimenter", f"actions/weighing/{other}/change/").content
    assert page("experimenter", "people/user/").status_code == 403
    assert page("data engineer", "actions/weighing/add/").status_code == 403
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(client_of("experimenter").user)
    mice = {lab: Subject.objects.get(nickname=f"{lab}_1") for lab in LABS}
    chosen = {"action": "mark_to_be_genotyped", "_selected_action": [str(mouse.pk) for mouse in mice.values()]}
    assert browser.post("/admin/subjects/subject/", chosen).status_code == 302
    marked = {lab: Subject.objects.get(pk=mouse.pk).to_be_genotyped for lab, mouse in mice.items()}
    assert marked == {"rolelab": True, "foreignlab": False}
    assert page("lab admin", f"people/lab/{_lab('rolelab')}/change/").status_code == 200


def _lab(name: str) -> Any:
    from ranvier.database.people.models import Lab

    return Lab.objects.get(name=name).pk


def test_what_is_closed_is_not_opened_from_outside(labs: Any, client_of: Any, rest: Any) -> None:
    from ranvier.database.people.models import Project

    outsider, member = client_of("lab admin"), client_of("data engineer")
    project = Project.objects.create(name="role_closed")
    assert outsider.patch("/projects/role_closed", {"description": "open"}, format="json").status_code == 200
    project.users.add(member.user)
    for change in ({"users": [outsider.user.username]}, {"users": []}, {"public": True}):
        assert outsider.patch("/projects/role_closed", change, format="json").status_code == 403
    assert outsider.delete("/projects/role_closed").status_code == 403
    project.users.add(outsider.user)
    assert outsider.patch("/projects/role_closed", {"description": "ours"}, format="json").status_code == 200
    taken = {"repositories": ["rolelab_server", "foreignlab_server"]}
    assert outsider.patch("/labs/rolelab", taken, format="json").status_code == 403
    assert outsider.patch("/labs/rolelab", {"repositories": ["rolelab_server"]}, format="json").status_code == 200


def test_history_tells_who_changed_what(labs: Any, client_of: Any, rest: Any) -> None:
    from django.test import Client

    client, weighing = client_of("experimenter"), labs["rolelab"]["rows"]["weighings"]
    before = client.get("/history", {"model": "weighing", "id": weighing}).json()["count"]
    assert client.patch(f"/weighings/{weighing}", {"weight": 22.5}, format="json").status_code == 200
    found = client.get("/history", {"model": "actions.weighing", "id": weighing}).json()
    assert found["count"] == before + 1
    latest = found["results"][0]
    assert (latest["username"], latest["kind"], latest["fields"]) == ("rolelab_experimenter", "changed", {"weight": [20.0, 22.5]})
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(client.user)
    assert "22.5" in browser.get(f"/admin/actions/weighing/{weighing}/history/").content.decode()
    assert client.get("/history", {"model": "nothing", "id": "1"}).status_code == 400
    assert client.get("/history", {"model": "session", "id": "1"}).status_code == 400


def test_what_is_written_many_rows_at_a_time_is_in_the_history(labs: Any, client_of: Any, rest: Any) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client, counts = client_of("experimenter"), []

    def history(model: str, key: str) -> list[dict[str, Any]]:
        return client.get("/history", {"model": model, "id": key}).json()["results"]

    for names in (["alf/many/spikes.times.npy", "alf/many/spikes.amps.npy"], [f"alf/part{i}/spikes.times.npy" for i in range(12)]):
        asked = {"path": "rolelab_1/2026-09-01/001", "filenames": names, "hashes": names, "filesizes": [1] * len(names)}
        with CaptureQueriesContext(connection) as captured:
            answer = client.post("/register-file", asked, format="json")
        assert answer.status_code == 201, answer.content
        counts.append(len(captured))
    assert counts[0] == counts[1], "an entry for each row, in as many statements"
    made = answer.json()[0]
    added = history("dataset", made["id"])
    assert [(each["kind"], each["username"], each["name"]) for each in added] == [("added", "rolelab_experimenter", "spikes.times.npy")]
    assert added[0]["fields"]["file_size"] == [None, 1]
    assert [each["kind"] for each in history("filerecord", made["file_records"][0]["id"])] == ["added"]
    again = {**asked, "hashes": ["other"] * 12, "filesizes": [2] * 12}
    assert client.post("/register-file", again, format="json").status_code == 201
    assert history("dataset", made["id"])[0]["fields"]["file_size"] == [1, 2]
    assert client.post("/register-file", again, format="json").status_code == 201
    assert len(history("dataset", made["id"])) == 2, "what changes nothing is no change"
    sites = [{"trajectory_estimate": labs["rolelab"]["rows"]["trajectories"], "axial": i, "lateral": 5} for i in range(3)]
    channel = client.post("/channels", sites, format="json").json()[0]["id"]
    assert [each["kind"] for each in history("channel", channel)] == ["added"]
    assert client.post("/cancellations", {"session": labs["rolelab"]["session"]}, format="json").status_code == 200
    assert history("task", labs["rolelab"]["task"])[0]["fields"]["cancel_requested"] == [False, True]


def test_what_machines_write_is_not_in_the_history(labs: Any, rest: Any) -> None:
    from ranvier.database.rest.models import Change

    before = Change.objects.count()
    assert rest.patch(f"/tasks/{labs['rolelab']['task']}", {"log": "l"}, format="json").status_code == 200
    assert Change.objects.count() == before


def token_client(key: str) -> Any:
    from rest_framework.test import APIClient

    client = APIClient(SERVER_NAME="localhost")
    client.credentials(HTTP_AUTHORIZATION=f"Token {key}")
    return client


def test_tokens_stand_for_a_part_of_their_user(labs: Any, client_of: Any) -> None:
    from ranvier.database.people.models import AccessToken

    owner, rows = client_of("lab admin"), labs["rolelab"]["rows"]

    def issue(**asked: Any) -> Any:
        made = owner.post("/tokens", {"name": str(uuid.uuid4()), **asked}, format="json")
        assert made.status_code == 201, made.content
        return token_client(made.json()["token"])

    def codes(client: Any, *endpoints: str) -> list[int]:
        return [client.patch(f"/{endpoint}/{rows[endpoint]}", {}, format="json").status_code for endpoint in endpoints]

    assert codes(issue(scope="all"), "weighings", "tasks", "labs") == [200, 200, 200]
    assert codes(issue(scope="read"), "weighings", "tasks", "labs") == [403, 403, 403]
    assert codes(issue(scope="lab", lab="rolelab"), "weighings", "labs") == [200, 200]
    assert codes(issue(scope="pipeline"), "tasks", "datasets", "labs", "subjects") == [200, 200, 403, 403]
    assert issue(scope="read").get(f"/sessions/{rows['sessions']}").status_code == 200
    assert issue().post("/tokens", {"name": "greater"}, format="json").status_code == 403, "a token makes no token"
    assert owner.post("/tokens", {"name": "of none", "scope": "lab"}, format="json").status_code == 400
    assert owner.post("/tokens", {"name": "of others", "scope": "lab", "lab": "foreignlab"}, format="json").status_code == 403
    assert all(len(token.hash) == 64 for token in AccessToken.objects.all())


def test_a_token_of_staff_for_one_lab_is_for_that_lab(labs: Any, rest: Any) -> None:
    from ranvier.database.people.models import AccessToken, Lab, User

    admin = User.objects.get(username="admin")
    _, key = AccessToken.issue(user=admin, name="one lab", scope="lab", lab=Lab.objects.get(name="rolelab"))
    client = token_client(key)
    for lab, code in (("rolelab", 200), ("foreignlab", 403)):
        assert client.patch(f"/sessions/{labs[lab]['session']}", {"narrative": "t"}, format="json").status_code == code
    assert client.get("/lab-servers/rolelab").status_code == 403, "it does not get to know the server's own token"
    assert client.post("/lab-servers", {"lab": "newlab"}, format="json").status_code == 403
    assert client.post("/users", {"username": "me"}, format="json").status_code == 403


def test_tokens_end(labs: Any, client_of: Any) -> None:
    owner = client_of("experimenter")
    past = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).replace(tzinfo=None).isoformat()
    expired = owner.post("/tokens", {"name": "expired", "expires": past}, format="json").json()
    assert token_client(expired["token"]).get("/me").status_code in (401, 403)
    made = owner.post("/tokens", {"name": "revoked"}, format="json").json()
    client = token_client(made["token"])
    assert client.get("/me").json()["username"] == "rolelab_experimenter"
    assert client_of("data engineer").delete(f"/tokens/{made['id']}").status_code == 404, "of somebody else"
    shown = client_of("lab admin").get(f"/tokens/{made['id']}").json()
    assert shown["last_used"]
    assert "token" not in shown
    assert "hash" not in shown
    assert client_of("lab admin").delete(f"/tokens/{made['id']}").status_code == 204
    refused = client.get("/me")
    assert refused.status_code == 403
    assert "revoked" in refused.json()["detail"]


def test_tokens_and_history_on_each_engine(each_database: Any) -> None:
    token = each_database.make("/tokens", {"name": "both", "scope": "read"})["token"]
    assert each_database.request("GET", "/subjects", token=token).status_code == 200
    assert each_database.request("POST", "/subjects", {"nickname": "X", "lab": "testlab"}, token=token).status_code == 403
    assert each_database.request("GET", "/history?model=lab&id=" + str(uuid.uuid4())).json()["count"] == 0
