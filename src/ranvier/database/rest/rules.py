"""Which lab a row of each table belongs to, and which role may write it: the one place that says so.

A table or an endpoint without a rule may not be written by anyone who belongs to a lab, and a test names it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class Area(enum.StrEnum):
    """Parts of the database that roles are about."""

    COLONY = "colony"
    NOTEBOOK = "notebook"
    DATA = "data"
    PIPELINE = "pipeline"
    LAB = "lab"
    OWN = "own"
    STAFF = "staff"


class Role(enum.StrEnum):
    """What somebody is in a lab; `SERVER` is not given to people, but to the user of the lab's server."""

    PUBLIC = "public"
    EXPERIMENTER = "experimenter"
    STOCK_MANAGER = "stock manager"
    LAB_ADMIN = "lab admin"
    DATA_ENGINEER = "data engineer"
    SERVER = "server"


ROLE_CHOICES = [
    (Role.PUBLIC.value, "Public: reads sessions of public projects"),
    (Role.EXPERIMENTER.value, "Experimenter"),
    (Role.STOCK_MANAGER.value, "Stock manager"),
    (Role.LAB_ADMIN.value, "Lab admin"),
    (Role.DATA_ENGINEER.value, "Data engineer"),
]
_WORK = frozenset({Area.COLONY, Area.NOTEBOOK, Area.DATA, Area.PIPELINE})
#: What a role writes of its lab's rows.
WRITES: dict[Role, frozenset[Area]] = {
    Role.PUBLIC: frozenset(),
    Role.EXPERIMENTER: _WORK,
    Role.STOCK_MANAGER: frozenset({Area.COLONY, Area.NOTEBOOK}),
    Role.LAB_ADMIN: _WORK | {Area.LAB},
    Role.DATA_ENGINEER: frozenset({Area.DATA, Area.PIPELINE}),
    Role.SERVER: _WORK,
}
#: What a role changes and deletes of rows that all labs share, to which any role adds that writes of the same kind in its lab.
CHANGES_SHARED: dict[Role, frozenset[Area]] = {
    Role.STOCK_MANAGER: frozenset({Area.COLONY}),
    Role.LAB_ADMIN: WRITES[Role.LAB_ADMIN],
    Role.DATA_ENGINEER: frozenset({Area.DATA}),
}


@dataclass(frozen=True)
class Rule:
    """The rule of a table.

    Attributes
    ----------
    area
        What it is a part of.
    labs
        Paths to the ids of the labs that a row belongs to; who writes it must be able to in all of them. Without any, all labs share the
        rows.
    when_added
        Paths to the ids of labs in which whoever adds a row must be able to write besides.
    session
        Path to the id of the session that decides who may read it.
    sessions
        Path to sessions of which every one must be readable, where a row tells of many.
    shows_to_public
        Path to the sessions of which one must be public for a public user to see the row, where no one session decides.
    open
        Whether everyone who signed in may read all of it.
    """

    area: Area
    labs: tuple[str, ...] = ()
    when_added: tuple[str, ...] = ()
    session: str = ""
    sessions: str = ""
    shows_to_public: str = ""
    open: bool = False


_OF_SUBJECT = Rule(Area.NOTEBOOK, ("subject__lab_id",))
_IN_COLONY = Rule(Area.COLONY, ("subject__lab_id",))
_SHARED_COLONY, _SHARED_NOTES, _SHARED_DATA = (Rule(area, open=True) for area in (Area.COLONY, Area.NOTEBOOK, Area.DATA))
_STAFF = Rule(Area.STAFF, open=True)


def _of_session(area: Area, path: str = "session") -> Rule:
    return Rule(area, (f"{path}__lab_id",), session=f"{path}_id")


