"""The notebook: weights and water, surgeries and injections, notes with images."""

from __future__ import annotations

import datetime
import io
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

SUBJECT = "WATER_001"


@pytest.fixture(scope="module")
def mouse(each_database: Any) -> str:
    """A mouse of 30 g with an implant of 2 g, under water restriction since 3 September."""
    each_database.request("PATCH", "/labs/testlab", {"reference_weight_pct": 0.8, "zscore_weight_pct": 0.0})
    each_database.make("/subjects", {"nickname": SUBJECT, "lab": "testlab", "sex": "M", "birth_date": "2026-06-01"})
    each_database.make("/surgeries", {"subject": SUBJECT, "start_time": "2026-09-01T10:00:00", "implant_weight": 2, "outcome_type": "r"})
    for day, weight in ((1, 30.0), (2, 32.0), (4, 28.0), (5, 24.0)):
        each_database.make("/weighings", {"subject": SUBJECT, "date_time": f"2026-09-{day:02d}T09:00:00", "weight": weight})
    each_database.make("/water-restriction", {"subject": SUBJECT, "start_time": "2026-09-03T09:00:00", "water_type": "Water"})
    each_database.make("/water-administrations", {"subject": SUBJECT, "date_time": "2026-09-04T18:00:00", "water_administered": 0.5})
    session = each_database.make("/sessions", {"subject": SUBJECT, "start_time": "2026-09-04T12:00:00", "number": 1})["id"]
    given = {"subject": SUBJECT, "date_time": "2026-09-04T12:30:00", "water_administered": 0.4, "session": session, "water_type": "Water"}
    each_database.make("/water-administrations", given)
    return SUBJECT


def requirement(database: Any, query: str = "") -> Any:
    """The answer about the mouse."""
    return database.request("GET", f"/water-requirement/{SUBJECT}{query}").json()


def test_water_requirement_is_as_alyx_reckons_it(each_database: Any, mouse: str) -> None:
    answer = requirement(each_database, "?start_date=2026-09-01&end_date=2026-09-05")
    assert (answer["subject"], answer["implant_weight"]) == (SUBJECT, 2)
    days = {record["date"]: record for record in answer["records"]}
    assert list(days) == [f"2026-09-0{day}" for day in range(1, 6)]
    assert days["2026-09-02"]["is_water_restricted"] is False
    expected = {
        "weight": 28.0,
        "weighing_at": 28.0,
        "reference_weight": 32.0,
        "expected_weight": 32.0,
        "min_weight": 25.6,
        "percentage_weight": 100 * 26 / 30,
        "given_water_reward": 0.4,
        "given_water_supplement": 0.5,
        "given_water_total": 0.9,
        "expected_water": 0.04 * 26,
        "excess_water": 0.9 - 0.04 * 26,
        "implant_weight": 2.0,
    }
    found = {key: value for key, value in days["2026-09-04"].items() if key in expected}
    assert found == pytest.approx(expected)
    assert days["2026-09-04"]["is_water_restricted"] is True
    assert days["2026-09-03"]["weighing_at"] is None
    assert days["2026-09-05"]["expected_water"] == pytest.approx(0.05 * 22), "below 80 % of what it should weigh it gets more"
    assert requirement(each_database)["records"][0]["date"] == "2026-09-01", "from the first weighing on, where nothing is asked"


def test_water_is_in_the_lists_of_subjects(each_database: Any, mouse: str) -> None:
    row = next(r for r in each_database.request("GET", "/water-restricted-subjects").json()["results"] if r["nickname"] == SUBJECT)
    assert (row["reference_weight"], row["reference_weight_pct"]) == (32.0, 0.8)
    assert row["last_water_restriction"] == "2026-09-03T09:00:00"
    assert row["remaining_water"] == pytest.approx(0.05 * 22), "nothing was given today"
    alone = each_database.request("GET", f"/subjects/{SUBJECT}").json()
    assert [weighing["weight"] for weighing in alone["weighings"]] == [24.0, 28.0, 32.0, 30.0]
    assert len(alone["water_administrations"]) == 2
    listed = each_database.request("GET", f"/subjects?nickname={SUBJECT}").json()["results"][0]
    assert listed["expected_water"] == alone["expected_water"] == row["expected_water"]
    session = each_database.request("GET", f"/sessions?subject={SUBJECT}").json()["results"][0]["id"]
    detail = each_database.request("GET", f"/sessions/{session}").json()
    assert [(w["water_administered"], w["water_type"]) for w in detail["wateradmin_session_related"]] == [(0.4, "Water")]


