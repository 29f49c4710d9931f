"""Cells of a field of view and their activity, by suite2p."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import Input, Output, Resources, Retries, task
from ranvier.job import Job
from ranvier.tasks.imaging import existing, frame_times, movie
from ranvier.tasks.imaging.frame_times import HEADER_TIMES, SYNC_CHANNELS, SYNC_POLARITIES, SYNC_TIMES
from ranvier.tasks.imaging.movie import BRUKER_HEADER, MOVIES, SBX_HEADER, ImagingError, Movie
from ranvier.tasks.imaging.mpci_export import ACTIVITY, FOLDER, MASKS, ROI_ARRAYS
from ranvier.tasks.imaging.mpci_export import ARCHIVE as SUITE2P_FOLDER

SETTINGS = f"{FOLDER}/_ranvier_suite2p.settings.yaml"
MEAN_IMAGE = f"{FOLDER}/mpciMeanImage.images.npy"
METRICS = f"{FOLDER}/mpciROIs.metrics.pqt"

INPUTS = (*MOVIES, SBX_HEADER, BRUKER_HEADER, existing.FOLDERS, HEADER_TIMES, SYNC_TIMES, SYNC_CHANNELS, SYNC_POLARITIES)


@task(
    version="1.0.0",
    per="fov",
    inputs=[Input(pattern, required=False) for pattern in INPUTS],
    outputs=[
        *(Output(f"{FOLDER}/mpci.{name}.npy", at_least=1) for name in ("times", *ACTIVITY, "badFrames", "mpciFrameQC")),
        *(Output(f"{FOLDER}/mpciROIs.{name}.npy", at_least=1) for name in ROI_ARRAYS),
        *(Output(f"{FOLDER}/mpciROIs.{name}.sparse_npz") for name in MASKS),
        *(Output(f"{FOLDER}/{name}.names.tsv", at_least=1) for name in ("mpciFrameQC", "mpciROITypes")),
        Output(f"{FOLDER}/mpciROIs.uuids.csv", at_least=1),
        Output(METRICS, at_least=1),
        Output(MEAN_IMAGE, at_least=1),
        Output(SUITE2P_FOLDER),
        Output(SETTINGS),
    ],
    # on disk the frames as 16 bit, twice while they are registered; a movie of 512 x 512 px at 30 Hz grows by 57 GB an hour
    resources=Resources(cpu=2, memory_gb=6, memory_per_gb=0.2, scratch_gb=0.5, scratch_per_gb=2, timeout_s=3600, timeout_per_gb_s=3600),
    packages=("suite2p", "torch"),
    priority=60,
    retries=Retries(on_memory={"memory_gb": 1.5}),
)
def suite2p(job: Job, settings: dict[str, Any] | None = None, min_cells: int = 10) -> None:
    """Register the frames of a field of view, find its cells, and extract, deconvolve and classify their activity.

    Parameters
    ----------
    job
        The job.
    settings
        suite2p's own settings, nested as suite2p has them, where they are to differ from its defaults and from the description.
    min_cells
        Fewer cells are a WARNING of the quality control.

    Raises
    ------
    ImagingError
        If the raw files do not fit each other, if nothing is to be seen in them, or if suite2p is not installed or has no such setting.

    Notes
    -----
    Frame rate, decay of the indicator and size of a cell come from the session's description and its sync signals. A movie without a
    single region of interest gives no output: its verdict is Empty. A folder ``suite2p`` beside the raw data, made or curated by somebody,
    is taken as it is instead; what it lacks (mean image, motion) makes the verdict Incomplete.
    """
    from ranvier.tasks.imaging import extraction
    from ranvier.tasks.imaging.settings import load_suite2p, settle

    if planes := existing.of_job(job):
        adopt(job, planes)
        return
    raw = movie.of_job(job)
    times = frame_times.of_job(job, raw)
    refuse_hopeless(job, raw)
    package = load_suite2p(job.scratch / "home")
    used = settle(package.default_settings(), raw, job.description, settings or {}, rate=times.rate, gpu=has_gpu(job))
    folder = job.scratch / "work"
    job.progress(0.02, f"reading {raw.n_volumes} volumes")
    databases = extraction.write_planes(raw, folder, used, lambda part: job.progress(0.02 + 0.08 * part, "reading the frames"))
    job.progress(0.1, f"running suite2p on {used['torch_device']}")
    planes = extraction.run_planes(databases, job.cpu, lambda part: job.progress(0.1 + 0.75 * part, "running suite2p"))
    job.progress(0.85, "exporting")
    if not sum(len(plane.stat) for plane in planes):
        job.qc("n_cells", 0, "CRITICAL")
        job.log.warning("suite2p found nothing in %s", job.device)
        return
    export(job, raw, planes, times, min_cells)
    job.save(SETTINGS, settings_note(package.version, used, raw, times))


def refuse_hopeless(job: Job, raw: Movie) -> None:
    """Refuse a movie in which nothing can be found.

    Raises
    ------
    ImagingError
        If it is too short, or if all its frames are the same.
    """
    from ranvier.tasks.imaging.extraction import FEW_VOLUMES, MIN_VOLUMES
    from ranvier.tasks.imaging.raw_imaging_registration import is_constant

    if raw.n_volumes < MIN_VOLUMES:
        raise ImagingError(
            f"{raw.files[0].parent} has {raw.n_volumes} volumes; cells are found in {MIN_VOLUMES} or more", "record for longer"
        )
    job.qc("n_volumes", raw.n_volumes, "PASS" if raw.n_volumes >= FEW_VOLUMES else "WARNING")
    if is_constant(raw.samples()):
        raise ImagingError(
            f"{job.device} shows nothing: all frames in {raw.files[0].parent} are the same", "was the shutter open, and the detector on?"
        )


def has_gpu(job: Job) -> bool:
    """Whether this attempt was given a GPU that PyTorch can use."""
    import torch

    if job.gpu and not torch.cuda.is_available():
        job.log.warning("a GPU was asked for, and PyTorch sees none: running on the CPU")
    return bool(job.gpu) and torch.cuda.is_available()


def export(job: Job, raw: Movie, planes: list[Any], times: frame_times.FrameTimes, min_cells: int) -> None:
    """Write what suite2p found as ALF objects, with its quality and its figures."""
    import pandas as pd

    from ranvier.tasks.imaging import figures, mpci_export, quality

    regions = mpci_export.together(planes, (raw.height, raw.width))
    mpci_export.save_regions(job, regions)
    mpci_export.save_archive(job, planes)
    measured = quality.measure(raw, planes, regions, times.rate)
    images = np.stack([plane.registration["meanImg"] for plane in planes]).astype(np.float64)
    job.save(f"{FOLDER}/mpci.times.npy", times.times)
    job.save(f"{FOLDER}/mpci.badFrames.npy", measured.bad)
    job.save(f"{FOLDER}/mpci.mpciFrameQC.npy", measured.frame_qc)
    names = pd.DataFrame({"qc_values": range(len(quality.FRAME_QC)), "qc_labels": quality.FRAME_QC})
    job.save(f"{FOLDER}/mpciFrameQC.names.tsv", names)
    job.save(MEAN_IMAGE, images[0] if len(planes) == 1 else images)
    job.save(METRICS, measured.rois)
    quality.note_checks(job, measured, regions, (raw.height, raw.width), min_cells)
    job.progress(0.95, "drawing")
    title = f"{job.device}: suite2p"
    job.figure("mean_image", figures.mean_image(images, regions, title=title), "Mean image of each plane, its cells outlined")
    job.figure("traces", figures.traces(times.times, regions, measured.rois, title=title), "Fluorescence of the cells with the most signal")
    job.figure("raster", figures.raster(times.times, regions, title=title), "Deconvolved activity of all cells")
    job.figure("motion", figures.motion(times.times, measured, title=title), "Motion of the tissue, bad frames, and light")


def adopt(job: Job, planes: list[Any]) -> None:
    """Write a folder that suite2p left elsewhere as ALF objects, as far as it goes."""
    from ranvier.tasks.imaging import figures, mpci_export, quality

    raw = existing.as_movie(planes, job.description)
    times = frame_times.of_job(job, raw)
    regions = mpci_export.together(planes, (raw.height, raw.width))
    mpci_export.save_regions(job, regions)
    mpci_export.save_archive(job, planes)
    rois = quality.measure_rois(regions, times.rate)
    job.save(f"{FOLDER}/mpci.times.npy", times.times)
    job.save(METRICS, rois)
    if all("badframes" in plane.registration for plane in planes):
        job.save(f"{FOLDER}/mpci.badFrames.npy", np.any([plane.registration["badframes"][: raw.n_volumes] for plane in planes], axis=0))
    title = f"{job.device}: suite2p, made elsewhere"
    if (images := existing.pictures(planes)) is not None:
        job.save(MEAN_IMAGE, images[0] if len(planes) == 1 else images)
        job.figure("mean_image", figures.mean_image(images, regions, title=title), "Mean image of each plane, its cells outlined")
    job.figure("traces", figures.traces(times.times, regions, rois, title=title), "Fluorescence of the cells with the most signal")
    job.figure("raster", figures.raster(times.times, regions, title=title), "Deconvolved activity of all cells")
    job.qc("n_rois", regions.n_rois)
    job.qc("n_cells", int((regions.arrays["mpciROITypes"] == 1).sum()))
    job.save(
        SETTINGS, {"made_elsewhere": [str(plane.folder.relative_to(job.session_path)) for plane in planes], "frame_times": times.source}
    )


def settings_note(version: str, used: dict[str, Any], raw: Movie, times: frame_times.FrameTimes) -> dict[str, Any]:
    """What was done, for whoever wants to do it again."""
    import json

    plain = json.loads(json.dumps(used, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value)))
    return {
        "suite2p": str(version),
        "files": [path.name for path in raw.files],
        "planes": raw.n_planes,
        "channels": raw.n_channels,
        "functional_channel": raw.channel + 1,
        "frame_times": times.source,
        "settings": plain,
    }
