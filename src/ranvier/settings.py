"""Settings of one machine: where its state is, which lab it serves, where the services are.

Everything lives in one folder, the *home* (``$RANVIER_HOME``, else ``~/.ranvier``)::

    config.toml     what is below, written with comments at the first start
    secrets/        django_key, token, admin_password (readable by the owner only)
    database/       db.sqlite3
    prefect/        Prefect's own state
    logs/           a log for each service
    run/            state.json: process ids and addresses of a running `ranvier up`
    data/           the lab's data, unless lab.root says otherwise
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ranvier.errors import RanvierError

DEFAULT_CONFIG = """\
# Settings of this machine; `ranvier doctor` checks them. A setting that is not here has the default shown in docs/settings.md.

[lab]
name = "{lab}"

[registration]
unknown_subject = "{unknown_subject}"   # "refuse", or "create" the subject when a session brings an unknown one

# [tasks.spike_sorting]
# parameters = {{ sorter = "spykingcircus2" }}
# resources = {{ cpu = 8, memory_gb = 32 }}
"""


class SettingsError(RanvierError):
    """The settings cannot be read; the message names the file, the reason and the mend."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LabSettings(_Section):
    """The lab that this server works for."""

    name: str = Field("lab", pattern=r"^\w+$", description="Name of the lab, as in the database and in session paths.")
    root: str = Field("", description="Folder of <subject>/<date>/<number>; must end in <lab>/Subjects. Default: data/<lab>/Subjects.")
    repository: str = Field("", description="Name of this server's data repository in the database. Default: <lab>_server.")
    timezone: str = Field("UTC", description="Time zone of the rigs.")


class RegistrationSettings(_Section):
    """How sessions are registered."""

    unknown_subject: Literal["refuse", "create"] = Field("refuse", description="What to do with a subject that the database does not know.")
    settle_s: float = Field(1.0, ge=0, description="Seconds in which no file of a session may change before it counts as copied.")
    scan_s: float = Field(60.0, gt=0, description="Seconds between full scans, beside the file system's own notifications.")


class PortSettings(_Section):
    """TCP ports on this machine."""

    host: str = Field("127.0.0.1", description="Address on which the services listen.")
    database: int = Field(8000, description="The database.")
    prefect: int = Field(4200, description="Prefect's server and UI.")
    dask: int = Field(8786, description="Dask's scheduler.")
    dask_dashboard: int = Field(8787, description="Dask's dashboard.")


class DatabaseSettings(_Section):
    """The database: where it is, and, on the machine that runs it, what it stands on."""

    url: str = Field("", description="Address of the database; default: the one that `ranvier up` runs here.")
    username: str = Field("ranvier", description="User under which the services sign in.")
    engine: str = Field("", description="Database URL such as postgresql://user:password@host/name; default: SQLite in database/.")


class PrefectSettings(_Section):
    """Prefect."""

    api_url: str = Field("", description="Address of Prefect's API; default: the one that `ranvier up` runs here.")


class ClusterSettings(_Section):
    """The lab's Dask cluster."""

    address: str = Field("", description="Address of an existing scheduler; default: the one that `ranvier up` runs here.")
    cpu: int = Field(0, ge=0, description="Cores that the local worker offers; 0: all of them.")
    gpu: int = Field(0, ge=0, description="GPUs that the local worker offers.")
    memory_gb: float = Field(0.0, ge=0, description="Gigabytes that the local worker offers; 0: what the machine has.")


class AttemptSettings(_Section):
    """How attempts are looked after."""

    lease_s: float = Field(60.0, gt=0, description="Seconds after which a task whose worker fell silent is given back.")
    heartbeat_s: float = Field(5.0, gt=0, description="Seconds between heartbeats.")


class TaskSettings(_Section):
    """What the lab sets for one task."""

    enabled: bool = Field(True, description="Whether the lab runs this task.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Parameter values instead of the task's defaults.")
    resources: dict[str, float] = Field(default_factory=dict, description="cpu, gpu, memory_gb, timeout_s instead of the task's own.")


