"""Cells under a two-photon microscope: pictures of them, and the truth about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ranvier.simulate.damage import SimulationError

#: Pixels around the picture, so that what drifts in at an edge is tissue, too.
MARGIN = 16
#: Radius of a cell, px: at the usual 1.2 um a pixel a soma of some 12 um.
RADIUS_PX = 5.0
#: Centres of two cells in one plane are at least so far apart, and so far from the edge, px.
SPACING_PX, EDGE_PX = 13.0, 12.0
#: Photons a pixel and frame: tissue, a cell at rest, and neuropil.
BACKGROUND, REST, NEUROPIL = 6.0, 10.0, 4.0
#: Counts a photon, and the counts and the noise (sd) of a frame in the dark.
GAIN, OFFSET, READ_NOISE = 12.0, 100.0, 8.0
#: Decay of the indicator (GCaMP6f), s; dF/F of one spike; bursts a second, and spikes a burst.
TAU_S, SPIKE_DFF, BURST_HZ, BURST_SPIKES = 0.7, 0.35, 0.12, 4.0
#: Part of the light that is lost to bleaching by the end.
BLEACHED = 0.08
#: Largest rigid drift to either side, px, and how much more the first line moves than the middle one.
DRIFT_PX, NONRIGID_PX = 3.0, 1.0
NEUROPIL_MAPS = 4
BLOCK = 100


@dataclass(frozen=True)
class Scene:
    """What is under the microscope.

    Attributes
    ----------
    masks
        Weight of each pixel of each cell where it lies without drift, 1 at most; float32, shape (n_cells, height, width).
    planes
        Plane of each cell, shape (n_cells,).
    spikes
        Spikes of each cell in each volume, shape (n_cells, n_volumes).
    dff
        dF/F of each cell, shape (n_cells, n_volumes).
    drift
        Rigid displacement of each frame, y and x, px, shape (n_volumes, n_planes, 2).
    bend
        How much further the first line is displaced than the middle one (the last one as much less), px, same shape.
    background
        Photons a frame of the tissue at rest, with a margin, shape (n_planes, height + 2 margins, width + 2 margins).
    neuropil, neuropil_traces
        Pictures of the neuropil, shape (n_planes, n_maps, ...), and their course, shape (n_maps, n_volumes).
    seed
        Of the noise.
    """

    masks: np.ndarray
    planes: np.ndarray
    spikes: np.ndarray
    dff: np.ndarray
    drift: np.ndarray
    bend: np.ndarray
    background: np.ndarray
    neuropil: np.ndarray
    neuropil_traces: np.ndarray
    seed: int

    def frames(self) -> Iterator[np.ndarray]:
        """The recorded frames, in the order in which they are scanned: int16, blocks of shape (n, height, width)."""
        noise = np.random.default_rng(self.seed + 1)
        n_volumes = self.dff.shape[1]
        for start in range(0, n_volumes, BLOCK):
            volumes = np.arange(start, min(start + BLOCK, n_volumes))
            light = np.stack([self._photons(volumes, plane) for plane in range(len(self.background))], axis=1)
            light *= (1 - BLEACHED * volumes / n_volumes)[:, None, None, None]
            counts = noise.poisson(np.maximum(light, 0)) * GAIN + OFFSET + noise.normal(0, READ_NOISE, light.shape)
            yield np.clip(counts, -32_768, 32_767).astype(np.int16).reshape(-1, *light.shape[2:])

    def _photons(self, volumes: np.ndarray, plane: int) -> np.ndarray:
        """Photons of one plane in some volumes, drifted; shape (n, height, width)."""
        mine = self.planes == plane
        wide = np.pad(self.masks[mine], ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
        still = np.tensordot((1 + self.dff[mine][:, volumes]).T * REST, wide, axes=1) + self.background[plane]
        still += np.tensordot(self.neuropil_traces[:, volumes].T, self.neuropil[plane], axes=1)
        return np.stack([_displaced(picture, self.drift[v, plane], self.bend[v, plane]) for picture, v in zip(still, volumes, strict=True)])


def make_scene(*, shape: tuple[int, int], n_planes: int, n_cells: int, n_volumes: int, rate: float, seed: int, drift: bool) -> Scene:
    """Put cells under a microscope.

    Parameters
    ----------
    shape
        Height and width, px.
    n_planes
        Planes that are scanned in turn.
    n_cells
        Cells, over all planes.
    n_volumes
        Frames of each plane.
    rate
        Volumes a second, Hz.
    seed
        The same seed gives the same cells and the same noise.
    drift
        Whether the tissue moves.

    Raises
    ------
    SimulationError
        If so many cells do not fit.
    """
    random = np.random.default_rng(seed)
    planes = np.sort(np.arange(n_cells) % n_planes)
    centres = np.concatenate([_centres(random, int((planes == plane).sum()), shape) for plane in range(n_planes)])
    spikes = _spikes(random, n_cells, n_volumes, rate)
    rigid, bend = _motion(random, n_volumes, n_planes, rate, 1.0 if drift else 0.0)
    return Scene(
        masks=np.stack([_mask(random, centre, shape) for centre in centres]),
        planes=planes,
        spikes=spikes,
        dff=_calcium(spikes, rate),
        drift=rigid,
        bend=bend,
        background=np.stack([_background(random, shape) for _ in range(n_planes)]),
        neuropil=np.stack([[NEUROPIL * _smooth_map(random, shape, 24) for _ in range(NEUROPIL_MAPS)] for _ in range(n_planes)]),
        neuropil_traces=np.stack([_course(random, n_volumes, rate) for _ in range(NEUROPIL_MAPS)]),
        seed=seed,
    )


def _centres(random: np.random.Generator, count: int, shape: tuple[int, int]) -> np.ndarray:
    low, high = np.full(2, EDGE_PX), np.array(shape) - EDGE_PX
    found: list[np.ndarray] = []
    for _ in range(20_000):
        if len(found) == count:
            break
        place = random.uniform(low, high)
        if all(np.linalg.norm(place - other) >= SPACING_PX for other in found):
            found.append(place)
    if len(found) < count:
        raise SimulationError(f"{count} cells do not fit into {shape[0]} x {shape[1]} pixels", f"simulate {len(found)} or fewer a plane")
    return np.array(found).reshape(-1, 2)


def _mask(random: np.random.Generator, centre: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A cell: an ellipse with a soft edge, a little darker in the middle, where the nucleus is."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    angle, radii = random.uniform(0, np.pi), RADIUS_PX * random.uniform(0.85, 1.2, 2)
    along = (y - centre[0]) * np.sin(angle) + (x - centre[1]) * np.cos(angle)
    across = (y - centre[0]) * np.cos(angle) - (x - centre[1]) * np.sin(angle)
    distance = np.hypot(along / radii[0], across / radii[1])
    edge = 1 / (1 + np.exp(np.minimum((distance - 1) * 8, 50)))
    weight = edge * (1 - 0.45 * np.exp(-((distance / 0.5) ** 2)))
    return np.where(weight > 0.05, weight, 0).astype(np.float32)


def _spikes(random: np.random.Generator, n_cells: int, n_volumes: int, rate: float) -> np.ndarray:
    bursts = random.poisson(BURST_HZ / rate * random.uniform(0.6, 1.6, (n_cells, 1)), (n_cells, n_volumes))
    silent = bursts.sum(axis=1) == 0
    bursts[silent, random.integers(0, n_volumes, int(silent.sum()))] = 1  # a cell that never fires cannot be found by its activity
    return np.where(bursts > 0, 1 + random.poisson(BURST_SPIKES - 1, bursts.shape), 0)


def _calcium(spikes: np.ndarray, rate: float) -> np.ndarray:
    from scipy.signal import lfilter

    return SPIKE_DFF * lfilter([1.0], [1.0, -np.exp(-1 / (TAU_S * rate))], spikes, axis=1)


def _motion(random: np.random.Generator, n_volumes: int, n_planes: int, rate: float, strength: float) -> tuple[np.ndarray, np.ndarray]:
    n_frames = n_volumes * n_planes
    moves = np.stack([_course(random, n_frames, rate * n_planes) - 1 for _ in range(4)], axis=1)
    moves /= np.maximum(np.abs(moves).max(axis=0), 1e-9)
    rigid = moves[:, :2] * DRIFT_PX + random.normal(0, 0.15, (n_frames, 2))
    bend = moves[:, 2:] * NONRIGID_PX
    return strength * rigid.reshape(n_volumes, n_planes, 2), strength * bend.reshape(n_volumes, n_planes, 2)


def _background(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Tissue with fine texture and a few vessels, to which frames can be aligned."""
    return (BACKGROUND * _smooth_map(random, shape, 1.5) * _smooth_map(random, shape, 12)).astype(np.float32)


def _smooth_map(random: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """A random picture with a margin, smooth over `sigma` pixels, positive with a mean of 1."""
    from scipy.ndimage import gaussian_filter

    picture = gaussian_filter(random.normal(size=(shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN)), sigma, mode="wrap")
    return np.clip(1 + 0.4 * (picture - picture.mean()) / picture.std(), 0, None)


def _course(random: np.random.Generator, n: int, rate: float) -> np.ndarray:
    """A random course around 1 that changes within seconds."""
    from scipy.ndimage import gaussian_filter1d

    course = gaussian_filter1d(random.normal(size=n), 1.0 * rate, mode="wrap")
    return np.clip(1 + 0.3 * (course - course.mean()) / max(float(course.std()), 1e-9), 0, None)


def _displaced(picture: np.ndarray, drift: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """The picture without its margin, displaced by so many pixels; each line by its own amount."""
    from scipy.ndimage import map_coordinates

    height, width = (size - 2 * MARGIN for size in picture.shape)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    line = np.cos(np.pi * y / max(height - 1, 1))
    moved = [y + MARGIN - drift[0] - bend[0] * line, x + MARGIN - drift[1] - bend[1] * line]
    return map_coordinates(picture, moved, order=1, mode="nearest")
