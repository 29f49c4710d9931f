"""Session folders."""

import datetime as dt

import pytest

from ranvier.session import Session, SessionPathError


def test_parses_what_the_path_says(tmp_path):
    session = Session.parse(tmp_path / "lab/Subjects/mouse_1/2026-11-22/001")
    assert (session.lab, session.subject, session.date, session.number) == ("lab", "mouse_1", dt.date(2026, 11, 22), 1)
    assert session.reference == "mouse_1/2026-11-22/001"


@pytest.mark.parametrize(
    "path",
    [
        "lab/Subjects/a b/2026-11-22/001",
        "lab/Subjects/m/2026-11-22/99999",
        "lab/Subjects/m/2026-11-22/001/alf",
        "lab/Subjects/m/2026-11-22",
        "x",
    ],
)
def test_refuses_what_is_no_session_path(tmp_path, path):
    with pytest.raises(SessionPathError, match="is not a session path"):
        Session.parse(tmp_path / path)


def test_finds_the_newest_revision_of_each_file(tmp_path):
    session = Session.parse(tmp_path / "lab/Subjects/m/2026-11-22/001")
    for name in ("alf/a.npy", "alf/b.npy", "alf/#2026-11-23#/a.npy", "alf/#2026-11-24#/a.npy"):
        (session.path / name).parent.mkdir(parents=True, exist_ok=True)
        (session.path / name).touch()
    assert [session.relative(path) for path in session.find("alf/*.npy")] == ["alf/#2026-11-24#/a.npy", "alf/b.npy"]
