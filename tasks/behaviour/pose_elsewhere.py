"""Poses by packages in Python environments of their own: a small script is run there, and what it leaves is read and checked here."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ranvier import Resources
from ranvier.job import Job
from ranvier.tasks.behaviour import video
from ranvier.tasks.behaviour.pose import COLUMNS, SEEN, Pose, PoseError, not_chosen
from ranvier.tasks.behaviour.pose_sidecar import SINGLE, PoseModelError, of_one_view

RUNNERS = Path(__file__).parent / "_runners"
RESOURCES = Resources(cpu=2, gpu=1, memory_gb=8, timeout_s=7200, timeout_per_gb_s=28800)
#: Lines of a runner's last words that a failure repeats; the attempt's log has all of them.
LAST_WORDS = 3
#: Lines of nothing else point at a part of the line above, as tracebacks do.
MARKS = " ^~"
#: The height of a network's peak may be somewhat above 1; more is no likelihood.
HIGHEST = 1.5


@dataclass(frozen=True)
class Backend:
    """A package that finds poses.

    Attributes
    ----------
    runner
        Its script, below `RUNNERS`.
    configs
        Names that the file may have, in the model's folder, which says what the model finds.
    keypoints
        Reads their names from that file and its content, and refuses models of several animals or views; empty where it does not say them.
    given
        What its script is given as the model: that file, or its folder.
    """

    runner: str
    configs: tuple[str, ...]
    keypoints: Callable[[Path, dict[str, Any]], tuple[str, ...]]
    given: Callable[[Path], Path]


def left_out(task: str) -> Callable[[dict[str, Any], dict[str, Any]], str]:
    """Why a task of another package is left out: nobody has chosen a model."""
    return lambda description, parameters: "" if parameters["model"] else not_chosen(task)


def estimate(job: Job, backend: Backend, model: str, *more: str) -> Pose:
    """Have a package find the pose in the video of the camera that a job is for.

    Parameters
    ----------
    job
        Of a task with a ``tool``, which declares `ranvier.tasks.behaviour.video.VIDEO` as an input.
    backend
        The package.
    model
        The model's folder, or the file in it that says what it finds; ``{camera}`` stands for the camera's name.
    more
        What its script takes besides.

    Raises
    ------
    PoseModelError
        If the model is not there, or is one of several animals or views.
    PoseError
        If the package fails, or leaves something that is no pose of this video.
    """
    film = video.inspect(video.of_job(job))
    config = find_config(Path(model.replace("{camera}", job.device)).expanduser().absolute(), backend.configs)
    keypoints = backend.keypoints(config, read_config(config))
    arguments = map(str, (RUNNERS / backend.runner, film.path, backend.given(config), job.scratch, *more))
    run_script([job.tool, "-I", "-u", *arguments], job)
    found = read_csv(only_csv(job.scratch, backend.runner))
    if keypoints and set(found.keypoints) != set(keypoints):
        raise PoseError(f"{config} has the keypoints {', '.join(keypoints)}, but what came out has {', '.join(found.keypoints)}", _WHOSE)
    if len(found) != film.n_frames:
        raise PoseError(f"{film.path} has {film.n_frames} frames, but the pose that came out has {len(found)} rows", _WHOSE)
    job.log.info("%s: %d keypoints", config, len(found.keypoints))
    job.qc("model", config.parent.name)
    job.qc("seen", round(float((found.likelihood >= SEEN).mean()), 4))
    return found


_FOLDER = "have the task's parameter `model` name the folder of a model"
_WHOSE = "see the attempt's log for what the package said, and run it by hand on this video"


def find_config(model: Path, names: Sequence[str]) -> Path:
    """The file that says what a model finds, from it or its folder.

    Raises
    ------
    PoseModelError
        If it is not there.
    """
    candidates = [model / name for name in names] if model.is_dir() else [model] * (model.name in names)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise PoseModelError(f"the pose model {model} is no folder with {' or '.join(names)}", "mend the task's parameter `model`")
    return found


def read_config(path: Path) -> dict[str, Any]:
    """The content of a YAML or JSON file.

    Raises
    ------
    PoseModelError
        If it is neither, or not a mapping.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise PoseModelError(f"{path} cannot be read: {error}", "copy the model's folder whole") from error
    if not isinstance(content, dict):
        raise PoseModelError(f"{path} holds {type(content).__name__}, not a mapping", "copy the model's folder whole")
    return content


