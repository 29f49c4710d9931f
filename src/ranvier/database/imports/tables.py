"""What is imported: for each endpoint the table, its columns by the names that REST gives them, and what is odd about its rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db.models import Model

from ranvier.database.imports import oddities
from ranvier.database.imports.references import as_id, called

Json = dict[str, Any]
#: For ids of rows that Alyx gives none: the same row gets the same one each time.
NAMESPACE = uuid.UUID("6f1c1f5e-8d38-5f6c-9a44-5d0c1b8a5b0e")


@dataclass(frozen=True, eq=False)
class Table:
    """An endpoint, and the table that its rows come into.

    Attributes
    ----------
    endpoint
        Name in addresses, and in what is told.
    label
        The table, such as ``data.Dataset``.
    fields
        Columns that are taken, by the names that both REST and the model give them.
    links
        Many-to-many relations that are taken.
    named
        Whether rows are known by what they are called: one that is here by its name is the same, whatever its id.
    parts
        Fields in which a row holds rows of other tables, with the names of those tables.
    mend
        Makes a row there one that can be taken here.
    needs
        Columns that may be empty, but without what they point to a row is not taken.
    identify
        Fields whose values tell a row apart, where REST gives no id.
    new
        Values that a row gets once, when it is made.
    """

    endpoint: str
    label: str
    fields: tuple[str, ...]
    links: tuple[str, ...] = ()
    named: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)
    mend: Callable[[Json], Json] = dict
    needs: tuple[str, ...] = ()
    identify: tuple[str, ...] = ()
    new: Callable[[], Json] = dict

    @property
    def model(self) -> type[Model]:
        """The table's model."""
        return apps.get_model(self.label)

    def id_of(self, row: Json) -> uuid.UUID | None:
        """The id that a row has there, or that it always gets here; None where there is nothing to tell it by."""
        if (given := as_id(row.get("id") or row.get("url") or "")) is not None:
            return given
        if not self.identify:
            return None
        return uuid.uuid5(NAMESPACE, "/".join([self.label, *(str(row.get(name)) for name in self.identify)]))

    def address_of(self, row: Json) -> str:
        """How a row is called in what is told."""
        name = row.get(called(self.model)) if self.named or self.endpoint == "subjects" else row.get("id") or as_id(row.get("url") or "")
        return f"/{self.endpoint}/{name or ', '.join(str(row.get(part)) for part in self.identify)}"

    def strange(self, row: Json) -> set[str]:
        """Fields of a row that hold something and are neither taken nor made anew here."""
        known = {*self.fields, *self.links, *self.parts, *MADE_HERE, *MADE_HERE_OF.get(self.endpoint, ())}
        return {name for name, value in row.items() if name not in known and value not in (None, "", [], {})}


#: What is reckoned from other rows, or says where something is; it is the same here without being taken.
MADE_HERE = frozenset({"id", "url", "auto_datetime", "session_info"})
MADE_HERE_OF: dict[str, frozenset[str]] = {
    endpoint: frozenset(names.split())
    for endpoint, names in {
        "users": "subjects_responsible lab",
        "subjects": "age_weeks session_projects alive reference_weight last_water_restriction expected_water remaining_water cage",
        "sessions": "wateradmin_session_related data_dataset_session_related probe_insertion field_of_view notes",
        "datasets": "experiment_number protected public subject date number",
        "file-records": "data_repository_path data_url",
        "trajectories": "session probe_name datetime",
        "tasks": "datetime attempt lease_until leased flow_run cancel_requested cancelled_by qc",
        "chronic-insertions": "probe_insertion",
        "litters": "subjects",
        "data-notices": "description_html",
    }.items()
}

_ACTION = ("subject", "lab", "location", "name", "narrative", "start_time", "end_time", "json")


def _table(endpoint: str, label: str, fields: str, **more: Any) -> Table:
    more["links"] = tuple(more.get("links", "").split())
    more["needs"] = tuple(more.get("needs", "").split())
    more["identify"] = tuple(more.get("identify", "").split())
    return Table(endpoint, label, tuple(fields.split()), **more)


def _named(endpoint: str, label: str, fields: str = "", **more: Any) -> Table:
    return _table(endpoint, label, f"name json {fields}", named=True, **more)


#: What labs share, in an order in which each finds what it points to. What Alyx has no endpoint of is read where the source has one.
CATALOGUE = (
    _named("data-repository-type", "data.DataRepositoryType"),
    _named("data-repository", "data.DataRepository",
           "timezone globus_path hostname data_url repository_type globus_endpoint_id globus_is_personal"),
    _named("labs", "people.Lab", "institution address timezone reference_weight_pct zscore_weight_pct", links="repositories"),
    _table("users", "people.User", "username email is_stock_manager is_public_user is_active", links="allowed_users", named=True,
           parts={"memberships": "memberships"}, mend=oddities.user, new=oddities.no_password),
    _named("locations", "people.LabLocation", "lab"),
    _table("projects", "people.Project", "name description public", links="users", named=True),
    _named("procedures", "actions.ProcedureType", "description"),
    _named("water-type", "actions.WaterType"),
    _named("data-formats", "data.DataFormat", "description file_extension matlab_loader_function python_loader_function"),
    _named("dataset-types", "data.DatasetType", "created_by description filename_pattern", mend=oddities.dataset_type),
    _named("revisions", "data.Revision", "description created_datetime"),
    _named("tags", "data.Tag", "description protected public hash"),
    _named("species", "subjects.Species", "nickname"),
    _named("strains", "subjects.Strain", "description"),
    _named("sources", "subjects.Source", "notes"),
    _named("alleles", "subjects.Allele", "standard_name description"),
    _named("sequences", "subjects.Sequence", "base_pairs description"),
    _named("lines", "subjects.Line", "nickname description target_phenotype species strain", links="alleles sequences"),
    _table("zygosity-rules", "subjects.ZygosityRule",
           "line allele sequence0 sequence0_result sequence1 sequence1_result zygosity json"),
    _table("growth-references", "subjects.GrowthReference", "sex age_weeks mean sd json"),
    _named("cages", "subjects.Cage", "lab cage_type enrichment food light_cycle cage_cleaning_frequency_days"),
)  # fmt: skip

