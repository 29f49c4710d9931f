"""The admin pages: each opens, finds and completes; litters are weaned, weights written down and shown there."""

from __future__ import annotations

from typing import Any

import pytest

from ranvier.states import NOTHING_APPLIES


@pytest.fixture(scope="module")
def browser(rest: Any) -> Any:
    """Django's test client, signed in as the administrator."""
    from django.test import Client

    from ranvier.database.people.models import User

    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get(username="admin"))
    return client


@pytest.fixture(scope="module")
def mouse(live_database: Any) -> str:
    """Id of a mouse that was weighed and has drunk, under water restriction."""
    live_database.request("PATCH", "/labs/testlab", {"reference_weight_pct": 0.8})
    live_database.make("/lines", {"name": "Ai32", "nickname": "Ai32"})
    mouse = live_database.make("/subjects", {"nickname": "ADMIN_001", "lab": "testlab", "line": "Ai32", "sex": "F"})["id"]
    live_database.make("/weighings", {"subject": "ADMIN_001", "weight": 25})
    live_database.make("/water-restriction", {"subject": "ADMIN_001"})
    live_database.make("/water-administrations", {"subject": "ADMIN_001", "water_administered": 0.6})
    return str(mouse)


def test_every_page_opens_and_finds(browser: Any, mouse: str) -> None:
    from django.contrib import admin

    for model, page in admin.site._registry.items():
        place = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert browser.get(place).status_code == 200, place
        assert browser.get(f"{place}?q=ADMIN").status_code == 200, f"search of {place}"
        added = browser.get(f"{place}add/")
        assert added.status_code == (200 if page.has_add_permission(added.wsgi_request) else 403), place


def test_animals_come_first_and_accounts_last(browser: Any) -> None:
    page = browser.get("/admin/").content.decode()
    places = [page.index(f"/admin/{app}/") for app in ("subjects", "actions", "experiments", "data", "jobs", "people")]
    assert places == sorted(places)


def test_the_page_of_a_subject_shows_weight_and_water(browser: Any, mouse: str) -> None:
    page = browser.get(f"/admin/subjects/subject/{mouse}/change/")
    assert page.status_code == 200
    text = page.content.decode()
    assert "25.0 g" in text
    assert "0.40 ml still to give" in text, "4 % of 25 g, less what it was given"
    plot = browser.get(f"/admin/subjects/subject/{mouse}/weight-and-water.svg")
    assert plot["Content-Type"] == "image/svg+xml"
    assert plot.content.count(b"<path") > 20
    browser.logout()
    assert browser.get(f"/admin/subjects/subject/{mouse}/weight-and-water.svg").status_code == 302
    from ranvier.database.people.models import User

    browser.force_login(User.objects.get(username="admin"))


def test_the_page_of_a_session_tells_that_nothing_is_to_come(live_database: Any, browser: Any, mouse: str) -> None:
    asked = {"subject": "ADMIN_001", "start_time": "2026-11-20T10:00:00", "number": 1}
    eid = live_database.make("/sessions", asked)["id"]
    page = f"/admin/actions/session/{eid}/change/"
    assert "No tasks yet: they are planned when" in browser.get(page).content.decode()
    live_database.request("PATCH", f"/sessions/{eid}", {"json": {NOTHING_APPLIES: True}})
    assert "No task applies to this session." in browser.get(page).content.decode()


def test_a_litter_is_weaned_from_its_page(browser: Any, mouse: str) -> None:
    from ranvier.database.subjects.models import Line, Litter, Subject

    lab = Subject.objects.get(pk=mouse).lab_id
    form = {"name": "-", "line": Line.objects.get(name="Ai32").pk, "birth_date": "2026-10-01", "males": 2, "females": 1}
    form |= {"weaned_on": "2026-10-22", "subjects-TOTAL_FORMS": 0, "subjects-INITIAL_FORMS": 0}
    refused = browser.post("/admin/subjects/litter/add/", form)
    assert "choose the lab" in refused.content.decode()
    assert not Litter.objects.filter(line__name="Ai32").exists()
    early = browser.post("/admin/subjects/litter/add/", {**form, "lab": lab, "weaned_on": "2026-09-01"})
    assert "born on" in early.content.decode()
    done = browser.post("/admin/subjects/litter/add/", {**form, "lab": lab})
    assert done.status_code == 302, done.content.decode()
    litter = Litter.objects.get(line__name="Ai32")
    assert sorted(litter.subjects.values_list("sex", flat=True)) == ["F", "M", "M"]
    assert litter.name.startswith("Ai32_L_")
    assert browser.get(f"/admin/subjects/litter/{litter.pk}/change/").status_code == 200


def test_a_weight_is_written_down_in_one_field(browser: Any, mouse: str) -> None:
    from ranvier.database.actions.models import Weighing
    from ranvier.database.people.models import User

    page = browser.get(f"/admin/actions/weighing/add/?subject={mouse}").content.decode()
    me = User.objects.get(username="admin").pk
    assert f'<option value="{mouse}" selected>ADMIN_001' in page
    assert f'<option value="{me}" selected>admin' in page
    done = browser.post(
        "/admin/actions/weighing/add/", {"subject": mouse, "user": me, "weight": 24.5, "date_time_0": "", "date_time_1": ""}
    )
    assert done.status_code == 302, done.content.decode()
    assert Weighing.objects.filter(subject=mouse, weight=24.5, user=me).exists()


def test_names_are_completed(browser: Any, mouse: str) -> None:
    ask = {"term": "ADMIN", "app_label": "actions", "model_name": "weighing", "field_name": "subject"}
    assert [row["text"] for row in browser.get("/admin/autocomplete/", ask).json()["results"]] == ["ADMIN_001"]


def test_subjects_are_marked_and_the_change_is_in_their_history(browser: Any, mouse: str) -> None:
    chosen = {"action": "mark_to_be_culled", "_selected_action": [mouse]}
    assert browser.post("/admin/subjects/subject/", chosen, follow=True).status_code == 200
    assert "to_be_culled" in browser.get(f"/admin/subjects/subject/{mouse}/history/").content.decode().replace(" ", "_").lower()
    listed = browser.get("/admin/subjects/subject/?to_be_culled__exact=1&water_restricted=yes").content.decode()
    assert "ADMIN_001" in listed
