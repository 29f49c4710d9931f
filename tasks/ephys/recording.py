"""The raw recording of a probe: its SpikeGLX files checked against each other, and opened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ranvier.errors import RanvierError

if TYPE_CHECKING:
    from spikeinterface import BaseRecording

    from ranvier.job import Job

AP_BINARY = "{collection}/*.ap.*bin"
AP_META = "{collection}/*.ap.meta"
AP_CHUNKS = "{collection}/*.ap.ch"
SAMPLE_BYTES = 2


class RecordingError(RanvierError, ValueError):
    """The files of a probe cannot be what its meta says; the message names the file, the hint what to do."""


@dataclass(frozen=True)
class RawRecording:
    """A probe's AP band as its files describe it.

    Attributes
    ----------
    binary, meta
        The ``.ap.bin`` or ``.ap.cbin``, and the ``.ap.meta``.
    fields
        What the meta says, as text, without the tilde of its tables.
    n_channels
        AP channels, without the sync word.
    n_saved
        All channels in the file.
    n_samples
        Samples per channel.
    sampling_rate
        Hz.
    probe_model, serial
        Part number and serial number of the probe, as the meta gives them.
    """

    binary: Path
    meta: Path
    fields: dict[str, str]
    n_channels: int
    n_saved: int
    n_samples: int
    sampling_rate: float
    probe_model: str
    serial: str

    @property
    def duration_s(self) -> float:
        """Length, s."""
        return self.n_samples / self.sampling_rate


def check_files(folder: str, binaries: Sequence[Path], metas: Sequence[Path]) -> RawRecording:
    """Check the files of one probe's AP band against each other.

    Parameters
    ----------
    folder
        Where they were looked for, for the messages.
    binaries, metas
        The files that were found.

    Raises
    ------
    RecordingError
        If there is not one of each, if the meta is cut off or is that of an unknown probe, or if the binary has another size than it says.
    """
    binary = _only(binaries, folder, ".ap.bin or .ap.cbin", "copy it from the rig again")
    meta = _only(metas, folder, ".ap.meta", "copy it from the rig again; without it nobody knows the gain, the probe and its channels")
    fields = read_meta(meta)
    n_ap, _, n_sync = (int(number) for number in _field(fields, meta, "snsApLfSy").split(","))
    rate = _number(fields, meta, "imSampRate")
    n_saved = int(_number(fields, meta, "nSavedChans"))
    if n_saved != n_ap + n_sync or rate <= 0:
        told = f"nSavedChans={n_saved}, snsApLfSy={fields['snsApLfSy']} and imSampRate={rate:g}"
        raise RecordingError(f"{meta}: {told} do not fit", _COPY)
    return RawRecording(
        binary=binary,
        meta=meta,
        fields=fields,
        n_channels=n_ap,
        n_saved=n_saved,
        n_samples=_count_samples(binary, meta, fields, n_saved),
        sampling_rate=rate,
        probe_model=_probe_model(meta),
        serial=fields.get("imDatPrb_sn") or fields.get("imProbeSN", ""),
    )


def of_job(job: Job) -> RawRecording:
    """The checked files of the probe that a job is for; its task declares `AP_BINARY` and `AP_META` as inputs."""
    return check_files(str(job.session_path / job.values["collection"]), job.files(AP_BINARY), job.files(AP_META))


def read_meta(path: Path) -> dict[str, str]:
    """Read the fields of a SpikeGLX meta file, as text; the tilde of its tables is left off.

    Raises
    ------
    RecordingError
        If the file cannot be read, or has lines that are no fields, as a file that was cut off has.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path} cannot be read: {error}", _COPY) from error
    pairs = [line.partition("=") for line in lines if line.strip()]
    if broken := [key for key, equals, _ in pairs if not equals]:
        raise RecordingError(f"{path} is malformed: {broken[0][:40]!r} is not a field=value line", _COPY)
    if not pairs:
        raise RecordingError(f"{path} is empty", _COPY)
    return {key.removeprefix("~"): value for key, _, value in pairs}


