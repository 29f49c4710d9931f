"""Files cannot leave their repository or their session, and protected datasets stay as they are."""

from __future__ import annotations

from typing import Any

import pytest

DAY = "2026-09-01"


@pytest.fixture(scope="module")
def paper(live_database: Any, rest: Any) -> dict[str, Any]:
    """A session with a protected dataset, and another that is not."""
    make = live_database.make
    make("/subjects", {"nickname": "GUARD", "lab": "testlab"})
    session = make("/sessions", {"subject": "GUARD", "start_time": f"{DAY}T08:00:00", "number": 1})["id"]
    make("/tags", {"name": "guard_paper", "protected": True})
    names = ["alf/#2026-09-02#/spikes.times.npy", "alf/spikes.amps.npy"]
    kept, free = make("/register-file", {"path": f"GUARD/{DAY}/001", "filenames": names, "hashes": ["a", "b"]})
    tagged = live_database.request("PATCH", f"/datasets/{kept['id']}", {"tags": ["guard_paper"]})
    assert tagged.status_code == 200, tagged.text
    return {"session": session, "kept": kept, "free": free}


def content(dataset: str) -> dict[str, Any]:
    from ranvier.database.data.models import Dataset, FileRecord

    told = dict(Dataset.objects.filter(pk=dataset).values().get())
    records = [list(row) for row in FileRecord.objects.filter(dataset=dataset).values_list("pk", "relative_path", "data_repository")]
    return {**told, "records": records}


def test_nothing_changes_a_protected_dataset(rest: Any, paper: Any) -> None:
    kept, record = paper["kept"]["id"], paper["kept"]["file_records"][0]["id"]
    before = content(kept)
    for method, path, body in (
        ("patch", f"/datasets/{kept}", {"hash": "z"}),
        ("patch", f"/datasets/{kept}", {"tags": []}),
        ("patch", f"/datasets/{kept}", {"session": None}),
        ("put", f"/datasets/{kept}", {"name": "x.npy", "dataset_type": "spikes.times", "data_format": "npy", "tags": []}),
        ("delete", f"/datasets/{kept}", {}),
        ("delete", f"/sessions/{paper['session']}", {}),
        ("delete", f"/files/{record}", {}),
        ("patch", f"/files/{record}", {"relative_path": f"GUARD/{DAY}/001/alf/other.npy"}),
        ("patch", f"/files/{record}", {"dataset": paper["free"]["id"]}),
        ("patch", "/revisions/2026-09-02", {"name": "2026-09-03"}),
        ("post", "/register-file", {"path": f"GUARD/{DAY}/001", "filenames": ["alf/#2026-09-02#/spikes.times.npy"], "hashes": ["c"]}),
    ):
        answer = getattr(rest, method)(path, body, format="json")
        assert answer.status_code == 403, (method, path, body, answer.content)
        assert "protected" in answer.json()["detail"]
    assert content(kept) == before
    assert rest.patch(f"/files/{record}", {"exists": False}, format="json").status_code == 200, "whether a copy is there is no change"
    assert rest.patch(f"/datasets/{paper['free']['id']}", {"hash": "z"}, format="json").status_code == 200


def test_nor_do_the_admin_pages(rest: Any, paper: Any) -> None:
    from django.test import Client

    from ranvier.database.people.models import User

    browser = Client(SERVER_NAME="localhost")
    browser.force_login(User.objects.get(username="admin"))
    before = content(paper["kept"]["id"])
    page = f"/admin/data/dataset/{paper['kept']['id']}/"
    assert browser.post(f"{page}delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [paper["kept"]["id"]], "post": "yes"}
    assert browser.post("/admin/data/dataset/", chosen).status_code == 403
    assert browser.post(f"/admin/actions/session/{paper['session']}/delete/", {"post": "yes"}).status_code == 403
    assert content(paper["kept"]["id"]) == before


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../secrets/token",
        f"GUARD/{DAY}/001/../../../x",
        "OTHER/2026-01-01/001/alf/a.npy",
        f"GUARD/{DAY}/0012/a.npy",
        f"GUARD/{DAY}/001",
        f"GUARD/{DAY}/001/a\\..\\b",
        "",
        f"GUARD/{DAY}/001/\0",
        f"\uff27UARD/{DAY}/001/a.npy",
        f"GUARD/{DAY}/001\u2215a.npy",
    ],
)
def test_a_copy_is_a_file_of_its_session(live_database: Any, paper: Any, path: str) -> None:
    free, record = paper["free"]["id"], paper["free"]["file_records"][0]["id"]
    body = {"dataset": free, "data_repository": "testlab_server", "relative_path": path, "exists": True}
    changed = live_database.request("PATCH", f"/files/{record}", {"relative_path": path})
    for answer in (live_database.request("POST", "/files", body), changed):
        assert answer.status_code == 400, answer.text
        assert "relative_path" in answer.json()["detail"]


