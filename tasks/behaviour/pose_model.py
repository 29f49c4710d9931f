"""A pose model: an ONNX file, and the sidecar beside it that says what its outputs mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.tasks.behaviour.pose_sidecar import SINGLE, PoseModelError, Sidecar, read_sidecar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxruntime import InferenceSession

SHIPPED = Path(__file__).parent / "models" / "mouse_face.onnx"
BATCH = 16
DTYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(float16)": np.float16}
#: Of a mask: a pixel belongs to the region from this value on.
INSIDE = 0.5
#: Regions of a mask have four keypoints each, in this order.
SIDES = ("top", "right", "bottom", "left")


@dataclass(frozen=True)
class PoseModel:
    """An opened model; `height`, `width` and `channels` are those of its input."""

    path: Path
    beside: Path
    sidecar: Sidecar
    session: InferenceSession = field(repr=False)
    height: int
    width: int
    channels: int
    batch: int
    dtype: type

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Where the keypoints are.

        Parameters
        ----------
        frames
            Grey, uint8, shape (n, height, width).

        Returns
        -------
        numpy.ndarray
            x and y in pixels of the model's input, the middle of the first pixel being 0, and likelihood; shape (n, n_keypoints, 3).
        """
        parts = [self._run(frames[first : first + self.batch]) for first in range(0, len(frames), self.batch)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.sidecar.keypoints), 3))

    def _run(self, frames: np.ndarray) -> np.ndarray:
        given = self.session.get_inputs()[0]
        count = len(frames)
        if isinstance(given.shape[0], int) and count < given.shape[0]:
            frames = np.concatenate([frames, np.repeat(frames[-1:], given.shape[0] - count, axis=0)])
        return _READERS[self.sidecar.output](self, [output[:count] for output in self.outputs(frames)])

    def outputs(self, frames: np.ndarray) -> list[np.ndarray]:
        """What the model itself gives for a batch, the output of most dimensions first."""
        made = self.session.run(None, {self.session.get_inputs()[0].name: self.prepared(frames)})
        return sorted((np.asarray(output) for output in made), key=lambda output: -output.ndim)

    def prepared(self, frames: np.ndarray) -> np.ndarray:
        """Frames as the model wants them, shape (n, channels, height, width)."""
        fed = np.repeat(frames[:, None], self.channels, axis=1) if self.channels > 1 else frames[:, None]
        if self.dtype is np.uint8:
            return fed
        mean, std = (np.asarray(value, np.float32).reshape(-1, 1, 1) for value in (self.sidecar.mean, self.sidecar.std))
        return ((fed * np.float32(self.sidecar.scale) - mean) / std).astype(self.dtype)


def open_model(path: Path, threads: int = 1, size: tuple[int, int] = (128, 128)) -> PoseModel:
    """Open a model and hold it against its sidecar, by running it once.

    Parameters
    ----------
    path
        The ONNX file, with its sidecar as `read_sidecar` looks for it.
    threads
        Cores to use.
    size
        Height and width of the video, pixels: what a model gets that takes pictures of any size.

    Raises
    ------
    PoseModelError
        If a file is missing or no such thing, or if the sidecar does not fit the model.
    """
    beside, sidecar = read_sidecar(path)
    session = _session(path, threads)
    if len(session.get_inputs()) != 1 or len(session.get_inputs()[0].shape) != 4:
        shapes = ", ".join(f"{given.name} {given.shape}" for given in session.get_inputs())
        raise PoseModelError(
            f"{path} takes {shapes}, not one picture at a time (n, channels, height, width): several views or frames?", SINGLE
        )
    given = session.get_inputs()[0]
    batch, channels, *axes = given.shape
    height, width = (axis if isinstance(axis, int) else wanted for axis, wanted in zip(axes, sidecar.size or size, strict=True))
    if channels not in (1, 3) or given.type not in DTYPES:
        raise PoseModelError(
            f"{path} takes {given.type} of shape {given.shape}",
            f"export it with one or three channels in the second place, of {', '.join(DTYPES)}",
        )
    steps = batch if isinstance(batch, int) else BATCH
    model = PoseModel(path, beside, sidecar, session, height, width, channels, steps, DTYPES[given.type])
    _check_output(model)
    return model


def _session(path: Path, threads: int) -> InferenceSession:
    import onnxruntime as ort
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, RuntimeException
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplemented_

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented_, RuntimeException) as error:
        raise PoseModelError(f"{path} cannot be read as an ONNX model: {error}", "export the model again, or copy it whole") from error


def _check_output(model: PoseModel) -> None:
    """Run the model on one black frame, and see whether what comes out fits the sidecar."""
    outputs = _try_out(model)
    shapes = ", ".join(str(output.shape) for output in outputs)
    kind, names = model.sidecar.output, model.sidecar.keypoints
    first = outputs[0]
    if first.ndim == 4 and kind == "peaks":
        raise PoseModelError(f"{model.path} gives {shapes}: peaks of several animals", SINGLE)
    if first.ndim != (3 if kind == "peaks" else 4) or (kind == "peaks" and not _has_likelihood(outputs)):
        wanted = "(n, keypoints, 3), or (n, keypoints, 2) and (n, keypoints)" if kind == "peaks" else "(n, maps, height, width)"
        raise PoseModelError(
            f"{model.path} gives {shapes}, but by its sidecar it gives a {kind}, {wanted}", "mend the sidecar, or export the model again"
        )
    order = f"; a region has {', '.join(SIDES)}" if kind == "mask" else ""
    there = first.shape[1] * (len(SIDES) if kind == "mask" else 1)
    if there != len(names):
        raise PoseModelError(
            f"{model.path} has {there} keypoints, but {model.beside.name} names {len(names)}: {', '.join(names)}",
            f"name each once, in the order of the output{order}",
        )


