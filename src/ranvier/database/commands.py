"""What an operator does with the database of a machine, in a process in which Django is set up: its fixtures, ONE's cache tables."""

from __future__ import annotations

from typing import Any

from ranvier.database.bootstrap import load_fixtures, set_up
from ranvier.errors import RanvierError
from ranvier.settings import Settings


class CommandError(RanvierError):
    """The database cannot do what an operator asks for; the message says why."""


def open_database(settings: Settings) -> None:
    """Set Django up for a database that has its tables.

    Raises
    ------
    CommandError
        If it has none yet.
    """
    set_up(settings)
    from django.db import connection

    if "django_migrations" not in connection.introspection.table_names():
        raise CommandError(f"the database of {settings.home} has no tables", "make them with `ranvier db init`")


def bring_fixtures(settings: Settings) -> dict[str, dict[str, list[str]]]:
    """Bring the rows that come with Ranvier up to date, known by their names.

    Returns
    -------
    dict
        For each table, the names that were `added`, those that were `updated`, and those that were `left` as a person has changed them.
    """
    open_database(settings)
    return {table: vars(done) for table, done in load_fixtures().items()}


def make_cache(settings: Settings, tag: str = "") -> dict[str, Any]:
    """Make ONE's cache tables, whatever has changed since they were made.

    Parameters
    ----------
    settings
        Settings of the machine.
    tag
        Only datasets with this tag.

    Returns
    -------
    dict
        What ``/cache/info`` says, and the path of the `archive`.
    """
    open_database(settings)
    from ranvier.database.data.cache_tables import current, information
    from ranvier.database.data.models import Tag

    row = Tag.objects.filter(name=tag).first() if tag else None
    if tag and row is None:
        raise CommandError(
            f"there is no tag {tag!r}", f"those there are: {', '.join(Tag.objects.values_list('name', flat=True)) or 'none'}"
        )
    path = current(row, anew=True)
    return {**information(path), "archive": str(path)}
