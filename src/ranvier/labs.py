"""Labs and their servers: adding one at the centre, setting its server up by one command, and how all of them are."""

from __future__ import annotations

import datetime as dt
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from ranvier import prefect_api
from ranvier.client import Database, DatabaseRefused, Record
from ranvier.errors import RanvierError
from ranvier.ports import port_near
from ranvier.settings import Settings, begin, home_folder, load, otherwise

#: Prefect's worker counts as polling when it has done so within so many seconds; Prefect itself waits as long.
POLLING_S = 90.0
_CONFIG = """\
# Settings of the server of {lab[name]}; `ranvier doctor` checks them. A setting that is not here has the default shown in docs/settings.md.

[machine]
role = "lab"

[lab]
name = {lab[name]}
root = {lab[root]}
repository = {lab[repository]}
timezone = {lab[timezone]}

[registration]
unknown_subject = {registration[unknown_subject]}   # "refuse", or "create" the subject when a session brings an unknown one

{ports}

[database]
url = {database[url]}
username = {database[username]}

[prefect]
api_url = {prefect[api_url]}
"""


class JoiningError(RanvierError):
    """The machine cannot become the server of a lab; the message says why."""


@dataclass(frozen=True)
class LabState:
    """How a lab is, as seen from here.

    Attributes
    ----------
    lab
        Its row in the database.
    server
        What its server says of itself; None where the lab has none.
    polled
        When Prefect's worker last polled its work pool, in seconds since the epoch; None where none ever has, or Prefect does not answer.
    """

    lab: Record
    server: Record | None
    polled: float | None

    @property
    def polling(self) -> bool:
        """Whether a worker polls the lab's work pool now."""
        return self.polled is not None and time.time() - self.polled < POLLING_S


def add(database: Database, lab: str, **fields: str | None) -> Record:
    """Make a lab, its data repository, and a user with a token for its server, where they are not there yet.

    Parameters
    ----------
    database
        The database, signed in as an administrator.
    lab
        Name of the lab.
    fields
        ``repository``, ``timezone`` and ``data_url``, where they are not to be the default; the latter two change those of a known lab.

    Returns
    -------
    dict
        The lab's server, with its token.
    """
    return database.add_lab_server(lab=lab, **{name: value for name, value in fields.items() if value is not None})


def check_root(root: Path | str, lab: str) -> None:
    """Refuse a folder that cannot be a lab's, wherever it is.

    Raises
    ------
    JoiningError
        If it does not end in ``<lab>/Subjects``.
    """
    if Path(root).parts[-2:] != (lab, "Subjects"):
        raise JoiningError(f"{root} does not end in {lab}/Subjects", "the last two folders are part of every session's path")


def command(server: Record, centre: str, root: str | None = None) -> str:
    """The command that makes a machine the server of a lab, to be pasted there."""
    place = ["--root", root] if root else []
    return f"RANVIER_TOKEN={server['token']} {shlex.join(['ranvier', 'up', '--centre', centre, '--lab', server['lab'], *place])}"


def join(centre: str, lab: str, root: str | None = None, *, home: Path | str | None = None, unknown_subject: str = "refuse") -> Settings:
    """Make this machine the server of a lab: write its home's settings and secrets. A home that is that already stays as it is.

    Parameters
    ----------
    centre
        Address of the centre's database.
    lab
        Name of the lab, as `add` was given it.
    root
        Folder of the lab's data; must end in ``<lab>/Subjects``.
    home
        The home; see `ranvier.settings.home_folder`.
    unknown_subject
        What to do with a subject that the database does not know: ``refuse`` or ``create``.

    Raises
    ------
    JoiningError
        If there is no token, if the centre does not let this machine in, or if the home is another machine's.
    """
    folder = home_folder(home)
    if (folder / "config.toml").exists():
        return _joined_before(load(folder), centre, lab, root)
    if not (token := os.environ.get("RANVIER_TOKEN")):
        raise JoiningError("RANVIER_TOKEN is not set", f"`ranvier labs add {lab}` at the centre prints the whole command")
    place = Path(root).expanduser().absolute() if root else folder / "data" / lab / "Subjects"
    check_root(place, lab)
    server = _ask_to_join(centre, lab, token)
    _write_secrets(folder, token=token, prefect_auth=server["prefect_auth"])
    content = {
        "machine": {"role": "lab"},
        "lab": {"name": lab, "root": str(place), **{name: server[name] for name in ("repository", "timezone")}},
        "registration": {"unknown_subject": unknown_subject},
        "ports": {name: port_near(default) for name, default in (("dask", 8786), ("dask_dashboard", 8787))},
        "database": {"url": centre.rstrip("/"), "username": server["username"]},
        "prefect": {"api_url": server["prefect_api_url"]},
    }
    return begin(folder, content, _CONFIG)


