"""``ranvier db import cache``: the tables that the real ONE has made of a database move into another one, with the files beside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from iblutil.io import parquet
from one.alf.cache import load_tables
from support import connect, free_ports

from ranvier.database.bootstrap import bootstrap
from ranvier.database.serving import serve
from ranvier.settings import initialise, load

# ONE 3.6.1 says to pandas 3 what pandas 4 will not take
pytestmark = pytest.mark.filterwarnings("ignore:The copy keyword is deprecated:pandas.errors.Pandas4Warning")
LAB, SUBJECT = "movedlab", "MOVED_001"
NAMES = ("alf/probe00/spikes.times.npy", "alf/probe00/#2026-07-02#/spikes.times.npy", "alf/_ibl_wheel.position.npy")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the lab's new server, with an empty database."""
    home = tmp_path_factory.mktemp("moved") / "home"
    bootstrap(initialise(home, lab=LAB))
    return home


@pytest.fixture(scope="module")
def cache(live_database: Any, home: Path) -> Path:
    """A ONE cache in the folder of the lab's data: the tables as ONE has loaded them, and of each session but the last the files."""
    live_database.make("/data-repository", {"name": f"{LAB}_old", "data_url": f"http://127.0.0.1:1/data/{LAB}/Subjects/"})
    live_database.make("/labs", {"name": LAB, "repositories": [f"{LAB}_old"]})
    live_database.make("/subjects", {"nickname": SUBJECT, "lab": LAB})
    live_database.make("/projects", {"name": "moved_project"})
    folder = home / "data"
    for number in (1, 2, 3):
        body = {"subject": SUBJECT, "start_time": "2026-07-01T09:00:00", "number": number, "task_protocol": "choiceWorld"}
        eid = live_database.make("/sessions", {**body, "projects": ["moved_project"]})["id"]
        live_database.make("/insertions", {"session": eid, "name": "probe00", "model": "3B2", "serial": f"1905{number}"})
        where = f"{SUBJECT}/2026-07-01/{number:03d}"
        facts = {"hashes": [f"{number}{i}" * 16 for i in range(3)], "filesizes": [168, 168, 168], "qc": ["PASS", "FAIL", "NOT_SET"]}
        live_database.make("/register-file", {"path": where, "filenames": list(NAMES), **facts})
        for name in NAMES if number < 3 else ():
            file = folder / LAB / "Subjects" / where / name
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, np.arange(5.0) * number)
    # tables that another test had made within the last minute would be given again
    (live_database.settings.home / "cache" / "all" / "cache.zip").unlink(missing_ok=True)
    connect(live_database.url, live_database.settings, folder).load_cache()
    return folder


def run(home: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run ``ranvier db import cache``."""
    variables = {**os.environ, "RANVIER_HOME": str(home), "COLUMNS": "200"}
    variables.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-m", "ranvier", "db", "import", "cache", *arguments, "--json"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == code, done.stderr + done.stdout
    return dict(json.loads(done.stdout)) if done.stdout else {"error": done.stderr}


def test_a_cache_moves_in_and_one_finds_it_as_before(cache: Path, home: Path, tmp_path: Path) -> None:
    counted = run(home, str(cache), "--lab", LAB, "--dry-run")
    assert {name: table["there"] for name, table in counted["tables"].items()} == {
        "labs": 1,
        "subjects": 1,
        "sessions": 3,
        "datasets": 9,
        "insertions": 3,
    }
    assert counted["tables"]["sessions"]["here"] == 0
    first = run(home, str(cache), "--lab", LAB)
    assert (first["remarks"], first["tables"]["sessions"], first["tables"]["datasets"]) == ([], {"added": 3}, {"added": 9})
    assert first["tables"]["insertions"] == {"added": 3}
    assert first["tables"]["file-records"] == {"added": 6, "not on disk": 3}
    again = run(home, str(cache), "--lab", LAB)
    assert (again["tables"]["sessions"], again["tables"]["datasets"]) == ({"unchanged": 3}, {"unchanged": 9})
    before = load_tables(cache)
    with serve(load(home), free_ports(1)[0], wait_s=120) as url:
        here = connect(url, load(home), tmp_path / "downloads")
        eids = here.search(lab=LAB)
        assert set(map(str, eids)) == {str(eid) for eid, row in before["sessions"].iterrows() if row["lab"] == LAB}
        for eid in eids:
            details = before["sessions"].loc[[eid]].iloc[0]
            assert here.eid2path(eid).parts[-4:] == ("Subjects", SUBJECT, "2026-07-01", f"{details['number']:03d}")
            insertions = here.alyx.rest("insertions", "list", session=str(eid))
            assert [(row["id"], row["name"], row["model"], row["serial"]) for row in insertions] == [
                (str(pid), row["name"], row["model"], row["serial"]) for pid, row in before["insertions"].loc[eid].iterrows()
            ]
            rows = here.alyx.rest("datasets", "list", session=str(eid))
            same = before["datasets"].loc[eid]
            assert {row["url"].rpartition("/")[2] for row in rows} == set(map(str, same.index))
            assert {(row["hash"], row["file_size"], row["qc"], row["default_dataset"]) for row in rows} == {
                (row["hash"], row["file_size"], row["qc"], row["default_revision"]) for _, row in same.iterrows()
            }
        [eid] = here.search(lab=LAB, number=2)
        assert np.array_equal(here.load_dataset(eid, "_ibl_wheel.position.npy", collection="alf"), np.arange(5.0) * 2)
        token = {"Authorization": f"Token {load(home).secret('token')}"}
        assert requests.get(f"{url}/events", headers=token, timeout=30).json()["count"] == 0, (
            "no session is preprocessed for having been imported"
        )


def test_a_folder_without_tables_and_files_that_are_none_are_told(cache: Path, home: Path, tmp_path: Path) -> None:
    assert "has no sessions.pqt and no datasets.pqt" in run(home, str(tmp_path), code=1)["error"]
    tables = load_tables(cache)
    eid = next(eid for eid, row in tables["sessions"].iterrows() if row["lab"] == LAB)
    sessions, datasets = tables["sessions"].loc[[eid]], tables["datasets"].loc[[eid]]
    datasets = datasets.assign(rel_path=["alf/unheard.of.xyz", *list(datasets["rel_path"])[1:]])
    for name, table in (("sessions", sessions.assign(number=9)), ("datasets", datasets)):
        table.index = table.index.map(str) if name == "sessions" else table.index.map(lambda key: tuple(map(str, key)))
        parquet.save(tmp_path / f"{name}.pqt", table, {"date_created": "2026-07-01 10:00", "min_api_version": "2.7.0"})
    report = run(home, str(tmp_path), "--repository", "a_shelf", code=1)
    [remark] = [remark for remark in report["remarks"] if remark["kind"] == "left out"]
    assert "fits no dataset type" in remark["reason"]
    assert report["tables"]["sessions"] == {"updated": 1}
