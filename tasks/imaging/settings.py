"""What suite2p is to run with: its defaults, what the description of the field of view says, and what the lab sets."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ranvier.tasks.imaging.movie import ImagingError, Movie

#: Decay of an indicator, s: suite2p's documentation for the GCaMP6, half decay / ln 2 after one action potential for the jGCaMP8 (Zhang
#: et al. 2023, doi 10.1038/s41586-023-05828-9).
TAU_S = {"gcamp6f": 0.7, "gcamp6m": 1.0, "gcamp6s": 1.25, "jgcamp8f": 0.1, "jgcamp8m": 0.2, "jgcamp8s": 0.45}
#: Diameter of a soma, um, where the description has the size of a pixel and not that of a cell.
SOMA_UM = 12.0
#: suite2p 1.1 fails where a picture holds one block only ("Input and output sizes should be greater than 0").
BLOCKS_A_SIDE = 2
MIN_BLOCK_PX = 16


def load_suite2p(home: Path) -> ModuleType:
    """Import suite2p; what it writes into the user's home on that occasion goes into `home`.

    A lab server's tasks must not depend on settings and classifiers that somebody's graphical session has left in ``~/.suite2p``.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _home(home):
        try:
            import suite2p
        except ImportError as error:
            raise ImagingError(f"suite2p is not installed: {error}", "pip install 'ranvier[imaging]'") from error
    return suite2p


def settle(
    defaults: dict[str, Any], movie: Movie, description: dict[str, Any], overrides: dict[str, Any], *, rate: float, gpu: bool
) -> dict[str, Any]:
    """All settings of suite2p; wrong ones are found before an hour of work.

    Parameters
    ----------
    defaults
        suite2p's own.
    movie
        The movie.
    description
        What the session's description says of the field of view: ``tau`` (s) or ``indicator``, ``cell_diameter_um``, ``pixel_size_um``.
    overrides
        The lab's: nested as suite2p's, only what is to differ. They go before the description.
    rate
        Volumes a second, Hz.
    gpu
        Whether there is a GPU to use.

    Raises
    ------
    ImagingError
        If suite2p has no such setting, or if nobody knows the indicator.
    """
    settings = copy.deepcopy(defaults)
    settings |= {"fs": rate, "torch_device": "cuda" if gpu else "cpu"}
    if (tau := tau_of(description)) is not None:
        settings["tau"] = tau
    if pixel := description.get("pixel_size_um"):
        settings["diameter"] = [float(description.get("cell_diameter_um", SOMA_UM)) / float(pixel)] * 2
    settings["classification"]["use_builtin_classifier"] = True
    settings["io"] |= {"combined": False, "delete_bin": False, "move_bin": False}
    sides = zip(settings["registration"]["block_size"], (movie.height, movie.width), strict=True)
    settings["registration"]["block_size"] = [min(int(block), max(side // BLOCKS_A_SIDE, MIN_BLOCK_PX)) for block, side in sides]
    return merged(settings, overrides)


def tau_of(description: dict[str, Any]) -> float | None:
    """Decay of the indicator, s; None where the description says nothing of it.

    Raises
    ------
    ImagingError
        If the indicator is unknown.
    """
    if description.get("tau") is not None:
        return float(description["tau"])
    if not (indicator := description.get("indicator")):
        return None
    name = str(indicator).lower().replace("-", "").replace(" ", "")
    if name not in TAU_S:
        raise ImagingError(
            f"the indicator {indicator!r} is unknown (known: {', '.join(TAU_S)})", "say its decay in the description, as `tau` (s)"
        )
    return TAU_S[name]


def merged(settings: dict[str, Any], overrides: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Settings with others in their place, however deep they lie; suite2p itself merges the first level only.

    Raises
    ------
    ImagingError
        If there is no such setting.
    """
    if unknown := set(overrides) - set(settings):
        names = ", ".join(f"{where}{name}" for name in sorted(unknown))
        raise ImagingError(f"suite2p has no setting {names}", f"it has {', '.join(f'{where}{name}' for name in settings)}")
    result = dict(settings)
    for name, value in overrides.items():
        deeper = isinstance(settings[name], dict) and isinstance(value, dict)
        result[name] = merged(settings[name], value, f"{where}{name}.") if deeper else value
    return result


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get("HOME")
    os.environ["HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("HOME") if before is None else os.environ.update(HOME=before)
