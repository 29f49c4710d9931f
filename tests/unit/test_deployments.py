"""The files of deployments/ are what the programs that read them take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ranvier.settings import Settings


def tool(*names: str) -> str:
    """The first of some programs that is installed; the test is skipped where none is."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"{' and '.join(names)} not installed")
    return found


def test_compose_sets_only_settings_and_secrets_that_there_are(repository: Path) -> None:
    services = yaml.safe_load((repository / "deployments/compose/compose.yaml").read_text())["services"]
    given = {name for service in services.values() for name in service.get("environment", {}) if name.startswith("RANVIER_")}
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    known = {f"RANVIER_{section}_{name}".upper() for section, model in sections.items() for name in getattr(model, "model_fields", {})}
    assert given - known == {"RANVIER_TOKEN", "RANVIER_PREFECT_AUTH"}


def test_compose_takes_the_compose_file(repository: Path) -> None:
    environment = {**os.environ, "POSTGRES_PASSWORD": "x", "PREFECT_AUTH": "lab:x"}
    command = [tool("docker-compose"), "-f", str(repository / "deployments/compose/compose.yaml"), "config"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nginx_takes_the_proxy(repository: Path, tmp_path: Path) -> None:
    nginx, openssl = tool("nginx"), tool("openssl")
    certificate = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=ranvier.example.org"]
    files = ["-keyout", str(tmp_path / "privkey.pem"), "-out", str(tmp_path / "fullchain.pem")]
    subprocess.run([openssl, "req", *certificate, *files], check=True, capture_output=True)
    proxy = (repository / "deployments/nginx/ranvier.conf").read_text().replace("/etc/ssl/ranvier", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{proxy}}}\n")
    done = subprocess.run([nginx, "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_prometheus_takes_its_files(repository: Path) -> None:
    command = [tool("promtool"), "check", "config", str(repository / "deployments/prometheus/prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_alerts_ask_for_figures_that_there_are(repository: Path) -> None:
    from prometheus_client import REGISTRY

    from ranvier import metrics

    named = {family.name for family in REGISTRY.collect()}
    assert metrics.PENDING._name in named
    asked = set(re.findall(r"ranvier_\w+", (repository / "deployments/prometheus/alerts.yml").read_text()))
    assert {name.removesuffix("_total") for name in asked} <= named


def test_prefect_s_file_names_flows_that_there_are(repository: Path) -> None:
    from prefect.flows import load_flow_from_entrypoint

    deployments = yaml.safe_load((repository / "deployments/prefect.yaml").read_text())["deployments"]
    named = {load_flow_from_entrypoint(each["entrypoint"]).name for each in deployments}
    assert named >= {"preprocess-session", "reconcile"}


@pytest.mark.parametrize("unit", ["ranvier", "ranvier-centre", "ranvier-lab"])
def test_systemd_takes_the_units(unit: str, repository: Path, tmp_path: Path) -> None:
    text = (repository / f"deployments/systemd/{unit}.service").read_text()
    made = tmp_path / f"{unit}.service"
    here = text.replace("/opt/ranvier/.venv/bin/ranvier", shutil.which("true") or "/bin/true").replace("User=ranvier", "User=root")
    made.write_text(here)
    done = subprocess.run([tool("systemd-analyze"), "verify", str(made)], capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if str(made) in line]
    assert said == []
