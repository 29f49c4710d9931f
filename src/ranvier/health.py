"""Whether services answer: each question returns why not, and an empty string where all is well.

Where a service is asked about through another that does not answer, that is `Unknown`: it says nothing against the service itself.
"""

from __future__ import annotations

import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests

from ranvier import prefect_api
from ranvier.settings import Settings


class Unknown(str):
    """Why it cannot be said whether a service answers."""

    __slots__ = ()


def http_problem(url: str) -> str:
    """Why an address does not answer a GET with success."""
    try:
        _get(url)
    except requests.RequestException as error:
        return _unanswered(url, error)
    return ""


def prefect_worker_problem(settings: Settings, name: str, since: float) -> str:
    """Why Prefect's worker of this name does not count as at work: it has not polled the pool since then (seconds since the epoch)."""
    pool = settings.lab.name
    try:
        answer = prefect_api.respond(settings, "POST", f"/work_pools/{pool}/workers/filter", {})
    except requests.RequestException as error:
        return Unknown(f"Prefect: {_unanswered(settings.prefect_api_url, error)}")
    beats = [datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() for worker in answer.json() if worker["name"] == name]
    # by the server's clock, which another machine's may not agree with; its answers tell whole seconds
    since -= time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp()
    return "" if beats and max(beats) >= since else f"worker {name} has not polled the work pool {pool} since {time.ctime(since)}"


def dask_worker_problem(dashboard: str) -> str:
    """Why the scheduler with this dashboard has no worker."""
    url = f"{dashboard}/json/counts.json"
    try:
        workers = _get(url).json()["workers"]
    except requests.RequestException as error:
        return Unknown(_unanswered(url, error))
    return "" if workers else f"no worker is registered with the scheduler of {dashboard}"


def pulse_problem(path: Path, since: float) -> str:
    """Why a service without a port does not count as alive: it has not touched its file since then (seconds since the epoch)."""
    if not path.exists():
        return f"it has not yet made {path}, which it touches in each round"
    beat = path.stat().st_mtime
    return "" if beat >= since else f"it has not touched {path} since {time.ctime(beat)}"


def _unanswered(url: str, error: requests.RequestException) -> str:
    """Why a request failed, without the libraries' own names for it where it is one of the two that happen every day."""
    if isinstance(error, requests.Timeout):
        return f"{url} is there but does not answer"
    if isinstance(error, requests.ConnectionError):
        return f"nothing answers at {url}"
    return f"GET {url}: {error}"


def _get(url: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # a proxy of the environment is not for Ranvier's own services
        response = session.get(url, timeout=5)
    response.raise_for_status()
    return response
