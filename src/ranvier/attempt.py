"""One try at a task instance: claim, compute in a child process, judge, commit, report.

`run_attempt` is what the lab's Dask cluster gets: a module-level function that takes and returns plain data.
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
import socket
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ranvier import closing, commit, contract, gpus, identity, metrics, process
from ranvier.client import Database, DatabaseRefused, DatabaseUnreachable
from ranvier.declare import Output
from ranvier.errors import RanvierError
from ranvier.hashes import HashBook
from ranvier.lease import Cancelled, Fenced, Lease, Returned
from ranvier.memory import Share
from ranvier.order import Order
from ranvier.placement import place
from ranvier.plan import missing_outputs, running_elsewhere
from ranvier.process import Child, Ended
from ranvier.report import errored, storable
from ranvier.retries import BROKEN_POOLS, Cause, cause_of
from ranvier.scratch import require
from ranvier.session import Session
from ranvier.settings import Settings, load
from ranvier.spool import Report, Spool, hand_in
from ranvier.states import SETTLED, Status

UNCHANGED = "Unchanged"  #: the result that is there has the same identity, so nothing ran
CLAIMED = "Claimed"  #: another attempt at the same task is running
RETURNED = "Returned"  #: the worker was stopped, and the task waits for another
PAUSED = 423  #: HTTP status: the task may not run in this lab until someone lifts its pause

_LOG_TAIL = 20_000  #: bytes of the log that the database keeps with the task
_LONGEST_REASON = 2_000  #: characters
#: Seconds for which the database is asked again, before the attempt is given back or its report goes into the spool.
_PATIENCE_S = 10.0
#: Seconds that a Dask worker which is being stopped leaves its attempts for giving back their tasks; its holder waits for 5.
_CLOSING_S = 4.5


@dataclass
class Outcome:
    """What came of an attempt.

    Attributes
    ----------
    status
        The verdict's label, or `UNCHANGED`, `CLAIMED` or `RETURNED`.
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
    cause
        Why it failed, where that may pass; see `ranvier.retries`.
    wait_s
        Seconds that the task asks to wait before it is tried again.
    why
        Why it ran.
    qc
        Outcome of the QC; empty where nothing was judged.
    """

    status: str
    verdict: str
    reason: str
    attempt: int = 0
    wall_s: float = 0.0
    figures: list[str] = field(default_factory=list)
    cause: str = ""
    wait_s: float | None = None
    why: str = ""
    qc: str = ""


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
    with metrics.attempt(plain.task) as note, closing.at_work():
        outcome = Attempt(plain, settings, Database.from_settings(settings, _PATIENCE_S)).run()
        note(outcome.status, outcome.wall_s)
    return asdict(outcome)


async def dask_teardown(worker: Any) -> None:
    """Dask's hook of a preloaded module: the worker is closing, so its attempts give their tasks back instead of falling silent."""
    await asyncio.to_thread(closing.close, f"the worker on {socket.gethostname()} was stopped", _CLOSING_S)


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
        self.spool = Spool(settings)
        self.outputs = [Output(**fields) for fields in order.outputs]
        self.share = Share(order.memory_gb, settings.attempts)
        self.why = ""
        self.cause = Cause.NONE
        self.wait_s: float | None = None

    def run(self) -> Outcome:
        """Take every step; whatever goes wrong after the claim ends the attempt as Errored with its reason."""
        try:
            with self.spool.lock(self.order.eid, self.order.slug), HashBook(self.settings.work_folder / "hashes.sqlite") as hashes:
                return self._run(hashes)
        except commit.Busy as error:
            return Outcome(CLAIMED, Status.STARTED.label, str(error))

    def _run(self, hashes: HashBook) -> Outcome:
        for report in self.spool.catch_up(self.database, self.order.eid, self.order.slug):
            self.log(f"handed in for attempt {report.number} at {report.instance}: {report.verdict['status']}")
        row = self.database.task(self.order.task_id)
        if running_elsewhere(row):
            return Outcome(CLAIMED, row["status"], f"attempt {row['attempt']} at {self.order.instance} is running")
        if row.get("cancel_requested"):
            return Outcome(Status.HELD.label, row["status"], f"cancelled by {row['cancelled_by'] or 'request'} before it started")
        if self.order.seen is not None and row["attempt"] > self.order.seen and row["status"] == Status.ERRORED.label:
            return Outcome(row["status"], row["status"], row["reason"], row["attempt"])
        files = {declared: self.session.find(filled) for declared, filled, _ in self.order.inputs}
        receipt = self._receipt(files, hashes)
        if not self.order.force and (standing := self._standing(row, receipt)):
            return Outcome(UNCHANGED, row["status"], standing, row["attempt"], qc=row.get("qc") or "")
        try:
            claimed = self._claim(row, receipt)
        except DatabaseRefused as error:
            if error.status == PAUSED:
                return Outcome(Status.HELD.label, Status.HELD.label, error.detail)
            if error.status != 409:
                raise
            return Outcome(CLAIMED, Status.STARTED.label, str(error))
        lease = Lease(self.database, claimed, self.settings)
        self.why = self._why(row, receipt)
        try:
            return self._hold(lease, files, receipt, hashes)
        finally:
            lease.stop()

    def _receipt(self, files: dict[str, list[Path]], hashes: HashBook) -> identity.Receipt:
        inputs = {self.session.relative(path): hashes.md5(path) for paths in files.values() for path in paths}
        packages = identity.package_versions(self.order.packages, self.order.interpreter)
        return identity.make_receipt(self.order.task, self.order.version, self.order.parameters, inputs, packages)

    def _standing(self, row: dict[str, Any], receipt: identity.Receipt) -> str:
        """Why the result that is there still stands; empty where it does not."""
        same = Status.parse(row["status"]) in SETTLED and row["identity"] == identity.identity(receipt)
        return f"unchanged since attempt {row['attempt']}" if same and not missing_outputs(self.session, row) else ""

    def _why(self, row: dict[str, Any], receipt: identity.Receipt) -> str:
        """Why it runs: as whoever ordered it says, and what is now other than when its result was made."""
        made = Status.parse(row["status"]) in SETTLED
        return "; ".join(filter(None, [self.order.note, *(identity.difference(row["receipt"] or {}, receipt) if made else [])]))

    def _claim(self, row: dict[str, Any], receipt: identity.Receipt) -> dict[str, Any]:
        return self.database.claim(
            task=self.order.task_id,
            after=row["attempt"],
            takes_over=row["status"] == Status.STARTED.label,
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
        if self.why:
            self.log(f"why: {self.why}")
        for left in self.scratch_root.glob(f"{self.order.slug}.*"):
            shutil.rmtree(left, ignore_errors=True)  # of attempts that were cut off; theirs is the past, as the lease is ours
        lease.start()
        report = self._new_report(lease, scratch)
        try:
            self._compute(report, lease, files, hashes)
            reachable = self._agree(report, lease)
            self._write_down(report, receipt)
        except Fenced as error:
            self.log(str(error))
            return Outcome(CLAIMED, Status.STARTED.label, str(error), lease.number)
        except Exception as error:  # the edge of an attempt: its failure is its outcome, and the rest of the session goes on
            if why := closing.reason():
                return self._give_back(lease, why)
            self.cause = cause_of(error)
            report.fails(_failure(error))
            reachable = True
            self._conclude(report, receipt)
        finally:
            lease.stop()
            if not self.spool.holds(report):
                shutil.rmtree(scratch, ignore_errors=True)
        self._move(report, hashes)
        return self._hand_in(report, reachable)

    def _give_back(self, lease: Lease, why: str) -> Outcome:
        self.log(f"given back: {why}")
        try:
            self.database.with_patience(0.0).give_back(lease.attempt_id, why)
        except (DatabaseUnreachable, DatabaseRefused) as error:
            self.log(f"{error}; the lease runs out, and the task is given back then")
        return Outcome(RETURNED, Status.WAITING.label, why, lease.number)

    def _new_report(self, lease: Lease, scratch: Path) -> Report:
        order = self.order
        return Report(
            attempt=lease.attempt_id,
            number=lease.number,
            eid=order.eid,
            slug=order.slug,
            instance=order.instance,
            task=order.task,
            session_path=order.session_path,
            scratch=str(scratch),
            repository=self.settings.repository,
            lab=self.settings.lab.name,
        )

    def _compute(self, report: Report, lease: Lease, files: dict[str, list[Path]], hashes: HashBook) -> None:
        """Fill in the report step by step, so that what was measured is kept when a later step fails."""
        missing = [filled for declared, filled, required in self.order.inputs if required and not files[declared]]
        if missing:
            raise RanvierError(f"input {', '.join(missing)} is not in {self.session.path}", "was it copied? put it there and run again")
        require(self.settings.work_folder, self.order.scratch_gb)
        scratch = Path(report.scratch)
        staging = scratch / "staging"
        for folder in (staging, scratch / "work", scratch / "tmp"):
            folder.mkdir(parents=True)
        ended = self._run_child(lease, files, scratch)
        report.verdict |= _usage(ended) | {"exit_code": ended.exit_code}
        if lease.lost:
            raise Fenced(lease.lost)
        if lease.cancelled:
            raise Cancelled(lease.cancelled)
        if ended.stopped and (why := closing.reason()):
            raise Returned(why)
        if ended.stopped or ended.result is None or ended.result["error"]:
            report.verdict |= self._how_it_failed(ended)
            return
        judged = contract.judge(self.session, self.outputs, staging)
        report.verdict |= {"status": judged.verdict.label, "reason": judged.reason}
        if judged.verdict != Status.ERRORED:
            place(report, judged, ended.result, version=self.order.version, hashes=hashes, protected=self._protected)

    def _run_child(self, lease: Lease, files: dict[str, list[Path]], scratch: Path) -> Ended:
        there = gpus.visible(self.settings.cluster.gpu)
        with gpus.hold(self.order.gpu, there, self.settings.work_folder / "gpus", stop=lease.why_stop) as held:
            interpreter = None if self.order.tool else self.order.interpreter
            child = Child(interpreter, self._child_spec(files, scratch), self.log_path, self._environment(scratch, held))
            lease.child = child
            return child.run(self.order.timeout_s, lambda: lease.why_stop() or self._takes_too_much(child))

    def _child_spec(self, files: dict[str, list[Path]], scratch: Path) -> dict[str, Any]:
        order = self.order
        job = {
            "session_path": order.session_path,
            "device": order.device,
            "description": order.description,
            "inputs": {pattern: [str(path) for path in paths] for pattern, paths in files.items()},
            "outputs": [output.pattern for output in self.outputs],
            "parameters": order.parameters | order.adjusted,
            "values": order.values | order.adjusted,
            "scratch": str(scratch / "work"),
            "staging": str(scratch / "staging"),
            "cpu": order.cpu,
            "gpu": order.gpu,
            "tool": (order.interpreter or "") if order.tool else "",
        }
        return {"reference": order.reference, "file": order.file, "task": order.task, "version": order.version, "job": job}

    def _environment(self, scratch: Path, held: list[str]) -> dict[str, str]:
        return process.thread_environment(self.order.cpu, held) | {
            "TMPDIR": str(scratch / "tmp"),
            "NUMBA_CACHE_DIR": str(self.settings.work_folder / "numba"),
        }

    def _takes_too_much(self, child: Child) -> str:
        reason = self.share.why_stop(child.memory_mb)
        if reason:
            self.cause = Cause.MEMORY
        return reason

    def _how_it_failed(self, ended: Ended) -> dict[str, Any]:
        if ended.stopped:
            return errored(ended.stopped, "Stopped", ended.stopped)
        killed = self.share.cause_of_kill(ended.usage.peak_memory_mb)
        if ended.result is None:
            self.cause = killed if ended.exit_code == -signal.SIGKILL else Cause.NONE
            return errored(_death(ended, self.order.memory_gb, self.cause), "ProcessDied", f"exit code {ended.exit_code}")
        error = ended.result["error"]
        self.cause, self.wait_s = Cause(error.get("cause", "")), error.get("wait_s")
        if error["type"] in BROKEN_POOLS:
            self.cause = killed
        found = errored(f"{error['type']}: {error['message']}", error["type"], error["message"])
        return found | {"traceback": error["traceback"], "fingerprint": error["fingerprint"]}

    def _protected(self, paths: list[str]) -> bool:
        ask = (self.session, paths, self.settings.repository)
        try:
            return self.database.check_protected(*ask)
        except DatabaseUnreachable as error:
            self.log(f"{error}; outputs are there already, so waiting until it tells whether they are protected")
            return self.database.with_patience(math.inf).check_protected(*ask)

    def _agree(self, report: Report, lease: Lease) -> bool:
        """Make sure that the database takes what is to be committed; returns False where it does not answer.

        Nobody else can be at work at the same instance, as this attempt holds its lock, so that its files may go in place all the same.
        """
        if not report.moves and not report.files:
            return True
        try:
            created = self.database.ensure_dataset_types({Path(item["path"]).name for item in report.files}, self.order.task)
            lease.confirm()
        except DatabaseUnreachable as error:
            self.log(f"{error}; the outputs go in place, and the report is handed in when it answers again")
            return False
        if created:
            self.log(f"new dataset types: {', '.join(created)}")
        return True

    def _write_down(self, report: Report, receipt: identity.Receipt) -> None:
        """Write the report into the spool before the first file is moved: from there on the result stands, whatever happens."""
        if report.moves:
            commit.prepare(report.moves)
            self.log(f"{len(report.moves)} files go in place, {len(report.files)} are to be registered as datasets")
        self._conclude(report, receipt)
        if report.moves:
            self.spool.put(report)

    def _conclude(self, report: Report, receipt: identity.Receipt) -> None:
        verdict = report.verdict
        verdict["reason"] = storable(verdict["reason"][:_LONGEST_REASON])
        self.log(f"{self.order.instance} is {verdict['status']}{': ' if verdict['reason'] else ''}{verdict['reason']}")
        adjusted = {"adjusted": self.order.adjusted} if self.order.adjusted else {}
        report.verdict = storable(verdict | {"receipt": receipt | adjusted, "log": self._log_tail()})

    def _move(self, report: Report, hashes: HashBook) -> None:
        commit.carry_out(report.moves)
        shutil.rmtree(report.scratch, ignore_errors=True)
        for item in report.verdict.get("outputs") or []:
            path = self.session.path / item["path"]
            hashes.note(path, item["hash"], item["size"], path.stat().st_mtime_ns)

    def _hand_in(self, report: Report, reachable: bool) -> Outcome:
        verdict = report.verdict
        try:
            if reachable:
                verdict = hand_in(report, self.database)
                self.spool.drop(report)
            else:
                self._keep(report)
        except DatabaseUnreachable as error:
            self.log(f"{error}; the report is handed in when it answers again")
            self._keep(report)
        except DatabaseRefused as error:
            if error.status == 409:
                self._too_late(report, error)
                return Outcome(CLAIMED, Status.STARTED.label, f"the verdict came too late: {error}", report.number)
            self.log(f"{error}; the report will be handed in again")
            self._keep(report)
        figures = [figure["path"] for figure in verdict.get("figures") or []]
        status, reason, wall_s = verdict["status"], verdict["reason"], report.verdict.get("wall_s", 0.0)
        quality = (verdict.get("qc") or {}).get("outcome", "")
        return Outcome(status, status, reason, report.number, wall_s, figures, self.cause, self.wait_s, self.why, quality)

    def _keep(self, report: Report) -> None:
        """Leave the report to be handed in later; where it cannot be written down either, wait for the database."""
        try:
            if not self.spool.holds(report):
                self.spool.put(report)
        except OSError as error:
            self.log(f"the report cannot be kept ({error}), so waiting for the database")
            hand_in(report, self.database.with_patience(math.inf), late=True)

    def _too_late(self, report: Report, error: DatabaseRefused) -> None:
        if report.moves:  # its files are in place, and nobody knows of them
            self.spool.refuse(report, str(error))

    def _log_tail(self) -> str:
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as stream:  # a task may have filled its log with gigabytes
            stream.seek(max(self.log_path.stat().st_size - _LOG_TAIL, 0))
            return stream.read().decode(errors="replace")

    def log(self, message: str) -> None:
        """Append a line of Ranvier's own to the attempt's log; where the disk has no room for it, to the worker's."""
        line = f"{time.strftime('%H:%M:%S')} ranvier {message}"
        try:
            with self.log_path.open("a", errors="replace") as stream:
                stream.write(f"{line}\n")
        except OSError as error:
            print(f"{self.log_path}: {error}: {line}", file=sys.stderr)


def _usage(ended: Ended) -> dict[str, Any]:
    used = asdict(ended.usage)
    return {name: round(value, 3) for name, value in used.items()}


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, Cancelled):
        return errored(str(error), "Cancelled", str(error))
    reason = str(error) if isinstance(error, RanvierError) else f"{type(error).__name__}: {error}"
    return errored(reason, type(error).__name__, str(error)) | {"traceback": "".join(traceback.format_exception(error))}


def _death(ended: Ended, memory_gb: float, cause: Cause) -> str:
    """What to make of a child that died without handing anything back."""
    used = f"its peak memory was {ended.usage.peak_memory_mb / 1000:.2f} GB of the {memory_gb:g} GB that the task declares"
    if cause:
        return f"the kernel killed the process as the machine's memory ran out; {used}"
    if ended.exit_code < 0:
        return f"the process was killed by signal {-ended.exit_code}; {used}; the end of the log may say more"
    return f"the process ended with exit code {ended.exit_code} before it handed in a result; the end of the log says why"
