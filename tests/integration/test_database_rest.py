"""What the REST API promises, whoever asks: schema, errors, filters, registration of files, files themselves."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import requests

SUBJECT = "REST_001"
DAY = "2026-07-01"


@pytest.fixture(scope="module")
def session(live_database: Any) -> dict[str, Any]:
    """A session of this module's subject."""
    live_database.make("/subjects", {"nickname": SUBJECT, "lab": "testlab"})
    return live_database.make("/sessions", {"subject": SUBJECT, "start_time": f"{DAY}T08:00:00", "number": 1})


@pytest.fixture(scope="module")
def schema(live_database: Any) -> dict[str, Any]:
    """The OpenAPI document."""
    return live_database.request("GET", "/api/schema").json()


def register(database: Any, *names: str, **fields: Any) -> requests.Response:
    """Register files of the session."""
    body = {"path": f"{SUBJECT}/{DAY}/001", "filenames": list(names), **fields}
    return database.request("POST", "/register-file", body)


# schema


def test_every_body_of_a_write_is_a_reference(schema: dict[str, Any]) -> None:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation:
                assert "$ref" in operation["requestBody"]["content"]["application/json"]["schema"], (method, path)


def test_every_endpoint_of_ours_and_of_alyx_is_in_the_schema(schema: dict[str, Any]) -> None:
    first = {path.strip("/").split("/")[0] for path in schema["paths"]}
    alyx = {"auth-token", "check-protected", "data-formats", "data-repository", "dataset-types", "datasets", "files", "insertions", "labs"}
    alyx |= {"locations", "procedures", "projects", "register-file", "revisions", "sessions", "subjects", "tags", "tasks", "users"}
    ours = {"me", "lab-servers", "plans", "attempts", "events", "cancellations", "expired-leases", "task-counts", "failures", "pauses"}
    ours |= {"reruns", "rerun-sessions", "backfills", "backfill-sessions"}
    ours |= {
        "species",
        "strains",
        "sources",
        "lines",
        "alleles",
        "sequences",
        "zygosity-rules",
        "genotype-tests",
        "breeding-pairs",
        "litters",
    }
    ours |= {
        "subject-requests",
        "cages",
        "cage-stays",
        "humane-end-points",
        "growth-references",
        "virus-injections",
        "other-actions",
        "culls",
    }
    alyx |= {"brain-regions", "channels", "chronic-insertions", "data-notices", "data-repository-type", "downloads", "fields-of-view"}
    alyx |= {"fov-location", "imaging-stack", "new-download", "notes", "surgeries", "trajectories", "water-administrations"}
    alyx |= {"water-requirement", "water-restricted-subjects", "water-restriction", "water-type", "weighings"}
    alyx |= {"cache", "cache.zip", "sync-file-status"}
    ours |= {"tokens", "history"}
    assert first == alyx | ours


def test_filters_that_one_completes_are_named(schema: dict[str, Any]) -> None:
    names = {parameter["name"] for parameter in schema["paths"]["/sessions"]["get"]["parameters"]}
    assert names >= {"subject", "date_range", "lab", "number", "projects", "project", "task_protocol", "users", "location", "tag", "qc"}
    assert names >= {"datasets", "dataset_types", "dataset_qc_lte", "performance_gte", "extended_qc", "json", "django", "limit", "offset"}


