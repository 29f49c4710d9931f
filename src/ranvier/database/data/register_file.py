"""Endpoints ``/register-file`` and ``/check-protected``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ranvier.database.actions.models import Session
from ranvier.database.data.locations import Location, locate
from ranvier.database.data.models import DataRepository, Dataset
from ranvier.database.data.protection import protection, report
from ranvier.database.data.registration import File, Registration, datasets_of, register, session_of
from ranvier.database.people.models import Lab, User
from ranvier.database.rest.access import require
from ranvier.database.rest.fields import parse_qc
from ranvier.database.rest.rules import Area
from ranvier.database.rest.serializers import RequestSerializer


@extend_schema_field({"oneOf": [{"type": "array", "items": {}}, {"type": "string"}]})
class OneOrMany(serializers.Field):
    """A list; a single value, or names joined by commas, are taken for one."""

    def to_internal_value(self, data: Any) -> list[Any]:
        """The list."""
        if isinstance(data, str):
            return [part.strip() for part in data.split(",") if part.strip()]
        if isinstance(data, list):
            return data
        raise serializers.ValidationError(f"{data!r} is neither a list nor a text")


class RegisterFileSerializer(RequestSerializer):
    """Files to be registered; lists go with `filenames`."""

    path = serializers.CharField(help_text="<subject>/<yyyy-mm-dd>/<number>, perhaps with a collection")
    filenames = OneOrMany(help_text="Names, perhaps with the collection and the revision folder relative to `path`")
    created_by = serializers.CharField(required=False, allow_null=True, help_text="User name; default: whoever asks")
    name = serializers.CharField(required=False, allow_null=True, help_text="Repository where the files are")
    hostname = serializers.CharField(required=False, allow_null=True, help_text="The same, by the host's name")
    labs = OneOrMany(required=False, allow_null=True, help_text="Labs whose repositories get a file record; default: the session's")
    projects = OneOrMany(required=False, allow_null=True, help_text="Taken as Alyx takes it: without effect on the files of a session")
    hashes = OneOrMany(required=False, allow_null=True, help_text="md5")
    filesizes = OneOrMany(required=False, allow_null=True, help_text="Bytes")
    versions = OneOrMany(required=False, allow_null=True, help_text="Of the software that wrote the files")
    qc = OneOrMany(required=False, allow_null=True, help_text="Outcomes, by name or number; one stands for all")
    server_only = serializers.BooleanField(
        default=False, help_text="File records in served repositories only, and the files are in all of them"
    )
    default = serializers.BooleanField(default=True, help_text="Whether these become the revisions to load")
    exists = serializers.BooleanField(default=True, help_text="Whether the files are in the repository already")
    check_protected = serializers.BooleanField(default=False, help_text="Refuse where any revision is protected")
    content_type = serializers.CharField(required=False, allow_null=True)
    object_id = serializers.UUIDField(required=False, allow_null=True)

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Locate the files, and pair the lists with them."""
        if asked.get("content_type") not in (None, "session"):
            raise ValidationError({"content_type": ["only the files of sessions can be registered here so far"]})
        asked["files"] = _files(asked)
        return asked


def _files(asked: dict[str, Any]) -> list[File]:
    locations = locations_of(asked["path"], asked["filenames"])
    count = len(locations)
    sizes, hashes, versions = (_column(asked, name, count) for name in ("filesizes", "hashes", "versions"))
    outcomes = asked.get("qc") or []
    outcomes = [_qc(value) for value in (outcomes * count if len(outcomes) == 1 else _column(asked, "qc", count))]
    return [
        File(sent, location, _size(size), _text("hashes", md5), _text("versions", version), qc)
        for sent, location, size, md5, version, qc in zip(asked["filenames"], locations, sizes, hashes, versions, outcomes, strict=True)
    ]


def locations_of(path: str, filenames: Sequence[Any]) -> list[Location]:
    """Where files are; all of them in one session.

    Raises
    ------
    ValidationError
        If there are none, one is no path in a session, or one is there twice.
    """
    try:
        locations = [locate(path, _name(name)) for name in filenames]
    except ValueError as error:
        raise ValidationError({"path": [str(error)]}) from None
    if not locations:
        raise ValidationError({"filenames": ["no file is named"]})
    twice = sorted(location.relative_path for location, times in Counter(locations).items() if times > 1)
    if twice:
        raise ValidationError({"filenames": [f"named twice: {', '.join(twice)}"]})
    return locations


def _column(asked: dict[str, Any], name: str, count: int) -> list[Any]:
    values = asked.get(name) or [None] * count
    if len(values) != count:
        raise ValidationError({name: [f"{len(values)} values for {count} filenames; give one for each"]})
    return values


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no file name")
    return value


def _text(field: str, value: Any) -> str:
    """A hash or a version, as long as its column; a number is taken for its digits."""
    if value is not None and not (isinstance(value, (str, int, float)) and len(str(value)) <= 64 and str(value).isprintable()):
        raise ValidationError({field: [f"{str(value)[:80]!r} is not a text of 64 characters or less"]})
    return str(value or "")