def open_recording(raw: RawRecording, workspace: Path) -> BaseRecording:
    """Open the AP band with SpikeInterface, lazily.

    Parameters
    ----------
    raw
        What `check_files` returned.
    workspace
        A folder for links to the two files: SpikeGLX readers read every meta of a folder, and one of another band that is broken must not
        matter here.

    Returns
    -------
    spikeinterface.BaseRecording
        int16 with gains in uV, the probe's geometry (um) and the inter-sample shifts; without the sync word.
    """
    from spikeinterface.extractors import get_neo_streams, read_cbin_ibl, read_spikeglx

    folder = workspace / "ap"
    folder.mkdir(parents=True, exist_ok=True)
    for path in (raw.binary, raw.meta, raw.binary.with_suffix(".ch")):
        link = folder / path.name
        if path.exists() and not link.exists():
            link.symlink_to(path.absolute())
    if raw.binary.suffix == ".cbin":
        return read_cbin_ibl(cbin_file_path=folder / raw.binary.name)
    _, streams = get_neo_streams("spikeglx", folder)
    return read_spikeglx(folder, stream_id=next(stream for stream in streams if not stream.endswith("SYNC")))


def use_cores(count: int) -> None:
    """Have SpikeInterface spread its work over so many processes in this process, without progress bars: they fill a log."""
    from spikeinterface import set_global_job_kwargs

    set_global_job_kwargs(n_jobs=count, chunk_duration="1s", progress_bar=False)


_COPY = "copy the file from the rig again"


def _only(paths: Sequence[Path], folder: str, kind: str, remedy: str) -> Path:
    if not paths:
        raise RecordingError(f"{folder} has no {kind}", remedy)
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise RecordingError(f"{folder} has {len(paths)} files {kind}: {names}", "keep one recording a probe; move the others elsewhere")
    return paths[0]


def _field(fields: dict[str, str], meta: Path, name: str) -> str:
    if name not in fields:
        raise RecordingError(f"{meta} is malformed: it lacks {name}", _COPY)
    return fields[name]


def _number(fields: dict[str, str], meta: Path, name: str) -> float:
    text = _field(fields, meta, name)
    try:
        return float(text)
    except ValueError:
        raise RecordingError(f"{meta} is malformed: {name}={text!r} is not a number", _COPY) from None


def _count_samples(binary: Path, meta: Path, fields: dict[str, str], n_saved: int) -> int:
    stated = int(_number(fields, meta, "fileSizeBytes"))
    if binary.suffix == ".cbin":
        return _count_compressed(binary.with_suffix(".ch"), stated, n_saved)
    size = binary.stat().st_size
    if size != stated:
        amount = f"{abs(stated - size)} bytes are {'missing' if size < stated else 'too many'}"
        raise RecordingError(
            f"{binary} has {size} bytes, but its meta says {stated}: {amount}",
            "the copy from the rig stopped early, or the file is another recording's; copy it again",
        )
    if size == 0 or size % (n_saved * SAMPLE_BYTES):
        raise RecordingError(f"{binary} has {size} bytes, which is no whole number of samples of {n_saved} channels", _COPY)
    return size // (n_saved * SAMPLE_BYTES)


def _count_compressed(chunks: Path, stated: int, n_saved: int) -> int:
    try:
        n_samples = int(json.loads(chunks.read_text())["chunk_bounds"][-1])
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise RecordingError(f"{chunks} cannot be read: {error}", "copy it; without it the .cbin cannot be decompressed") from error
    if n_samples * n_saved * SAMPLE_BYTES != stated:
        raise RecordingError(f"{chunks} counts {n_samples} samples, but the meta says {stated} bytes", _COPY)
    return n_samples


def _probe_model(meta: Path) -> str:
    """Part number of the probe, if its geometry is known and fits the channel tables."""
    from probeinterface import read_spikeglx

    try:
        return str(read_spikeglx(meta).model_name)
    except Exception as error:  # a table that does not parse raises whatever it happens to: all of it means the same
        raise RecordingError(f"{meta}: the probe and its channels cannot be made out ({type(error).__name__}: {error})", _COPY) from error