@pytest.mark.parametrize(
    "name",
    [
        "alf/\0spikes.times.npy",
        "alf/..\u2215spikes.times.npy",
        "alf/\uff0e\uff0e/spikes.times.npy",
        "..%2f..%2fspikes.times.npy",
        "alf/\u202espikes.times.npy",
        "alf/\nspikes.times.npy",
        "~/spikes.times.npy",
        "C:\\spikes.times.npy",
        "./../../spikes.times.npy",
    ],
)
def test_names_that_are_meant_to_lead_elsewhere(live_database: Any, paper: Any, name: str) -> None:
    answer = live_database.request("POST", "/register-file", {"path": f"GUARD/{DAY}/001", "filenames": [name]})
    assert answer.status_code in (201, 400), answer.text
    if answer.status_code == 201:
        path = answer.json()[0]["file_records"][0]["relative_path"]
        folder = live_database.settings.lab_root / f"GUARD/{DAY}/001"
        assert (live_database.settings.lab_root / path).resolve().is_relative_to(folder.resolve()), path


def test_nobody_reads_a_closed_session_by_a_copy_of_their_own(live_database: Any, rest: Any, paper: Any) -> None:
    from rest_framework.authtoken.models import Token
    from rest_framework.test import APIClient

    from ranvier.database.people.models import LabMembership, User
    from ranvier.database.people.servers import ensure_server

    lab = ensure_server("guardlab").lab
    user = User.objects.create(username="guard_thief")
    LabMembership.objects.create(user=user, lab=lab, role="lab admin")
    thief = APIClient(SERVER_NAME="localhost")
    thief.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=user).key}")
    assert thief.post("/subjects", {"nickname": "THIEF", "lab": "guardlab"}, format="json").status_code == 201
    mine = thief.post("/sessions", {"subject": "THIEF", "start_time": f"{DAY}T08:00:00", "number": 1}, format="json").json()["id"]
    asked = {"path": f"THIEF/{DAY}/001", "filenames": ["alf/spikes.times.npy"]}
    dataset = thief.post("/register-file", asked, format="json").json()[0]["id"]
    copy = {"dataset": dataset, "data_repository": "testlab_server", "relative_path": f"GUARD/{DAY}/001/alf/spikes.amps.npy"}
    assert thief.post("/files", {**copy, "exists": True}, format="json").status_code == 400
    moved = thief.patch(f"/sessions/{mine}", {"subject": "GUARD", "number": 7}, format="json")
    assert moved.status_code == 403, "nor does a session go over to another lab's animal"


def test_a_folder_that_leads_out_is_not_served(live_database: Any, rest: Any, paper: Any) -> None:
    root = live_database.settings.lab_root / f"GUARD/{DAY}/001"
    root.mkdir(parents=True, exist_ok=True)
    (live_database.settings.home / "elsewhere").mkdir()
    (live_database.settings.home / "elsewhere" / "spikes.depths.npy").write_bytes(b"secret")
    (root / "alf").symlink_to(live_database.settings.home / "elsewhere")
    made = live_database.make("/register-file", {"path": f"GUARD/{DAY}/001", "filenames": ["alf/spikes.depths.npy"]})[0]
    url = live_database.request("GET", f"/datasets/{made['id']}").json()["file_records"][0]["data_url"]
    assert live_database.request("GET", url.removeprefix(live_database.url)).status_code == 404
