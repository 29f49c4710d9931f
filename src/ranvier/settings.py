"""Settings of one machine: where its state is, which lab it serves, where the services are.

Everything lives in one folder, the *home* (``$RANVIER_HOME``, else ``~/.ranvier``)::

    config.toml     what is below, written with comments at the first start
    secrets/        django_key, token, admin_password (readable by the owner only)
    database/       db.sqlite3
    cache/          ONE's tables for working offline, made anew when they are asked for
    backups/        what `ranvier db backup` writes, unless it is told where to
    prefect/        Prefect's own state
    logs/           a log for each service
    run/            state.json: process ids and addresses of a running `ranvier up`
    data/           the lab's data, unless lab.root says otherwise
"""

from __future__ import annotations

import functools
import ipaddress
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ranvier.errors import RanvierError

#: What `begin` fills in: its content, section by section, and all of ``[ports]``.
DEFAULT_CONFIG = """\
# Settings of this machine; `ranvier doctor` checks them. A setting that is not here has the default shown in docs/settings.md.

[lab]
name = {lab[name]}

[registration]
unknown_subject = {registration[unknown_subject]}   # "refuse", or "create" the subject when a session brings an unknown one

{ports}

# [tasks.spike_sorting]
# parameters = {{ sorter = "spykingcircus2" }}
# resources = {{ cpu = 8, memory_gb = 32 }}
"""
CENTRE_CONFIG = """\
# Settings of this centre; `ranvier doctor` checks them. A setting that is not here has the default shown in docs/settings.md.

[machine]
role = "centre"
address = {machine[address]}   # by which the lab servers and people reach it

{ports}

# [database]
# engine = "postgresql://user:password@host/name"
"""
_NO_PORTS = """\
# [ports]
# database = 8100   # where `ranvier up` says that 8000 is taken"""


#: Addresses to listen on that stand for all of a machine's own.
EVERY_ADDRESS = ("0.0.0.0", "::")

Port = Annotated[int, Field(ge=1, le=65535)]
#: Nothing, or the address of a web server.
Address = Annotated[str, Field(pattern=r"^(https?://[^\s/?#]+[^\s]*)?$")]
#: What may be part of a path.
PathText = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=4000)]


_ANOTHER_HOME = "the home must be a folder that this user may write to; --home or RANVIER_HOME names another"


