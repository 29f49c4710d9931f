"""Plain requests to Prefect's API, for where Prefect's own client, which takes seconds to import, is too much."""

from __future__ import annotations

from typing import Any

import requests

from ranvier.settings import Settings

_PATIENCE_S = 10.0


def ask(settings: Settings, method: str, path: str, body: object = None) -> Any:
    """Ask Prefect's API for something; returns the answer, from JSON, and fails as `respond` does."""
    return respond(settings, method, path, body).json()


def respond(settings: Settings, method: str, path: str, body: object = None) -> requests.Response:
    """Ask Prefect's API for something.

    Parameters
    ----------
    settings
        They say where it is, and what it asks for.
    method, path
        Such as ``"GET"`` and ``"/flow_runs/<id>"``.
    body
        Sent as JSON.

    Returns
    -------
    requests.Response
        The whole answer.

    Raises
    ------
    requests.RequestException
        If it does not answer, or refuses.
    """
    user, _, password = settings.prefect_auth.partition(":")
    with requests.Session() as session:
        session.trust_env = bool(settings.prefect.api_url)  # a proxy of the environment is not for this machine's own services
        answer = session.request(
            method, settings.prefect_api_url + path, json=body, auth=(user, password) if user else None, timeout=_PATIENCE_S
        )
    answer.raise_for_status()
    return answer
