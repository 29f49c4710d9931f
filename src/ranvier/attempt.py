"""One try at a task instance: claim, compute in a child process, judge, commit, report.

`run_attempt` is what the lab's Dask cluster gets: a module-level function that takes and returns plain data.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ranvier import commit, contract, identity, process
from ranvier.client import Database, DatabaseRefused
from ranvier.contract import Judgement
from ranvier.declare import Output
from ranvier.errors import RanvierError
from ranvier.hashes import HashBook, digest
from ranvier.lease import Fenced, Lease
from ranvier.order import Order
from ranvier.plan import missing_outputs, running_elsewhere
from ranvier.process import Child, Ended
from ranvier.report import storable
from ranvier.session import Session
from ranvier.settings import Settings, load
from ranvier.states import SETTLED, Status

UNCHANGED = "Unchanged"  #: the result that is there has the same identity, so nothing ran
CLAIMED = "Claimed"  #: another attempt at the same task is running

_LOG_TAIL = 20_000  #: bytes of the log that the database keeps with the task
_LONGEST_REASON = 2_000  #: characters
_PATIENCE_S = 120.0


@dataclass
class Outcome:
    """What came of an attempt.

    Attributes
    ----------
    status
        The verdict's label, or `UNCHANGED`, or `CLAIMED`.
    verdict
        Where the task now stands: the verdict's label, for `UNCHANGED` that of the earlier attempt.
    reason
        For people.
    attempt
        The attempt's number.
    wall_s
        Seconds that the child process took.
    figures
        Paths of figures below the session folder.
    """

    status: str
    verdict: str
    reason: str
    attempt: int = 0
    wall_s: float = 0.0
    figures: list[str] = field(default_factory=list)


def run_attempt(order: dict[str, Any]) -> dict[str, Any]:
    """Make one attempt at a task instance.

    Parameters
    ----------
    order
        The fields of an `Order`; see `make_order`.

    Returns
    -------
    dict
        The fields of an `Outcome`. A task that fails is an outcome; exceptions are left to what is wrong with Ranvier or its database.
    """
    plain = Order(**order)
    settings = load(plain.home)
    return asdict(Attempt(plain, settings, Database.from_settings(settings, _PATIENCE_S)).run())


class Attempt:
    """The steps of one attempt, in the order in which `run` takes them."""

    def __init__(self, order: Order, settings: Settings, database: Database) -> None:
        self.order = order
        self.settings = settings
        self.database = database
        self.session = Session.parse(order.session_path)
        self.log_path = Path(order.log_path)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.scratch_root = settings.work_folder / "scratch" / order.eid
        self.outputs = [Output(**fields) for fields in order.outputs]

    def run(self) -> Outcome:
        """Take every step; whatever goes wrong after the claim ends the attempt as Errored with its reason."""
        with HashBook(self.settings.work_folder / "hashes.sqlite") as hashes:
            return self._run(hashes)

    def _run(self, hashes: HashBook) -> Outcome:
        row = self.database.task(self.order.task_id)
        if running_elsewhere(row):
            return Outcome(CLAIMED, row["status"], f"attempt {row['attempt']} at {self.order.instance} is running")
        self._recover()
        files = {declared: self.session.find(filled) for declared, filled, _ in self.order.inputs}
        receipt = self._receipt(files, hashes)
        if not self.order.force and (standing := self._standing(row, receipt)):
            return Outcome(UNCHANGED, row["status"], standing, row["attempt"])
        try:
            claimed = self._claim(row, receipt)
        except DatabaseRefused as error:
            if error.status != 409:
                raise
            return Outcome(CLAIMED, Status.STARTED.label, str(error))
        lease = Lease(self.database, claimed, self.settings)
        try:
            return self._hold(lease, files, receipt, hashes)
        finally:
            lease.stop()

    def _recover(self) -> None:
        for scratch in commit.recover(self.scratch_root, self.order.slug):
            self.log(f"finished moving the outputs of an attempt that was cut off ({scratch.name})")
            shutil.rmtree(scratch)

    def _receipt(self, files: dict[str, list[Path]], hashes: HashBook) -> identity.Receipt:
        inputs = {self.session.relative(path): hashes.md5(path) for paths in files.values() for path in paths}
        packages = identity.package_versions(self.order.packages, self.order.interpreter)
        return identity.make_receipt(self.order.task, self.order.version, self.order.parameters, inputs, packages)

    def _standing(self, row: dict[str, Any], receipt: identity.Receipt) -> str:
        """Why the result that is there still stands; empty where it does not."""
        same = Status.parse(row["status"]) in SETTLED and row["identity"] == identity.identity(receipt)
        return f"unchanged since attempt {row['attempt']}" if same and not missing_outputs(self.session, row) else ""

    def _claim(self, row: dict[str, Any], receipt: identity.Receipt) -> dict[str, Any]:
        return self.database.claim(
            task=self.order.task_id,
            after=row["attempt"],
            worker=f"{socket.gethostname()}:{os.getpid()}",
            lease_s=self.settings.attempts.lease_s,
            identity=identity.identity(receipt),
            receipt=receipt,
            log_path=self.order.log_path,
            flow_run=self.order.flow_run,
        )

    def _hold(self, lease: Lease, files: dict[str, list[Path]], receipt: identity.Receipt, hashes: HashBook) -> Outcome:
        """What is done while the lease is held: compute, judge, commit, report."""
        scratch = self.scratch_root / f"{self.order.slug}.{lease.number}"
        self.log(f"attempt {lease.number} at {self.order.instance} (version {self.order.version}) of {self.session.reference}")
        for left in self.scratch_root.glob(f"{self.order.slug}.*"):
            shutil.rmtree(left, ignore_errors=True)  # of attempts that were cut off; theirs is the past, as the lease is ours
        lease.start()
        report: dict[str, Any] = {}
        try:
            self._compute(report, lease, files, scratch, hashes)
        except Fenced as error:
            self.log(str(error))
            return Outcome(CLAIMED, Status.STARTED.label, str(error), lease.number)
        except Exception as error:  # the edge of an attempt: its failure is its outcome, and the rest of the session goes on
            report |= _failure(error)
        finally:
            if not (scratch / commit.JOURNAL).exists():  # else the next attempt finishes the moves
                shutil.rmtree(scratch, ignore_errors=True)
        return self._report(lease, report, receipt)

    def _compute(self, report: dict[str, Any], lease: Lease, files: dict[str, list[Path]], scratch: Path, hashes: HashBook) -> None:
        """Fill in the report step by step, so that what was measured is kept when a later step fails."""
        missing = [filled for declared, filled, required in self.order.inputs if required and not files[declared]]
        if missing:
            raise RanvierError(f"input {', '.join(missing)} is not in {self.session.path}", "was it copied? put it there and run again")
        staging = scratch / "staging"
        for folder in (staging, scratch / "work", scratch / "tmp"):
            folder.mkdir(parents=True)
        child = Child(self.order.interpreter, self._child_spec(files, scratch), self.log_path, self._environment(scratch))
        lease.child = child
        ended = child.run(self.order.timeout_s, lease.why_stop)
        report |= _usage(ended) | {"exit_code": ended.exit_code}
        if lease.lost:
            raise Fenced(lease.lost)
        if ended.stopped or ended.result is None or ended.result["error"]:
            report |= self._how_it_failed(ended)
            return
        judged = contract.judge(self.session, self.outputs, staging)
        report |= {"status": judged.verdict.label, "reason": judged.reason}
        if judged.verdict != Status.ERRORED:
            report |= self._commit(lease, judged, scratch, ended.result, hashes)

    def _child_spec(self, files: dict[str, list[Path]], scratch: Path) -> dict[str, Any]:
        order = self.order
        job = {
            "session_path": order.session_path,
            "device": order.device,
            "description": order.description,
            "inputs": {pattern: [str(path) for path in paths] for pattern, paths in files.items()},
            "outputs": [output.pattern for output in self.outputs],
            "parameters": order.parameters,
            "values": order.values,
            "scratch": str(scratch / "work"),
            "staging": str(scratch / "staging"),
            "cpu": order.cpu,
            "gpu": order.gpu,
        }
        return {"reference": order.reference, "file": order.file, "task": order.task, "version": order.version, "job": job}

    def _environment(self, scratch: Path) -> dict[str, str]:
        return process.thread_environment(self.order.cpu, self.order.gpu) | {
            "TMPDIR": str(scratch / "tmp"),
            "NUMBA_CACHE_DIR": str(self.settings.work_folder / "numba"),
        }

    def _how_it_failed(self, ended: Ended) -> dict[str, Any]:
        if ended.stopped:
            return _errored(ended.stopped, "Stopped", ended.stopped)
        if ended.result is None:
            return _errored(_death(ended, self.order.memory_gb), "ProcessDied", f"exit code {ended.exit_code}")
        error = ended.result["error"]
        found = _errored(f"{error['type']}: {error['message']}", error["type"], error["message"])
        return found | {"traceback": error["traceback"], "fingerprint": error["fingerprint"]}

    def _commit(self, lease: Lease, judged: Judgement, scratch: Path, result: dict[str, Any], hashes: HashBook) -> dict[str, Any]:
        """Hash, move into place and register what was judged sound."""
        targets = self._targets(judged)
        recorded = [self._record(targets[path], file, hashes) for path, file in judged.files.items()]
        registered = [item for item in recorded if item["path"] not in {targets[path] for path in judged.unregistered}]
        created = self.database.ensure_dataset_types({Path(item["path"]).name for item in registered}, self.order.task)
        if created:
            self.log(f"new dataset types: {', '.join(created)}")
        figures = self._figures(scratch / "staging", result["figures"])
        moves = {file: self.session.path / targets[path] for path, file in judged.staged.items()}
        moves |= {scratch / "staging" / "figures" / f"{figure['name']}.png": self.session.path / figure["path"] for figure in figures}
        with commit.exclusive(self.settings.work_folder / "locks" / f"{self.order.eid}.{self.order.slug}"):
            lease.confirm()
            commit.carry_out(commit.write_journal(scratch, moves))
        for item in recorded:
            path = self.session.path / item["path"]
            hashes.note(path, item["hash"], item["size"], path.stat().st_mtime_ns)
        if registered:
            self.database.register_files(self.session, registered, self.settings.repository, self.settings.lab.name)
        self.log(f"{len(recorded)} files committed, {len(registered)} of them registered as datasets")
        quality = {"outcome": result["outcome"], "checks": result["checks"]}
        return {"outputs": recorded, "figures": figures, "qc": quality if result["checks"] else None}

    def _targets(self, judged: Judgement) -> dict[str, str]:
        """Where each file goes: its own path, or a new ALF revision where what is there is protected."""
        paths = list(judged.staged)
        targets = {path: path for path in judged.files}
        existing = [path for path in paths if (self.session.path / path).exists()]
        if existing and self.database.check_protected(self.session, existing, self.settings.repository):
            revision = self._new_revision(paths)
            self.log(f"protected datasets are not overwritten; the outputs go into revision {revision}")
            targets |= {path: _revised(path, revision) for path in paths}
        return targets

    def _new_revision(self, paths: list[str]) -> str:
        today = dt.date.today().isoformat()
        for suffix in ["", *"abcdefghijklmnopqrstuvwxyz"]:
            if not any((self.session.path / _revised(path, today + suffix)).exists() for path in paths):
                return today + suffix
        raise RanvierError(f"{self.session.path}: no free revision name is left for {today}", "try again tomorrow")

    def _record(self, target: str, file: Path, hashes: HashBook) -> dict[str, Any]:
        md5 = hashes.md5(file) if file.is_relative_to(self.session.path) else digest(file)
        return {"path": target, "size": file.stat().st_size, "hash": md5, "version": self.order.version}

    def _figures(self, staging: Path, figures: list[dict[str, str]]) -> list[dict[str, str]]:
        folder = f"figures/{self.order.slug}"
        return [figure | {"path": f"{folder}/{figure['name']}.png"} for figure in figures]

    def _report(self, lease: Lease, report: dict[str, Any], receipt: identity.Receipt) -> Outcome:
        lease.stop()
        report = {**report, "reason": storable(report["reason"][:_LONGEST_REASON])}
        self.log(f"{self.order.instance} is {report['status']}{': ' if report['reason'] else ''}{report['reason']}")
        report |= {"receipt": receipt, "log": self._log_tail()}
        try:
            self._hand_in(lease, report)
        except DatabaseRefused as error:
            if error.status != 409:
                raise
            return Outcome(CLAIMED, Status.STARTED.label, f"the verdict came too late: {error}", lease.number)
        figures = [figure["path"] for figure in report.get("figures", [])]
        return Outcome(report["status"], report["status"], report["reason"], lease.number, report.get("wall_s", 0.0), figures)

    def _hand_in(self, lease: Lease, report: dict[str, Any]) -> None:
        """Hand in the verdict; where the database does not take the report, the bare failure, so that the attempt ends."""
        try:
            self.database.report(lease.attempt_id, **storable(report))
        except DatabaseRefused as error:
            if error.status == 409:
                raise
            self.log(str(error))
            reason = f"the database did not take the report of an attempt that was {report['status']}: {error.message}"
            self.database.report(lease.attempt_id, **storable(_errored(reason, "ReportRefused", error.message)))
            report |= {"status": Status.ERRORED.label, "reason": reason}

    def _log_tail(self) -> str:
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as stream:  # a task may have filled its log with gigabytes
            stream.seek(max(self.log_path.stat().st_size - _LOG_TAIL, 0))
            return stream.read().decode(errors="replace")

    def log(self, message: str) -> None:
        """Append a line of Ranvier's own to the attempt's log."""
        with self.log_path.open("a", errors="replace") as stream:
            stream.write(f"{time.strftime('%H:%M:%S')} ranvier {message}\n")


def _usage(ended: Ended) -> dict[str, Any]:
    used = asdict(ended.usage)
    return {name: round(value, 3) for name, value in used.items()}


def _errored(reason: str, kind: str, message: str) -> dict[str, Any]:
    return {"status": Status.ERRORED.label, "reason": reason, "error_type": kind, "error_message": message}


def _failure(error: Exception) -> dict[str, Any]:
    reason = str(error) if isinstance(error, RanvierError) else f"{type(error).__name__}: {error}"
    return _errored(reason, type(error).__name__, str(error)) | {"traceback": "".join(traceback.format_exception(error))}


def _death(ended: Ended, memory_gb: float) -> str:
    """What to make of a child that died without handing anything back."""
    used = f"its peak memory was {ended.usage.peak_memory_mb / 1000:.2f} GB of the {memory_gb:g} GB that the task declares"
    if ended.exit_code < 0:
        return f"the process was killed by signal {-ended.exit_code}; {used}; the end of the log may say more"
    return f"the process ended with exit code {ended.exit_code} before it handed in a result; the end of the log says why"


def _revised(path: str, revision: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/#{revision}#/{name}" if folder else f"#{revision}#/{name}"
