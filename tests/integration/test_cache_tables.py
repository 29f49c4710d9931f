"""ONE's tables for working offline: made by the database, read by the real ONE-api, unmodified."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from one.alf.cache import QC_TYPE
from one.api import OneAlyx
from support import connect

from ranvier.database.commands import CommandError, make_cache

# ONE 3.6.1 says to pandas 3 what pandas 4 will not take
pytestmark = pytest.mark.filterwarnings("ignore:The copy keyword is deprecated:pandas.errors.Pandas4Warning")
SUBJECT, TAG = "CACHE_001", "2026_Q3 of a paper"
NAMES = ["alf/probe00/spikes.times.npy", "alf/probe00/#2026-07-02#/spikes.times.npy", "alf/_ibl_trials.table.pqt"]


@pytest.fixture(scope="module")
def eids(live_database: Any) -> list[str]:
    """Two sessions with two datasets each, one of them also in a revision; and a dataset that is nowhere yet."""
    live_database.make("/subjects", {"nickname": SUBJECT, "lab": "testlab"})
    for project in ("zebra", "aardvark"):
        live_database.make("/projects", {"name": f"cache_{project}"})
    made = []
    for number in (1, 2):
        body = {"subject": SUBJECT, "start_time": "2026-07-01T09:00:00", "number": number, "task_protocol": "choiceWorld"}
        made.append(live_database.make("/sessions", {**body, "projects": ["cache_zebra", "cache_aardvark"]})["id"])
        where = f"{SUBJECT}/2026-07-01/{number:03d}"
        facts = {"hashes": [f"md5 of {name}" for name in NAMES], "filesizes": [5, 6, 7_000_000_000], "qc": ["PASS", "FAIL", "NOT_SET"]}
        live_database.make("/register-file", {"path": where, "filenames": NAMES, **facts})
        live_database.make("/register-file", {"path": where, "filenames": ["alf/wheel.position.npy"], "exists": False})
    return made


@pytest.fixture
def online(live_database: Any, tmp_path: Path) -> OneAlyx:
    """ONE, connected, with nothing on its disk."""
    return connect(live_database.url, live_database.settings, tmp_path)


def info(live_database: Any, tag: str = "") -> dict[str, Any]:
    answer = live_database.request("GET", f"/cache/info/{tag}" if tag else "/cache/info")
    assert answer.ok, answer.text
    return dict(answer.json())


def test_offline_one_finds_what_it_finds_online(live_database: Any, eids: list[str], online: OneAlyx, tmp_path: Path) -> None:
    assert online.load_cache()
    offline = connect(live_database.url, live_database.settings, tmp_path, "local")
    assert offline.offline
    for terms in (
        {"subject": SUBJECT},
        {"subject": SUBJECT, "number": 2},
        {"subject": SUBJECT, "date_range": ["2026-07-02", "2026-07-03"]},
        {"subject": SUBJECT, "projects": "aardvark"},
        {"subject": SUBJECT, "task_protocol": "choice", "lab": "testlab"},
        {"subject": SUBJECT, "datasets": "spikes.times.npy"},
        {"subject": SUBJECT, "datasets": "wheel.position.npy"},
        {"subject": SUBJECT, "datasets": "spikes.times.npy", "dataset_qc_lte": "PASS"},
    ):
        assert sorted(map(str, offline.search(**terms))) == sorted(map(str, online.search(**terms))), terms
    for eid in eids:
        assert offline.list_datasets(eid) == online.list_datasets(eid)
        assert offline.eid2path(eid) == online.eid2path(eid)
        assert "alf/wheel.position.npy" not in offline.list_datasets(eid)
    assert len(offline.search(subject=SUBJECT)) == 2


def test_the_tables_hold_what_the_database_knows(eids: list[str], online: OneAlyx) -> None:
    online.load_cache()
    session = online._cache["sessions"].loc[[uuid.UUID(eids[0])]].iloc[0].to_dict()
    assert session == {"lab": "testlab", "subject": SUBJECT, "date": dt.date(2026, 7, 1), "number": 1,
                       "task_protocol": "choiceWorld", "projects": "cache_aardvark,cache_zebra"}  # fmt: skip
    datasets = online._cache["datasets"]
    assert datasets["qc"].dtype == QC_TYPE
    assert datasets["file_size"].dtype == pd.UInt64Dtype()
    assert datasets.index.is_monotonic_increasing
    rows = datasets.loc[uuid.UUID(eids[0])].set_index("rel_path")
    original, revised, trials = (rows.loc[name] for name in NAMES)
    assert (original["file_size"], original["hash"], original["qc"]) == (5, f"md5 of {NAMES[0]}", "PASS")
    assert (original["default_revision"], revised["default_revision"]) == (False, True)
    assert [revised["file_size"], trials["file_size"]] == [6, 7_000_000_000]
    assert rows["exists"].all()


def test_offline_one_knows_insertions(live_database: Any, eids: list[str], online: OneAlyx, tmp_path: Path) -> None:
    serials = {"probe00": "19051", "probe01": "18194"}
    for name, serial in serials.items():
        live_database.make("/insertions", {"session": eids[0], "name": name, "model": "3B2", "serial": serial})
    live_database.make("/insertions", {"session": eids[1], "name": "probe00"})
    (live_database.settings.home / "cache" / "all" / "cache.zip").unlink(missing_ok=True)
    online.load_cache()
    offline = connect(live_database.url, live_database.settings, tmp_path, "local")
    for eid in eids:
        assert [list(found) for found in offline.eid2pid(eid)] == [list(found) for found in online.eid2pid(eid)]
    for pid in online.search_insertions(subject=SUBJECT):
        assert tuple(map(str, offline.pid2eid(pid))) == tuple(map(str, online.pid2eid(pid)))
    # ONE 3.6.1's own search of them finds nothing offline with pandas 3, which names the index of a selection otherwise than pandas 2
    assert sorted(offline._cache["insertions"].loc[uuid.UUID(eids[0])]["serial"]) == sorted(serials.values())
    models = offline._cache["insertions"].loc[[uuid.UUID(eid) for eid in eids]]["model"]
    assert models.value_counts().to_dict() == {"3B2": 2, "": 1}


def test_tables_are_made_anew_only_when_something_changed(live_database: Any, eids: list[str], online: OneAlyx) -> None:
    archive = live_database.settings.home / "cache" / "all" / "cache.zip"
    online.load_cache()
    first, before = info(live_database), archive.stat()
    assert info(live_database) == first
    assert archive.stat().st_mtime_ns == before.st_mtime_ns
    copy = live_database.request("GET", f"/files?django=dataset__session,{eids[0]},relative_path__endswith,trials.table.pqt").json()[
        "results"
    ][0]
    archive.unlink()  # within a minute of others ONE is given the former ones; here they come at once
    assert live_database.request("PATCH", f"/files/{copy['id']}", {"exists": False}).ok
    second = info(live_database)
    assert second["tables"]["datasets"]["nrecs"] == first["tables"]["datasets"]["nrecs"] - 1
    assert live_database.request("PATCH", f"/files/{copy['id']}", {"exists": True}).ok
    third = info(live_database)
    assert third["tables"]["datasets"]["nrecs"] == first["tables"]["datasets"]["nrecs"]
    assert third["date_created"] > second["date_created"], "ONE tells tables apart by the minute"
    assert live_database.request("PATCH", f"/files/{copy['id']}", {"exists": False}).ok
    assert info(live_database) == third, "no more than a minute ahead of the clock"
    assert live_database.request("PATCH", f"/files/{copy['id']}", {"exists": True}).ok


def test_a_tag_has_tables_of_its_own(live_database: Any, eids: list[str], online: OneAlyx) -> None:
    dataset = live_database.request("GET", f"/datasets?session={eids[1]}&name=spikes.times.npy").json()["results"][0]
    live_database.make("/tags", {"name": TAG})
    assert info(live_database, TAG)["tables"]["datasets"]["nrecs"] == 0
    assert live_database.request("PATCH", f"/datasets/{dataset['id']}", {"tags": [TAG]}).ok
    assert online.load_cache(tag=TAG)
    assert [str(eid) for eid in online._cache["sessions"].index] == [eids[1]]
    assert [str(each) for each in online._cache["datasets"].index.get_level_values("id")] == [dataset["id"]]
    assert [str(eid) for eid in online.search(query_type="local", subject=SUBJECT)] == [eids[1]]
    unknown = live_database.request("GET", "/cache/info/nothing")
    assert unknown.status_code == 404
    assert "GET /tags" in unknown.json()["detail"]


def test_tables_of_nothing_are_tables(live_database: Any, online: OneAlyx) -> None:
    live_database.make("/tags", {"name": "cache_empty"})
    online.load_cache(tag="cache_empty")
    assert online._cache["datasets"].empty
    assert online._cache["datasets"]["qc"].dtype == QC_TYPE
    assert online.search(query_type="local") == []


def test_queries_do_not_grow_with_the_datasets_nor_memory(live_database: Any, eids: list[str], rest: Any, tmp_path: Path) -> None:
    import pyarrow.parquet as pq
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from ranvier.database.data import cache_tables

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            cache_tables.current(anew=True)
        return len(captured)

    before = queries()
    names = [f"raw/part{number}/spikes.times.npy" for number in range(40)]
    live_database.make("/register-file", {"path": f"{SUBJECT}/2026-07-01/002", "filenames": names})
    assert queries() == before <= 18
    schema, rows = (
        cache_tables._described(cache_tables.DATASETS, ["eid", "id"], {}),
        (("e", "i", "path", None, "", True, True, 10) for _ in range(25_000)),
    )
    assert cache_tables._write(tmp_path / "many.pqt", schema, rows) == 25_000
    assert pq.ParquetFile(tmp_path / "many.pqt").num_row_groups == 3
    read = pd.read_parquet(tmp_path / "many.pqt")
    assert (read["file_size"].dtype, read["qc"].dtype) == (pd.UInt64Dtype(), QC_TYPE)
    assert read["file_size"].isna().all()
    assert set(read["qc"]) == {"PASS"}


def test_the_command_names_a_tag_that_is_not_there(live_database: Any, rest: Any) -> None:
    with pytest.raises(CommandError, match="no tag 'nothing'"):
        make_cache(live_database.settings, "nothing")


def test_the_command_makes_them(live_database: Any, eids: list[str]) -> None:
    command = [sys.executable, "-m", "ranvier", "db", "cache", "--json"]
    done = subprocess.run(command, env={**os.environ, "RANVIER_HOME": str(live_database.settings.home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told["archive"]).is_file()
    assert told["tables"]["sessions"]["nrecs"] >= 2
