"""The ``django=`` filter: ``field__lookup,value,field__lookup,value…``, as ONE and ibllib send it.

Alyx evaluates bracketed values as Python, so that whoever signs in can run code there. Here a value is a literal, and a field must be
one of the database's own: the allow-list is the tables of our apps, and of a user no more than the name.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.core.exceptions import EmptyResultSet, FieldDoesNotExist, FieldError
from django.core.exceptions import ValidationError as ModelError
from django.db.models import Field, ForeignObjectRel, JSONField, Model, QuerySet
from rest_framework.exceptions import ValidationError

from ranvier.database.rest.reach import narrow

APPS = frozenset({"people", "subjects", "data", "actions", "experiments", "jobs"})
ONLY = {"people.User": frozenset({"id", "username", "memberships", "projects", "subjects_responsible"})}
LOOKUPS = frozenset(
    {"exact", "iexact", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "regex", "iregex"}
    | {"gt", "gte", "lt", "lte", "in", "range", "isnull", "date", "year", "month", "day"}
)
CONSTANTS = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False}
MAX_LENGTH = 50_000
MAX_PATTERN = 200


class Term(NamedTuple):
    """One condition."""

    exclude: bool
    path: str
    value: str


def apply(rows: QuerySet[Model], text: str) -> QuerySet[Model]:
    """Rows that fulfil every condition of a ``django=`` filter.

    Raises
    ------
    ValidationError
        If the text is malformed, names a field that may not be asked for, or gives a value that does not fit its field.
    """
    many = False
    for term in terms(text):
        lookup, is_json, to_many = resolve(rows.model, term.path)
        many = many or to_many
        value = value_of(term, lookup, is_json)
        try:
            rows = narrow(rows, lookup, value, exclude=term.exclude)
            _compile(rows)
        except (ModelError, ValueError, TypeError, FieldError, OverflowError, IndexError) as error:
            reason = error.messages[0] if isinstance(error, ModelError) else error
            raise refusal(f"{term.path},{term.value[:200]}: {reason}") from None
    return rows.distinct() if many else rows


def _compile(rows: QuerySet[Model]) -> None:
    """Write the SQL, for a value may fit its field and still not the lookup."""
    with contextlib.suppress(EmptyResultSet):
        rows.query.get_compiler(rows.db).as_sql()


def refusal(reason: str) -> ValidationError:
    """What the client is told."""
    return ValidationError({"django": [f"{reason}; write field__lookup,value,field__lookup,value…"]})


def terms(text: str) -> Iterator[Term]:
    """Conditions of a filter, in order."""
    if len(text) > MAX_LENGTH:
        raise refusal(f"longer than {MAX_LENGTH} characters")
    parts = list(split(text)) if text.strip() else []
    if len(parts) % 2:
        raise refusal(f"{parts[-1]!r} has no value")
    for path, value in zip(parts[::2], parts[1::2], strict=True):
        yield Term(path.startswith("~"), path.lstrip("~"), value)


def split(text: str) -> Iterator[str]:
    """Parts between commas that are neither in brackets nor in quotes within them."""
    depth, start, quote = 0, 0, ""
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif depth and character in "'\"":
            quote = character
        elif character in "[(":
            depth += 1
        elif character in "])":
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:i].strip()
            start = i + 1
        if not 0 <= depth <= 3:
            raise refusal("brackets do not match, or nest too deep")
    if depth or quote:
        raise refusal("a bracket or a quote is not closed")
    yield text[start:].strip()


def resolve(model: type[Model], path: str) -> tuple[str, bool, bool]:
    """Check a path against the allow-list.

    Returns
    -------
    tuple
        The lookup for Django, whether it ends inside structured data, whether it can match a row more than once.
    """
    parts, many = path.split("__"), False
    current: type[Model] | None = model
    for i, part in enumerate(parts):
        if current is None:
            if i + 2 < len(parts) or not set(parts[i:]) <= LOOKUPS:
                raise refusal(f"{'__'.join(parts[i:])!r} in {path!r} is no lookup; the lookups are {', '.join(sorted(LOOKUPS))}")
            return path, False, many
        field = allowed_field(current, part, path)
        if field is None:
            if i and part in LOOKUPS and set(parts[i:]) <= LOOKUPS:
                return path, False, many
            raise refusal(f"{path!r}: {current._meta.label} has no field {part!r}")
        if isinstance(field, JSONField):
            return path, True, many
        many = many or bool(field.many_to_many or field.one_to_many)
        current = field.related_model
    return path, False, many


def allowed_field(model: type[Model], name: str, path: str) -> Field[Any, Any] | ForeignObjectRel | None:
    """A field of a table that clients may ask for; None where the table has no such field."""
    label = model._meta.label
    name = model._meta.pk.name if name == "pk" else name
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    target = field.related_model
    if (label in ONLY and name not in ONLY[label]) or (target and target._meta.app_label not in APPS):
        raise refusal(f"{path!r}: {name!r} of {label} may not be asked for")
    return field


def value_of(term: Term, lookup: str, is_json: bool) -> Any:
    """The value that a text stands for: a constant, a bracketed literal, or the text itself."""
    last = lookup.rsplit("__", 1)[-1]
    if last in ("regex", "iregex"):
        return pattern(term)
    value = literal(term) if term.value[:1] in tuple("[(") else CONSTANTS.get(term.value, term.value)
    if is_json and isinstance(value, str):
        value = number(value)
    if last == "in":
        return value if isinstance(value, list) else [value]
    if last == "range" and not (isinstance(value, list) and len(value) == 2):
        raise refusal(f"{term.path}: a range is a list of two values, [first,last]")
    if isinstance(value, list) and last != "range" and not is_json:
        raise refusal(f"{term.path}: one value is compared here; use {term.path}__in for a list")
    if last == "isnull" and not isinstance(value, bool):
        raise refusal(f"{term.path},{term.value}: say True or False")
    return value


def literal(term: Term) -> Any:
    """A list of plain values; a value in round brackets stands for itself."""
    try:
        value = ast.literal_eval(term.value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = ...
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(is_plain(item) for item in values):
        raise refusal(f"{term.path}: {term.value[:80]!a} is not a list of plain values")
    return values if isinstance(value, (list, tuple)) else value


def is_plain(value: Any) -> bool:
    """Whether a value is a number, True, False, None, or a text that can be stored."""
    if isinstance(value, str):
        return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value)
    return value is None or isinstance(value, (bool, int, float))


def number(text: str) -> int | float | str:
    """Structured data has types: what looks like a number is one."""
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def pattern(term: Term) -> str:
    """A regular expression that compiles, and is not long enough to be an attack."""
    if len(term.value) > MAX_PATTERN:
        raise refusal(f"{term.path}: the pattern is longer than {MAX_PATTERN} characters")
    try:
        re.compile(term.value)
    except re.error as error:
        raise refusal(f"{term.path}: {term.value!r} is no regular expression: {error}") from None
    return term.value
