"""How many workers a cluster needs, what its settings must say, and the job that SLURM gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed.core import Status
from distributed.scheduler import TaskGroup, TaskPrefix, TaskState, WorkerState

from ranvier.cluster import contact_address, promised, tls_files
from ranvier.clusters.scaling import waiting_tasks, workers_needed
from ranvier.settings import Settings, SettingsError, load

OFFER = {"CPU": 8, "GPU": 1, "MEMORY": 32}


@pytest.mark.parametrize(
    ("demands", "expected"),
    [
        ([], 0),
        ([{}], 1),
        ([{"CPU": 1}] * 8, 1),
        ([{"CPU": 1}] * 9, 2),
        # three of five cores are fifteen, which two workers have, and yet each of them has room for one only
        ([{"CPU": 5}] * 3, 3),
        ([{"CPU": 1, "MEMORY": 20}, {"CPU": 1, "MEMORY": 20}, {"CPU": 1, "MEMORY": 12}], 2),
        ([{"GPU": 1}] * 3 + [{"CPU": 8}], 3),
        ([{"CPU": 2}] * 2 + [{"CPU": 6}] * 2, 2),
        ([{"CPU": 64}, {"SCRATCH": 1}], 0),
    ],
)
def test_as_many_workers_as_the_demands_fit_on(demands: list[dict[str, float]], expected: int) -> None:
    assert workers_needed(demands, OFFER) == expected


def configured(home: Path, cluster: str) -> Settings:
    (home / "config.toml").write_text(f"[lab]\nname = 'cortexlab'\n[cluster]\n{cluster}\n")
    return load(home)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ("kind = 'ssh'", 'kind is "ssh", so hosts must be set'),
        ("kind = 'slurm'\ncpu = 4", 'kind is "slurm", so memory_gb must be set'),
        ("kind = 'address'", 'kind is "address", so address must be set'),
        ("kind = 'ssh'\nhosts = ['a']\naddress = 'tcp://b:1'", "address must not be set"),
        ("address = 'tls://b:1'\ntls_ca = 'ca.pem'", "tls_ca, tls_cert and tls_key belong together"),
    ],
)
def test_what_a_kind_needs_is_said(tmp_path: Path, cluster: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        configured(tmp_path, cluster)


def test_the_number_of_workers_has_limits(tmp_path: Path) -> None:
    assert configured(tmp_path, "kind = 'ssh'\nhosts = ['a', 'b', 'c']").cluster.most == 3
    assert configured(tmp_path, "kind = 'ssh'\nhosts = ['a', 'b', 'c']\nmaximum = 2").cluster.most == 2
    assert configured(tmp_path, "kind = 'slurm'\ncpu = 4\nmemory_gb = 16").cluster.most == 1
    assert configured(tmp_path, "kind = 'slurm'\ncpu = 4\nmemory_gb = 16\nminimum = 3").cluster.most == 3


def test_tls_is_for_schedulers_that_others_reach(tmp_path: Path) -> None:
    files = "tls_ca = 'ca.pem'\ntls_cert = 'c.pem'\ntls_key = 'k.pem'\n"
    assert tls_files(configured(tmp_path, f"{files}address = 'tls://b:1'"))["tls_client_cert"] == "c.pem"
    assert configured(tmp_path, f"{files}kind = 'ssh'\nhosts = ['a']").cluster_address == "tls://127.0.0.1:8786"
    here = configured(tmp_path, files)
    assert tls_files(here) == {}
    assert here.cluster_address == "tcp://127.0.0.1:8786"


def test_slurm_s_job_offers_to_dask_what_it_asks_of_slurm(tmp_path: Path) -> None:
    slurm = pytest.importorskip("ranvier.clusters.slurm")
    settings = configured(
        tmp_path,
        "kind = 'slurm'\ncpu = 16\ngpu = 1\nmemory_gb = 64\nscratch_gb = 200\nmaximum = 4\n"
        "slurm_partition = 'gpu'\nslurm_account = 'neuro'\n"
        "slurm_options = ['--exclude=node07']\nslurm_prologue = ['module load cuda']\npython = '/shared/env/bin/python'",
    )
    script = slurm.job_script(settings, "tcp://lab-server:8786")
    for line in ("-J ranvier-cortexlab", "-p gpu", "-A neuro", "--cpus-per-task=16", "--mem=64000M", "-t 1-00:00:00", "--gres=gpu:1"):
        assert f"#SBATCH {line}\n" in script
    assert "#SBATCH --exclude=node07\n" in script
    assert f"export RANVIER_HOME={tmp_path}\nmodule load cuda\n" in script
    command = script.splitlines()[-1]
    assert command.startswith("/shared/env/bin/python -m distributed.cli.dask_worker tcp://lab-server:8786 --name cortexlab-0")
    assert "--resources 'CPU=16 GPU=1 MEMORY=64 SCRATCH=200'" in command
    assert "--memory-limit 0" in command
    assert promised(settings) == {"CPU": 16, "GPU": 1, "MEMORY": 64, "SCRATCH": 200}


def test_the_example_for_slurm_is_what_the_settings_take(tmp_path: Path, repository: Path) -> None:
    slurm = pytest.importorskip("ranvier.clusters.slurm")
    example = (repository / "deployments" / "slurm" / "cluster.toml").read_text()
    centre = '[database]\nurl = "http://centre:8000"\n[prefect]\napi_url = "http://centre:4200/api"\n'
    (tmp_path / "config.toml").write_text(f"{example}\n{centre}")
    settings = load(tmp_path)
    script = slurm.job_script(settings, contact_address(settings), tls_files(settings))
    assert "dask_worker tls://lab-server.example.org:8786 " in script
    assert "--tls-ca-file /shared/ranvier/tls/ca.pem --tls-cert /shared/ranvier/tls/dask.pem" in script


def test_what_a_worker_executes_does_not_wait_whatever_the_order_in_which_it_was_given() -> None:
    group = TaskGroup("sorts", TaskPrefix("sorts"))
    first, second, third = (TaskState(name, None, "processing", group, False) for name in ("first", "second", "third"))
    worker = WorkerState(
        address="tcp://lab:1", status=Status.running, pid=1, name="w", memory_limit=0, local_directory="", nanny=None, server_id=""
    )
    worker.resources = {"CPU": 1}
    for number, task in enumerate((first, second, third)):
        task.resource_restrictions, task.priority = {"CPU": 1}, (0, -number)
        worker.processing.add(task)
    assert waiting_tasks(worker) == [second, first], "no heartbeat yet: the worker begins with the first by priority"
    worker.executing[second] = 0.1
    assert waiting_tasks(worker) == [third, first]
