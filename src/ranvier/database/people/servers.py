"""Lab servers: a lab, its data repository, and a user with a token for the machine that works on its data; made together."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rest_framework.authtoken.models import Token

from ranvier.database.data.models import DataRepository, DataRepositoryType
from ranvier.database.people.models import Lab, LabServer, User


@transaction.atomic
def ensure_server(lab: str, username: str = "", repository: str = "", timezone: str = "", data_url: str | None = None) -> LabServer:
    """The server of a lab; what there is of it stays as it is, and the rest is made.

    Parameters
    ----------
    lab
        Name of the lab.
    username
        User whom its services sign in as; ``<lab>_server`` where it is not said.
    repository
        Its data repository; likewise.
    timezone
        Time zone of a new lab's rigs; UTC where it is not said. `set_timezone` changes that of a known one.
    data_url
        Address of the folder ``<lab>/Subjects``, where it is served; None leaves that of a known repository as it is.
    """
    made, _ = Lab.objects.get_or_create(name=lab, defaults={"timezone": timezone or "UTC"})
    known = LabServer.objects.select_related("user", "repository").filter(lab=made).first()
    if known is None:
        user = _ensure_user(username or f"{lab}_server")
        known = LabServer.objects.create(lab=made, user=user, repository=_ensure_repository(made, repository or f"{lab}_server"))
    made.repositories.add(known.repository)
    if data_url is not None and known.repository.data_url != data_url:
        known.repository.data_url = data_url
        known.repository.save()
    return known


@transaction.atomic
def set_timezone(server: LabServer, timezone: str) -> None:
    """Say in which time zone a lab's rigs and its server's repository are."""
    for each in (server.lab, server.repository):
        if each.timezone != timezone:
            each.timezone = timezone
            each.save()


def token_of(server: LabServer) -> str:
    """The token with which its services sign in."""
    return str(Token.objects.get_or_create(user=server.user)[0].key)


def _ensure_user(username: str) -> User:
    user, is_new = User.objects.get_or_create(username=username)
    if is_new:
        user.set_unusable_password()
        user.save()
    return user


def _ensure_repository(lab: Lab, name: str) -> DataRepository:
    fields: dict[str, Any] = {
        "globus_path": f"/{lab.name}/Subjects/",
        "repository_type": DataRepositoryType.objects.get(name="Fileserver"),
        "timezone": lab.timezone,
    }
    return DataRepository.objects.get_or_create(name=name, defaults=fields)[0]
