"""Makes the database of this machine ready: secrets, tables, fixtures, users, the lab and its repository.

Everything here may be done again: what is there stays as it is.
"""

from __future__ import annotations

import argparse
import csv
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ranvier import settings as machine
from ranvier.database.engine import database_config
from ranvier.errors import RanvierError
from ranvier.settings import Settings

if TYPE_CHECKING:
    from django.db.models import Model

FIXTURES = Path(__file__).with_name("fixtures")
SECRETS: dict[str, Callable[[], str]] = {
    "django_key": lambda: secrets.token_urlsafe(50),
    "token": lambda: secrets.token_hex(20),
    "admin_password": lambda: secrets.token_urlsafe(12),
}


class BootstrapError(RanvierError):
    """The database cannot be made ready; the message holds what its own process said."""


def bootstrap(settings: Settings) -> None:
    """Make the database ready, in a process of its own, for Django can be set up but once in a process.

    Raises
    ------
    BootstrapError
        If that process fails.
    """
    create_secrets(settings)
    command = [sys.executable, "-m", "ranvier.database.bootstrap", "--url", settings.database_url]
    done = subprocess.run(command, env=environment(settings), capture_output=True, text=True)
    if done.returncode:
        raise BootstrapError(f"the database in {settings.home} cannot be made ready: {done.stderr.strip() or done.stdout.strip()}")


def environment(settings: Settings) -> dict[str, str]:
    """Environment variables of a process of the database."""
    return {**os.environ, "RANVIER_HOME": str(settings.home), "DJANGO_SETTINGS_MODULE": "ranvier.database.settings"}


def create_secrets(settings: Settings) -> None:
    """Write the secrets that are not there yet, readable by the owner only."""
    folder = settings.home / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, make in SECRETS.items():
        path = folder / name
        if not path.exists():
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(make())


def prepare(settings: Settings, url: str) -> None:
    """Make the database ready; Django is set up."""
    from django.core.management import call_command

    config = database_config(settings.database_engine)
    if "sqlite" in config["ENGINE"]:
        Path(config["NAME"]).parent.mkdir(parents=True, exist_ok=True)
    call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
    load_fixtures()
    create_users(settings)
    create_lab(settings, url)


def load_fixtures() -> None:
    """Add the rows of the fixtures whose names are not there yet."""
    from ranvier.database.actions.models import ProcedureType
    from ranvier.database.data.models import DataFormat, DataRepositoryType, DatasetType
    from ranvier.database.experiments.models import ProbeModel

    for file, model in (
        ("data_formats", DataFormat),
        ("dataset_types", DatasetType),
        ("procedures", ProcedureType),
        ("probe_models", ProbeModel),
        ("repository_types", DataRepositoryType),
    ):
        _add_rows(model, FIXTURES / f"{file}.csv")


def _add_rows(model: type[Model], path: Path) -> None:
    known = set(model.objects.values_list("name", flat=True))
    with path.open(newline="") as file:
        new = [row for row in csv.DictReader(file) if row["name"] not in known]
    for row in new:
        if "filename_pattern" in row:
            row["filename_pattern"] = row["filename_pattern"] or None
    model.objects.bulk_create([model(**row) for row in new], ignore_conflicts=True)


def create_users(settings: Settings) -> None:
    """The administrator `admin`, and the user under which the services sign in, with the machine's token."""
    from rest_framework.authtoken.models import Token

    from ranvier.database.people.models import User

    if not User.objects.filter(username="admin").exists():
        User.objects.create_superuser("admin", password=settings.secret("admin_password"))
    service, is_new = User.objects.get_or_create(username=settings.database.username)
    if is_new:
        service.set_unusable_password()
        service.save()
    key = settings.secret("token")
    if not Token.objects.filter(user=service, key=key).exists():
        Token.objects.filter(user=service).delete()
        Token.objects.create(user=service, key=key)


def create_lab(settings: Settings, url: str) -> None:
    """The lab of this machine and its repository, whose files the database serves below ``/data``."""
    from ranvier.database.data.models import DataRepository, DataRepositoryType
    from ranvier.database.people.models import Lab

    lab, _ = Lab.objects.get_or_create(name=settings.lab.name, defaults={"timezone": settings.lab.timezone})
    repository, _ = DataRepository.objects.update_or_create(
        name=settings.repository,
        defaults={"data_url": f"{url}/data/{settings.lab.name}/Subjects/"},
        create_defaults={
            "data_url": f"{url}/data/{settings.lab.name}/Subjects/",
            "globus_path": f"/{settings.lab.name}/Subjects/",
            "repository_type": DataRepositoryType.objects.get(name="Fileserver"),
            "timezone": settings.lab.timezone,
        },
    )
    lab.repositories.add(repository)
    settings.lab_root.mkdir(parents=True, exist_ok=True)


def main() -> None:
    """``python -m ranvier.database.bootstrap``."""
    import django

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="", help="address of the database, where it is not the one of the settings")
    arguments = parser.parse_args()
    settings = machine.load()
    create_secrets(settings)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ranvier.database.settings")
    django.setup()
    prepare(settings, arguments.url or settings.database_url)


if __name__ == "__main__":
    main()
