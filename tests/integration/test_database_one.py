"""The real ONE-api, unmodified, against the real database."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import one.alf.io as alfio
import pandas as pd
import pytest
import requests
from one.api import ONE, OneAlyx
from one.registration import RegistrationClient
from PIL import Image
from support import connect

SUBJECT = "ONE_001"
NEW_USER = """
import one.params
from one.api import ONE
one.params.save({"ALYX_URL": URL, "HTTP_DATA_SERVER": URL + "/data", "HTTP_DATA_SERVER_LOGIN": USER, "HTTP_DATA_SERVER_PWD": PASSWORD}, URL)
one = ONE(base_url=URL, username=USER, password=PASSWORD, silent=True)
"""


def write_session(folder: Path) -> None:
    """A small session as the pipeline leaves it."""
    probe = folder / "alf" / "probe00" / "sorter"
    probe.mkdir(parents=True)
    times = np.sort(np.random.default_rng(0).uniform(0, 60, 500))
    np.save(probe / "spikes.times.npy", times)
    np.save(probe / "spikes.clusters.npy", (times * 7).astype(int) % 5)
    pd.DataFrame({"cluster_id": range(5), "firing_rate": 1.5}).to_parquet(probe / "clusters.metrics.pqt")
    pd.DataFrame({"intervals_0": [0.0, 1.0], "intervals_1": [1.0, 2.0]}).to_parquet(folder / "alf" / "_ibl_trials.table.pqt")


@pytest.fixture(scope="module")
def client(each_database: Any, tmp_path_factory: pytest.TempPathFactory) -> OneAlyx:
    """ONE with nothing cached."""
    return connect(each_database.url, each_database.settings, tmp_path_factory.mktemp("one-cache"))


@pytest.fixture(scope="module")
def session(each_database: Any, client: OneAlyx) -> tuple[str, Path]:
    """A session that ONE's own registration client registered; its id and its folder."""
    each_database.make("/subjects", {"nickname": SUBJECT, "lab": "testlab"})
    each_database.make("/projects", {"name": "one_project"})
    folder = each_database.settings.lab_root / SUBJECT / "2026-05-01" / "001"
    write_session(folder)
    found, _ = RegistrationClient(one=client).register_session(
        folder,
        projects="one_project",
        task_protocol="ephysChoiceWorld6.0",
        procedures="Behavior training/tasks",
        start_time="2026-05-01T10:20:30",
    )
    eid = found["url"][-36:]
    each_database.make("/insertions", {"session": eid, "name": "probe00", "model": "3B2", "serial": "123"})
    return eid, folder


def test_registration_client_registers_what_it_finds(client: OneAlyx, session: tuple[str, Path]) -> None:
    eid, folder = session
    record = client.alyx.rest("sessions", "read", id=eid)
    assert record["lab"] == "testlab"
    assert record["start_time"] == "2026-05-01T10:20:30"
    assert {d["name"] for d in record["data_dataset_session_related"]} == {
        "spikes.times.npy", "spikes.clusters.npy", "clusters.metrics.pqt", "_ibl_trials.table.pqt"
    }  # fmt: skip
    times = next(d for d in record["data_dataset_session_related"] if d["name"] == "spikes.times.npy")
    assert times["hash"] == hashlib.md5((folder / "alf/probe00/sorter/spikes.times.npy").read_bytes()).hexdigest()


def test_registering_again_updates_the_same_session(client: OneAlyx, session: tuple[str, Path]) -> None:
    eid, folder = session
    again, files = RegistrationClient(one=client).register_session(folder, projects="one_project", start_time="2026-05-01T10:20:30",
                                                                   task_protocol="ephysChoiceWorld6.0")  # fmt: skip
    assert again["url"][-36:] == eid
    assert len(files) == 4
    assert len(client.alyx.rest("datasets", "list", session=eid)) == 4


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ({"subject": SUBJECT}, True),
        ({"subject": SUBJECT.lower()}, True),
        ({"subject": "ONE_00"}, False),
        ({"subject": SUBJECT, "date_range": ["2026-05-01", "2026-05-02"]}, True),
        ({"subject": SUBJECT, "date_range": ["2026-05-02", "2026-05-03"]}, False),
        ({"subject": SUBJECT, "lab": "testlab"}, True),
        ({"subject": SUBJECT, "lab": "otherlab"}, False),
        ({"subject": SUBJECT, "number": 1}, True),
        ({"subject": SUBJECT, "number": 2}, False),
        ({"subject": SUBJECT, "project": "one_proj"}, True),
        ({"subject": SUBJECT, "project": "nobody's"}, False),
        ({"subject": SUBJECT, "task_protocol": "choiceworld"}, True),
        ({"subject": SUBJECT, "task_protocol": "passive"}, False),
        ({"subject": SUBJECT, "datasets": ["spikes.times.npy", "_ibl_trials.table.pqt"]}, True),
        ({"subject": SUBJECT, "datasets": ["spikes.times.npy", "spikes.depths.npy"]}, False),
        ({"subject": SUBJECT, "dataset_types": "spikes.times"}, True),
        ({"subject": SUBJECT, "dataset_types": "spikes.depths"}, False),
        ({"subject": SUBJECT, "datasets": "spikes.times.npy", "dataset_qc_lte": "PASS"}, True),
        ({"subject": SUBJECT, "django": "data_dataset_session_related__name__icontains,metrics"}, True),
        ({"subject": SUBJECT, "django": "~subject__nickname,ONE_001"}, False),
    ],
)
def test_search(client: OneAlyx, session: tuple[str, Path], terms: dict[str, Any], found: bool) -> None:
    assert [str(eid) for eid in client.search(**terms)] == ([session[0]] if found else [])


