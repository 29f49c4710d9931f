"""Where probes and fields of view are in the brain; notices and downloads of datasets."""

from __future__ import annotations

from typing import Any

import pytest

DAY = "2026-07-01"
#: Allen's numbers: primary visual area, its layer 5, hippocampal field CA1, and what they are in.
VISP, VISP5, CA1, ISOCORTEX, ROOT = 385, 778, 382, 315, 997
PLACE = {"x": 2000.0, "y": -3000.0, "z": 0.0, "depth": 4000.0, "theta": 15.0, "phi": 180.0}


@pytest.fixture(scope="module")
def probe(each_database: Any) -> dict[str, str]:
    """A session with an insertion, whose histology track has two channels in the visual cortex and one in the hippocampus."""
    each_database.make("/subjects", {"nickname": "PLACE_001", "lab": "testlab"})
    for number in (1, 2):
        body = {"subject": "PLACE_001", "start_time": f"{DAY}T09:00:00", "number": number}
        session = each_database.make("/sessions", body)["id"]
    chronic = each_database.make("/chronic-insertions", {"subject": "PLACE_001", "name": "left", "serial": "123"})["id"]
    insertion = each_database.make("/insertions", {"session": session, "name": "probe00", "chronic_insertion": chronic})["id"]
    body = {"probe_insertion": insertion, "provenance": "Histology track", "coordinate_system": "IBL-Allen", **PLACE}
    trajectory = each_database.make("/trajectories", body)["id"]
    rows = [
        {"trajectory_estimate": trajectory, "axial": 20.0 * i, "lateral": 0.0, "brain_region": r} for i, r in enumerate((VISP5, VISP5, CA1))
    ]
    assert len(each_database.make("/channels", rows)) == 3
    return {"session": session, "insertion": insertion, "trajectory": trajectory, "chronic": chronic}


@pytest.mark.parametrize(("endpoint", "found"), [("sessions", "session"), ("insertions", "insertion"), ("chronic-insertions", "chronic")])
def test_what_has_channels_in_a_region_is_found(each_database: Any, probe: dict[str, str], endpoint: str, found: str) -> None:
    for query, count in (
        (f"atlas_id={VISP}", 1),
        ("atlas_acronym=visp5", 1),
        ("atlas_acronym=CA1", 1),
        ("atlas_name=isocortex", 1),
        ("atlas_id=313", 0),  # midbrain
        ("atlas_acronym=nowhere", 0),
    ):
        rows = each_database.request("GET", f"/{endpoint}?subject=PLACE_001&{query}").json()["results"]
        assert [row["id"] for row in rows] == [probe[found]] * count, query


def test_the_tree_of_regions(each_database: Any) -> None:
    def acronyms(query: str) -> list[str]:
        return [row["acronym"] for row in each_database.request("GET", f"/brain-regions?{query}").json()["results"]]

    assert acronyms("acronym=visp") == ["VISp"]
    assert acronyms("ancestors=VISp5") == ["root", "grey", "CH", "CTX", "CTXpl", "Isocortex", "VIS", "VISp", "VISp5"]
    assert set(acronyms(f"descendants={VISP}")) == {"VISp", "VISp1", "VISp2/3", "VISp4", "VISp5", "VISp6a", "VISp6b"}
    assert set(acronyms(f"parent={VISP}")) == set(acronyms(f"descendants={VISP}")) - {"VISp"}
    assert each_database.request("GET", "/brain-regions?limit=1").json()["count"] == 1328
    assert each_database.request("GET", "/brain-regions?descendants=nowhere").status_code == 400
    changed = each_database.request("PATCH", f"/brain-regions/{ISOCORTEX}", {"description": "six layers"}).json()
    assert (changed["description"], changed["parent"]) == ("six layers", 695)
    below = each_database.request("GET", f"/brain-regions/{VISP}").json()
    assert below["related_descriptions"] == [{"id": ISOCORTEX, "name": "Isocortex", "description": "six layers", "level": 5}]
    assert each_database.request("DELETE", f"/brain-regions/{VISP}").status_code == 405


