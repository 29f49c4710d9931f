"""The verdict on what an attempt wrote: decided by the task's declared outputs, not by "no exception"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ranvier.declare import Output
from ranvier.session import Session
from ranvier.states import Status


@dataclass
class Judgement:
    """What an attempt's outputs are worth.

    Attributes
    ----------
    verdict
        Complete, Incomplete, Empty or Errored.
    reason
        What is missing or unsound; empty for Complete.
    staged
        Sound files below the staging folder, by their path below the session folder.
    in_place
        Sound files that the rig had left in the session folder, likewise.
    unregistered
        Paths among them that are not to become datasets.
    """

    verdict: Status
    reason: str = ""
    staged: dict[str, Path] = field(default_factory=dict)
    in_place: dict[str, Path] = field(default_factory=dict)
    unregistered: set[str] = field(default_factory=set)

    @property
    def files(self) -> dict[str, Path]:
        """All sound files by their path below the session folder."""
        return {**self.staged, **self.in_place}


class Unsound(Exception):
    """A file cannot be read as what its name says."""


def judge(session: Session, outputs: Sequence[Output], staging: Path) -> Judgement:
    """Hold what was written against what was declared.

    Parameters
    ----------
    session
        The session, for outputs that are in place already.
    outputs
        The declared outputs, placeholders filled in.
    staging
        Folder in which the task has written its files, laid out like the session folder.

    Returns
    -------
    Judgement
        Errored where a file cannot be read or the files of an ALF object do not agree in length; Empty where nothing was written;
        Incomplete where a required output is missing or shorter than asked; else Complete.
    """
    found = Judgement(Status.COMPLETE)
    lacking: list[str] = []
    lengths: dict[str, int] = {}
    for output in outputs:
        try:
            lacking += _take(output, session, staging, found, lengths)
        except Unsound as error:
            return Judgement(Status.ERRORED, str(error))
    if disagreement := _disagreement(lengths):
        return Judgement(Status.ERRORED, disagreement)
    if not found.files:
        found.verdict, found.reason = Status.EMPTY, "; ".join(lacking) or "wrote nothing"
    elif lacking:
        found.verdict, found.reason = Status.INCOMPLETE, "; ".join(lacking)
    return found


def _take(output: Output, session: Session, staging: Path, found: Judgement, lengths: dict[str, int]) -> list[str]:
    """Sort the files of one output into the judgement; return what is lacking, in words."""
    paths = session.find(output.pattern) if output.in_place else sorted(path for path in staging.glob(output.pattern) if path.is_file())
    root, sound = (session.path, found.in_place) if output.in_place else (staging, found.staged)
    lacking, kept = [], 0
    for path in paths:
        relative = path.relative_to(root).as_posix()
        if path.is_symlink() and not output.in_place:
            raise Unsound(f"{relative} is a symbolic link, which would point to nowhere once scratch is gone; write the file itself")
        length = measure(path)
        if length is not None and length < output.at_least:
            lacking.append(f"{relative} has {length} rows, at least {output.at_least} were asked for")
            continue
        kept += 1
        sound[relative] = path
        found.unregistered |= set() if output.register else {relative}
        if length is not None and not output.in_place:
            lengths[relative] = length
    if not kept and output.required and not lacking:
        lacking.append(f"{output.pattern} was not {'found' if output.in_place else 'written'}")
    return lacking if output.required else []


def measure(path: Path) -> int | None:
    """Rows of a file (elements of the first dimension), None for formats that have none.

    Raises
    ------
    Unsound
        If the file is empty or cannot be read as what its name says.
    """
    if path.stat().st_size == 0:
        raise Unsound(f"{path.name} is an empty file of 0 bytes")
    reader = _READERS.get(path.suffix)
    try:
        return None if reader is None else reader(path)
    except Exception as error:  # whatever a damaged file makes a parser raise means the same here
        raise Unsound(f"{path.name} cannot be read: {type(error).__name__}: {error}") from error


def _rows_npy(path: Path) -> int:
    import numpy as np

    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return int(array.shape[0]) if array.ndim else 1


def _rows_parquet(path: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def _rows_text(path: Path) -> int:
    with path.open("rb") as stream:
        return max(sum(1 for _ in stream) - 1, 0)


def _parse_json(path: Path) -> None:
    import json

    json.loads(path.read_text())


def _parse_yaml(path: Path) -> None:
    import yaml

    yaml.safe_load(path.read_text())


_READERS: dict[str, Callable[[Path], int | None]] = {
    ".npy": _rows_npy,
    ".pqt": _rows_parquet,
    ".csv": _rows_text,
    ".tsv": _rows_text,
    ".json": _parse_json,
    ".yaml": _parse_yaml,
}


#: Of IBL's names those whose rows are not the object's: ``apRMS`` has the raw traces as its first row, the destriped ones as its second;
#: a spectrogram has a row of ``frequencies`` for a column of ``power``.
_OWN_ROWS = frozenset({"ephysChannels.apRMS", "audioSpectrogram.frequencies"})


def _disagreement(lengths: dict[str, int]) -> str:
    """Which files of one ALF object differ in length; timestamps may be two rows to interpolate between.

    Source: the ALF specification, https://int-brain-lab.github.io/ONE/alf_intro.html.
    """
    from one.alf.path import filename_parts
    from one.alf.spec import is_valid

    objects: dict[tuple[str, str, str, str], dict[str, int]] = {}
    for relative, length in lengths.items():
        folder, _, name = relative.rpartition("/")
        if not is_valid(name):
            continue
        namespace, obj, attribute, timescale, *_ = filename_parts(name)
        if attribute != "timestamps" and f"{obj}.{attribute}" not in _OWN_ROWS:
            objects.setdefault((folder, namespace or "", obj, timescale or ""), {})[name] = length
    for (folder, *_), members in objects.items():
        if len(set(members.values())) > 1:
            told = ", ".join(f"{name} has {length}" for name, length in members.items())
            return f"files of one ALF object differ in their number of rows in {folder}: {told}"
    return ""