def test_conversions_between_ids_and_paths(client: OneAlyx, session: tuple[str, Path]) -> None:
    eid, _ = session
    path = client.eid2path(eid)
    assert path == Path(client.cache_dir, "testlab/Subjects", SUBJECT, "2026-05-01/001")
    assert str(client.path2eid(path)) == eid
    (pid,), (name,) = client.eid2pid(eid)
    assert name == "probe00"
    assert [str(x) for x in client.pid2eid(pid)] == [eid, "probe00"]
    assert client.get_details(eid)["subject"] == SUBJECT
    assert [str(p) for p in client.search_insertions(subject=SUBJECT, dataset="spikes.times")] == [str(pid)]
    assert client.search_insertions(subject=SUBJECT, datasets="spikes.depths.npy") == []


def test_lists(client: OneAlyx, session: tuple[str, Path]) -> None:
    eid, _ = session
    assert sorted(client.list_collections(eid)) == ["alf", "alf/probe00/sorter"]
    assert client.list_datasets(eid, collection="alf/probe00*") == [
        "alf/probe00/sorter/clusters.metrics.pqt", "alf/probe00/sorter/spikes.clusters.npy", "alf/probe00/sorter/spikes.times.npy"
    ]  # fmt: skip
    assert list(client.type2datasets(eid, "spikes.times")) == ["alf/probe00/sorter/spikes.times.npy"]


def test_loads_over_http_into_an_empty_cache(client: OneAlyx, session: tuple[str, Path]) -> None:
    eid, folder = session
    assert folder.parts[:-4] != client.cache_dir.parts
    spikes = client.load_object(eid, "spikes", collection="alf/probe00/sorter")
    np.testing.assert_array_equal(spikes.times, np.load(folder / "alf/probe00/sorter/spikes.times.npy"))
    assert client.load_dataset(eid, "_ibl_trials.table.pqt").shape == (2, 2)
    assert Path(client.cache_dir, "testlab/Subjects", SUBJECT, "2026-05-01/001/alf/probe00/sorter/spikes.times.npy").is_file()
    assert alfio.load_object(client.eid2path(eid) / "alf/probe00/sorter", "spikes").keys() == spikes.keys()


# ONE 3.6.1 says to pandas 3 what pandas 4 will not take
@pytest.mark.filterwarnings("ignore:The copy keyword is deprecated:pandas.errors.Pandas4Warning")
def test_tables_serve_offline(each_database: Any, client: OneAlyx, session: tuple[str, Path], tmp_path: Path) -> None:
    connect(each_database.url, each_database.settings, tmp_path).load_cache()
    offline, (eid, _) = connect(each_database.url, each_database.settings, tmp_path, "local"), session
    assert [str(found) for found in offline.search(subject=SUBJECT, datasets="spikes.times.npy")] == [eid]
    assert offline.list_datasets(eid) == client.list_datasets(eid)
    assert [list(found) for found in offline.eid2pid(eid)] == [list(found) for found in client.eid2pid(eid)]


def test_protected_files_go_into_a_new_revision(client: OneAlyx, session: tuple[str, Path], each_database: Any) -> None:
    eid, folder = session
    path = folder / "alf" / "wheel.position.npy"
    np.save(path, np.zeros(3))
    registration = RegistrationClient(one=client)
    first = registration.register_files(path)
    each_database.make("/tags", {"name": "paper", "protected": True})
    client.alyx.rest("datasets", "partial_update", id=first["id"], data={"tags": ["paper"]})
    assert registration.check_protected_files(path)["status_code"] == 403
    np.save(path, np.ones(3))
    second = registration.register_files(path)
    assert second["revision"]
    assert not path.exists()
    np.testing.assert_array_equal(client.load_dataset(eid, "wheel.position.npy"), np.ones(3))
    defaults = {d["revision"]: d["default_dataset"] for d in client.alyx.rest("datasets", "list", session=eid, name="wheel.position.npy")}
    assert defaults == {"": False, second["revision"]: True}
    shutil.rmtree(path.parent / f"#{second['revision']}#")