def _try_out(model: PoseModel) -> list[np.ndarray]:
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

    try:
        return model.outputs(np.zeros((model.batch, model.height, model.width), np.uint8))
    except (Fail, InvalidArgument, RuntimeException, ValueError) as error:
        told = f"{model.path} cannot be run on pictures of {model.height} x {model.width}: {error}"
        raise PoseModelError(told, f"say a size that it can take in {model.path.with_suffix('.json').name}") from error


def _has_likelihood(outputs: Sequence[np.ndarray]) -> bool:
    first = outputs[0]
    return first.shape[2] == 3 or (first.shape[2] == 2 and len(outputs) > 1 and outputs[1].shape == first.shape[:2])


def read_heatmaps(model: PoseModel, outputs: list[np.ndarray]) -> np.ndarray:
    """The highest value of each map, to a part of a cell.

    Notes
    -----
    Through the logarithms of the highest value and its two neighbours along each axis runs a parabola, whose summit is taken: exact where
    the map is a Gaussian.
    """
    maps = outputs[0].astype(np.float32)
    n, k, height, width = maps.shape
    best = maps.reshape(n, k, -1).argmax(axis=2)
    row, column = np.divmod(best, width)
    frame, point = np.ogrid[:n, :k]
    peak = maps[frame, point, row, column]
    left, right = (maps[frame, point, row, np.clip(column + step, 0, width - 1)] for step in (-1, 1))
    above, below = (maps[frame, point, np.clip(row + step, 0, height - 1), column] for step in (-1, 1))
    x, y = column + _summit(left, peak, right), row + _summit(above, peak, below)
    likelihood = _near(maps, row, column) if model.sidecar.sums_to_one else peak
    return _in_pixels(model, x, y, likelihood, (height, width))


def _summit(before: np.ndarray, peak: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where the parabola through three logarithms is highest, in cells from the middle one."""
    low, middle, high = (np.log(np.maximum(value, 1e-6)) for value in (before, peak, after))
    curvature = low - 2 * middle + high
    flat = curvature > -1e-6
    return np.clip(np.where(flat, 0, 0.5 * (low - high) / np.where(flat, 1, curvature)), -0.5, 0.5)


def _near(maps: np.ndarray, row: np.ndarray, column: np.ndarray, reach: int = 2) -> np.ndarray:
    """Sum within two cells of a place."""
    padded = np.pad(maps, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    frame, point = np.ogrid[: len(maps), : maps.shape[1]]
    steps = [(down, right) for down in range(2 * reach + 1) for right in range(2 * reach + 1)]
    return np.sum([padded[frame, point, row + down, column + right] for down, right in steps], axis=0)


def read_peaks(model: PoseModel, outputs: list[np.ndarray]) -> np.ndarray:
    """Places that the model itself gives."""
    peaks = outputs[0].astype(np.float32)
    peaks = peaks if peaks.shape[2] == 3 else np.concatenate([peaks, outputs[1][..., None].astype(np.float32)], axis=2)
    peaks[..., 2] = np.nan_to_num(peaks[..., 2])
    return peaks


def read_masks(model: PoseModel, outputs: list[np.ndarray]) -> np.ndarray:
    """Top, right, bottom and left of the ellipse that has each region's middle and spread; the likelihood is the mean value inside."""
    masks = outputs[0].astype(np.float32)
    n, _, height, width = masks.shape
    inside = masks >= INSIDE
    area = inside.sum(axis=(2, 3))
    some = np.maximum(area, 1)
    likelihood = np.where(area, (masks * inside).sum(axis=(2, 3)) / some, 0)
    # an ellipse reaches twice its standard deviation to each side, and a row of pixels has a twelfth more variance than their middles
    x, dx = _spread(inside.sum(axis=2), some)
    y, dy = _spread(inside.sum(axis=3), some)
    xs, ys = np.stack([x, x + dx, x, x - dx], axis=2), np.stack([y - dy, y, y + dy, y], axis=2)
    return _in_pixels(model, xs.reshape(n, -1), ys.reshape(n, -1), np.repeat(likelihood, len(SIDES), axis=1), (height, width))


def _spread(counts: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean place along an axis, and half the extent, from the number of pixels at each place."""
    at = np.arange(counts.shape[2])
    mean = (counts * at).sum(axis=2) / area
    variance = (counts * (at - mean[..., None]) ** 2).sum(axis=2) / area
    return mean, 2 * np.sqrt(variance + 1 / 12)


def _in_pixels(model: PoseModel, x: np.ndarray, y: np.ndarray, likelihood: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cells of a map as pixels of the model's input."""
    height, width = size
    shift = 0.5 if model.sidecar.cells_centred else 0.0
    x, y = (x + shift) * model.width / width - shift, (y + shift) * model.height / height - shift
    return np.stack([x, y, np.clip(likelihood, 0, 1)], axis=2)


_READERS: dict[str, Any] = {"heatmap": read_heatmaps, "peaks": read_peaks, "mask": read_masks}
