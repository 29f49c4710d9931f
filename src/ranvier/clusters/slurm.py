"""Workers that are jobs of SLURM, through dask-jobqueue."""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Collection
from typing import Any

from dask_jobqueue.slurm import SLURMJob
from distributed.deploy.spec import SpecCluster

from ranvier import settings as settings_module
from ranvier.cluster import contact_address, tls_files
from ranvier.clusters.scaling import scheduler_of
from ranvier.offer import THREADS, offer, written
from ranvier.scratch import share_gb
from ranvier.settings import Settings

log = logging.getLogger("ranvier.clusters")


def worker_spec(settings: Settings, tls: dict[str, Any], taken: Collection[str]) -> dict[str, dict[str, Any]]:
    """The next job."""
    name = next(name for number in range(len(taken) + 1) if (name := f"{settings.lab.name}-{number}") not in taken)
    return {name: {"cls": SLURMJob, "options": job_options(settings, tls)}}


def job_script(settings: Settings, scheduler: str, tls: dict[str, Any] | None = None) -> str:
    """The script that is handed to ``sbatch``, for a person to look at."""
    return str(SLURMJob(scheduler, name=f"{settings.lab.name}-0", **job_options(settings, tls or {})).job_script())


def job_options(settings: Settings, tls: dict[str, Any]) -> dict[str, Any]:
    """Arguments of dask-jobqueue's `SLURMJob`."""
    cluster = settings.cluster
    offered = written(offer(cluster.cpu, cluster.gpu, cluster.memory_gb, share_gb(settings)))
    # of an option that is given twice, Dask's command line takes the last: attempts have limits of their own, Dask none
    arguments = ["--memory-limit", "0", "--resources", shlex.quote(offered), "--preload", "ranvier.attempt"]
    arguments += ["--dashboard-address", f":{settings.ports.dask_worker}"]
    files = {"tls_ca_file": "--tls-ca-file", "tls_worker_cert": "--tls-cert", "tls_worker_key": "--tls-key"}
    for name, option in files.items():
        arguments += [option, shlex.quote(tls[name])] if tls else []
    gpus = [f"--gres=gpu:{cluster.gpu}"] if cluster.gpu else []
    return {
        "cores": THREADS,
        "processes": 1,
        "memory": f"{cluster.memory_gb} GB",
        "job_cpu": cluster.cpu,
        "job_mem": f"{round(cluster.memory_gb * 1000)}M",
        "queue": cluster.slurm_partition or None,
        "account": cluster.slurm_account or None,
        "walltime": cluster.slurm_time,
        "job_name": f"ranvier-{settings.lab.name}",
        "log_directory": str(settings.home / "logs" / "slurm"),
        "job_extra_directives": [*gpus, *cluster.slurm_options],
        "job_script_prologue": [f"export RANVIER_HOME={shlex.quote(str(settings.home))}", *cluster.slurm_prologue],
        "python": cluster.python or None,
        "worker_extra_args": arguments,
        "death_timeout": 60,
    }


async def forget_gone(cluster: SpecCluster) -> None:
    """Have jobs submitted again that SLURM does not know any more and that never became workers: Dask would wait for them for ever."""
    here = {worker.name for worker in scheduler_of(cluster).workers.values()}
    silent = {name: job for name, job in cluster.workers.items() if name not in here and isinstance(job, SLURMJob) and job.job_id}
    known = await _known_jobs() if silent else None
    if known is None:
        return
    for name, job in silent.items():
        if str(job.job_id) not in known and cluster.workers.get(name) is job:
            log.warning("job %s has gone before it became the worker %s; logs/slurm may say why", job.job_id, name)
            del cluster.workers[name]


async def _known_jobs() -> set[str] | None:
    """Ids of our jobs that wait or run; None where SLURM does not answer."""
    asked = await asyncio.create_subprocess_exec("squeue", "--noheader", "--format=%A", "--me", stdout=asyncio.subprocess.PIPE)
    answer, _ = await asked.communicate()
    return set(answer.decode().split()) if asked.returncode == 0 else None


def main() -> None:
    """Print the job that the settings of the home in the environment make (``python -m ranvier.clusters.slurm``)."""
    settings = settings_module.load()
    print(job_script(settings, contact_address(settings), tls_files(settings)))


if __name__ == "__main__":
    main()
