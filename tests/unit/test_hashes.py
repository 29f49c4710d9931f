"""Remembered hashes: a help, and never a hindrance."""

from __future__ import annotations

import os

import pytest

from ranvier.hashes import HashBook, digest


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "raw.bin"
    path.write_bytes(b"content")
    return path


def test_a_hash_is_remembered_until_the_file_changes(tmp_path, file):
    with HashBook(tmp_path / "book.sqlite") as book:
        assert book.known(file) is None
        assert book.md5(file) == digest(file)
    with HashBook(tmp_path / "book.sqlite") as book:
        assert book.known(file) == digest(file)
        os.utime(file, ns=(1, 1))
        assert book.known(file) is None


def test_a_book_that_is_damaged_or_cannot_be_opened_costs_reading_only(tmp_path, file, caplog):
    (tmp_path / "book.sqlite").write_bytes(b"no SQLite file" * 1000)
    (tmp_path / "in the way").write_text("")
    for path in (tmp_path / "book.sqlite", tmp_path / "in the way" / "book.sqlite"):
        with HashBook(path) as book:
            assert book.md5(file) == digest(file)
    assert caplog.text.count("hashes are not remembered") == 2


def test_a_book_on_a_full_disk_remembers_nothing_and_says_so(tmp_path, file, caplog):
    with HashBook(tmp_path / "book.sqlite") as book:
        book._connection.execute("PRAGMA max_page_count = 3")
        for number in range(200):
            book.note(tmp_path / f"{number}{'x' * 100}", "0" * 32, 1, 1)
        assert book.md5(file) == digest(file)
    assert "database or disk is full; a hash is not remembered" in caplog.text