SUBJECTS = _table(
    "subjects", "subjects.Subject",
    "nickname lab responsible_user species strain source line litter sex birth_date wean_date genotype_date death_date reduced_date "
    "ear_mark protocol_number description adverse_effects actual_severity to_be_genotyped to_be_culled json",
    links="projects", parts={"genotype": "genotypes"}, mend=oddities.subject,
)  # fmt: skip

#: What is done with animals outside of sessions; the path in each leads to the animal.
OF_SUBJECTS = (
    _table("weighings", "actions.Weighing", "subject date_time weight user json"),
    _table("water-restriction", "actions.WaterRestriction", "subject lab start_time end_time water_type reference_weight narrative json",
           identify="subject start_time", mend=oddities.action),
    _table("surgeries", "actions.Surgery", " ".join((*_ACTION, "outcome_type implant_weight")), links="users procedures",
           mend=oddities.action),
    _table("virus-injections", "actions.VirusInjection",
           " ".join((*_ACTION, "surgery virus_batch injection_volume rate_of_injection injection_type brain_region x y z")),
           links="users procedures", mend=oddities.action),
    _table("other-actions", "actions.OtherAction", " ".join(_ACTION), links="users procedures", mend=oddities.action),
    _table("genotype-tests", "subjects.GenotypeTest", "subject sequence test_result date json"),
    _table("cage-stays", "subjects.CageStay", "subject cage start_date end_date json"),
    _table("humane-end-points", "subjects.HumaneEndPoint", "subject criterion min_weight_pct reached_on action_taken json"),
    _table("chronic-insertions", "experiments.ChronicInsertion", "subject lab name model start_time serial json",
           mend=oddities.action),
    _table("culls", "actions.Cull", "subject user date reason method humane_end_point description json"),
)  # fmt: skip
#: Pairs and litters name animals, and animals litters.
PAIRS = _named("breeding-pairs", "subjects.BreedingPair", "line father mother1 mother2 start_date end_date description")
LITTERS = _named("litters", "subjects.Litter", "line breeding_pair birth_date description")

SESSIONS = _table(
    "sessions", "actions.Session",
    "subject lab location name narrative start_time end_time json type number date task_protocol n_trials n_correct_trials qc extended_qc",
    links="users procedures projects", mend=oddities.session, parts={"parent_session": ""},
)  # fmt: skip
DATASETS = _table(
    "datasets", "data.Dataset",
    "name session collection revision dataset_type data_format file_size hash version default_dataset qc created_by created_datetime json",
    links="tags", parts={"file_records": "file-records"}, mend=oddities.dataset, needs="session",
)  # fmt: skip
INSERTIONS = _table("insertions", "experiments.ProbeInsertion", "session name model serial chronic_insertion json", links="datasets")
TRAJECTORIES = _table(
    "trajectories", "experiments.TrajectoryEstimate",
    "probe_insertion chronic_insertion provenance coordinate_system x y z depth theta phi roll json",
    mend=oddities.trajectory, needs="probe_insertion",
)  # fmt: skip
CHANNELS = _table(
    "channels", "experiments.Channel", "trajectory_estimate brain_region name axial lateral x y z json", needs="trajectory_estimate"
)
STACKS = _table("imaging-stack", "experiments.ImagingStack", "name json", parts={"slices": ""})
FIELDS_OF_VIEW = _table(
    "fields-of-view", "experiments.FOV", "session name imaging_type stack json", links="datasets", parts={"location": "fov-location"}
)
TASKS = _table(
    "tasks", "jobs.Task",
    "session name executable graph version arguments device data_repository level priority io_charge cpu gpu ram time_out_secs status "
    "reason log identity receipt outputs time_elapsed_secs json",
    links="parents", mend=oddities.task,
)  # fmt: skip
WATER = _table(
    "water-administrations", "actions.WaterAdministration", "subject date_time water_administered water_type user session adlib json"
)
NOTES = _table("notes", "actions.Note", "user date_time text image content_type object_id json")
NOTICES = _table(
    "data-notices", "data.DataNotice",
    "name description importance version_affected affected_date_start affected_date_end created_by created_datetime json", links="datasets",
)  # fmt: skip
DOWNLOADS = _table("downloads", "data.Download", "user dataset count json")

#: Rows that others hold.
PARTS = {
    table.endpoint: table
    for table in (
        _table("memberships", "people.LabMembership", "user lab", identify="user lab"),
        _table("genotypes", "subjects.Zygosity", "subject allele zygosity", identify="subject allele"),
        _table("file-records", "data.FileRecord", "dataset data_repository relative_path exists", mend=oddities.file_record),
        _table("fov-location", "experiments.FOVLocation",
               "field_of_view provenance default_provenance coordinate_system x y z n_xyz json", links="brain_region"),
    )
}  # fmt: skip
#: The column in which a part names the row that holds it.
HOLDER = {"memberships": "user", "genotypes": "subject", "file-records": "dataset", "fov-location": "field_of_view"}
