"""What a task says, made such that a database can keep it."""

import json
import math

from ranvier.report import LONGEST_TEXT, storable


def test_numbers_that_json_does_not_have_become_null():
    assert storable({"a": [math.nan, math.inf, 1.5, 2, True, None]}) == {"a": [None, None, 1.5, 2, True, None]}


def test_text_becomes_text():
    kept = storable({"k\ud800": "a\x00b\udfffc", "umlaut": "ü"})
    assert json.dumps(kept, ensure_ascii=False).encode()
    assert kept["umlaut"] == "ü"
    assert "\x00" not in "".join(kept.values())


def test_a_long_text_keeps_its_beginning_and_its_end():
    kept = storable("begin" + "x" * 1_000_000 + "end")
    assert kept.startswith("begin")
    assert kept.endswith("end")
    assert len(kept) < LONGEST_TEXT + 100