class SettingsError(RanvierError):
    """The settings cannot be read; the message names the file, the reason and the mend."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class MachineSettings(_Section):
    """What this machine is for, and how others reach it."""

    role: Literal["all", "centre", "lab"] = Field(
        "all", description="all: everything runs here; centre: database, Prefect, dispatcher; lab: what works on one lab's data."
    )
    address: str = Field(
        "", pattern=r"^[\w.:\[\]-]*$", description="Name or IP address under which other machines reach this one; default: ports.host."
    )


class LabSettings(_Section):
    """The lab that this server works for."""

    name: str = Field("lab", pattern=r"^\w+$", max_length=64, description="Name of the lab, as in the database and in session paths.")
    root: PathText = Field("", description="Folder of <subject>/<date>/<number>; must end in <lab>/Subjects. Default: data/<lab>/Subjects.")
    repository: str = Field("", description="Name of this server's data repository in the database. Default: <lab>_server.")
    timezone: str = Field("UTC", description="Time zone of the rigs.")


class RegistrationSettings(_Section):
    """How sessions are registered."""

    unknown_subject: Literal["refuse", "create"] = Field("refuse", description="What to do with a subject that the database does not know.")
    settle_s: float = Field(1.0, ge=0, description="Seconds in which no file of a session may change before it counts as copied.")
    scan_s: float = Field(60.0, gt=0, description="Seconds between full scans, beside the file system's own notifications.")


class PortSettings(_Section):
    """TCP ports on this machine."""

    host: str = Field("127.0.0.1", description="Address on which the services listen; 0.0.0.0: all of this machine's addresses.")
    database: Port = Field(8000, description="The database.")
    prefect: Port = Field(4200, description="Prefect's server and UI.")
    dask: Port = Field(8786, description="Dask's scheduler.")
    dask_dashboard: Port = Field(8787, description="Dask's dashboard.")
    dask_worker: int = Field(0, description="The Dask worker's own page and its /metrics for Prometheus; 0: any free port.")
    metrics: int = Field(0, description="The dispatcher's /metrics for Prometheus, such as 9180; 0: not served.")


class DatabaseSettings(_Section):
    """The database: where it is, and, on the machine that runs it, what it stands on."""

    url: Address = Field("", description="Address of the database, where it is not the one that `ranvier up` runs here.")
    username: str = Field("ranvier", description="User under which the services sign in.")
    poll_s: float = Field(10.0, gt=0, description="Seconds between looks for new sessions, where the database is a plain Alyx.")
    engine: str = Field("", description="Database URL such as postgresql://user:password@host/name; default: SQLite in database/.")
    read_across_labs: bool = Field(True, description="Whether people of one lab read what others have, but for projects that name who may.")
    sign_in_tries: int = Field(10, ge=1, description="Wrong passwords of one user name from one address before both have to wait.")
    sign_in_wait_s: float = Field(300.0, gt=0, description="Seconds in which they are counted, and for which they wait.")
    requests_per_min: int = Field(6000, ge=0, description="Requests a minute of one token that each process answers; 0: any number.")


class PrefectSettings(_Section):
    """Prefect."""

    api_url: Address = Field("", description="Address of Prefect's API, where it is not the one that `ranvier up` runs here.")
    engine: str = Field("", description="Prefect's own database, where its server runs here: postgresql+asyncpg://...; default: SQLite.")


class ClusterSettings(_Section):
    """The lab's Dask cluster."""

    kind: Literal["local", "address", "ssh", "slurm"] = Field(
        "local", description="local: this machine; address: an existing scheduler; ssh: the hosts; slurm: jobs of SLURM."
    )
    address: str = Field("", description="Address of an existing scheduler, such as tcp://host:8786 or tls://host:8786.")
    cpu: int = Field(0, ge=0, description="Cores that a worker offers; 0: all of its machine (slurm: must be said).")
    gpu: int = Field(0, ge=0, description="GPUs that a worker offers.")
    memory_gb: float = Field(0.0, ge=0, description="Gigabytes that a worker offers; 0: what its machine has (slurm: must be said).")
    scratch_gb: float = Field(0.0, ge=0, description="Gigabytes of disk for the attempts on a worker; 0: its part of what is free.")
    minimum: int = Field(1, ge=0, description="Fewest workers of ssh and slurm; above it their number follows the work.")
    maximum: int = Field(0, ge=0, description="Most workers; 0: one on each host (ssh), one (slurm).")
    idle_s: float = Field(60.0, gt=0, description="Seconds without work after which a worker above the fewest is ended.")
    python: str = Field("", description="Python with Ranvier on the machines of ssh and slurm; default: the path of this one.")
    hosts: list[str] = Field(default_factory=list, description="ssh: name or IP of each machine, with :port where SSH has another than 22.")
    ssh_user: str = Field("", description="ssh: user there; default: the user of `ranvier up`.")
    ssh_key: str = Field("", description="ssh: file of the private key; default: those in ~/.ssh, or the agent's.")
    ssh_known_hosts: str = Field("", description="ssh: file of the hosts' public keys; default: ~/.ssh/known_hosts.")
    slurm_partition: str = Field("", description="slurm: partition; default: SLURM's own.")
    slurm_account: str = Field("", description="slurm: account.")
    slurm_time: str = Field("1-00:00:00", description="slurm: longest time of a worker; what runs then is lost and runs again.")
    slurm_options: list[str] = Field(default_factory=list, description="slurm: more options of sbatch, such as --exclude=node07.")
    slurm_prologue: list[str] = Field(default_factory=list, description="slurm: shell lines before the worker, such as module load cuda.")
    tls_ca: str = Field("", description="Certificate that signs those of scheduler, workers and clients; with all three, TLS is used.")
    tls_cert: str = Field("", description="Certificate of this end.")
    tls_key: str = Field("", description="Its private key.")

    @model_validator(mode="after")
    def _says_what_its_kind_needs(self) -> ClusterSettings:
        lacks = {
            "address": [] if self.address else ["address"],
            "ssh": [] if self.hosts else ["hosts"],
            "slurm": [name for name in ("cpu", "memory_gb") if not getattr(self, name)],
        }.get(self.kind, [])
        if lacks:
            raise ValueError(f'kind is "{self.kind}", so {" and ".join(lacks)} must be set')
        if self.address and self.kind in ("ssh", "slurm"):
            raise ValueError(f'kind is "{self.kind}", so address must not be set: the scheduler runs here')
        if len({bool(self.tls_ca), bool(self.tls_cert), bool(self.tls_key)}) > 1:
            raise ValueError("tls_ca, tls_cert and tls_key belong together")
        return self

    @property
    def elsewhere(self) -> bool:
        """Whether the scheduler is one that runs anyhow."""
        return bool(self.address)

    @property
    def of_others(self) -> bool:
        """Whether the workers are on other machines, and `ranvier up` starts them there."""
        return self.kind in ("ssh", "slurm")

    @property
    def most(self) -> int:
        """The most workers that there may be."""
        return min(self.maximum or len(self.hosts), len(self.hosts)) if self.kind == "ssh" else max(1, self.maximum, self.minimum)