# errors


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "says"),
    [
        ("GET", "/nowhere", None, 404, "api/schema"),
        ("GET", "/sessions/not-a-uuid", None, 404, ""),
        ("GET", "/sessions?django=pk,not-a-uuid", None, 400, "UUID"),
        ("GET", "/sessions?date_range=yesterday,today", None, 400, "2026-01-01,2026-01-31"),
        ("GET", "/sessions?date_range=2026-01-01", None, 400, "range of days"),
        ("GET", "/sessions?number=one", None, 400, "number"),
        ("GET", "/sessions?qc=GOOD", None, 400, "PASS"),
        ("GET", "/tasks?status=Running", None, 400, "Waiting"),
        ("GET", "/tasks?session=nonsense", None, 400, "session"),
        ("GET", "/datasets?dataset_type=none&qc=x", None, 400, "qc"),
        ("POST", "/sessions", {"subject": "nobody"}, 400, "nobody"),
        ("POST", "/sessions", {"subject": SUBJECT, "colour": "red"}, 400, "colour"),
        ("POST", "/sessions", {"subject": SUBJECT, "number": 1000}, 400, "number"),
        ("POST", "/sessions", {"subject": SUBJECT, "start_time": "noon"}, 400, "start_time"),
        ("POST", "/sessions", ["a list"], 400, "dictionary"),
        ("POST", "/sessions", {"subject": SUBJECT, "start_time": f"{DAY}T08:00:00", "number": 1}, 409, "exists already"),
        ("POST", "/subjects", {"nickname": "../up", "lab": "testlab"}, 400, "nickname"),
        ("POST", "/subjects", {"nickname": SUBJECT, "lab": "testlab"}, 400, "already exists"),
        ("POST", "/tasks", {"name": "x", "session": "00000000-0000-0000-0000-000000000000"}, 400, "session"),
        ("POST", "/tasks", {"name": "x", "session": "SESSION", "status": "Running"}, 400, "Waiting"),
        ("POST", "/tasks", {"name": "x", "session": "SESSION", "time_out_secs": 10**30}, 400, "time_out_secs"),
        ("POST", "/tasks", {"name": "a\0b", "session": "SESSION"}, 400, "name"),
        ("POST", "/attempts", {"task": "SESSION", "worker": "w"}, 400, "task"),
        ("POST", "/events", {"kind": "session.lost", "key": "k"}, 400, "session.lost"),
        ("POST", "/plans", {"session": "SESSION"}, 400, "tasks"),
        ("PATCH", "/labs/nolab", {"address": "x"}, 404, ""),
        ("DELETE", "/labs/testlab", None, 409, "in use"),
        ("POST", "/users", {"username": "intruder"}, 403, "staff"),
        ("PUT", "/register-file", {}, 405, "PUT"),
    ],
)
def test_bad_requests(live_database: Any, session: dict[str, Any], method: str, path: str, body: Any, code: int, says: str) -> None:
    body = json.loads(json.dumps(body).replace("SESSION", session["id"]))
    answer = live_database.request(method, path, body)
    assert answer.status_code == code, answer.text
    assert answer.json()["status_code"] == code
    assert says in answer.json()["detail"]


def test_malformed_json_is_a_400(live_database: Any) -> None:
    headers = {"Authorization": f"Token {live_database.settings.secret('token')}", "Content-Type": "application/json"}
    for text in ("{", '{"subject": NaN}', "\xff"):
        answer = requests.post(f"{live_database.url}/sessions", data=text.encode("latin-1"), headers=headers, timeout=10)
        assert answer.status_code == 400
        assert answer.json()["detail"]


def test_sign_in(live_database: Any) -> None:
    password = live_database.settings.secret("admin_password")
    good = requests.post(f"{live_database.url}/auth-token", data={"username": "admin", "password": password}, timeout=10)
    assert (good.status_code, list(good.json()), len(good.json()["token"])) == (200, ["token"], 40)
    assert requests.post(f"{live_database.url}/auth-token", data={"username": "admin", "password": "x"}, timeout=10).status_code == 400
    assert requests.get(f"{live_database.url}/sessions", timeout=10).status_code == 403
    unknown = live_database.request("GET", "/sessions", token="f" * 40)
    assert unknown.status_code == 403
    assert '"Invalid token."' in unknown.text, "ONE signs in again upon these very words"
    assert live_database.request("GET", "/me", token=good.json()["token"]).json()["username"] == "admin"


# lists


def test_pages(live_database: Any) -> None:
    first = live_database.request("GET", "/dataset-types?limit=100").json()
    assert (len(first["results"]), first["previous"]) == (100, None)
    assert first["count"] > 200
    assert "offset=100" in first["next"]
    assert len(live_database.request("GET", "/dataset-types?limit=100000").json()["results"]) == first["count"]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("subject__nickname,REST_001", True),
        ("subject__nickname__in,['REST_001','other']", True),
        ("subject__nickname__in,REST_001", True),
        ("pk__in,('SESSION',)", True),
        ("subject__nickname,REST_001,~pk,SESSION", False),
        ("subject__nickname,REST_001,number__gte,2", False),
        ("subject__nickname,REST_001,start_time__date__gte,2026-07-01", True),
        ("subject__nickname__iregex,^rest_.*1$", True),
        ("subject__nickname,REST_001,end_time__isnull,True", True),
        ("subject__nickname,REST_001,end_time,None", True),
        ("subject__nickname,REST_001,tasks__status,40", False),
        ("lab__repositories__name,testlab_server,subject__nickname,REST_001", True),
    ],
)
def test_django_filter(live_database: Any, session: dict[str, Any], condition: str, found: bool) -> None:
    answer = live_database.request("GET", "/sessions", params={"django": condition.replace("SESSION", session["id"])})
    assert answer.status_code == 200, answer.text
    assert [row["id"] for row in answer.json()["results"]] == ([session["id"]] if found else [])