def _size(value: Any) -> int | None:
    try:
        size = None if value is None else int(value)
    except (TypeError, ValueError):
        raise ValidationError({"filesizes": [f"{value!r} is not a number of bytes"]}) from None
    if size is not None and not 0 <= size < 2**63:
        raise ValidationError({"filesizes": [f"{value!r} is not a number of bytes"]})
    return size


def _qc(value: Any) -> int | None:
    try:
        return None if value is None else int(parse_qc(value))
    except ValueError as error:
        raise ValidationError({"qc": [str(error)]}) from None


def registration(asked: dict[str, Any], user: User) -> Registration:
    """Look up what the request names."""
    session = session_of(asked["files"][0].location)
    named = _named_repository(asked)
    labs = _labs(asked) or [session.lab]
    repositories = list(DataRepository.objects.filter(lab_set__in=labs).distinct())
    if asked["server_only"]:
        repositories = [repository for repository in repositories if not repository.globus_is_personal]
    repositories += [named] if named and named not in repositories else []
    if not repositories:
        raise ValidationError({"name": [f"lab {labs[0]} has no repository; name one, or add one to the lab"]})
    # Where none is named, the files can only be in the one there is.
    here = repositories if asked["server_only"] or (named is None and len(repositories) == 1) else [named] if named else []
    exists_in = frozenset(repository.pk for repository in here if asked["exists"])
    return Registration(session, asked["files"], _author(asked, user), repositories, exists_in, asked["default"], asked["check_protected"])


def _named_repository(asked: dict[str, Any]) -> DataRepository | None:
    name, host = asked.get("name"), asked.get("hostname")
    if not name and not host:
        return None
    found = DataRepository.objects.filter(Q(name=name) if name else Q(hostname=host)).first()
    if found is None:
        raise ValidationError({"name": [f"no repository {name or host}; GET /data-repository lists those there are"]})
    return found


def _labs(asked: dict[str, Any]) -> list[Lab]:
    names = [str(name) for name in asked.get("labs") or []]
    labs = list(Lab.objects.filter(name__in=names))
    if missing := sorted(set(names) - {lab.name for lab in labs}):
        raise ValidationError({"labs": [f"no lab {', '.join(missing)}; GET /labs lists those there are"]})
    return labs


def _author(asked: dict[str, Any], user: User) -> User:
    name = asked.get("created_by")
    author = User.objects.filter(username=name).first() if name else user
    if author is None:
        raise ValidationError({"created_by": [f"no user {name!r}; GET /users lists those there are"]})
    return author


def answer(datasets: Sequence[Dataset], session: Session) -> list[dict[str, Any]]:
    """Registered datasets, as Alyx tells of them."""
    common = {
        "subject": session.subject.nickname,
        "session": str(session.pk),
        "session_number": session.number,
        "session_users": ",".join(user.username for user in session.users.all()),
        "session_start_time": session.start_time.isoformat(),
    }
    return [{**common, **_told(dataset)} for dataset in datasets]


def _told(dataset: Dataset) -> dict[str, Any]:
    return {
        "id": str(dataset.pk),
        "name": dataset.name,
        "file_size": dataset.file_size,
        "created_by": dataset.created_by.username if dataset.created_by else None,
        "created_datetime": dataset.created_datetime.isoformat(),
        "dataset_type": dataset.dataset_type.name,
        "data_format": dataset.data_format.name,
        "collection": dataset.collection,
        "revision": dataset.revision.name if dataset.revision else "",
        "default": dataset.default_dataset,
        "qc": dataset.qc,
        "file_records": [
            {"id": str(r.pk), "data_repository": r.data_repository.name, "relative_path": r.relative_path, "exists": r.exists}
            for r in dataset.file_records.all()
        ],
    }


class RegisterFile(APIView):
    """Registers the files of a session."""

    @extend_schema(request=RegisterFileSerializer, responses={201: OpenApiTypes.OBJECT}, operation_id="register_file_create")
    def post(self, request: Request) -> Response:
        """``POST /register-file``."""
        form = RegisterFileSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = registration(form.validated_data, request.user)
        require(Area.DATA, {asked.session.lab_id})
        return Response(answer(register(asked), asked.session), status.HTTP_201_CREATED)


class CheckProtected(APIView):
    """Tells whether files may be registered again."""

    @extend_schema(responses=OpenApiTypes.OBJECT, operation_id="check_protected_list")
    def get(self, request: Request) -> Response:
        """``GET /check-protected`` with `path` and `filenames`, in the body as ONE sends them or in the query.

        The answer's own `status_code` is 403 where a file is protected; HTTP's is 200, for ONE reads the body.
        """
        asked = {**request.query_params.dict(), **(request.data if isinstance(request.data, dict) else {})}
        try:
            filenames = OneOrMany().to_internal_value(asked["filenames"])
            locations = locations_of(str(asked["path"]), filenames)
        except KeyError as error:
            raise ValidationError({error.args[0]: ["is missing"]}) from None
        session = session_of(locations[0])
        known = datasets_of(session, locations)
        body = report([str(name) for name in filenames], [protection(location, known) for location in locations])
        return Response(body)
