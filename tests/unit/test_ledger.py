"""What is kept of tasks beside a plain Alyx."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import time

import pytest

from ranvier.client import DatabaseRefused
from ranvier.plain_alyx.ledger import Ledger, LedgerError
from ranvier.plain_alyx.outbox import Outbox
from ranvier.plain_alyx.quality import extended, worst
from ranvier.plain_alyx.rows import fitted, merged

ROW = {"id": "t1", "session": "s1", "status": "Waiting", "name": "licks", "executable": "licks", "level": None}
NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


@pytest.fixture
def ledger(tmp_path):
    kept = Ledger(tmp_path / "work" / "ledger.sqlite")
    kept.note(ROW, name="licks", device="")
    yield kept
    kept.close()


def refused(call, *args, **kwargs) -> str:
    with pytest.raises(DatabaseRefused) as error:
        call(*args, **kwargs)
    assert error.value.status == 409
    return str(error.value)


def test_a_task_has_the_outcome_of_its_last_attempt_s_qc(ledger):
    assert ledger.task("t1")["qc"] == ""
    for number, outcome in enumerate(("FAIL", "PASS")):
        ledger.claim("t1", f"a{number}", number, 60.0)
        ledger.finish(f"a{number}", "Complete", qc={"outcome": outcome, "checks": {}})
        assert ledger.task("t1")["qc"] == ledger.tasks_of(ROW["session"])["t1"]["qc"] == outcome


def test_who_takes_over_does_not_where_it_was_given_up_meanwhile(ledger):
    ledger.claim("t1", "a1", 0, 0.0)
    ledger.give_back(returns=0)
    assert "has ended meanwhile, Errored: given up" in refused(ledger.claim, "t1", "a2", 1, 60.0, takes_over=True)
    assert ledger.claim("t1", "a3", 1, 60.0)["number"] == 2


def test_of_many_connections_one_claims(ledger):
    together, won = threading.Barrier(8), []

    def claim(number: int) -> None:
        mine = Ledger(ledger.path)
        together.wait()
        with contextlib.suppress(DatabaseRefused):
            won.append(mine.claim("t1", f"a{number}", 0, 60.0)["id"])
        mine.close()

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(won) == 1
    assert [attempt["id"] for attempt in ledger.attempts("t1")] == won


def test_a_claim_on_old_knowledge_is_refused(ledger):
    ledger.claim("t1", "a1", 0, 60.0, worker="rig:1")
    assert "is claimed by rig:1 until" in refused(ledger.claim, "t1", "a2", 0, 60.0)
    ledger.finish("a1", "Complete", outputs=[{"path": "alf/licks.times.npy", "size": 1}])
    assert "attempted since: 1 times, not 0" in refused(ledger.claim, "t1", "a2", 0, 60.0)
    assert ledger.claim("t1", "a2", 1, 60.0)["number"] == 2


def test_a_verdict_is_kept_until_alyx_has_been_told(ledger):
    ledger.claim("t1", "a1", 0, 60.0, identity="abc")
    ledger.finish("a1", "Errored", "it broke", receipt={"task": "licks"}, log="the end")
    ledger.finish("a1", "Errored", "it broke")
    (untold,) = ledger.untold()
    assert (untold["status"], untold["reason"], untold["identity"], untold["receipt"]) == ("Errored", "it broke", "abc", {"task": "licks"})
    assert ledger.untold(since_s=30.0) == []
    assert merged({**ROW, "status": "Started"}, untold)["status"] == "Errored"
    assert "has ended, Errored: it broke" in refused(ledger.finish, "a1", "Complete")
    ledger.told(untold)
    assert ledger.untold() == []
    assert merged({**ROW, "status": "Started"}, ledger.task("t1"))["reason"] == "", "somebody else has started it since"


def test_silence_and_coming_back(ledger):
    ledger.claim("t1", "a1", 0, 0.0)
    assert not merged({**ROW, "status": "Started"}, ledger.task("t1"))["leased"]
    assert [task["id"] for task in ledger.give_back()] == ["t1"]
    assert ledger.give_back() == []
    assert ledger.fell_silent("a1")
    assert ledger.renew("a1", 0.0, progress=0.5)["progress"] == 0.5
    assert ledger.task("t1")["status"] == "Started"
    ledger.give_back()
    assert ledger.finish("a1", "Complete")["status"] == "Complete"
    ledger.claim("t1", "a2", 1, 0.0)
    ledger.claim("t1", "a3", 2, 60.0)
    assert "fell silent" in refused(ledger.renew, "a2", 60.0)


def test_a_worker_that_is_stopped_gives_its_task_back(ledger):
    for number in range(1, 7):
        ledger.claim("t1", f"a{number}", number - 1, 60.0)
        assert ledger.return_one(f"a{number}", "stopped")["status"] == "Waiting"
        assert ledger.return_one(f"a{number}", "stopped") is None
    assert (ledger.task("t1")["status"], ledger.task("t1")["reason"]) == ("Waiting", "given back by attempt 6: stopped")
    assert [task["id"] for task in ledger.untold()] == ["t1"]
    assert "has ended" in refused(ledger.finish, "a6", "Complete")
    ledger.claim("t1", "a7", 6, 0.0)
    assert [task["id"] for task in ledger.give_back(returns=2)] == ["t1"], "what was given back does not count as silence"
    ledger.claim("t1", "a8", 7, 60.0)
    ledger.cancel("t1", "me")
    assert ledger.return_one("a8", "stopped")["reason"] == "cancelled by me; stopped"
    assert ledger.task("t1")["status"] == "Errored"


def test_a_clock_that_was_set_back_makes_no_lease_longer(ledger, monkeypatch):
    now = time.time()
    with monkeypatch.context() as ahead:
        ahead.setattr("ranvier.plain_alyx.ledger.time.time", lambda: now + 3600)
        ledger.claim("t1", "a1", 0, 60.0)
    assert [task["id"] for task in ledger.give_back()] == ["t1"]


def test_taken_away_by_hand(ledger):
    ledger.claim("t1", "a1", 0, 60.0)
    ledger.set("t1", cancel_requested=True)
    assert ledger.renew("a1", 60.0)["cancel_requested"] is True
    ledger.set("t1", status="Abandoned", reason="no use")
    assert "ended from outside: the task was set Abandoned" in refused(ledger.renew, "a1", 60.0)


def test_what_was_cancelled_does_not_begin_until_it_is_planned_again(ledger):
    ledger.cancel("t1", "me")
    assert "was cancelled by me" in refused(ledger.claim, "t1", "a1", 0, 60.0)
    ledger.plan("t1", "run")
    ledger.claim("t1", "a1", 0, 0.0, flow_run="run")
    assert ledger.sessions_of("run") == ["s1"]
    ledger.cancel("t1", "me")
    assert ledger.give_back() == [], "nobody wants it any more"
    assert (ledger.task("t1")["status"], ledger.task("t1")["reason"]) == ("Errored", "cancelled by me; its worker fell silent")
    assert ledger.cancel("unknown", "me") is None


def test_a_task_that_silences_its_worker_again_and_again_is_given_up(ledger):
    for number in range(3):
        ledger.claim("t1", f"a{number}", number, 0.0)
        assert [task["id"] for task in ledger.give_back(returns=2)] == (["t1"] if number < 2 else [])
    assert ledger.task("t1")["status"] == "Errored"
    assert "fell silent 3 times in a row" in ledger.task("t1")["reason"]


def test_the_first_look_makes_no_events_and_each_later_session_one(ledger):
    outbox = Outbox(ledger)
    assert outbox.looked("lab", NOON, ["old"]) == []
    assert outbox.looked("lab", NOON, ["old", "new"]) == ["new"]
    assert outbox.looked("lab", NOON, ["old", "new"]) == []
    outbox.add("session.registered", "ours:created", "ours", "lab")
    outbox.looked("lab", NOON, ["ours"])
    assert [event["session"] for event in outbox.pending()] == ["new", "ours"]
    outbox.failed(1, "Prefect is away")
    assert (outbox.pending()[0]["error"], outbox.pending()[0]["tries"]) == ("Prefect is away", 1)
    outbox.delivered(1, "run")
    assert [event["session"] for event in outbox.pending()] == ["ours"]
    assert outbox.add("session.registered", "new:created", "new", "lab")["flow_run"] == "run"


def test_what_fits_into_alyx(caplog):
    planned = {**dict.fromkeys(("level", "priority", "cpu", "gpu", "ram"), 1), "executable": "licks", "version": "1", "arguments": {}}
    long = fitted({**planned, "name": "x" * 70 + "a", "time_out_secs": 100_000, "data_repository": "r"})
    other = fitted({**planned, "name": "x" * 70 + "b", "time_out_secs": 60, "data_repository": "r"})
    assert len(long["name"]) == len(other["name"]) == 64
    assert long["name"] != other["name"]
    assert (long["time_out_secs"], other["time_out_secs"]) == (32_767, 60)


def test_quality_is_named_as_ranvier_s_own_database_names_it():
    qc = {"outcome": "FAIL", "checks": {"rate": {"value": 1.5, "outcome": "FAIL"}}}
    found = extended({"executable": "licks", "name": "licks[probe00]", "device": "probe00"}, qc)
    assert found == {"licks_probe00": "FAIL", "_licks_probe00_rate": 1.5}
    assert worst({**found, "other": "PASS", "_hidden": "CRITICAL", "words": "odd"}) == "FAIL"
    assert worst({}) == "NOT_SET"


def test_a_ledger_that_cannot_be_opened_says_which(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=str(tmp_path / "file")):
        Ledger(tmp_path / "file" / "ledger.sqlite")