@pytest.mark.parametrize(
    "condition",
    [
        "users__password__startswith,pbkdf2",
        "users__auth_token__key__startswith,0",
        "users__groups__name,x",
        "subject__nickname__in,[__import__('os').system('true')]",
        "subject__nickname__in,[().__class__]",
        "subject__nickname__in,[" * 50,
        "subject__nickname",
        "subject__nickname,a,number",
        "subject__nickname__regex,(",
        "subject__nickname__iregex," + "(a+)+" * 60,
        "nothing,1",
        "subject__nickname__nothing,1",
        "subject__nickname__in__in__in,1",
        "start_time__gte,tomorrow",
        "end_time__isnull,perhaps",
        "number__in,['a']",
        "subject__nickname__in,['a'",
        "session,1",
    ],
)
def test_django_filter_refuses(live_database: Any, condition: str) -> None:
    answer = live_database.request("GET", "/sessions", params={"django": condition})
    assert answer.status_code == 400, answer.text
    assert "django" in answer.json()["detail"]


def test_public_user_only_reads(live_database: Any, session: dict[str, Any]) -> None:
    password = live_database.settings.secret("admin_password")
    admin = requests.post(f"{live_database.url}/auth-token", data={"username": "admin", "password": password}, timeout=10).json()["token"]
    live_database.request("POST", "/users", {"username": "rest_reader"}, token=admin)
    assert live_database.request("PATCH", "/users/rest_reader", {"is_stock_manager": True}, token=admin).status_code == 200
    assert live_database.request("PATCH", "/users/rest_reader", {"is_stock_manager": False}).status_code == 403


# registration of files


def test_registration_answers_as_alyx_does(live_database: Any, session: dict[str, Any]) -> None:
    answer = register(
        live_database, "alf/probe00/spikes.times.npy", "_ibl_trials.table.pqt", hashes=["a", "b"], filesizes=[1, 2], versions=["1", "2"]
    )
    assert answer.status_code == 201, answer.text
    spikes, trials = answer.json()
    sample = json.loads(
        """{"file_size": 1, "subject": "REST_001", "created_by": "ranvier", "dataset_type": "spikes.times", "data_format": "npy",
        "session_number": 1, "session_users": "ranvier", "session_start_time": "2026-07-01T08:00:00", "collection": "alf/probe00",
        "revision": "", "default": true, "qc": 0, "name": "spikes.times.npy"}"""
    )
    assert {key: spikes[key] for key in sample} == sample
    assert set(spikes) == {*sample, "id", "created_datetime", "session", "file_records"}
    (record,) = spikes["file_records"]
    assert record["relative_path"] == f"{SUBJECT}/{DAY}/001/alf/probe00/spikes.times.npy"
    assert (record["data_repository"], record["exists"]) == ("testlab_server", True)
    assert (trials["data_format"], trials["collection"]) == ("parquet", "")


def test_same_hash_changes_nothing_and_another_hash_patches(live_database: Any, session: dict[str, Any]) -> None:
    (first,) = register(live_database, "alf/spikes.amps.npy", hashes=["a"], filesizes=[1]).json()
    before = live_database.request("GET", f"/datasets/{first['id']}").json()
    register(live_database, "alf/spikes.amps.npy", hashes=["a"], filesizes=[1], exists=False)
    assert live_database.request("GET", f"/datasets/{first['id']}").json() == before, "the copy stays, for it is the same file"
    (other,) = register(live_database, "alf/spikes.amps.npy", hashes=["b"], filesizes=[2], exists=False).json()
    assert (other["id"], other["file_size"], other["file_records"][0]["exists"]) == (first["id"], 2, False)
    assert live_database.request("GET", f"/datasets/{first['id']}").json()["hash"] == "b"


