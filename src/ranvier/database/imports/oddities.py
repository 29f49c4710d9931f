"""What rows of an Alyx have that rows here cannot have, made what they can; what cannot be told is left to the conversion to refuse."""

from __future__ import annotations

import os
import re
from typing import Any

from ranvier.states import Status

Json = dict[str, Any]


def no_password() -> Json:
    """Passwords do not come along: who is to sign in gets one here."""
    from django.contrib.auth.hashers import make_password

    return {"password": make_password(None)}


def user(row: Json) -> Json:
    """The labs of a user are memberships; Alyx may tell them as a text such as ``['cortexlab']``."""
    labs = row.get("lab") or []
    labs = re.findall(r"[\w-]+", labs) if isinstance(labs, str) else labs
    return {**row, "email": row.get("email") or "", "memberships": [{"lab": lab} for lab in labs]}


def dataset_type(row: Json) -> Json:
    """Patterns are kept in small letters, and no pattern as null."""
    return {**row, "filename_pattern": (row.get("filename_pattern") or "").strip().lower() or None}


def subject(row: Json) -> Json:
    """Alyx's admin stores a sex that nobody chose as an empty text."""
    return {**row, "sex": row.get("sex") or "U"}


def action(row: Json) -> Json:
    """What is done with an animal is done in its lab, where nothing else is said."""
    return {name: value for name, value in row.items() if name != "lab" or value is not None}


def session(row: Json) -> Json:
    """No number is number 0, as ONE reads it; no lab is the subject's."""
    row = {**row, "number": row.get("number") or 0, "date": str(row.get("start_time"))[:10]}
    return action({**row, "type": row.get("type") or "", "task_protocol": row.get("task_protocol") or ""})


def dataset(row: Json) -> Json:
    """An empty text is no revision; a format that is not named, or that Alyx does not know, is that of the extension."""
    row = {**row, "revision": row.get("revision") or None, "qc": row.get("qc") or "NOT_SET"}
    return (
        row if row.get("data_format") not in (None, "", "unknown") else {**row, "data_format": os.path.splitext(row.get("name") or "")[1]}
    )


def file_record(row: Json) -> Json:
    """Paths are written with single slashes."""
    return {**row, "relative_path": str(row.get("relative_path") or "").replace("\\", "/").lstrip("/")}


def trajectory(row: Json) -> Json:
    """Of two owners the insertion of the session counts; a chronic one may stand beside it."""
    return {**row, "coordinate_system": row.get("coordinate_system") or None}


def task(row: Json) -> Json:
    """What was running there does not run here, and nobody will tell of it: it waits."""
    if str(row.get("status")).capitalize() == Status.STARTED.label:
        row = {**row, "status": Status.WAITING.label, "reason": "it was Started in the Alyx from which it was imported"}
    return {**row, "executable": row.get("executable") or "", "graph": row.get("graph") or ""}