def _joined_before(here: Settings, centre: str, lab: str, root: str | None) -> Settings:
    asked = (centre.rstrip("/"), lab, Path(root).expanduser().absolute() if root else here.lab_root)
    if here.machine.role != "lab":
        differs = otherwise(here, {"machine.role": "lab", "lab.name": lab, "database.url": asked[0]})
        hint = "move it away, as joining writes it anew (with the ports of RANVIER_PORTS_... variables), or use another home"
        raise JoiningError(f"{here.home / 'config.toml'} is there already and says otherwise: {differs}", hint)
    if asked != (here.database_url, here.lab.name, here.lab_root):
        written = f"the server of {here.lab.name} with its centre at {here.database_url} and its data in {here.lab_root}"
        raise JoiningError(f"{here.home} is {written}", "use another home (ranvier --home FOLDER up ...), or change its config.toml")
    if token := os.environ.get("RANVIER_TOKEN"):
        _write_secrets(here.home, token=token)
    return here


def _ask_to_join(centre: str, lab: str, token: str) -> Record:
    try:
        answer = requests.get(f"{centre.rstrip('/')}/lab-servers/{lab}", headers={"Authorization": f"Token {token}"}, timeout=10)
        answer.raise_for_status()
        return dict(answer.json())
    except requests.HTTPError as error:
        reason = f"the centre at {centre} refused ({error.response.status_code}): {error.response.text[:500]}"
        raise JoiningError(reason, f"`ranvier labs add {lab}` at the centre prints the whole command, with the right token") from None
    except requests.RequestException as error:
        raise JoiningError(
            f"the centre at {centre} does not answer: {error}", "is `ranvier up` running there, and does it listen?"
        ) from None


def _write_secrets(home: Path, **secrets: str) -> None:
    folder = home / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, secret in secrets.items():
        if secret:
            with os.fdopen(os.open(folder / name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
                file.write(secret)


def overview(database: Database, settings: Settings) -> list[LabState]:
    """How every lab is."""
    try:
        servers = {server["lab"]: server for server in database.lab_servers()}
    except DatabaseRefused as error:
        if error.status != 404:
            raise
        servers = {}  # a plain Alyx knows no lab servers
    return [LabState(lab, servers.get(lab["name"]), _polled(settings, lab["name"])) for lab in database.labs()]


def _polled(settings: Settings, lab: str) -> float | None:
    try:
        workers = prefect_api.ask(settings, "POST", f"/work_pools/{lab}/workers/filter", {})
    except requests.RequestException:  # no such pool yet, or Prefect is away; what the database knows is shown all the same
        return None
    return max((dt.datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() for worker in workers), default=None)


def describe_cluster(cluster: dict[str, Any] | None) -> str:
    """The size of a lab's Dask cluster, in words."""
    if not cluster:
        return ""
    if problem := cluster.get("problem"):
        return str(problem)
    offered = [f"{cluster[name]:g} {unit}" for name, unit in (("cpu", "cores"), ("gpu", "GPUs"), ("memory_gb", "GB")) if cluster.get(name)]
    return f"{cluster['workers']} worker{'s' * (cluster['workers'] != 1)}: {', '.join(offered)}"