class FlowSettings(_Section):
    """Flow runs on this server."""

    at_once: int = Field(12, ge=1, description="Sessions that are preprocessed at once; the others wait their turn.")
    backfill_at_once: int = Field(2, ge=1, description="Sessions of large reruns and backfills that are preprocessed at once.")


class AttemptSettings(_Section):
    """How attempts are looked after."""

    lease_s: float = Field(60.0, gt=0, description="Seconds after which a task whose worker fell silent is given back.")
    heartbeat_s: float = Field(5.0, gt=0, description="Seconds between heartbeats.")
    returns: int = Field(3, ge=0, description="How often in a row a task is given back whose worker fell silent; then it is Errored.")
    memory_factor: float = Field(1.5, ge=1, description="An attempt that uses more than so many times its memory_gb may be ended.")
    memory_spare: float = Field(0.1, ge=0, le=1, description="It is when less than this part of the machine's memory is left; 0: never.")


class HealthSettings(_Section):
    """How often the lab is looked after."""

    every_min: float = Field(60.0, ge=0, description="Minutes between two runs of the flow `reconcile`; 0: none by itself.")
    days: int = Field(30, ge=0, description="It looks at the sessions and files of the last so many days.")


class FailureSettings(_Section):
    """What becomes of a task that fails alike in one session after the other."""

    pause_after: int = Field(5, ge=0, description="Sessions in a row that fail alike before the task is paused in their lab; 0: never.")


class NotifySettings(_Section):
    """Whom the dispatcher tells of failures, and how."""

    email_to: str = Field("", description="Addresses that get an e-mail, joined by commas.")
    email_from: str = Field("ranvier@localhost", description="Address that it comes from.")
    smtp: str = Field(
        "", pattern=r"^(smtps?://[^\s/]+)?$", description="Mail server: smtp://user@host:port, or smtps:// for TLS from the start."
    )
    webhook: Address = Field("", description="Address that gets a POST: Slack's, or one that takes the same.")
    webhook_style: Literal["slack", "json"] = Field("slack", description="slack: the text alone; json: the event with it.")
    quiet_h: float = Field(24.0, ge=0, description="Hours in which equal failures of a lab are told of once.")
    prefect: bool = Field(False, description="Whether Prefect's server posts every failed flow run of the lab to the webhook, too.")


class TaskSettings(_Section):
    """What the lab sets for one task."""

    enabled: bool = Field(True, description="Whether the lab runs this task.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Parameter values instead of the task's defaults.")
    resources: dict[str, float] = Field(default_factory=dict, description="cpu, gpu, memory_gb, ... instead of the task's own.")
    retries: int | None = Field(None, ge=0, description="How often what may pass is tried again; default: as the task says.")


