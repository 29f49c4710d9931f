"""What an import would bring: counted by the Alyx, without reading it."""

from __future__ import annotations

from typing import Any

from ranvier.database.imports.alyx import Alyx
from ranvier.database.imports.choice import Choice
from ranvier.database.imports.reading import OF_SESSIONS
from ranvier.database.imports.tables import CATALOGUE, CHANNELS, LITTERS, NOTES, OF_SUBJECTS, PAIRS, SESSIONS, SUBJECTS, WATER


def count(alyx: Alyx, choice: Choice) -> dict[str, Any]:
    """Rows of each table that there are to take, beside those that are here.

    Parameters
    ----------
    alyx
        Where they are.
    choice
        Which of them.

    Returns
    -------
    dict
        By table, how many are ``there`` and how many of any choice are ``here``.
    """
    asked: list[tuple[Any, list[str]]] = [(table, []) for table in (*CATALOGUE, LITTERS, PAIRS)]
    asked.append((SUBJECTS, choice.of_subjects()))
    asked += [(table, choice.of_subjects("subject")) for table in OF_SUBJECTS]
    asked.append((SESSIONS, choice.of_sessions()))
    asked += [(table, choice.of_sessions(path)) for table, path in OF_SESSIONS if table is not WATER]
    asked.append((WATER, choice.of_subjects("subject")))
    asked.append((CHANNELS, choice.of_sessions("trajectory_estimate__probe_insertion__session")))
    asked += [(NOTES, [])] if choice.is_everything else []
    tables = {}
    for table, terms in asked:
        if table.endpoint in alyx.endpoints:
            query = {"django": ",".join(terms)} if terms else {}
            tables[table.endpoint] = {"there": alyx.count(table.endpoint, **query), "here": table.model._base_manager.count()}
    return {"dry": True, "tables": tables, "remarks": [], "file": None, "not_taken": {}, "whole": True}
