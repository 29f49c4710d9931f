"""Spike sorting of a probe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier import Input, Output, Resources, task
from ranvier.job import Job
from ranvier.tasks.ephys.recording import AP_BINARY, AP_CHUNKS, AP_META, of_job, open_recording, use_cores

if TYPE_CHECKING:
    from spikeinterface import BaseRecording

    from ranvier.tasks.ephys.motion import Drift

FOLDER = "alf/{probe}/{sorter}"
PARAMETERS = f"{FOLDER}/_ranvier_spikeSorting.parameters.yaml"
UUIDS = f"{FOLDER}/clusters.uuids.csv"
ARRAYS = (
    *(f"spikes.{name}" for name in ("times", "samples", "amps", "depths", "clusters", "templates")),
    *(f"clusters.{name}" for name in ("amps", "channels", "depths", "peakToTrough", "waveforms", "waveformsChannels")),
    *(f"templates.{name}" for name in ("amps", "waveforms", "waveformsChannels")),
    *(f"channels.{name}" for name in ("localCoordinates", "rawInd", "labels")),
)
DRIFT_ARRAYS = ("drift.times", "drift.um", "drift_depths.um")


@dataclass
class Preparation:
    """A recording on its way to the sorter.

    Attributes
    ----------
    raw
        The raw recording.
    labels
        Of its channels.
    recording
        What the sorter gets.
    drift
        The motion, where it was estimated.
    steps
        What was done, for the parameters' file.
    """

    raw: BaseRecording
    labels: np.ndarray
    recording: BaseRecording
    drift: Drift | None = None
    steps: dict[str, Any] = field(default_factory=dict)


@task(
    version="1.0.0",
    per="probe",
    inputs=[Input(AP_BINARY), Input(AP_META), Input(AP_CHUNKS, required=False)],
    outputs=[
        *(Output(f"{FOLDER}/{name}.npy", at_least=1) for name in ARRAYS),
        *(Output(f"{FOLDER}/{name}.npy", at_least=1, required=False) for name in DRIFT_ARRAYS),
        Output(UUIDS, at_least=1),
        Output(PARAMETERS),
    ],
    # on disk the destriped traces, as large as the raw ones, and as much again of the sorter; the time-out is eight times the duration
    resources=Resources(cpu=2, memory_gb=8, scratch_gb=0.5, scratch_per_gb=2, timeout_s=3600, timeout_per_gb_s=350),
    packages=("spikeinterface", "torch"),  # with PyTorch the motion is estimated by another method
    priority=70,
)
def spike_sorting(
    job: Job,
    sorter: str = "spykingcircus2",
    sorter_parameters: dict[str, Any] | None = None,
    motion: str = "auto",
    seed: int = 0,
) -> None:
    """Find the neurons of a probe and their spikes.

    Parameters
    ----------
    job
        The job.
    sorter
        A sorter of SpikeInterface, such as ``spykingcircus2``, or ``kilosort4`` on a GPU; also the name of the output folder.
    sorter_parameters
        The sorter's own parameters, where they are to differ from its defaults.
    motion
        ``auto`` estimates the motion where the recording allows it and corrects it above 10 um; ``none`` does neither; the name of one of
        SpikeInterface's presets, such as ``dredge``, estimates with that one and corrects whatever it finds.
    seed
        Of everything that is chosen at random.

    Raises
    ------
    RecordingError
        If the raw files do not fit each other.
    SorterError
        If the sorter cannot run here, or has no such parameter.

    Notes
    -----
    Spike times are on the probe's own clock. A silent probe, and one without a single unit, gives no output: its verdict is Empty.
    """
    from ranvier.tasks.ephys import preprocessing, sorters

    used = sorters.settle(sorter, sorter_parameters or {}, seed=seed)
    use_cores(job.cpu)
    raw = of_job(job)
    recording = open_recording(raw, job.scratch)
    job.progress(0.02, "labelling channels")
    rms = preprocessing.channel_rms(recording)
    if preprocessing.is_silent(rms):
        job.log.error("%s is silent (%.1f uV RMS): there is nothing to sort", job.device, np.median(rms))
        job.qc("n_units", 0, "CRITICAL")
        return
    labels = preprocessing.label_channels(recording, rms, seed=seed)
    prepared = prepare(job, recording, labels, motion)
    job.progress(0.4, f"sorting with {sorter}")
    sorting = sorters.run(prepared.recording, sorter, job.scratch / "sorter", used)
    job.qc("n_units", len(sorting.unit_ids), "PASS" if len(sorting.unit_ids) else "CRITICAL")
    if not len(sorting.unit_ids):
        job.log.warning("%s found no unit in %s", sorter, job.device)
        return
    job.progress(0.8, f"exporting {len(sorting.unit_ids)} units")
    export(job, prepared, sorting, seed)
    job.save(PARAMETERS, parameters_note(sorter, used, prepared, seed))


def prepare(job: Job, recording: BaseRecording, labels: np.ndarray, motion: str) -> Preparation:
    """Destripe the traces, write them to scratch once, and look after the motion.

    Parameters
    ----------
    job
        The job.
    recording
        The raw recording.
    labels
        Of its channels.
    motion
        As for the task.
    """
    from ranvier.tasks.ephys import preprocessing

    counts = {name: int(np.sum(labels == label)) for name, label in preprocessing.LABELS.items()}
    job.log.info("channels: %s", ", ".join(f"{count} {name}" for name, count in counts.items()))
    job.progress(0.05, "destriping")
    clean = preprocessing.destripe(recording, labels)
    # Sorters read the traces several times: int16 on disk is read faster than it is made again, and half a bit is far below the noise.
    saved = clean.astype("int16", round=True).save(folder=job.scratch / "destriped")
    steps: dict[str, Any] = {"channels": counts, "highpass_hz": preprocessing.HIGHPASS_HZ, "reference": "median"}
    prepared = Preparation(recording, labels, saved, steps=steps)
    look_after_motion(job, prepared, motion)
    return prepared


def look_after_motion(job: Job, prepared: Preparation, choice: str) -> None:
    """Estimate the motion, and correct it where it is large enough to matter."""
    from ranvier.tasks.ephys import figures
    from ranvier.tasks.ephys import motion as motions

    against = "as the lab has set it" if choice == "none" else motions.reason_against(prepared.recording)
    if against:
        job.log.info("motion is not estimated: %s", against)
        prepared.steps["motion"] = f"not estimated: {against}"
        return
    job.progress(0.15, "estimating the motion")
    preset = motions.default_preset() if choice == "auto" else choice
    drift = motions.estimate(prepared.recording, preset)
    corrected = choice != "auto" or drift.range_um > motions.CORRECT_ABOVE_UM
    job.log.info("the tissue moved by %.1f um: %s", drift.range_um, "corrected" if corrected else "too little to correct")
    job.qc("drift_um", round(drift.range_um, 1))
    if corrected:
        prepared.recording = motions.correct(prepared.recording, drift, preset)
    prepared.drift = drift
    prepared.steps["motion"] = {"preset": preset, "range_um": round(drift.range_um, 2), "corrected": corrected}
    caption = "Peaks by depth and time, and the estimated motion of the tissue"
    job.figure("drift_map", figures.drift_map(drift, corrected=corrected, title=f"{job.device}: drift"), caption)


def export(job: Job, prepared: Preparation, sorting: Any, seed: int) -> None:
    """Write a sorting as ALF objects, and the drift."""
    from ranvier.tasks.ephys import alf_export

    kept = prepared.raw.ids_to_indices(prepared.recording.channel_ids)
    analyzer = alf_export.analyse(sorting, prepared.recording, seed=seed)
    arrays = alf_export.alf_arrays(analyzer, prepared.raw.get_channel_locations(), prepared.labels, kept)
    if prepared.drift is not None:
        drift = prepared.drift
        arrays |= {"drift.times": drift.times, "drift.um": drift.um.astype(np.float32), "drift_depths.um": drift.depths}
    for name, values in arrays.items():
        job.save(f"{FOLDER}/{name}.npy", values)
    session = "/".join(job.session_path.parts[-3:])
    job.save(UUIDS, alf_export.cluster_uuids(arrays, f"{session}/{job.device}"))
    job.qc("n_spikes", len(arrays["spikes.times"]))


def parameters_note(sorter: str, used: dict[str, Any], prepared: Preparation, seed: int) -> dict[str, Any]:
    """What was done to the recording, for whoever wants to do it again."""
    import json

    import spikeinterface
    from spikeinterface.core.core_tools import SIJsonEncoder
    from spikeinterface.sorters import sorter_dict

    return {
        "sorter": sorter,
        "sorter_version": sorter_dict[sorter].get_sorter_version(),
        "spikeinterface": spikeinterface.__version__,
        "seed": seed,
        "preprocessing": prepared.steps,
        "sorter_parameters": json.loads(json.dumps(used, cls=SIJsonEncoder)),
    }
