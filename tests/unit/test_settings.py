"""Settings: defaults that work, errors that name the file and the setting, and every one of them documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from ranvier.services import environment
from ranvier.settings import Settings, SettingsError, TaskSettings, home_folder, initialise, initialise_centre, load


def test_a_home_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.lab_root == tmp_path / "data" / "lab" / "Subjects"
    assert settings.repository == "lab_server"
    assert settings.database_url == "http://127.0.0.1:8000"
    assert settings.prefect_api_url == "http://127.0.0.1:4200/api"
    assert settings.cluster_address == "tcp://127.0.0.1:8786"
    assert settings.task("anything").enabled


def test_the_first_start_writes_the_file_once(tmp_path: Path) -> None:
    initialise(tmp_path, lab="cortexlab", unknown_subject="create")
    again = initialise(tmp_path, lab="another")
    assert again.lab.name == "cortexlab"
    assert again.registration.unknown_subject == "create"


def test_the_home_is_the_argument_else_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANVIER_HOME", str(tmp_path / "from_environment"))
    assert home_folder() == tmp_path / "from_environment"
    assert home_folder(tmp_path) == tmp_path
    monkeypatch.delenv("RANVIER_HOME")
    assert home_folder() == Path.home() / ".ranvier"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[lab\n", "not valid TOML"),
        ("[lab]\nnaem = 'x'\n", "lab.naem: Extra inputs"),
        ("[lab]\nname = 'two words'\n", "lab.name"),
        ("[ports]\ndatabase = 'many'\n", "ports.database: Input should be a valid integer"),
        ("[tasks.spike_sorting]\nparameter = {}\n", "tasks.spike_sorting.parameter"),
    ],
)
def test_a_wrong_file_is_named_with_the_setting(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(SettingsError, match=said) as refused:
        load(tmp_path)
    assert str(tmp_path / "config.toml") in str(refused.value)


def test_a_secret_is_the_environments_else_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(tmp_path)
    with pytest.raises(SettingsError, match=r"secrets/token.*RANVIER_TOKEN"):
        settings.secret("token")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text("abc\n")
    assert settings.secret("token") == "abc"
    monkeypatch.setenv("RANVIER_TOKEN", "xyz")
    assert settings.secret("token") == "xyz"


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("[ports]\ndatabase = 8100\nprefect = 4300\n")
    monkeypatch.setenv("RANVIER_PORTS_DATABASE", "8200")
    monkeypatch.setenv("RANVIER_LAB_NAME", "cortexlab")
    settings = load(tmp_path)
    assert (settings.ports.database, settings.ports.prefect, settings.lab.name) == (8200, 4300, "cortexlab")
    monkeypatch.setenv("RANVIER_PORTS_DATABASE", "many")
    with pytest.raises(SettingsError, match=r"ports\.database"):
        load(tmp_path)


@pytest.mark.parametrize("centre", [False, True])
def test_the_first_start_writes_the_ports_that_the_environment_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, centre: bool) -> None:
    def first(home: Path) -> Settings:
        return initialise_centre(home, address="127.0.0.1") if centre else initialise(home, lab="cortexlab")

    monkeypatch.setenv("RANVIER_PORTS_DATABASE", "8100")
    monkeypatch.setenv("RANVIER_PORTS_PREFECT", "4300")
    made = first(tmp_path)
    monkeypatch.delenv("RANVIER_PORTS_DATABASE")
    monkeypatch.setenv("RANVIER_PORTS_PREFECT", "4400")
    later = first(tmp_path)
    assert (made.ports.database, later.ports.database, later.ports.dask) == (8100, 8100, 8786)
    assert (made.ports.prefect, later.ports.prefect) == (4300, 4400), "the environment goes before what is written"
    monkeypatch.delenv("RANVIER_PORTS_PREFECT")
    assert load(tmp_path) == made
    monkeypatch.setenv("RANVIER_PORTS_DATABASE", "none")
    with pytest.raises(SettingsError, match=r"is not written: ports\.database"):
        first(tmp_path / "another")
    assert not (tmp_path / "another").exists()


def test_prefect_asks_for_no_password_unless_the_secret_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANVIER_PREFECT_AUTH", raising=False)
    settings = load(tmp_path)
    assert settings.prefect_auth == ""
    assert "PREFECT_API_AUTH_STRING" not in environment(settings)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "prefect_auth").write_text("lab:secret\n")
    assert settings.prefect_auth == "lab:secret"
    assert environment(settings)["PREFECT_API_AUTH_STRING"] == environment(settings)["PREFECT_SERVER_API_AUTH_STRING"] == "lab:secret"


def rows(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The rows that docs/settings.md has to have."""
    for name, field in model.model_fields.items():
        inner = TaskSettings if name == "tasks" else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from rows(inner, f"{before}{name}.NAME." if name == "tasks" else f"{before}{name}.")
        elif name != "home":
            assert field.description, f"{before}{name} has no description"
            default = json.dumps(field.get_default(call_default_factory=True))
            yield f"| `{before}{name}` | `{default}` | {field.description.replace('<', '&lt;')} |"


def test_every_setting_is_documented(repository: Path) -> None:
    documented = (repository / "docs" / "settings.md").read_text()
    assert [line for line in documented.splitlines() if line.startswith("| `")] == [*rows(Settings)]


def test_a_lab_server_without_a_centre_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[machine]\nrole = "lab"\n[database]\nurl = "http://centre:8000"\n')
    with pytest.raises(SettingsError, match=r'config.toml: .*machine.role is "lab", so prefect.api_url must say where its centre is'):
        load(tmp_path)


def test_others_reach_a_machine_by_its_address_and_its_own_services_by_loopback(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[machine]\naddress = "centre.example.org"\n[ports]\nhost = "0.0.0.0"\n')
    settings = load(tmp_path)
    assert settings.database_url == "http://centre.example.org:8000"
    assert settings.prefect_api_url == "http://centre.example.org:4200/api"
    assert settings.cluster_address == "tcp://127.0.0.1:8786"


@pytest.mark.parametrize(
    ("address", "host"),
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.9", "127.0.0.9"), ("localhost", "127.0.0.1"), ("::1", "127.0.0.1"), ("[::1]", "127.0.0.1"),
     ("centre.example.org", "0.0.0.0"), ("192.0.2.7", "0.0.0.0")],
)  # fmt: skip
def test_a_centre_that_only_its_own_machine_is_to_reach_listens_to_no_other(tmp_path: Path, address: str, host: str) -> None:
    made = initialise_centre(tmp_path, address=address)
    assert (made.machine.role, made.machine.address, made.ports.host) == ("centre", address, host)
    assert load(tmp_path) == made