def test_structured_data_is_updated_key_by_key(client: OneAlyx, session: tuple[str, Path]) -> None:
    eid, _ = session
    client.alyx.json_field_update("sessions", eid, "extended_qc", {"_task_go": 0.9})
    assert client.alyx.json_field_update("sessions", eid, "extended_qc", {"task": "PASS"}) == {"_task_go": 0.9, "task": "PASS"}
    assert [str(e) for e in client.search(subject=SUBJECT, extended_qc="_task_go__gte,0.5")] == [eid]
    assert client.search(subject=SUBJECT, extended_qc="_task_go__gte,0.95") == []


def test_token_sign_in(each_database: Any, client: OneAlyx, tmp_path: Path) -> None:
    by_token = ONE(base_url=each_database.url, token=each_database.settings.secret("token"), silent=True, cache_dir=tmp_path)
    assert by_token.alyx.user == "ranvier"
    with pytest.raises(requests.HTTPError, match="rejected"):
        ONE(base_url=each_database.url, token="0" * 40, silent=True, cache_dir=tmp_path)


def test_new_user_needs_two_lines_and_no_prompt(each_database: Any, session: tuple[str, Path], tmp_path: Path) -> None:
    """What docs/database.md says, in a home without any of ONE's parameters and without a keyboard."""
    password = each_database.settings.secret("admin_password")
    script = f"URL, USER, PASSWORD = {each_database.url!r}, 'admin', {password!r}{NEW_USER}"
    script += f"import json; eid = one.search(subject={SUBJECT!r})[0]\n"
    script += "print(json.dumps(len(one.load_object(eid, 'spikes', collection='alf/probe00/sorter')['times'])))"
    environment = {**os.environ, "HOME": str(tmp_path)}
    for _ in range(2):  # pasted again, the lines must not spoil what ONE has saved of itself
        done = subprocess.run([sys.executable, "-c", script], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.strip().splitlines()[-1]) == 500


def test_documentation_shows_these_very_lines(repository: Path) -> None:
    text = (repository / "docs" / "database.md").read_text()
    assert NEW_USER.strip() in text


def test_unknown_subject_is_refused_before_anything_is_written(client: OneAlyx, tmp_path: Path) -> None:
    folder = tmp_path / "testlab" / "Subjects" / f"nobody-{uuid.uuid4().hex[:6]}" / "2026-05-01" / "001"
    folder.mkdir(parents=True)
    with pytest.raises(Exception, match="nobody"):
        RegistrationClient(one=client).register_session(folder)


def test_weight_water_and_notes_of_a_session_are_written_down_with_one(client: OneAlyx, session: tuple[str, Path], tmp_path: Path) -> None:
    eid, _ = session
    registration = RegistrationClient(one=client)
    weighing = registration.register_weight(SUBJECT, 25.1, date_time="2026-05-01T09:00:00")
    assert (weighing["weight"], weighing["user"], weighing["date_time"]) == (25.1, "admin", "2026-05-01T09:00:00")
    water = registration.register_water_administration(SUBJECT, 0.7, session=eid)
    assert (water["water_administered"], water["water_type"], water["session"]) == (0.7, "Water", eid)
    detail = client.alyx.rest("sessions", "read", eid)
    assert [each["water_administered"] for each in detail["wateradmin_session_related"]] == [0.7]
    assert client.alyx.rest("subjects", "read", SUBJECT)["weighings"][0]["weight"] == 25.1

    figure = tmp_path / "raster.png"
    Image.new("RGB", (20, 10)).save(figure)
    fields = {"user": "admin", "content_type": "session", "object_id": eid, "text": "raster"}
    with figure.open("rb") as file:
        note = client.alyx.rest("notes", "create", data=fields, files={"image": file})
    assert [each["id"] for each in client.alyx.rest("notes", "list", django=f"object_id,{eid}")] == [note["id"]]


def test_places_are_written_and_searched_with_one(client: OneAlyx, session: tuple[str, Path]) -> None:
    eid, _ = session
    pid = client.eid2pid(eid)[0][0]
    place = {"x": 1.0, "y": 2.0, "z": 3.0, "depth": 4.0, "theta": 5.0, "phi": 6.0, "roll": 0.0}
    track = {"probe_insertion": str(pid), "provenance": "Histology track", "coordinate_system": "IBL-Allen", **place}
    trajectory = client.alyx.rest("trajectories", "create", data=track)
    row = {"trajectory_estimate": trajectory["id"], "x": 1, "y": 1, "z": 1, "axial": 20, "lateral": 16, "brain_region": 382}
    client.alyx.rest("channels", "create", data=[row])
    assert [str(found) for found in client.search(subject=SUBJECT, atlas_acronym="CA", query_type="remote")] == [eid]
    assert [str(found) for found in client.search_insertions(subject=SUBJECT, atlas_acronym="CA1", query_type="remote")] == [str(pid)]
    assert len(client.search(subject=SUBJECT, atlas_acronym="VISp", query_type="remote")) == 0
