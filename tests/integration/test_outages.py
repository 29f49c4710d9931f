"""A client whose database goes away: it waits as long as it may, says so once, and what it raises can travel."""

from __future__ import annotations

import logging
import math
import pickle
import threading
import time

import pytest

from ranvier.client import Database, DatabaseRefused, DatabaseUnreachable

log = logging.getLogger("ranvier.test")


@pytest.fixture
def line(ranvier_home, ranvier_database, wire):
    return wire(ranvier_home.ports.database)


def test_a_patient_client_waits_for_the_database_and_says_so_once(line, ranvier_home, caplog):
    caplog.set_level(logging.INFO)
    database = Database(f"http://127.0.0.1:{line.port}", ranvier_home.secret("token"), patience_s=0.0)
    patient = database.with_patience(math.inf, log)
    line.cut()
    with pytest.raises(DatabaseUnreachable):
        database.labs()
    asked = []
    threads = [threading.Thread(target=lambda: asked.append(patient.labs())) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    assert asked == []
    line.mend()
    for thread in threads:
        thread.join(30)
    assert len(asked) == 3
    assert [record.levelname for record in caplog.records if record.name == log.name] == ["WARNING", "INFO"]


def test_a_refusal_travels_from_a_worker_to_its_flow_run():
    there = pickle.loads(pickle.dumps(DatabaseRefused(409, "it is claimed", "wait")))
    assert (there.status, str(there)) == (409, "it is claimed (wait)")
