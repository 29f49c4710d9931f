"""How good a field of view is: its frames, its motion, its light, and each region of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ranvier.tasks.imaging.extraction import Plane
from ranvier.tasks.imaging.mpci_export import Regions

if TYPE_CHECKING:
    import pandas as pd

    from ranvier.job import Job
    from ranvier.tasks.imaging.movie import Movie

#: What can be wrong with a volume: the value in ``mpci.mpciFrameQC``.
FRAME_QC = ("ok", "large motion", "dark")
#: A frame with less than this part of the median light (above the darkest pixels) is dark: shutter, lost frame, laser.
DARK_PART = 0.5
#: Above these a person should look: part of the volumes that are bad, motion (px from 1 to 99 %), light that is lost from begin to end.
BAD_PART, MOTION_PART, BLEACHED_PART = 0.05, 0.1, 0.3
#: Frames that stand for the whole movie where all would be too many.
SAMPLES = 300
#: Part of the neuropil that is taken off, as suite2p does.
NEUROPIL_PART = 0.7


@dataclass(frozen=True)
class Quality:
    """What was measured of a field of view.

    Attributes
    ----------
    shift
        Rigid motion of each plane in each volume, y and x, px, shape (n_planes, n_volumes, 2).
    bad, frame_qc
        Whether a volume is bad in any plane; what is wrong with it (index into `FRAME_QC`); shape (n_volumes,).
    brightness
        Mean light of each volume, counts, shape (n_volumes,).
    likeness
        Correlation of registered frames with the mean image, median over the samples, by plane.
    crispness
        Of the mean image, after registration over before: mean size of its gradient (Pnevmatikakis & Giovannucci 2017,
        doi 10.1016/j.jneumeth.2017.07.031), by plane.
    rois
        One row a region: ``snr`` (suite2p's: 1 less half the variance of differences over the variance), ``noise`` (% of the baseline per
        square root of Hz, Rupprecht et al. 2021, doi 10.1038/s41593-021-00895-5), ``skew``, ``n_pixels``, ``plane``.
    """

    shift: np.ndarray
    bad: np.ndarray
    frame_qc: np.ndarray
    brightness: np.ndarray
    likeness: np.ndarray
    crispness: np.ndarray
    rois: pd.DataFrame

    @property
    def motion_px(self) -> float:
        """Largest extent of the motion along an axis, from 1 to 99 % of the volumes, px."""
        low, high = np.percentile(self.shift, (1, 99), axis=1)
        return float((high - low).max())

    @property
    def bleached(self) -> float:
        """Part of the light that is lost from the first to the last tenth."""
        tenth = max(len(self.brightness) // 10, 1)
        first, last = np.median(self.brightness[:tenth]), np.median(self.brightness[-tenth:])
        return float(1 - last / first) if first > 0 else 0.0


def measure(movie: Movie, planes: Sequence[Plane], regions: Regions, rate: float) -> Quality:
    """Measure a field of view.

    Parameters
    ----------
    movie
        The raw movie.
    planes, regions
        What suite2p found.
    rate
        Volumes a second, Hz.
    """
    shift = np.stack([np.column_stack([plane.registration["yoff"], plane.registration["xoff"]]) for plane in planes]).astype(float)
    bad = np.any([plane.registration["badframes"] for plane in planes], axis=0)
    brightness = np.mean([mean_light(plane.frames()) for plane in planes], axis=0)
    frame_qc = np.where(is_dark(brightness), 2, np.where(bad, 1, 0)).astype(np.uint8)
    images = [np.asarray(plane.registration["meanImg"]) for plane in planes]
    before = raw_means(movie)
    return Quality(
        shift=shift,
        bad=bad,
        frame_qc=frame_qc,
        brightness=brightness,
        likeness=np.array([likeness(plane.frames(), image) for plane, image in zip(planes, images, strict=True)]),
        crispness=np.array([crispness(after) / max(crispness(raw), 1e-9) for after, raw in zip(images, before, strict=True)]),
        rois=measure_rois(regions, rate),
    )


def mean_light(frames: np.ndarray) -> np.ndarray:
    """Mean of each frame, read block by block."""
    return np.concatenate([frames[start : start + 500].mean(axis=(1, 2), dtype=np.float64) for start in range(0, len(frames), 500)])


def is_dark(brightness: np.ndarray) -> np.ndarray:
    """Which volumes have much less light than the others."""
    return brightness < DARK_PART * np.median(brightness) if np.median(brightness) > 0 else np.zeros(len(brightness), dtype=bool)


def raw_means(movie: Movie) -> np.ndarray:
    """Mean of each plane before registration, from some volumes; shape (n_planes, height, width)."""
    step = movie.n_planes * movie.n_channels
    chosen = np.unique(np.linspace(0, movie.n_volumes - 1, SAMPLES).astype(int))
    total = np.zeros((movie.n_planes, movie.height, movie.width))
    for volume in chosen:
        images = movie.images(volume * step, (volume + 1) * step).reshape(movie.n_planes, movie.n_channels, movie.height, movie.width)
        total += images[:, movie.channel]
    return total / len(chosen)


def likeness(frames: np.ndarray, image: np.ndarray) -> float:
    """Median correlation of registered frames with the mean image."""
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, SAMPLES).astype(int))].astype(np.float64).reshape(-1, image.size)
    chosen -= chosen.mean(axis=1, keepdims=True)
    centred = image.ravel() - image.mean()
    norms = np.linalg.norm(chosen, axis=1) * np.linalg.norm(centred)
    return float(np.median((chosen @ centred)[norms > 0] / norms[norms > 0])) if np.any(norms > 0) else 0.0


def crispness(image: np.ndarray) -> float:
    """Mean size of the gradient of a picture, without the edges, which registration leaves empty."""
    edge = max(min(image.shape) // 10, 1)
    return float(np.mean(np.hypot(*np.gradient(np.asarray(image, dtype=np.float64)[edge:-edge, edge:-edge]))))


def measure_rois(regions: Regions, rate: float) -> pd.DataFrame:
    """Quality of each region of interest, see `Quality`."""
    import pandas as pd

    light = regions.activity["ROIActivityF"] - NEUROPIL_PART * regions.activity["ROINeuropilActivityF"]
    baseline = np.maximum(np.percentile(regions.activity["ROIActivityF"], 20, axis=0), 1e-9)
    steps, variance = np.diff(light, axis=0), np.maximum(light.var(axis=0), 1e-9)
    centred = light - light.mean(axis=0)
    return pd.DataFrame(
        {
            "snr": 1 - 0.5 * steps.var(axis=0) / variance,
            "noise": 100 * np.median(np.abs(steps), axis=0) / baseline / np.sqrt(rate),
            "skew": (centred**3).mean(axis=0) / variance**1.5,
            "n_pixels": [len(each["ypix"]) for each in regions.stat],
            "plane": regions.planes,
        }
    )


def note_checks(job: Job, quality: Quality, regions: Regions, shape: tuple[int, int], min_cells: int) -> None:
    """Turn what was measured into quality checks."""
    cells = regions.arrays["mpciROITypes"] == 1
    n_cells = int(cells.sum())
    job.qc("n_rois", regions.n_rois)
    job.qc("n_cells", n_cells, "PASS" if n_cells >= min_cells else "WARNING" if n_cells else "FAIL")
    job.qc("bad_frames_part", round(float(np.mean(quality.frame_qc > 0)), 4), worse_above(float(np.mean(quality.frame_qc > 0)), BAD_PART))
    job.qc("motion_px", round(quality.motion_px, 2), worse_above(quality.motion_px, MOTION_PART * min(shape)))
    job.qc("bleached_part", round(quality.bleached, 4), worse_above(quality.bleached, BLEACHED_PART))
    job.qc("crispness_gain", round(float(quality.crispness.min()), 3))
    job.qc("correlation_with_mean", round(float(quality.likeness.min()), 3))
    if n_cells:
        job.qc("median_snr", round(float(quality.rois["snr"][cells].median()), 3))
        job.qc("median_noise", round(float(quality.rois["noise"][cells].median()), 3))


def worse_above(value: float, limit: float) -> str:
    """PASS up to a limit, WARNING up to three times as much, FAIL beyond."""
    return "PASS" if value <= limit else "WARNING" if value <= 3 * limit else "FAIL"