def test_trajectories_have_one_for_each_provenance(each_database: Any, probe: dict[str, str]) -> None:
    shown = each_database.request("GET", f"/trajectories?probe_insertion={probe['insertion']}&provenance=histology track").json()["results"]
    assert [(t["id"], t["provenance"], t["probe_name"], t["session"]["id"]) for t in shown] == [
        (probe["trajectory"], "Histology track", "probe00", probe["session"])
    ]
    body = {"probe_insertion": probe["insertion"], **PLACE}
    assert each_database.request("POST", "/trajectories", {**body, "provenance": 50}).status_code == 409
    planned = each_database.make("/trajectories", {**body, "provenance": 10})
    assert planned["provenance"] == "Planned"
    on_chronic = each_database.make("/trajectories", {"chronic_insertion": probe["chronic"], "provenance": "Planned", **PLACE})
    assert (on_chronic["session"], on_chronic["probe_name"]) == (None, "left")
    for body, says in (
        ({**PLACE, "provenance": "Planned"}, "probe_insertion"),
        ({**PLACE, "provenance": "Guessed", "probe_insertion": probe["insertion"]}, "Micro-manipulator"),
        ({**PLACE, "provenance": 70, "theta": 200, "probe_insertion": probe["insertion"]}, "theta"),
        ({"provenance": 70, "probe_insertion": probe["insertion"]}, "depth"),
    ):
        answer = each_database.request("POST", "/trajectories", body)
        assert (answer.status_code, says in answer.json()["detail"]) == (400, True), answer.text
    assert each_database.request("GET", "/trajectories?provenance=Guessed").status_code == 400
    assert each_database.request("GET", f"/channels?session={probe['session']}&brain_region={CA1}").json()["count"] == 1
    lookup = f"trajectory_estimate__probe_insertion,{probe['insertion']},brain_region__acronym,VISp5"
    assert each_database.request("GET", f"/channels?django={lookup}").json()["count"] == 2


def test_fields_of_view_own_what_is_in_their_folder(each_database: Any, probe: dict[str, str]) -> None:
    register = {"path": f"PLACE_001/{DAY}/002", "hashes": ["a"]}
    before = each_database.make("/register-file", {**register, "filenames": ["alf/FOV_00/mpci.times.npy"]})[0]["id"]
    stack = each_database.make("/imaging-stack", {"name": "two planes"})["id"]
    body = {"session": probe["session"], "name": "FOV_00", "imaging_type": "mesoscope", "stack": stack}
    field = each_database.make("/fields-of-view", body)
    after = each_database.make("/register-file", {**register, "filenames": ["alf/FOV_00/mpci.ROIActivityF.npy"]})[0]["id"]
    corners = {"x": [0, 1, 0, 1], "y": [0, 0, 1, 1], "z": [2, 2, 2, 2], "n_xyz": [512, 512, 1]}
    for provenance in ("E", "H"):
        place = {"field_of_view": field["id"], "provenance": provenance, **corners, "brain_region": [VISP5], "default_provenance": True}
        made = each_database.make("/fov-location", place)
        assert made["coordinate_system"] == "IBL-Allen"
    shown = each_database.request("GET", f"/sessions/{probe['session']}").json()["field_of_view"][0]
    assert set(shown["datasets"]) == {before, after}
    assert {place["provenance"]: place["default_provenance"] for place in shown["location"]} == {"E": False, "H": True}
    assert each_database.request("GET", f"/imaging-stack/{stack}").json()["slices"][0]["id"] == field["id"]
    assert each_database.request("GET", f"/fields-of-view?atlas_acronym=Isocortex&session={probe['session']}").json()["count"] == 1
    assert each_database.request("GET", "/fov-location?provenance=histology").json()["count"] == 1
    for bad in ({"x": [0, 1]}, {"x": ["a", 1, 2, 3]}, {"n_xyz": 5}, {"provenance": "Z"}, {"brain_region": [-5]}):
        answer = each_database.request("POST", "/fov-location", {"field_of_view": field["id"], "provenance": "F", **corners, **bad})
        assert answer.status_code == 400, answer.text