class Settings(_Section):
    """All settings of a machine."""

    home: Path
    lab: LabSettings = LabSettings()
    registration: RegistrationSettings = RegistrationSettings()
    ports: PortSettings = PortSettings()
    database: DatabaseSettings = DatabaseSettings()
    prefect: PrefectSettings = PrefectSettings()
    cluster: ClusterSettings = ClusterSettings()
    attempts: AttemptSettings = AttemptSettings()
    tasks: dict[str, TaskSettings] = {}
    environments: dict[str, str] = Field(default_factory=dict, description="Python interpreters by the name that tasks give them.")

    @property
    def lab_root(self) -> Path:
        """Folder of the lab's sessions, ``.../<lab>/Subjects``."""
        root = Path(self.lab.root or Path("data", self.lab.name, "Subjects")).expanduser()
        return root if root.is_absolute() else self.home / root

    @property
    def repository(self) -> str:
        """Name of this server's data repository."""
        return self.lab.repository or f"{self.lab.name}_server"

    @property
    def database_url(self) -> str:
        """Address of the database, without a slash at its end."""
        return (self.database.url or f"http://{self.ports.host}:{self.ports.database}").rstrip("/")

    @property
    def database_engine(self) -> str:
        """Database URL for Django."""
        return self.database.engine or f"sqlite:///{self.home / 'database' / 'db.sqlite3'}"

    @property
    def prefect_api_url(self) -> str:
        """Address of Prefect's API, ending in ``/api``."""
        return self.prefect.api_url or f"http://{self.ports.host}:{self.ports.prefect}/api"

    @property
    def prefect_ui_url(self) -> str:
        """Address of Prefect's UI."""
        return self.prefect_api_url.removesuffix("/api")

    @property
    def cluster_address(self) -> str:
        """Address of the Dask scheduler."""
        return self.cluster.address or f"tcp://{self.ports.host}:{self.ports.dask}"

    @property
    def work_folder(self) -> Path:
        """Scratch, attempt logs and locks: beside the data, so that outputs are moved into place by a rename."""
        return self.lab_root.parent / ".ranvier"

    def task(self, name: str) -> TaskSettings:
        """What the lab sets for a task; defaults where it sets nothing."""
        return self.tasks.get(name, TaskSettings())

    def secret(self, name: str) -> str:
        """A secret of this machine: the environment's ``RANVIER_<NAME>``, else the file ``secrets/<name>``.

        Raises
        ------
        SettingsError
            If there is none.
        """
        if value := os.environ.get(f"RANVIER_{name.upper()}"):
            return value
        path = self.home / "secrets" / name
        try:
            return path.read_text().strip()
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}; start `ranvier up` once, or set RANVIER_{name.upper()}") from None


def home_folder(home: Path | str | None = None) -> Path:
    """The home: the argument, else ``$RANVIER_HOME``, else ``~/.ranvier``."""
    return Path(home or os.environ.get("RANVIER_HOME") or Path.home() / ".ranvier").expanduser().absolute()


def load(home: Path | str | None = None) -> Settings:
    """Read the settings.

    Parameters
    ----------
    home
        The home folder; see `home_folder`.

    Raises
    ------
    SettingsError
        If ``config.toml`` is not valid; it names the file, the setting and what is wrong with it.
    """
    folder = home_folder(home)
    path = folder / "config.toml"
    try:
        content = tomllib.loads(path.read_text()) if path.exists() else {}
        return Settings(home=folder, **content)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"{path}: {wrong}; docs/settings.md lists every setting") from None


def initialise(home: Path | str | None = None, *, lab: str = "lab", unknown_subject: str = "refuse") -> Settings:
    """Read the settings, writing ``config.toml`` first where there is none."""
    folder = home_folder(home)
    path = folder / "config.toml"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(DEFAULT_CONFIG.format(lab=lab, unknown_subject=unknown_subject))
    return load(folder)
