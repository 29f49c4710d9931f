"""Makes the database of this machine ready: secrets, tables, fixtures, users, the lab and its repository.

Everything here may be done again: what is there stays as it is.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ranvier import settings as machine
from ranvier.database.engine import database_config
from ranvier.database.safety import refuse_unsafe, refuse_weak_password
from ranvier.errors import RanvierError
from ranvier.settings import Settings

if TYPE_CHECKING:  # Django is set up before it can be imported
    from ranvier.database.shipped_rows import Loaded

FIXTURES = Path(__file__).with_name("fixtures")
SECRETS: dict[str, Callable[[], str]] = {
    "django_key": lambda: secrets.token_urlsafe(50),
    "token": lambda: secrets.token_hex(20),
    "admin_password": lambda: secrets.token_urlsafe(12),
}
#: What only a centre has: other machines reach its Prefect, and whoever does can run anything on the lab servers.
CENTRE_SECRETS: dict[str, Callable[[], str]] = {"prefect_auth": lambda: f"ranvier:{secrets.token_urlsafe(12)}"}


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
    refuse_unsafe(settings)
    command = [sys.executable, "-m", "ranvier.database.bootstrap", "--url", settings.database_url]
    done = subprocess.run(command, env=environment(settings), capture_output=True, text=True)
    if done.returncode:
        raise BootstrapError(f"the database in {settings.home} cannot be made ready: {done.stderr.strip() or done.stdout.strip()}")


def environment(settings: Settings) -> dict[str, str]:
    """Environment variables of a process of the database."""
    return {**os.environ, "RANVIER_HOME": str(settings.home), "DJANGO_SETTINGS_MODULE": "ranvier.database.settings"}


def set_up(settings: Settings) -> None:
    """Set Django up in this process, for this machine's database.

    Raises
    ------
    BootstrapError
        If this machine has none, because it is a lab's server.
    """
    if settings.machine.role == "lab":
        raise BootstrapError(f"the database of this lab is at {settings.database_url}", "run this on the machine that serves it")
    import django

    os.environ.update(environment(settings))
    django.setup()


def create_secrets(settings: Settings) -> None:
    """Write the secrets that are not there yet, readable by the owner only."""
    folder = settings.home / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = SECRETS | (CENTRE_SECRETS if settings.machine.role == "centre" else {})
    for name, make in wanted.items():
        path = folder / name
        if not path.exists():
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(make())


def make_folder(settings: Settings) -> None:
    """Make the folder of the embedded database's file."""
    config = database_config(settings.database_engine)
    if "sqlite" in config["ENGINE"]:
        Path(config["NAME"]).parent.mkdir(parents=True, exist_ok=True)


def prepare(settings: Settings, url: str) -> None:
    """Make the database ready; Django is set up."""
    from django.core.management import call_command

    make_folder(settings)
    call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
    load_fixtures()
    create_users(settings)
    if settings.machine.role == "all":
        create_lab(settings, url)


def load_fixtures() -> dict[str, Loaded]:
    """Add the rows of the fixtures that are not there yet, and bring those up to date that nobody has changed; says which, by table."""
    from ranvier.database.actions.models import CullMethod, CullReason, ProcedureType, WaterType
    from ranvier.database.data.models import DataFormat, DataRepositoryType, DatasetType
    from ranvier.database.experiments.models import CoordinateSystem, ImagingType, ProbeModel
    from ranvier.database.experiments.regions import load_regions
    from ranvier.database.shipped_rows import load_rows

    tables = (
        ("data_formats", DataFormat),
        ("dataset_types", DatasetType),
        ("procedures", ProcedureType),
        ("probe_models", ProbeModel),
        ("repository_types", DataRepositoryType),
        ("water_types", WaterType),
        ("cull_reasons", CullReason),
        ("cull_methods", CullMethod),
        ("coordinate_systems", CoordinateSystem),
        ("imaging_types", ImagingType),
    )
    done = {table: load_rows(model, FIXTURES / f"{table}.csv") for table, model in tables}
    load_regions(FIXTURES / "brain_regions.csv")
    return done


def create_users(settings: Settings) -> None:
    """The administrator `admin`, and the user under which the services sign in, with the machine's token."""
    from rest_framework.authtoken.models import Token

    from ranvier.database.people.models import User

    if not User.objects.filter(username="admin").exists():
        refuse_weak_password(settings)
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
    from ranvier.database.people.servers import ensure_server

    data_url = f"{url}/data/{settings.lab.name}/Subjects/"
    ensure_server(settings.lab.name, settings.database.username, settings.repository, settings.lab.timezone, data_url)
    settings.lab_root.mkdir(parents=True, exist_ok=True)


def main() -> None:
    """``python -m ranvier.database.bootstrap``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="", help="address of the database, where it is not the one of the settings")
    arguments = parser.parse_args()
    settings = machine.load()
    create_secrets(settings)
    set_up(settings)
    prepare(settings, arguments.url or settings.database_url)


if __name__ == "__main__":
    main()
