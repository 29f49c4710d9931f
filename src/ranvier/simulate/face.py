"""The mouse that the cameras film: drawn frame by frame, from the side, with known keypoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ranvier.simulate.mouse import Behaviour

#: Names are IBL's. Top, right, bottom and left are those of the image; ``paw_r`` is the paw that is nearer to the camera.
KEYPOINTS = (
    "nose_tip", "pupil_top_r", "pupil_right_r", "pupil_bottom_r", "pupil_left_r", "paw_l", "paw_r", "tongue_end_l", "tongue_end_r",
)  # fmt: skip
WIDTH, HEIGHT = 160, 128
#: Places in a picture of that size, pixels, of a mouse that looks to the right.
NOSE, EYE, MOUTH, PAW_R, PAW_L = (137.0, 68.0), (84.0, 42.0), (121.0, 82.0), (78.0, 106.0), (112.0, 103.0)
TONGUE_WIDTH, TONGUE_LENGTH, TONGUE_ANGLE = 8.0, 20.0, 1.0
#: The tongue is seen from this part of its length on.
OUT = 0.2
LICK_HZ, LICK_S, LICKS = 6.0, 0.09, 5
#: Turn of the wheel (rad) that moves a paw through a radian of its cycle.
PAW_GAIN = 3.0


@dataclass(frozen=True)
class Look:
    """What stays as it is while a camera films.

    Attributes
    ----------
    scene
        The picture without what moves, shape (HEIGHT, WIDTH).
    scale, shift
        Size of the mouse, and where it sits, pixels.
    pupil, nose, near, far, tongue
        Grey values.
    mirrored
        Whether the mouse looks to the left.
    """

    scene: np.ndarray
    scale: float
    shift: tuple[float, float]
    pupil: float
    nose: float
    near: float
    far: float
    tongue: float
    mirrored: bool

    def at(self, places: ArrayLike) -> np.ndarray:
        """Pixels of places that are given for a mouse of the usual size, shape (..., 2)."""
        centre = np.array([WIDTH, HEIGHT]) / 2
        return (np.asarray(places) - centre) * self.scale + centre + self.shift


@dataclass(frozen=True)
class Motion:
    """What moves, one row a frame.

    Attributes
    ----------
    nose, gaze, paw_l, paw_r
        Pixels away from where they rest, shape (n_frames, 2).
    pupil_diameter
        Pixels, shape (n_frames,).
    tongue
        From 0, in the mouth, to 1, shape (n_frames,).
    licks
        When the tongue comes out, s, shape (n_licks,).
    """

    nose: np.ndarray
    gaze: np.ndarray
    paw_l: np.ndarray
    paw_r: np.ndarray
    pupil_diameter: np.ndarray
    tongue: np.ndarray
    licks: np.ndarray

    def __len__(self) -> int:
        return self.tongue.size


def make_look(rng: np.random.Generator, *, mirrored: bool = False) -> Look:
    """A mouse of some size and fur, somewhere before some background."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    waves = np.sin(x / rng.uniform(7, 14) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(6, 12) + rng.uniform(0, 6))
    scene = rng.uniform(75, 110) + rng.uniform(5, 20) * waves
    look = Look(
        scene=scene,
        scale=rng.uniform(0.9, 1.1),
        shift=(rng.uniform(-7, 7), rng.uniform(-5, 5)),
        pupil=rng.uniform(8, 28),
        nose=rng.uniform(185, 225),
        near=rng.uniform(195, 225),
        far=rng.uniform(160, 185),
        tongue=rng.uniform(215, 245),
        mirrored=mirrored,
    )
    fur = rng.uniform(115, 145)
    _ellipse(scene, look.at((95.0, 200.0)), 90 * look.scale, 88 * look.scale, rng.uniform(45, 70))
    _ellipse(scene, look.at((56.0, 48.0)), 62 * look.scale, 35 * look.scale, fur, angle=0.12)
    _ellipse(scene, look.at((106.0, 62.0)), 33 * look.scale, 18 * look.scale, fur + rng.uniform(-5, 10), angle=0.3)
    _ellipse(scene, look.at(EYE), 16 * look.scale, 13.5 * look.scale, rng.uniform(55, 80))
    scene += rng.normal(0, rng.uniform(8, 13), scene.shape)
    return look


def make_motion(times: np.ndarray, did: Behaviour | None, rng: np.random.Generator) -> Motion:
    """How the mouse moves at these times (s): its paws with the wheel, its tongue after rewards, pupil and nose by themselves."""
    wheel = np.interp(times, did.wheel_times, did.wheel_position) if did is not None else np.zeros(times.size)
    licks = lick_times(did) if did is not None else np.zeros(0)
    since = times - np.concatenate([[-np.inf], licks])[np.searchsorted(licks, times, side="right")]
    sniff = 2 * np.pi * (2.3 * times + 0.4 * np.sin(times))
    return Motion(
        nose=np.column_stack([0.8 * np.cos(sniff), 1.2 * np.sin(sniff)]),
        gaze=np.column_stack([2.0 * _wander(times, rng), 1.2 * _wander(times, rng)]),
        paw_l=_paw(PAW_GAIN * wheel + 0.9, 10.0, 3.0),
        paw_r=_paw(PAW_GAIN * wheel, 17.0, 4.0),
        pupil_diameter=13.5 + 3.0 * _wander(times, rng),
        tongue=np.where(since < LICK_S, np.sin(np.pi * np.minimum(since, LICK_S) / LICK_S), 0.0),
        licks=licks,
    )