def test_zscore_weight_needs_a_growth_reference(each_database: Any, mouse: str) -> None:
    each_database.request("PATCH", "/labs/testlab", {"reference_weight_pct": 0.4, "zscore_weight_pct": 0.4})
    query = "?start_date=2026-09-05&end_date=2026-09-05"
    assert requirement(each_database, query)["records"][0]["expected_weight"] == 32, "the reference weight alone"
    for weeks, mean in ((13, 25.0), (14, 26.0)):
        each_database.make("/growth-references", {"sex": "M", "age_weeks": weeks, "mean": mean, "sd": 2.0})
    # born 2026-06-01: 13 weeks old on 3 September and on 5 September, two and a half sd above the mean: (32 - 2 - 25) / 2
    assert requirement(each_database, query)["records"][0]["expected_weight"] == pytest.approx(32)
    later = requirement(each_database, "?start_date=2026-09-08&end_date=2026-09-08")["records"][0]
    assert later["expected_weight"] == pytest.approx(0.5 * (2 * 2.5 + 26 + 2) + 0.5 * 32)
    each_database.request("PATCH", "/labs/testlab", {"reference_weight_pct": 0.8, "zscore_weight_pct": 0.0})


def test_a_weighing_without_a_time_is_now_by_the_labs_clock(each_database: Any, mouse: str) -> None:
    each_database.request("PATCH", "/labs/testlab", {"timezone": "Pacific/Kiritimati"})
    each_database.make("/subjects", {"nickname": "WATER_002", "lab": "testlab"})
    row = each_database.make("/weighings", {"subject": "WATER_002", "weight": 20})
    each_database.request("PATCH", "/labs/testlab", {"timezone": "UTC"})
    there = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(hours=14)
    assert abs(datetime.datetime.fromisoformat(row["date_time"]) - there) < datetime.timedelta(minutes=2)
    assert row["user"] == "ranvier"
    assert each_database.request("DELETE", row["url"].removeprefix(each_database.url)).status_code == 204


def test_lists_are_filtered(each_database: Any, mouse: str) -> None:
    for query, count in (
        (f"/weighings?nickname={SUBJECT}", 4),
        (f"/weighings?subject={SUBJECT}&date_range=2026-09-02,2026-09-04", 2),
        (f"/weighings?django=subject__nickname,{SUBJECT},weight__gte,28", 3),
        ("/weighings?django=subject__nickname__in,['WATER_001']", 4),
        (f"/water-administrations?subject={SUBJECT}&water_type=Water", 1),
        (f"/water-administrations?django=subject__nickname,{SUBJECT},session__isnull,True", 1),
        (f"/surgeries?subject={SUBJECT}&outcome_type=r", 1),
        (f"/subjects?django=actions_surgerys__implant_weight__gt,1,nickname,{SUBJECT}", 1),
        (f"/sessions?django=wateradmin_session_related__water_type__name,Water,subject__nickname,{SUBJECT}", 1),
    ):
        assert each_database.request("GET", query).json()["count"] == count, query


def test_surgeries_and_injections_are_changed(each_database: Any, mouse: str) -> None:
    surgery = each_database.request("GET", f"/surgeries?subject={SUBJECT}").json()["results"][0]
    done = each_database.request("PATCH", f"/surgeries/{surgery['id']}", {"narrative": "went well"}).json()
    assert (done["narrative"], len(done["users"])) == ("went well", 1)
    body = {"subject": SUBJECT, "surgery": surgery["id"], "virus_batch": "AAV1", "injection_volume": 200, "brain_region": 385}
    assert each_database.make("/virus-injections", body)["brain_region"] == 385
    assert each_database.make("/other-actions", {"subject": SUBJECT, "name": "handled"})["name"] == "handled"