class Settings(_Section):
    """All settings of a machine."""

    home: Path
    machine: MachineSettings = MachineSettings()
    lab: LabSettings = LabSettings()
    registration: RegistrationSettings = RegistrationSettings()
    ports: PortSettings = PortSettings()
    database: DatabaseSettings = DatabaseSettings()
    prefect: PrefectSettings = PrefectSettings()
    cluster: ClusterSettings = ClusterSettings()
    flow: FlowSettings = FlowSettings()
    attempts: AttemptSettings = AttemptSettings()
    health: HealthSettings = HealthSettings()
    failures: FailureSettings = FailureSettings()
    notify: NotifySettings = NotifySettings()
    tasks: dict[str, TaskSettings] = {}
    environments: dict[str, str] = Field(default_factory=dict, description="Python interpreters by the name that tasks give them.")

    @model_validator(mode="after")
    def _lab_server_has_a_centre(self) -> Settings:
        centre = {"database.url": self.database.url, "prefect.api_url": self.prefect.api_url}
        if self.machine.role == "lab" and not all(centre.values()):
            missing = " and ".join(name for name, address in centre.items() if not address)
            raise ValueError(f'machine.role is "lab", so {missing} must say where its centre is')
        return self

    @property
    def near(self) -> str:
        """Address on which this machine's own services reach one another."""
        return "127.0.0.1" if self.ports.host in EVERY_ADDRESS else self.ports.host

    @property
    def address(self) -> str:
        """Address under which other machines reach this one."""
        return self.machine.address or self.near

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
        return (self.database.url or f"http://{self.address}:{self.ports.database}").rstrip("/")

    @property
    def database_engine(self) -> str:
        """Database URL for Django."""
        return self.database.engine or f"sqlite:///{self.home / 'database' / 'db.sqlite3'}"

    @property
    def prefect_api_url(self) -> str:
        """Address of Prefect's API, ending in ``/api``."""
        return self.prefect.api_url or f"http://{self.address}:{self.ports.prefect}/api"

    @property
    def prefect_ui_url(self) -> str:
        """Address of Prefect's UI."""
        return self.prefect_api_url.removesuffix("/api")

    @property
    def cluster_address(self) -> str:
        """Address of the Dask scheduler."""
        protocol = "tls" if self.cluster.of_others and self.cluster.tls_ca else "tcp"
        return self.cluster.address or f"{protocol}://{self.near}:{self.ports.dask}"

    @property
    def work_folder(self) -> Path:
        """Scratch, attempt logs and locks: beside the data, so that outputs are moved into place by a rename."""
        return self.lab_root.parent / ".ranvier"

    def task(self, name: str) -> TaskSettings:
        """What the lab sets for a task; defaults where it sets nothing."""
        return self.tasks.get(name, TaskSettings())

    @property
    def prefect_auth(self) -> str:
        """``user:password`` that Prefect's API asks for; empty where nobody has set the secret, so that it asks for none."""
        given = os.environ.get("RANVIER_PREFECT_AUTH") or self.secret_file("prefect_auth").exists()
        return self.secret("prefect_auth") if given else ""

    def secret_file(self, name: str) -> Path:
        """The file that holds a secret."""
        return self.home / "secrets" / name

    def secret(self, name: str) -> str:
        """A secret of this machine: the environment's ``RANVIER_<NAME>``, else the file ``secrets/<name>``.

        Raises
        ------
        SettingsError
            If there is none, or none that can be sent.
        """
        where, value = self.secret_source(name), os.environ.get(f"RANVIER_{name.upper()}")
        try:
            value = (value or Path(where).read_text()).strip()
        except OSError as error:
            hint = f"`ranvier up` sets it up; for a database elsewhere set RANVIER_{name.upper()}"
            raise SettingsError(f"nothing is set up in {self.home} yet: {where}: {error.strerror}", hint) from None
        except UnicodeDecodeError:
            raise SettingsError(f"{where}: not text; put the {name} there again") from None
        if not (value.isascii() and value.isprintable() and value):
            raise SettingsError(f"{where}: a secret is one line of plain characters; put the {name} there again")
        return value

    def secret_source(self, name: str) -> str:
        """Where a secret comes from: the name of the environment's variable, else the path of the file."""
        variable = f"RANVIER_{name.upper()}"
        return variable if os.environ.get(variable) else str(self.secret_file(name))


def home_folder(home: Path | str | None = None) -> Path:
    """The home: the argument, else ``$RANVIER_HOME``, else ``~/.ranvier``.

    Raises
    ------
    SettingsError
        If it is the home of a user that there is not.
    """
    given = home or os.environ.get("RANVIER_HOME")
    try:
        return Path(given or Path.home() / ".ranvier").expanduser().absolute()
    except RuntimeError as error:
        raise SettingsError(f"{given or '~/.ranvier'}: {error}", "name the folder with --home or RANVIER_HOME") from None


def load(home: Path | str | None = None) -> Settings:
    """Read the settings.

    Parameters
    ----------
    home
        The home folder; see `home_folder`.

    Returns
    -------
    Settings
        What ``config.toml`` says; an environment variable ``RANVIER_<SECTION>_<NAME>``, such as ``RANVIER_PORTS_DATABASE``, goes before it.

    Raises
    ------
    SettingsError
        If ``config.toml`` is not valid; it names the file, the setting and what is wrong with it.
    """
    folder = home_folder(home)
    path = folder / "config.toml"
    return _checked(folder, path, _with_environment(_read(path)))