def test_revision_takes_over_as_the_default(live_database: Any, session: dict[str, Any]) -> None:
    (first,) = register(live_database, "alf/spikes.depths.npy", hashes=["a"]).json()
    (second,) = register(live_database, "alf/#2026-08-01#/spikes.depths.npy", hashes=["b"]).json()
    assert (second["revision"], second["collection"], second["default"]) == ("2026-08-01", "alf", True)
    assert live_database.request("GET", f"/datasets/{first['id']}").json()["default_dataset"] is False
    assert live_database.request("GET", "/revisions/2026-08-01").status_code == 200
    (third,) = register(live_database, "alf/#2026-09-01#/spikes.depths.npy", hashes=["c"], default=False).json()
    assert third["default"] is False
    assert live_database.request("GET", f"/datasets/{second['id']}").json()["default_dataset"] is True


def test_protected_dataset_cannot_change(live_database: Any, session: dict[str, Any]) -> None:
    (made,) = register(live_database, "alf/spikes.clusters.npy", hashes=["a"]).json()
    live_database.make("/tags", {"name": "rest_paper", "protected": True})
    assert live_database.request("PATCH", f"/datasets/{made['id']}", {"tags": ["rest_paper"]}).status_code == 200
    refused = register(live_database, "alf/spikes.clusters.npy", hashes=["b"])
    assert refused.status_code == 403
    assert refused.json()["error"] == "One or more datasets is protected"
    assert refused.json()["details"] == [{"alf/spikes.clusters.npy": [{"": True}]}]
    assert register(live_database, "alf/spikes.clusters.npy", hashes=["a"], check_protected=True).status_code == 201
    assert live_database.request("PATCH", f"/datasets/{made['id']}", {"hash": "z"}).status_code == 403
    assert live_database.request("DELETE", f"/datasets/{made['id']}").status_code == 403
    query = {"path": f"{SUBJECT}/{DAY}/001", "filenames": ["alf/spikes.clusters.npy", "alf/wheel.position.npy"]}
    check = live_database.request("GET", "/check-protected", query).json()
    assert check["status_code"] == 403
    assert check["details"][1] == {"alf/wheel.position.npy": []}


def test_insertion_owns_what_is_in_its_folder_whichever_comes_first(live_database: Any, session: dict[str, Any]) -> None:
    (before,) = register(live_database, "alf/probe_01/spikes.times.npy").json()
    insertion = live_database.make("/insertions", {"session": session["id"], "name": "probe_01"})
    (after,) = register(live_database, "alf/probe_01/sorter/spikes.times.npy").json()
    assert insertion["datasets"] == [before["id"]]
    assert set(live_database.request("GET", f"/insertions/{insertion['id']}").json()["datasets"]) == {before["id"], after["id"]}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"filenames": ["alf/nonsense.ofakind.npy"]}, "nonsense.ofakind.npy fits no dataset type"),
        ({"filenames": ["alf/spikes.times.xyz"]}, "extension"),
        ({"filenames": ["../../../etc/spikes.times.npy"]}, "not a path below"),
        ({"filenames": ["alf/../spikes.times.npy"]}, "not a path below"),
        ({"path": "/etc"}, "not a path below"),
        ({"path": "REST_001/2026-13-01/001"}, "month"),
        ({"path": "REST_001"}, "yyyy-mm-dd"),
        ({"path": "REST_001/2026-07-01/099"}, "A base session for REST_001 on 2026-07-01"),
        ({"path": "nobody/2026-07-01/001"}, "nobody"),
        ({"filenames": []}, "no file"),
        ({"filenames": ["a.times.npy", "a.times.npy"]}, "twice"),
        ({"name": "nowhere"}, "no repository nowhere"),
        ({"labs": "nolab"}, "no lab nolab"),
        ({"created_by": "nobody"}, "no user"),
        ({"hashes": ["a", "b"]}, "2 values for 1"),
        ({"filesizes": ["big"]}, "bytes"),
        ({"qc": ["GOOD"]}, "PASS"),
        ({"content_type": "subject"}, "sessions"),
        ({"filename": "x"}, "no such field"),
    ],
)
def test_bad_registration_is_refused(live_database: Any, session: dict[str, Any], fields: dict[str, Any], says: str) -> None:
    body = {"path": f"{SUBJECT}/{DAY}/001", "filenames": ["spikes.times.npy"], **fields}
    answer = live_database.request("POST", "/register-file", body)
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["detail"]


