"""What stands beside a pose model and says what its outputs mean: Ranvier's own JSON, or what sleap-nn or lightning-pose wrote there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranvier.tasks.behaviour.bpod import BehaviourError

OUTPUTS = ("heatmap", "peaks", "mask")
#: Where sleap-nn and lightning-pose say it: beside the model, and in the folder of the training above ``exports_onnx``.
SLEAP, LIGHTNING, LIGHTNING_FOLDER = "export_metadata.json", "config.yaml", "exports_onnx"
#: Mean and spread of ImageNet's three colours, with which lightning-pose trains (https://docs.pytorch.org/vision/stable/models.html).
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SINGLE = "use a model of one animal seen by one camera"
_DOCS = "see docs/behaviour.md, pose_estimation"


class PoseModelError(BehaviourError):
    """A pose model cannot be used; the message names the file, the reason and what to do."""


@dataclass(frozen=True)
class Sidecar:
    """What a model's outputs mean.

    Attributes
    ----------
    keypoints
        Their names, in the order of the model's output.
    output
        ``heatmap``: one map a keypoint, highest where it is. ``peaks``: x, y of each keypoint in pixels of the input, and its
        likelihood as a third value or as a second output. ``mask``: one map a region, whose top, right, bottom and left are the keypoints.
    scale, mean, std
        What a model with inputs of floating point wants: ``(grey value * scale - mean) / std``, of each channel.
    size
        Height and width of the input, pixels, where the model leaves them open; without it the video's own.
    cells_centred
        Whether the place of a map's cell is the middle of the pixels that it stands for, or else the first of them.
    sums_to_one
        Whether each heatmap is a distribution; the likelihood is then what is within two cells of its highest value.
    synthetic
        Whether it was trained on simulated mice only.
    about
        Where it comes from.
    """

    keypoints: tuple[str, ...]
    output: str = "heatmap"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None
    cells_centred: bool = True
    sums_to_one: bool = False
    synthetic: bool = False
    about: str = ""


def read_sidecar(path: Path) -> tuple[Path, Sidecar]:
    """Read what stands beside a model, and where.

    Raises
    ------
    PoseModelError
        If the model or its sidecar is missing, or says what cannot be, or if the model is one of several animals or views.
    """
    if not path.is_file():
        raise PoseModelError(f"the pose model {path} is not there", "mend the task's parameter `model`")
    kinds = [(path.with_suffix(".json"), _ours), (path.parent / SLEAP, _of_sleap)]
    if path.parent.name == LIGHTNING_FOLDER:
        kinds.append((path.parents[1] / LIGHTNING, _of_lightning_pose))
    for file, reader in kinds:
        if file.is_file():
            sidecar = _read(file, reader)
            _check(file, sidecar)
            return file, sidecar
    raise PoseModelError(f"{path} has no sidecar that names its keypoints: {kinds[0][0].name} is not there", _DOCS)


def _read(file: Path, reader: Any) -> Sidecar:
    try:
        if file.suffix == ".json":
            content = json.loads(file.read_text())
        else:
            import yaml

            content = yaml.safe_load(file.read_text())
        made: Sidecar = reader(file, content)
    except PoseModelError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PoseModelError(f"{file} is no sidecar of a pose model: {type(error).__name__}: {error}", _DOCS) from error
    return made


def _ours(file: Path, content: dict[str, Any]) -> Sidecar:
    if unknown := sorted(set(content) - set(Sidecar.__dataclass_fields__)):
        known = ", ".join(Sidecar.__dataclass_fields__)
        raise PoseModelError(f"{file} has {', '.join(unknown)}, which is unknown", f"it can have {known}")
    lists = {name: tuple(value) for name, value in content.items() if isinstance(value, list)}
    return Sidecar(**{**content, **lists})


def _of_sleap(file: Path, content: dict[str, Any]) -> Sidecar:
    """Peaks are found in sleap-nn's graph, which also scales the picture."""
    if (kind := content["model_type"]) != "single_instance":
        raise PoseModelError(f"{file}: a {kind} model of sleap-nn finds one animal among several, or a part of one", SINGLE)
    return Sidecar(tuple(content["node_names"]), "peaks", about=f"sleap-nn {content.get('sleap_nn_version', '')}")


def _of_lightning_pose(file: Path, content: dict[str, Any]) -> Sidecar:
    """Heatmaps are distributions, and cells stand for the first of their pixels."""
    keypoints, size = of_one_view(file, content), content["data"]["image_resize_dims"]
    mean, std = IMAGENET
    return Sidecar(
        keypoints,
        mean=mean,
        std=std,
        size=(size["height"], size["width"]),
        cells_centred=False,
        sums_to_one=True,
        about=f"lightning-pose, {content['model']['model_type']}",
    )


def of_one_view(file: Path, content: dict[str, Any]) -> tuple[str, ...]:
    """Keypoints of a model of lightning-pose, by its ``config.yaml``.

    Raises
    ------
    PoseModelError
        If it is a model of several views.
    """
    data = content["data"]
    if len(data.get("view_names") or ()) > 1:
        raise PoseModelError(f"{file}: a model of the views {', '.join(data['view_names'])}", SINGLE)
    return tuple(data["keypoint_names"])


def _check(file: Path, sidecar: Sidecar) -> None:
    if sidecar.output not in OUTPUTS:
        raise PoseModelError(f"{file}: output {sidecar.output!r} is unknown", f"use one of {', '.join(OUTPUTS)}")
    names = sidecar.keypoints
    if not names or isinstance(names, str) or len(set(names)) != len(names):
        raise PoseModelError(f"{file}: keypoints must be different names, one or more, but are {names!r}", _DOCS)
