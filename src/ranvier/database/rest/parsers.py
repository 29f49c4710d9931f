"""Request bodies: JSON that every database can store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class StorableJSONParser(JSONParser):
    """JSON without what Python's parser takes and no database stores: lone surrogates, and nesting without end."""

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Parse a request's body.

        Raises
        ------
        ParseError
            If it is not JSON, or cannot be stored.
        """
        return storable(partial(super().parse, stream, media_type, parser_context), "the body")


def storable(parse: Callable[[], Any], what: str) -> Any:
    """What JSON says, where it can be stored.

    Parameters
    ----------
    parse
        Reads it.
    what
        What it is, for the message.

    Raises
    ------
    ParseError
        If it cannot, or where `parse` says so.
    """
    try:
        data = parse()
        for text in texts(data):
            text.encode()
    except RecursionError:
        raise ParseError(f"{what} is nested too deeply; flatten it") from None
    except UnicodeEncodeError as error:
        raise ParseError(f"{what} holds half of a surrogate pair ({error.object[error.start]!a}), which is no character") from None
    return data


def texts(value: Any) -> Iterator[str]:
    """All texts in what JSON says, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