def test_a_dataset_may_name_its_session_by_subject_day_and_number(each_database: Any, probe: dict[str, str]) -> None:
    body = {"name": "spikes.times.npy", "dataset_type": "spikes.times", "data_format": "npy", "subject": "PLACE_001", "date": DAY}
    made = each_database.make("/datasets", {**body, "number": 2})
    assert made["session"].endswith(probe["session"])
    unknown = each_database.request("POST", "/datasets", {**body, "number": 3})
    assert (unknown.status_code, "register it first" in unknown.json()["detail"]) == (400, True)
    assert each_database.request("POST", "/datasets", {key: value for key, value in body.items() if key != "date"}).status_code == 400


def test_a_session_shows_its_datasets_at_the_best_address(each_database: Any, probe: dict[str, str]) -> None:
    """A copy that is there and served; one on somebody's own machine only where there is no other."""
    for name, address, is_personal in (
        ("a_laptop", "http://laptop.example.org/placelab/Subjects/", True),
        ("b_server", "http://server.example.org/placelab/Subjects/", False),
        ("c_unserved", "", False),
    ):
        each_database.make("/data-repository", {"name": name, "data_url": address, "globus_is_personal": is_personal})
    where = {"everywhere": "a_laptop b_server c_unserved", "laptop": "a_laptop", "unserved": "c_unserved"}
    folder, keys = f"PLACE_001/{DAY}/002/places", {}
    for name, places in where.items():
        file = f"spikes.times.{name}.npy"
        body = {"session": probe["session"], "name": file, "dataset_type": "spikes.times", "data_format": "npy", "collection": "places"}
        keys[name] = each_database.make("/datasets", body)["id"]
        for place in places.split():
            copy = {"dataset": keys[name], "data_repository": place, "relative_path": f"{folder}/{file}", "exists": True}
            each_database.make("/files", copy)

    def shown() -> dict[str, str]:
        rows = each_database.request("GET", f"/sessions/{probe['session']}").json()["data_dataset_session_related"]
        return {row["id"]: row["data_url"] for row in rows if row["collection"] == "places"}

    base = "http://{}.example.org/placelab/Subjects/" + folder + "/spikes.times.{}.{}.npy"
    assert shown() == {
        keys["everywhere"]: base.format("server", "everywhere", keys["everywhere"]),
        keys["laptop"]: base.format("laptop", "laptop", keys["laptop"]),
    }
    gone = each_database.request("GET", f"/files?dataset={keys['laptop']}").json()["results"][0]["id"]
    assert each_database.request("PATCH", f"/files/{gone}", {"exists": False}).status_code == 200
    assert list(shown()) == [keys["everywhere"]]


def test_notices_and_downloads(each_database: Any, probe: dict[str, str]) -> None:
    register = {"path": f"PLACE_001/{DAY}/001", "filenames": ["alf/trials.table.pqt"], "hashes": ["a"]}
    dataset = each_database.make("/register-file", register)[0]["id"]
    text = "**Shifted** by one frame <script>alert(1)</script> [here](javascript:alert(1))"
    notice = each_database.make("/data-notices", {"name": "shift", "description": text, "importance": 40, "datasets": [dataset]})
    assert "<strong>Shifted</strong>" in notice["description_html"]
    assert "<script" not in notice["description_html"]
    assert "href" not in notice["description_html"]
    assert each_database.request("GET", f"/data-notices?datasets={dataset}&importance=40").json()["count"] == 1
    for count in (1, 2):
        done = each_database.make("/new-download", {"user": "ranvier", "datasets": dataset})
        row = each_database.request("GET", f"/downloads/{done['download'][0]}").json()
        assert (row["user"], row["dataset"], row["count"]) == ("ranvier", dataset, count)
    assert each_database.request("POST", "/new-download", {"datasets": ["x"]}).status_code == 400
    assert each_database.request("POST", "/new-download", {"user": "admin", "datasets": [dataset]}).status_code in (201, 403)
    assert each_database.request("POST", "/downloads", {"dataset": dataset}).status_code == 405