def _read(path: Path) -> dict[str, Any]:
    """What the file says; nothing where it is not there."""
    try:
        if path.parent.exists() and not path.parent.is_dir():
            raise SettingsError(f"{path.parent} is a file, and no folder", _ANOTHER_HOME)
        return tomllib.loads(path.read_text()) if path.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}", "save it as UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", _ANOTHER_HOME) from None


def _checked(folder: Path, source: Path | str, content: dict[str, Any]) -> Settings:
    if "home" in content:
        raise SettingsError(f"{source}: home: no such setting; --home or RANVIER_HOME names the home")
    try:
        return Settings(home=folder, **content)
    except ValidationError as error:
        wrong = "; ".join(": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"]))) for e in error.errors())
        raise SettingsError(f"{source}: {wrong}; docs/settings.md lists every setting") from None


def _with_environment(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a ``config.toml`` with what the environment says instead, section by section."""
    merged = dict(content)
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            variables = {name: f"RANVIER_{section}_{name}".upper() for name in field.annotation.model_fields}
            given = {name: os.environ[variable] for name, variable in variables.items() if variable in os.environ}
            written = content.get(section, {})
            merged |= {section: {**written, **given}} if given and isinstance(written, dict) else {}
    return merged


def initialise(home: Path | str | None = None, *, lab: str = "lab", unknown_subject: str = "refuse") -> Settings:
    """Read the settings, writing ``config.toml`` first where there is none.

    Raises
    ------
    SettingsError
        If it is not valid or cannot be written. Nothing that is not valid is written.
    """
    content = {"lab": {"name": lab}, "registration": {"unknown_subject": unknown_subject}}
    return begin(home, content, DEFAULT_CONFIG)


def initialise_centre(home: Path | str | None = None, *, address: str) -> Settings:
    """The same for a centre, which other machines reach by `address`; where that is a loopback address, none does, and it listens there."""
    host = _loopback(address) or EVERY_ADDRESS[0]
    content = {"machine": {"role": "centre", "address": address}, "ports": {"host": host}}
    return begin(home, content, CENTRE_CONFIG)


def _loopback(address: str) -> str:
    """The IPv4 address by which a machine reaches only itself, where `address` is such a one; else empty."""
    try:
        given = ipaddress.ip_address("127.0.0.1" if address == "localhost" else address.strip("[]"))
    except ValueError:
        return ""
    return (str(given) if given.version == 4 else "127.0.0.1") if given.is_loopback else ""


def begin(home: Path | str | None, content: dict[str, Any], template: str) -> Settings:
    """Read the settings, writing ``config.toml`` first where there is none, once its content is known to be valid.

    Ports that the environment gives are written, too, as later commands may be without its variables.

    Parameters
    ----------
    home
        The home folder; see `home_folder`.
    content
        Settings, section by section.
    template
        The file, with their places.

    Raises
    ------
    SettingsError
        If it is not valid or cannot be written.
    """
    folder = home_folder(home)
    path = folder / "config.toml"
    _read(path)
    try:
        if not path.exists():
            checked = _checked(folder, f"{path} is not written", _with_environment(content))
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(_filled(template, {**content, "ports": checked.ports.model_dump(exclude_unset=True)}))
    except OSError as error:
        raise SettingsError(f"{error.filename or path}: {error.strerror}", _ANOTHER_HOME) from None
    return load(folder)


def _filled(template: str, content: dict[str, Any]) -> str:
    told = {section: {name: _as_toml(value) for name, value in each.items()} for section, each in content.items()}
    ports = "\n".join(["[ports]", *(f"{name} = {value}" for name, value in told.pop("ports").items())])
    return template.format(**told, ports=ports if content["ports"] else _NO_PORTS)


def otherwise(settings: Settings, asked: dict[str, Any]) -> str:
    """What a home's settings say otherwise than asked, in words; empty where they do not.

    Parameters
    ----------
    settings
        Of the home.
    asked
        Values by name, such as ``lab.name``.
    """
    found: dict[str, Any] = {name: functools.reduce(getattr, name.split("."), settings) for name in asked}
    differing = (name for name, value in found.items() if value != asked[name])
    return ", ".join(f"{name} is {_as_toml(found[name])} and not {_as_toml(asked[name])}" for name in differing)


def _as_toml(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML string too
