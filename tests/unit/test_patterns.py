"""Whether two path patterns can name the same file."""

import fnmatch
import itertools

import pytest

from ranvier.patterns import overlap


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("alf/*/x.npy", "alf/probe00/x.npy", True),
        ("alf/*/x.npy", "alf/probe00/ks/x.npy", False),
        ("raw/*.ap.*bin", "raw/*.ap.cbin", True),
        ("raw/*.ap.*bin", "raw/*.ap.meta", False),
        ("a*c", "a?c", True),
        ("a*", "*b", True),
        ("a?", "a", False),
    ],
)
def test_examples(first, second, expected):
    assert overlap(first, second) is overlap(second, first) is expected


def test_agrees_with_matching_every_short_name():
    names = ["".join(letters) for length in range(4) for letters in itertools.product("ab", repeat=length)]
    patterns = ["".join(letters) for length in range(1, 4) for letters in itertools.product("a*?", repeat=length)]
    for first, second in itertools.product(patterns, repeat=2):
        common = [name for name in names if fnmatch.fnmatchcase(name, first) and fnmatch.fnmatchcase(name, second)]
        assert overlap(first, second) is bool(common), (first, second)
