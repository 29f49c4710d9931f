"""Why the database does not take a row, in words where there are some."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from ranvier.database.imports.conversion import Converted
from ranvier.database.imports.tables import Table


def why(table: Table, row: Converted, error: Exception) -> str:
    """Why a row was not taken: which rule it breaks, and where the row is that stands in its place; else what the database says."""
    try:
        instance = table.model(pk=row.key, **row.values)
        instance.validate_unique()
        instance.validate_constraints()
    except ValidationError as invalid:
        told = " ".join(invalid.messages)
        return f"{told} ({_twin(table, row)})" if _twin(table, row) else told
    return str(error).strip().splitlines()[-1].removeprefix("DETAIL:").strip()


def _twin(table: Table, row: Converted) -> str:
    """Where the row stands that is here in its place: of a session, whose clash is the commonest."""
    if table.label != "actions.Session":
        return ""
    same = {name: row.values.get(name) for name in ("subject_id", "date", "number")}
    other = table.model._base_manager.filter(**same).first()
    return f"{other} is here as {other.pk}" if other else ""