def _of_deeplabcut(file: Path, content: dict[str, Any]) -> tuple[str, ...]:
    if content.get("multianimalproject"):
        raise PoseModelError(f"{file}: a DeepLabCut project of several animals", SINGLE)
    return tuple(map(str, content.get("bodyparts") or ()))


def _of_lightning_pose(file: Path, content: dict[str, Any]) -> tuple[str, ...]:
    try:
        return of_one_view(file, content)
    except (KeyError, TypeError, AttributeError) as error:
        raise PoseModelError(f"{file} is no configuration of lightning-pose: {type(error).__name__}: {error}", _FOLDER) from error


def _of_sleap(file: Path, content: dict[str, Any]) -> tuple[str, ...]:
    try:
        heads = [name for name, head in content["model_config"]["head_configs"].items() if head is not None]
    except (KeyError, TypeError, AttributeError) as error:
        raise PoseModelError(f"{file} is no configuration of sleap-nn: {type(error).__name__}: {error}", _FOLDER) from error
    if heads != ["single_instance"]:
        raise PoseModelError(f"{file}: a {'/'.join(heads)} model of sleap-nn finds one animal among several, or a part of one", SINGLE)
    return ()


DEEPLABCUT = Backend("deeplabcut.py", ("config.yaml",), _of_deeplabcut, lambda config: config)
LIGHTNING_POSE = Backend("lightning_pose.py", ("config.yaml",), _of_lightning_pose, lambda config: config.parent)
SLEAP_NN = Backend("sleap_nn.py", ("training_config.yaml", "training_config.json"), _of_sleap, lambda config: config.parent)


def run_script(command: Sequence[str], job: Job) -> None:
    """Run a command, its words in the job's log.

    Raises
    ------
    PoseError
        If it fails; its last words are in the message.
    """
    last: deque[str] = deque(maxlen=LAST_WORDS)
    pipes: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    with subprocess.Popen(command, cwd=job.scratch, **pipes) as process:
        assert process.stdout is not None
        for line in filter(None, map(str.rstrip, process.stdout)):
            job.log.info("%s", line)
            if line.strip(MARKS):
                last.append(line)
    if process.returncode:
        raise PoseError(f"{Path(command[0])} ended with exit code {process.returncode}: {' | '.join(last) or 'it said nothing'}", _WHOSE)


def only_csv(folder: Path, runner: str) -> Path:
    """The one CSV that a script has left.

    Raises
    ------
    PoseError
        If there is none, or more than one.
    """
    found = sorted(folder.glob("*.csv"))
    if len(found) != 1:
        raise PoseError(f"{runner} left {', '.join(path.name for path in found) or 'no CSV'}, it must be one CSV", _WHOSE)
    return found[0]


def read_csv(path: Path) -> Pose:
    """Read a pose as DeepLabCut writes it: three rows of names (scorer, bodyparts, coords), then one row a frame with its number first.

    Raises
    ------
    PoseError
        If it is something else, or of several animals.
    """
    import pandas as pd

    with path.open(errors="replace") as file:
        heads = [file.readline().rstrip("\n").split(",") for _ in range(3)]
    titles = [head[0] for head in heads]
    if "individuals" in titles:
        raise PoseError(f"{path.name} is a pose of the animals {', '.join(dict.fromkeys(heads[titles.index('individuals')][1:]))}", SINGLE)
    names = list(dict.fromkeys(heads[1][1:]))
    columns = [(name, column) for name in names for column in COLUMNS]
    if titles != ["scorer", "bodyparts", "coords"] or not names or list(zip(heads[1][1:], heads[2][1:], strict=False)) != columns:
        raise PoseError(f"{path.name} is no pose: its first rows are {', '.join(titles)}, not those of x, y and likelihood", _WHOSE)
    try:
        values = pd.read_csv(path, skiprows=3, header=None, index_col=0).to_numpy(float)
    except (ValueError, pd.errors.ParserError) as error:
        raise PoseError(f"{path.name} is no pose: {error}", _WHOSE) from error
    if values.shape[1] != len(columns):
        raise PoseError(f"{path.name} is no pose: it names {len(columns)} columns and has {values.shape[1]}", _WHOSE)
    places = values.reshape(len(values), len(names), len(COLUMNS))
    likelihood = np.nan_to_num(places[..., 2])
    if likelihood.min(initial=0) < 0 or likelihood.max(initial=0) > HIGHEST:
        raise PoseError(f"{path.name}: likelihoods from {likelihood.min():g} to {likelihood.max():g}, not from 0 to 1", _WHOSE)
    return Pose(tuple(names), places[..., :2], np.clip(likelihood, 0, 1))