def test_one_bad_file_keeps_all_of_a_call_out(live_database: Any, session: dict[str, Any]) -> None:
    assert register(live_database, "raw/taskData.raw.jsonable", "raw/what.is.this").status_code == 400
    assert live_database.request("GET", f"/datasets?session={session['id']}&collection=raw").json()["count"] == 0


def test_lab_plugin_brings_its_own_dataset_type(live_database: Any, session: dict[str, Any]) -> None:
    assert register(live_database, "alf/whiskers.angle.npy").status_code == 400
    live_database.make("/dataset-types", {"name": "whiskers.angle", "description": "Angle of each whisker", "filename_pattern": ""})
    (made,) = register(live_database, "alf/whiskers.angle.npy").json()
    assert made["dataset_type"] == "whiskers.angle"


# files


@pytest.fixture(scope="module")
def served(live_database: Any, session: dict[str, Any]) -> str:
    """Address of a registered file of 1000 bytes."""
    path = live_database.settings.lab_root / SUBJECT / DAY / "001" / "alf" / "served.bytes.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(range(250)) * 4)
    live_database.make("/dataset-types", {"name": "served.bytes"})
    (made,) = register(live_database, "alf/served.bytes.bin", filesizes=[1000]).json()
    return live_database.request("GET", f"/datasets/{made['id']}").json()["file_records"][0]["data_url"]


def test_file_is_served_to_whoever_signs_in(live_database: Any, served: str) -> None:
    token, password = live_database.settings.secret("token"), live_database.settings.secret("admin_password")
    assert served.startswith(f"{live_database.url}/data/testlab/Subjects/{SUBJECT}/{DAY}/001/alf/served.bytes.")
    for auth in (("admin", password), ("admin", password), ("ranvier", token)):
        answer = requests.get(served, auth=auth, timeout=10)
        assert (answer.status_code, answer.headers["Content-Length"], len(answer.content)) == (200, "1000", 1000)
    refused = requests.get(served, timeout=10)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    assert requests.get(served, auth=("admin", "wrong"), timeout=10).status_code == 401
    assert requests.get(served, auth=("admin", token), timeout=10).status_code == 401, "the token is another user's"


def test_pieces_of_a_file(live_database: Any, served: str) -> None:
    auth = ("ranvier", live_database.settings.secret("token"))
    piece = requests.get(served, auth=auth, headers={"Range": "bytes=240-259"}, timeout=10)
    assert (piece.status_code, piece.headers["Content-Range"], piece.headers["Content-Length"]) == (206, "bytes 240-259/1000", "20")
    assert piece.content == bytes([*range(240, 250), *range(10)])
    assert requests.get(served, auth=auth, headers={"Range": "bytes=990-"}, timeout=10).content == bytes(range(240, 250))
    assert requests.get(served, auth=auth, headers={"Range": "bytes=1000-"}, timeout=10).status_code == 416


def test_nothing_outside_the_repository_is_served(live_database: Any, session: dict[str, Any], served: str, tmp_path: Path) -> None:
    auth = ("ranvier", live_database.settings.secret("token"))
    uuid = served.rsplit(".", 2)[-2]
    secret = live_database.settings.home / "secrets" / "token"
    outside = (
        f"data/testlab/Subjects/../../../secrets/token.{uuid}.txt",
        f"data/testlab/Subjects/%2e%2e/%2e%2e/secrets/token.{uuid}.txt",
        f"data//etc/passwd.{uuid}.txt",
        f"data/{SUBJECT}/{DAY}/001/alf/served.bytes.bin",
    )
    for path in outside:
        request = requests.Request("GET", f"{live_database.url}/", auth=auth).prepare()
        request.url = f"{live_database.url}/{path}"
        assert requests.Session().send(request, timeout=10).status_code == 404, path
    link = live_database.settings.lab_root / SUBJECT / DAY / "001" / "alf" / "served.link.txt"
    link.symlink_to(secret)
    live_database.make("/dataset-types", {"name": "served.link"})
    (made,) = register(live_database, "alf/served.link.txt").json()
    address = live_database.request("GET", f"/datasets/{made['id']}").json()["file_records"][0]["data_url"]
    assert requests.get(address, auth=auth, timeout=10).status_code == 404, "a link out of the repository"