RULES: dict[str, Rule] = {
    "people.User": _STAFF,
    "people.Lab": Rule(Area.LAB, ("id",), open=True),
    "people.LabServer": Rule(Area.PIPELINE, ("lab_id",), open=True),
    "people.LabMembership": Rule(Area.LAB, ("lab_id",), open=True),
    "people.LabLocation": Rule(Area.LAB, ("lab_id",), open=True),
    "people.Project": Rule(Area.LAB, open=True),
    "people.AccessToken": Rule(Area.OWN),
    "subjects.Subject": Rule(Area.COLONY, ("lab_id",), shows_to_public="actions_sessions__id"),
    "subjects.Species": _SHARED_COLONY,
    "subjects.Strain": _SHARED_COLONY,
    "subjects.Source": _SHARED_COLONY,
    "subjects.Line": _SHARED_COLONY,
    "subjects.Allele": _SHARED_COLONY,
    "subjects.Sequence": _SHARED_COLONY,
    "subjects.ZygosityRule": _SHARED_COLONY,
    "subjects.GrowthReference": _SHARED_COLONY,
    "subjects.SubjectRequest": Rule(Area.COLONY),
    "subjects.Zygosity": _IN_COLONY,
    "subjects.GenotypeTest": _IN_COLONY,
    "subjects.HumaneEndPoint": _IN_COLONY,
    "subjects.CageStay": Rule(Area.COLONY, ("subject__lab_id", "cage__lab_id")),
    "subjects.Cage": Rule(Area.COLONY, ("lab_id",)),
    "subjects.BreedingPair": Rule(Area.COLONY, ("father__lab_id", "mother1__lab_id", "mother2__lab_id")),
    "subjects.Litter": Rule(
        Area.COLONY, ("breeding_pair__father__lab_id", "breeding_pair__mother1__lab_id", "breeding_pair__mother2__lab_id")
    ),
    "actions.ProcedureType": _SHARED_NOTES,
    "actions.WaterType": _SHARED_NOTES,
    "actions.CullReason": _SHARED_NOTES,
    "actions.CullMethod": _SHARED_NOTES,
    "actions.Session": Rule(Area.NOTEBOOK, ("lab_id",), ("subject__lab_id",), "id"),
    "actions.Surgery": _OF_SUBJECT,
    "actions.VirusInjection": _OF_SUBJECT,
    "actions.OtherAction": _OF_SUBJECT,
    "actions.WaterRestriction": _OF_SUBJECT,
    "actions.Weighing": _OF_SUBJECT,
    "actions.WaterAdministration": _OF_SUBJECT,
    "actions.Cull": _IN_COLONY,
    "actions.Note": Rule(Area.NOTEBOOK),  # the labs are those of the row that it is on: access.labs_of
    "experiments.ProbeModel": _SHARED_NOTES,
    "experiments.CoordinateSystem": _SHARED_NOTES,
    "experiments.BrainRegion": _SHARED_NOTES,
    "experiments.ImagingType": _SHARED_NOTES,
    "experiments.ProbeInsertion": _of_session(Area.NOTEBOOK),
    "experiments.ChronicInsertion": _OF_SUBJECT,
    "experiments.TrajectoryEstimate": Rule(
        Area.NOTEBOOK, ("probe_insertion__session__lab_id", "chronic_insertion__subject__lab_id"), session="probe_insertion__session_id"
    ),
    "experiments.Channel": Rule(
        Area.NOTEBOOK,
        ("trajectory_estimate__probe_insertion__session__lab_id", "trajectory_estimate__chronic_insertion__subject__lab_id"),
        session="trajectory_estimate__probe_insertion__session_id",
    ),
    "experiments.FOV": _of_session(Area.NOTEBOOK),
    "experiments.FOVLocation": _of_session(Area.NOTEBOOK, "field_of_view__session"),
    "experiments.ImagingStack": Rule(Area.NOTEBOOK, ("slices__session__lab_id",), session="slices__session_id"),
    "data.DataRepositoryType": _SHARED_DATA,
    "data.DataFormat": _SHARED_DATA,
    "data.DatasetType": _SHARED_DATA,
    "data.Revision": _SHARED_DATA,
    "data.Tag": _SHARED_DATA,
    "data.DataRepository": Rule(Area.LAB, ("lab_set__id",), open=True),
    "data.Dataset": _of_session(Area.DATA),
    "data.FileRecord": _of_session(Area.DATA, "dataset__session"),
    "data.Download": Rule(Area.OWN),
    "data.DataNotice": _SHARED_DATA,
    "jobs.Task": _of_session(Area.PIPELINE),
    "jobs.Attempt": _of_session(Area.PIPELINE, "task__session"),
    "jobs.Failure": _of_session(Area.PIPELINE, "task__session"),
    "jobs.Event": Rule(Area.PIPELINE, ("lab_id", "session__lab_id"), session="session_id"),
    "jobs.Pause": Rule(Area.PIPELINE, ("lab_id",)),
    "reruns.Rerun": Rule(Area.PIPELINE, ("sessions__session__lab_id",), sessions="sessions__session"),
    "reruns.RerunSession": _of_session(Area.PIPELINE),
    "reruns.Backfill": Rule(Area.PIPELINE, ("sessions__session__lab_id",), sessions="sessions__session"),
    "reruns.BackfillSession": _of_session(Area.PIPELINE),
    "imports.Import": _STAFF,
    "imports.ImportedRow": _STAFF,
    "rest.KeptAnswer": Rule(Area.OWN),
    "rest.FailedSignIns": Rule(Area.STAFF),
    "rest.Change": _STAFF,
}

#: The tables that endpoints without a queryset of their own write or read.
ENDPOINTS: dict[str, str] = {
    "ObtainAuthToken": "people.AccessToken",
    "Me": "people.AccessToken",
    "TokenViewSet": "people.AccessToken",
    "History": "rest.Change",
    "SessionViewSet": "actions.Session",
    "TaskViewSet": "jobs.Task",
    "RerunViewSet": "reruns.Rerun",
    "WaterRequirement": "subjects.Subject",
    "NewDownload": "data.Download",
    "Uploaded": "actions.Note",
    "SyncFileStatus": "data.FileRecord",
    "CacheInfo": "actions.Session",
    "CacheArchive": "actions.Session",
    "RegisterFile": "data.Dataset",
    "CheckProtected": "data.Dataset",
    "Plans": "jobs.Task",
    "TaskCounts": "jobs.Task",
    "Cancellations": "jobs.Task",
    "ExpiredLeases": "jobs.Task",
    "Failures": "jobs.Attempt",
    "DataFile": "data.Dataset",
    "Figure": "actions.Session",
}


def rule_of(model: Any) -> Rule:
    """The rule of a table, by its model, a row or its label; without one only staff may write or read it."""
    return RULES.get(model if isinstance(model, str) else model._meta.label, Rule(Area.STAFF))


def table_of(view: type) -> str:
    """Label of the table that an endpoint is about.

    Raises
    ------
    LookupError
        If neither the view nor `ENDPOINTS` says so.
    """
    if label := ENDPOINTS.get(view.__name__):
        return label
    queryset = getattr(view, "queryset", None)
    if queryset is None:
        raise LookupError(f"{view.__name__} has no table: add it to ENDPOINTS in {__name__}")
    return str(queryset.model._meta.label)
