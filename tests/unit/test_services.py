"""Which services run on a machine of which role."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranvier.services import environment, services
from ranvier.settings import load

CENTRE = {"database-setup", "database", "prefect-server", "dispatcher"}
LAB = {"dask-scheduler", "dask-worker", "prefect-deployment", "flow-host", "prefect-worker", "reviver", "agent"}
ELSEWHERE = '[database]\nurl = "http://centre:8000"\n[prefect]\napi_url = "http://centre:4200/api"\n'


def chosen(home: Path, config: str) -> dict[str, tuple[str, ...]]:
    """The services of a machine, and what each needs first."""
    (home / "config.toml").write_text(config)
    return {service.name: service.needs for service in services(load(home))}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", CENTRE | LAB),
        ('[machine]\nrole = "centre"\n', CENTRE),
        (f'[machine]\nrole = "lab"\n{ELSEWHERE}', LAB),
        (ELSEWHERE, LAB | {"dispatcher"}),
        # at the centre these are the addresses by which others reach what runs here
        (f'[machine]\nrole = "centre"\n{ELSEWHERE}', CENTRE),
        ('[cluster]\naddress = "tcp://there:8786"\n', (CENTRE | LAB) - {"dask-scheduler", "dask-worker"}),
    ],
)
def test_a_role_has_its_services(tmp_path: Path, config: str, expected: set[str]) -> None:
    assert set(chosen(tmp_path, config)) == expected


def test_no_service_needs_one_that_is_not_there(tmp_path: Path) -> None:
    needs = chosen(tmp_path, f'[machine]\nrole = "lab"\n{ELSEWHERE}')
    assert needs["prefect-worker"] == ("dask-worker", "prefect-deployment", "flow-host")
    assert needs["agent"] == needs["reviver"] == ()


def test_no_proxy_stands_between_the_services_and_their_centre(tmp_path: Path) -> None:
    chosen(tmp_path, f'[machine]\nrole = "lab"\n{ELSEWHERE}')
    assert "centre" in environment(load(tmp_path))["NO_PROXY"].split(",")