def test_figures(live_database: Any, session: dict[str, Any]) -> None:
    folder = live_database.settings.lab_root / SUBJECT / DAY / "001" / "figures" / "task"
    folder.mkdir(parents=True)
    folder.joinpath("raster.png").write_bytes(b"\x89PNG")
    folder.parents[1].joinpath("outside.png").write_bytes(b"\x89PNG")
    auth = ("ranvier", live_database.settings.secret("token"))
    answer = requests.get(f"{live_database.url}/figures/{session['id']}/task/raster.png", auth=auth, timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    for path in ("task/other.png", "%2e%2e/outside.png", "task/raster.txt"):
        assert requests.get(f"{live_database.url}/figures/{session['id']}/{path}", auth=auth, timeout=10).status_code == 404


def test_page_of_a_session_is_behind_the_admins_sign_in(live_database: Any, session: dict[str, Any]) -> None:
    answer = requests.get(f"{live_database.url}/session/{session['id']}", timeout=10)
    assert answer.status_code == 200
    assert f"next=/admin/actions/session/{session['id']}/change/" in answer.url
    assert requests.get(f"{live_database.url}/static/admin/css/base.css", timeout=10).status_code == 200


def test_times_are_naive_as_alyx_has_them(session: dict[str, Any]) -> None:
    assert session["start_time"] == f"{DAY}T08:00:00"
    assert datetime.datetime.fromisoformat(session["auto_datetime"]).tzinfo is None


UNSTORABLE = {"half a surrogate pair": '"\\ud800"', "a null character": '"a\\u0000"', "nested without end": "[" * 100_000 + "]" * 100_000}


@pytest.mark.parametrize("text", UNSTORABLE.values(), ids=UNSTORABLE)
def test_json_that_no_database_stores_is_refused(live_database: Any, text: str) -> None:
    headers = {"Authorization": f"Token {live_database.settings.secret('token')}", "Content-Type": "application/json"}
    body = f'{{"name": "unstorable", "json": {text}}}'
    answer = requests.post(f"{live_database.url}/tags", data=body, headers=headers, timeout=60)
    assert answer.status_code == 400, answer.text[:300]
    assert "detail" in answer.json()


def test_a_dataset_of_a_list_is_the_one_that_is_read_by_itself(live_database: Any, session: dict[str, Any]) -> None:
    for tag in ("list_public", "list_protected"):
        live_database.make("/tags", {"name": tag, "public": tag == "list_public", "protected": tag == "list_protected"})
    live_database.make("/data-repository", {"name": "not_served"})
    names = ["alf/#2026-01-01#/spikes.times.npy", "alf/spikes.times.npy"]
    facts = {"qc": ["PASS", "FAIL"], "filesizes": [3, None], "versions": ["1.0", ""], "name": "not_served"}
    found = live_database.make("/register-file", {"path": f"{SUBJECT}/{DAY}/001/listed", "filenames": names, **facts})
    changed = {"tags": ["list_protected", "list_public"], "json": {"key": [1, None]}}
    assert live_database.request("PATCH", f"/datasets/{found[0]['id']}", changed).ok
    kinds = {"dataset_type": "spikes.times", "data_format": "npy"}
    alone = live_database.make("/datasets", {"name": "spikes.times.npy", **kinds})
    listed = live_database.request("GET", f"/datasets?session={session['id']}&limit=1000").json()["results"]
    listed += live_database.request("GET", f"/datasets?id={alone['id']}").json()["results"]
    assert {row["id"] for row in listed} >= {alone["id"], *(row["id"] for row in found)}
    for row in listed:
        one = live_database.request("GET", f"/datasets/{row['id']}").json()
        assert row == one


def test_a_session_of_a_list_is_the_one_that_is_read_by_itself(live_database: Any, session: dict[str, Any]) -> None:
    for name in ("list_b", "list_a"):
        live_database.make("/projects", {"name": name})
    assert live_database.request("PATCH", f"/sessions/{session['id']}", {"projects": ["list_b", "list_a"]}).ok
    listed = live_database.request("GET", f"/sessions?subject={SUBJECT}&django=projects__name__startswith,list_").json()
    whole = live_database.request("GET", f"/sessions/{session['id']}").json()
    fields = ("id", "subject", "start_time", "number", "lab", "projects", "url", "task_protocol")
    assert listed["count"] == 1
    assert listed["results"] == [{field: whole[field] for field in fields}]
    assert listed["results"][0]["projects"] == ["list_a", "list_b"]
