"""The agent's rules of when to register, on real folders; what it registers with is the integration tests' matter."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ranvier import settings as settings_module
from ranvier.agent import ERROR_NOTE, Agent, changes, footprint
from ranvier.client import DatabaseUnreachable
from ranvier.registration import Registered, RegistrationError
from ranvier.session import READY_FLAG, Session


@pytest.fixture
def settings(tmp_path: Path):
    made = settings_module.initialise(tmp_path / "home")
    made.registration.settle_s = 0.2
    made.lab_root.mkdir(parents=True)
    return made


class Book:
    """Registers in a list; refuses what it was told to refuse."""

    def __init__(self) -> None:
        self.registered: list[str] = []
        self.tried: list[str] = []
        self.refusals: dict[str, Exception] = {}

    def __call__(self, folder: Path) -> Registered:
        session = Session.parse(folder)
        self.tried.append(session.subject)
        if session.subject in self.refusals:
            raise self.refusals[session.subject]
        self.registered.append(session.subject)
        (folder / READY_FLAG).unlink()
        return Registered(session, {"id": f"id of {session.subject}"}, True, [])


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def agent(settings, book) -> Agent:
    return Agent(settings, book)


def copied(settings, subject: str) -> Path:
    folder = settings.lab_root / subject / "2026-11-22" / "001"
    (folder / "raw_ephys_data").mkdir(parents=True)
    (folder / "raw_ephys_data" / "a.ap.bin").write_bytes(b"\0" * 100)
    (folder / READY_FLAG).touch()
    return folder


def look_for(agent: Agent, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        agent.look()
        time.sleep(0.02)


def test_a_session_is_registered_once_it_has_settled(settings, agent, book) -> None:
    folder = copied(settings, "mouse")
    agent.scan()
    end = time.monotonic() + 0.6
    while time.monotonic() < end:  # still being copied
        with (folder / "raw_ephys_data" / "a.ap.bin").open("ab") as stream:
            stream.write(b"\0")
        agent.look()
        time.sleep(0.05)
    assert book.registered == []
    look_for(agent, 0.4)
    assert book.registered == ["mouse"]
    look_for(agent, 0.3)
    assert book.tried == ["mouse"]


def test_a_broken_session_is_named_and_does_not_block_the_others(settings, agent, book, caplog) -> None:
    broken, whole = copied(settings, "broken"), copied(settings, "whole")
    book.refusals["broken"] = RegistrationError("no meta beside a.ap.bin", "copy it")
    agent.scan()
    look_for(agent, 0.5)
    assert book.registered == ["whole"]
    assert "no meta beside a.ap.bin (copy it)" in (broken / ERROR_NOTE).read_text()
    assert f"{broken}: cannot be registered" in caplog.text
    assert (broken / READY_FLAG).exists()
    assert not (whole / ERROR_NOTE).exists()


def test_a_broken_session_is_tried_again_when_it_has_changed(settings, agent, book) -> None:
    folder = copied(settings, "mouse")
    book.refusals["mouse"] = RegistrationError("no meta")
    agent.scan()
    look_for(agent, 0.8)
    assert book.tried == ["mouse"], "its own note is no change, and the back-off is long"
    book.refusals.clear()
    (folder / "raw_ephys_data" / "a.ap.meta").touch()
    look_for(agent, 0.5)
    assert book.registered == ["mouse"]
    assert not (folder / ERROR_NOTE).exists()


def test_tries_without_a_change_back_off(settings, agent, book, monkeypatch) -> None:
    monkeypatch.setattr("ranvier.agent.FIRST_BACKOFF_S", 0.2)
    copied(settings, "mouse")
    book.refusals["mouse"] = RegistrationError("no meta")
    agent.scan()
    look_for(agent, 1.3)
    assert len(book.tried) == 3, "at about 0.2, 0.4 and 0.8 s"


def test_an_unexpected_error_is_this_session_s_own(settings, agent, book) -> None:
    broken = copied(settings, "broken")
    copied(settings, "whole")
    book.refusals["broken"] = KeyError("serial")
    agent.scan()
    look_for(agent, 0.5)
    assert book.registered == ["whole"]
    assert "KeyError: 'serial'" in (broken / ERROR_NOTE).read_text()


def test_the_database_s_absence_is_told_once_and_is_no_fault_of_the_session(settings, agent, book, caplog) -> None:
    folders = [copied(settings, "one"), copied(settings, "two")]
    book.refusals = dict.fromkeys(["one", "two"], DatabaseUnreachable("the database does not answer"))
    agent.scan()
    look_for(agent, 0.5)
    assert caplog.text.count("the database does not answer") == 1
    assert not any((folder / ERROR_NOTE).exists() for folder in folders)
    book.refusals.clear()
    for waiting in agent.waiting.values():
        waiting.not_before = 0.0
    look_for(agent, 0.3)
    assert sorted(book.registered) == ["one", "two"]


def test_a_flag_that_is_taken_away_ends_the_wait(settings, agent, book) -> None:
    folder = copied(settings, "mouse")
    agent.scan()
    (folder / READY_FLAG).unlink()
    look_for(agent, 0.4)
    assert agent.waiting == {}
    assert book.tried == []


def test_the_footprint_changes_with_the_files_and_not_with_the_note(settings) -> None:
    folder = copied(settings, "mouse")
    before = footprint(folder)
    (folder / ERROR_NOTE).write_text("some reason")
    assert footprint(folder) == before
    (folder / "raw_ephys_data" / "a.ap.bin").write_bytes(b"\1" * 100)
    assert footprint(folder) != before


def test_a_whole_folder_that_is_moved_in_is_found_by_what_the_system_tells(settings, agent, book) -> None:
    stream = changes(settings.lab_root)
    next(stream)
    session = copied(settings, "elsewhere")
    subject = settings.lab_root.parent / "mouse"
    session.parents[1].rename(subject)  # out of the folder, complete with its flag
    subject.rename(settings.lab_root / "mouse")
    began = time.monotonic()
    for changed in stream:
        agent.notice(changed)
        agent.look()
        if book.registered == ["mouse"]:
            break
        assert time.monotonic() - began < 3