def lick_times(did: Behaviour) -> np.ndarray:
    """When the tongue comes out, s: a few times after each reward."""
    rewards = did.feedback[did.correct] + 0.12
    return (rewards[:, None] + np.arange(LICKS) / LICK_HZ).ravel()


def keypoints(look: Look, motion: Motion) -> np.ndarray:
    """Where the keypoints are, pixels, shape (n_frames, n_keypoints, 2); NaN for the ends of a tongue that is not out."""
    pupil, radius = look.at(np.add(EYE, motion.gaze)), motion.pupil_diameter[:, None] * look.scale / 2
    along, across = _tongue_axes()
    tip = look.at(np.add(MOUTH, along * TONGUE_LENGTH * motion.tongue[:, None]))
    half = across * TONGUE_WIDTH / 2 * look.scale
    tip[motion.tongue < OUT] = np.nan
    sides = [radius * np.array(towards) for towards in ((0, -1), (1, 0), (0, 1), (-1, 0))]
    paws = [look.at(np.add(PAW_L, motion.paw_l)), look.at(np.add(PAW_R, motion.paw_r))]
    points = np.stack([look.at(np.add(NOSE, motion.nose)), *(pupil + side for side in sides), *paws, tip - half, tip + half], axis=1)
    if not look.mirrored:
        return points
    points[..., 0] = WIDTH - 1 - points[..., 0]
    order = [KEYPOINTS.index(_other_side(name)) for name in KEYPOINTS]
    return points[:, order]


def draw(look: Look, motion: Motion, frame: int) -> np.ndarray:
    """One frame, grey values without the camera's noise, shape (HEIGHT, WIDTH)."""
    image, scale = look.scene.copy(), look.scale
    radius = motion.pupil_diameter[frame] * scale / 2
    eye = look.at(np.add(EYE, motion.gaze[frame]))
    _ellipse(image, eye, radius, radius, look.pupil)
    _ellipse(image, look.at(np.add(EYE, (5.0, -5.0))), 1.6 * scale, 1.6 * scale, 235.0)
    _ellipse(image, look.at(np.add(NOSE, motion.nose[frame])), 4.5 * scale, 3.5 * scale, look.nose)
    _ellipse(image, look.at(np.add(PAW_L, motion.paw_l[frame])), 7 * scale, 5.5 * scale, look.far)
    _ellipse(image, look.at(np.add(PAW_R, motion.paw_r[frame])), 9.5 * scale, 7.5 * scale, look.near)
    if motion.tongue[frame] >= OUT:
        along, _ = _tongue_axes()
        length = TONGUE_LENGTH * motion.tongue[frame]
        _bar(image, look.at(MOUTH), along, length * scale, TONGUE_WIDTH * scale, look.tongue)
    return image[:, ::-1] if look.mirrored else image


def _other_side(name: str) -> str:
    """The keypoint that has a name's place in the mirrored picture: near and far paw stay what they are."""
    for pair in (("pupil_right_r", "pupil_left_r"), ("tongue_end_l", "tongue_end_r")):
        if name in pair:
            return pair[1 - pair.index(name)]
    return name


def _tongue_axes() -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along the tongue and across it, the latter to the right of the image."""
    along = np.array([np.cos(TONGUE_ANGLE), np.sin(TONGUE_ANGLE)])
    return along, np.array([along[1], -along[0]])


def _wander(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A slow course between about -1.5 and 1.5."""
    rates, phases = rng.uniform(0.04, 0.3, 4), rng.uniform(0, 2 * np.pi, 4)
    return np.sin(2 * np.pi * np.outer(times, rates) + phases).sum(axis=1) / 2


def _paw(cycle: np.ndarray, far: float, high: float) -> np.ndarray:
    return np.column_stack([far * np.sin(cycle), -high * np.cos(cycle)])


def _ellipse(image: np.ndarray, centre: np.ndarray, a: float, b: float, grey: float, angle: float = 0.0) -> None:
    """Paint an ellipse with soft edges."""
    part, x, y = _box(image, centre, max(a, b) + 2)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    cover = np.clip((1 - np.hypot(u / a, v / b)) * min(a, b) + 0.5, 0, 1)
    part += cover * (grey - part)


def _bar(image: np.ndarray, base: np.ndarray, along: np.ndarray, length: float, width: float, grey: float) -> None:
    """Paint a bar of square ends with soft edges."""
    part, x, y = _box(image, base, length + width)
    u, v = x * along[0] + y * along[1], y * along[0] - x * along[1]
    cover = np.clip(np.minimum(u, length - u) + 0.5, 0, 1) * np.clip(width / 2 - np.abs(v) + 0.5, 0, 1)
    part += cover * (grey - part)


def _box(image: np.ndarray, centre: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of an image around a place, and the pixels' distances from it along both axes."""
    (x0, y0), (x1, y1) = (np.clip(np.add(centre, step).astype(int), 0, (WIDTH, HEIGHT)) for step in (-reach, reach + 2))
    y, x = np.ogrid[y0:y1, x0:x1]
    return image[y0:y1, x0:x1], x - centre[0], y - centre[1]