def image(width: int, height: int, kind: str = "PNG") -> io.BytesIO:
    """An image file."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, kind)
    buffer.seek(0)
    return buffer


def post_note(database: Any, fields: dict[str, Any], file: io.BytesIO | None = None) -> requests.Response:
    """A note, as a form of several parts."""
    headers = {"Authorization": f"Token {database.settings.secret('token')}"}
    files = {"image": ("../../raster plot.png", file, "image/png")} if file else None
    return requests.post(f"{database.url}/notes", data=fields, files=files, headers=headers, timeout=60)


@pytest.mark.parametrize(("width", "kept"), [(None, 800), ("orig", 1000), ("400", 400)])
def test_a_note_with_an_image_is_shown_with_its_session(each_database: Any, mouse: str, width: str | None, kept: int) -> None:
    session = each_database.request("GET", f"/sessions?subject={SUBJECT}").json()["results"][0]["id"]
    fields = {"content_type": "session", "object_id": session, "text": f"raster {width}"}
    answer = post_note(each_database, {**fields, **({"width": width} if width else {})}, image(1000, 500))
    assert answer.status_code == 201, answer.text
    note = answer.json()
    assert note["image"].startswith(f"{each_database.url}/uploaded/20"), note["image"]
    assert ".." not in note["image"]
    path = note["image"].removeprefix(each_database.url)
    shown = each_database.request("GET", path)
    assert Image.open(io.BytesIO(shown.content)).size == (kept, kept // 2)
    assert requests.get(note["image"], timeout=10).status_code in (401, 403)
    listed = each_database.request("GET", f"/sessions/{session}").json()["notes"]
    assert note["text"] in [each["text"] for each in listed]
    found = each_database.request("GET", f"/notes?django=object_id,{session},text__icontains,raster {width}").json()
    assert [each["id"] for each in found["results"]] == [note["id"]]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/weighings", {"subject": SUBJECT, "weight": -1}, "weight"),
        ("/weighings", {"subject": SUBJECT}, "weight"),
        ("/weighings", {"subject": SUBJECT, "weight": "nan"}, "weight"),
        ("/weighings", {"subject": SUBJECT, "weight": "1e999"}, "weight"),
        ("/weighings", {"subject": "nobody", "weight": 1}, "nobody"),
        ("/weighings", {"subject": SUBJECT, "weight": 1, "colour": "x"}, "colour"),
        ("/water-administrations", {"subject": SUBJECT, "water_type": "beer"}, "beer"),
        ("/water-administrations", {"subject": "WATER_002", "session": "SESSION"}, "another subject"),
        ("/water-restriction", {"subject": SUBJECT, "start_time": "2026-09-02T00:00:00", "end_time": "2026-09-01T00:00:00"}, "end_time"),
        ("/notes", {"content_type": "session", "object_id": "00000000-0000-0000-0000-000000000000"}, "there is no session"),
        ("/notes", {"content_type": "permission", "object_id": "00000000-0000-0000-0000-000000000000"}, "content_type"),
        ("/notes", {"content_type": "brainregion", "object_id": "00000000-0000-0000-0000-000000000000"}, "there is no brainregion"),
        ("GET /water-requirement/WATER_001?start_date=yesterday", None, "yesterday"),
        ("GET /water-requirement/WATER_001?start_date=1000-01-01", None, "3660"),
        ("GET /weighings?date_range=2026", None, "range of days"),
        ("GET /weighings?django=user__password__startswith,a", None, "may not be asked for"),
        ("GET /notes?django=user__is_superuser,True", None, "may not be asked for"),
    ],
)
def test_bad_input_is_refused(each_database: Any, mouse: str, path: str, body: Any, says: str) -> None:
    session = each_database.request("GET", f"/sessions?subject={SUBJECT}").json()["results"][0]["id"]
    body = {key: value.replace("SESSION", session) if isinstance(value, str) else value for key, value in body.items()} if body else None
    method, _, rest = path.rpartition(" ")
    answer = each_database.request(method or "POST", rest, body)
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["detail"]


def test_images_that_cannot_be_shown_are_refused(each_database: Any, mouse: str) -> None:
    subject = each_database.request("GET", f"/subjects/{SUBJECT}").json()["id"]
    fields = {"content_type": "subject", "object_id": subject}
    for file, width, says in (
        (io.BytesIO(b"<svg onload='alert(1)'/>"), "orig", "image"),
        (image(10, 10, "TIFF"), "orig", "TIFF"),
        (io.BytesIO(image(900, 900, "JPEG").getvalue()[:3000]), "100", "send it again"),
        (image(10, 10), "0", "width"),
        (image(10, 10), "wide", "width"),
    ):
        answer = post_note(each_database, {**fields, "width": width}, file)
        assert (answer.status_code, says in answer.json()["detail"]) == (400, True), answer.text


def test_an_image_goes_with_its_note(each_database: Any, mouse: str) -> None:
    subject = each_database.request("GET", f"/subjects/{SUBJECT}").json()["id"]
    folder = each_database.settings.home / "uploads"

    def files() -> set[Path]:
        return {path for path in folder.rglob("*") if path.is_file()}

    before = files()
    fields = {"content_type": "subject", "object_id": subject, "text": "to be deleted"}
    note = post_note(each_database, fields, image(20, 20)).json()
    first = files() - before
    assert len(first) == 1
    headers = {"Authorization": f"Token {each_database.settings.secret('token')}"}
    address = f"{each_database.url}/notes/{note['id']}"
    replaced = requests.patch(address, files={"image": ("b.png", image(30, 30), "image/png")}, headers=headers, timeout=60)
    assert replaced.status_code == 200, replaced.text
    second = files() - before
    assert len(second) == 1
    assert second != first, "the image that was replaced is gone"
    assert requests.patch(address, json={"text": "kept"}, headers=headers, timeout=60).ok
    assert files() - before == second
    assert requests.delete(address, headers=headers, timeout=60).status_code == 204
    assert files() == before


def test_one_restriction_goes_on_at_a_time(each_database: Any, mouse: str) -> None:
    answer = each_database.request("POST", "/water-restriction", {"subject": SUBJECT, "start_time": "2026-09-06T09:00:00"})
    assert answer.status_code == 409
