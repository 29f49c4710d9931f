"""What became of the rows of an import: counted by table, and listed where something was left out."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Of the rows that were left out or kept, how many are told at once; all of them are in the file.
TOLD = 20


@dataclass(frozen=True)
class Remark:
    """A row that was not taken, or not as it is there.

    Attributes
    ----------
    kind
        ``left out``, ``without`` (taken, but not all that it points to) or ``kept`` (it was changed here, and stays so).
    """

    kind: str
    table: str
    address: str
    reason: str
    mend: str


class Report:
    """Counts and remarks of one import.

    Parameters
    ----------
    file
        Where each remark is written, as a line of JSON; it is made with the first.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.remarks: list[Remark] = []
        #: Remarks of before this import was interrupted.
        self.earlier = _left_out(file)
        self.strange: dict[str, Counter[str]] = defaultdict(Counter)

    def count(self, table: str, what: str, number: int = 1) -> None:
        """Rows of a table were ``added``, ``updated``, ``completed``, are ``unchanged``, or here with values of their ``own``."""
        if number:
            self.counts[table][what] += number

    def remark(self, kind: str, table: str, address: str, reason: str, mend: str = "") -> None:
        """A row was not taken as it is there."""
        remark = Remark(kind, table, address, reason, mend)
        with self._lock:
            self.counts[table][kind] += 1
            if sum(other.kind == kind for other in self.remarks) < TOLD:
                self.remarks.append(remark)
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as file:
                file.write(json.dumps(asdict(remark)) + "\n")

    def number(self, what: str) -> int:
        """How many rows of all tables became that."""
        return sum(counts[what] for counts in self.counts.values())

    @property
    def is_whole(self) -> bool:
        """Whether all was taken, also before it was interrupted."""
        return not self.number("left out") and not self.number("without") and not self.earlier

    def told(self) -> dict[str, Any]:
        """All of it, for people and scripts."""
        return {
            "tables": {table: dict(counts) for table, counts in self.counts.items()},
            "remarks": [asdict(remark) for remark in self.remarks],
            "earlier": self.earlier,
            "file": str(self.file) if self.file.exists() else None,
            "not_taken": {table: dict(fields) for table, fields in self.strange.items() if fields},
            "whole": self.is_whole,
        }


def _left_out(file: Path) -> int:
    """Rows that a file of remarks says were not taken whole."""
    lines = file.read_text().splitlines() if file.exists() else []
    return sum(json.loads(line)["kind"] != "kept" for line in lines)
