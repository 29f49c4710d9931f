"""Train a tiny model with a package of the lab's: ``PYTHON -I training/tiny_pose_models.py PACKAGE LABELS FOLDER``.

For trying out Ranvier's tasks with the packages themselves, not for real mice: minutes of one core, no GPU, no weights from elsewhere.
PYTHON is that of an environment with PACKAGE, one of ``sleap_nn``, ``lightning_pose``, ``deeplabcut``; Ranvier is not needed there.
LABELS is a folder with ``labels.npz`` (``keypoints``, and ``places``, shape (n_frames, n_keypoints, 2), NaN where one is hidden)
and a picture ``img0000.png`` and so on of each frame. In FOLDER are then ``single``, a model of one animal in one view, with
its ONNX export where the package has one, and ``several``, one of several animals or views, which has learned nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

SEED = 0


@dataclass(frozen=True)
class Labels:
    """Frames in which somebody has marked the keypoints.

    Attributes
    ----------
    pictures
        Files, one a frame.
    keypoints
        Their names.
    places
        Pixels, shape (n_frames, n_keypoints, 2); NaN where one is hidden.
    """

    pictures: list[Path]
    keypoints: list[str]
    places: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Labels:
        """Read what stands in a folder."""
        with np.load(folder / "labels.npz") as content:
            return cls(sorted(folder.glob("img*.png")), content["keypoints"].tolist(), content["places"])


def call(command: str, *arguments: Any) -> None:
    """Call a command of the package, which is installed beside this Python."""
    subprocess.run([Path(sys.executable).parent / command, *map(str, arguments)], check=True)


def write_yaml(path: Path, content: dict[str, Any]) -> Path:
    """Write a configuration."""
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def sleap_nn(labels: Labels, folder: Path) -> None:
    """A UNet for one animal, exported, and one for several."""
    marked = write_slp(labels, folder / "labels.slp")
    maps = {"sigma": 2.5, "output_stride": 2}
    fields = {"sigma": 10.0, "output_stride": 4}
    train_unet(marked, folder, "single", {"single_instance": {"confmaps": maps}}, epochs=20)
    train_unet(marked, folder, "several", {"bottomup": {"confmaps": maps, "pafs": fields}}, epochs=1)
    call("sleap-nn", "export", folder / "single", "--output", folder / "single" / "exported")


def write_slp(labels: Labels, path: Path) -> Path:
    """Write labels as SLEAP does."""
    import sleap_io as sio

    skeleton = sio.Skeleton(labels.keypoints, edges=list(pairwise(labels.keypoints)))
    video = sio.Video.from_filename([str(picture) for picture in labels.pictures])
    animals = [sio.Instance.from_numpy(places, skeleton=skeleton) for places in labels.places]
    frames = [sio.LabeledFrame(video=video, frame_idx=index, instances=[animal]) for index, animal in enumerate(animals)]
    sio.save_slp(sio.Labels(frames), str(path))
    return path


def train_unet(labels: Path, folder: Path, name: str, head: dict[str, Any], epochs: int) -> None:
    """Train a small UNet with one head."""
    loader = {"batch_size": 4, "num_workers": 0}
    content = {
        "data_config": {
            "train_labels_path": [str(labels)],
            "validation_fraction": 0.1,
            "data_pipeline_fw": "torch_dataset_cache_img_memory",
            "preprocessing": {"ensure_grayscale": True},
            "use_augmentations_train": False,
        },
        "model_config": {
            "backbone_config": {"unet": {"in_channels": 1, "filters": 12, "filters_rate": 1.5, "max_stride": 16, "output_stride": 2}},
            "head_configs": head,
        },
        "trainer_config": {
            "train_data_loader": loader | {"shuffle": True},
            "val_data_loader": loader | {"shuffle": False},
            "trainer_accelerator": "cpu",
            "trainer_devices": 1,
            "enable_progress_bar": False,
            "min_train_steps_per_epoch": 1,
            "max_epochs": epochs,
            "seed": SEED,
            "save_ckpt": True,
            "ckpt_dir": str(folder),
            "run_name": name,
            "optimizer": {"lr": 1e-3},
        },
    }
    call("sleap-nn", "train", "--config", write_yaml(folder / f"{name}.yaml", content))


def lightning_pose(labels: Labels, folder: Path) -> None:
    """A ResNet-18 for one view, exported, and one for two."""
    write_table(labels, folder / "labels.csv", [str(picture) for picture in labels.pictures])
    train_resnet(labels, folder, "single", {"csv_file": "labels.csv"}, epochs=20)
    train_resnet(labels, folder, "several", {"csv_file": ["labels.csv"] * 2, "view_names": ["left", "right"]}, epochs=1)
    call("litpose", "export", folder / "single")


def write_table(labels: Labels, path: Path, index: Any, scorer: str = "ranvier") -> Any:
    """Write labels as DeepLabCut and Lightning Pose do; the table is returned, too."""
    import pandas as pd

    names = ["scorer", "bodyparts", "coords"]
    columns = pd.MultiIndex.from_product([[scorer], labels.keypoints, ["x", "y"]], names=names)
    table = pd.DataFrame(labels.places.reshape(len(labels.places), -1), index=index, columns=columns)
    table.to_csv(path)
    return table


def train_resnet(labels: Labels, folder: Path, name: str, data: dict[str, Any], epochs: int) -> None:
    """Train a small ResNet from nothing."""
    (folder / "videos").mkdir(exist_ok=True)
    content = {
        "data": {
            "image_resize_dims": {"height": 128, "width": 128},
            "data_dir": str(folder),
            "video_dir": str(folder / "videos"),
            "downsample_factor": 2,
            "num_keypoints": len(labels.keypoints),
            "keypoint_names": labels.keypoints,
            "mirrored_column_matches": None,
            "columns_for_singleview_pca": None,
            **data,
        },
        "training": {
            "imgaug": "default",
            "train_batch_size": 8,
            "val_batch_size": 8,
            "test_batch_size": 8,
            "train_prob": 0.9,
            "val_prob": 0.1,
            "train_frames": 1,
            "num_gpus": 0,
            "num_workers": 0,
            "early_stop_patience": epochs,
            "unfreezing_epoch": 0,
            "min_epochs": epochs,
            "max_epochs": epochs,
            "log_every_n_steps": 10,
            "check_val_every_n_epoch": min(5, epochs),
            "ckpt_every_n_epochs": None,
            "gpu_id": 0,
            "rng_seed_data_pt": SEED,
            "rng_seed_model_pt": SEED,
            "optimizer": "Adam",
            "optimizer_params": {"learning_rate": 1e-3},
            "lr_scheduler": "multisteplr",
            "lr_scheduler_params": {"multisteplr": {"milestones": [epochs * 2 // 3], "gamma": 0.3}},
        },
        "model": {
            "losses_to_use": [],
            "backbone": "resnet18",
            "backbone_pretrained": False,
            "model_type": "heatmap",
            "heatmap_loss_type": "mse",
            "model_name": "tiny",
            "checkpoint": None,
        },
        "dali": {
            "general": {"seed": SEED},
            "base": {"train": {"sequence_length": 16}, "predict": {"sequence_length": 32}},
            "context": {"train": {"batch_size": 8}, "predict": {"sequence_length": 32}},
        },
        "losses": {},
        "eval": {
            "predict_vids_after_training": False,
            "save_vids_after_training": False,
            "test_videos_directory": str(folder / "videos"),
            "confidence_thresh_for_vid": 0.9,
        },
        "callbacks": {
            "anneal_weight": {"attr_name": "total_unsupervised_importance", "init_val": 0.0, "increase_factor": 0.01, "final_val": 1.0}
        },
    }
    call("litpose", "train", write_yaml(folder / f"{name}.yaml", content), "--output_dir", folder / name)


def deeplabcut(labels: Labels, folder: Path) -> None:
    """A ResNet-18 for one animal, and a project of several without a network."""
    import deeplabcut as dlc

    config = make_project(labels, folder, "single")
    dlc.create_training_dataset(config, net_type="resnet_50", num_shuffles=1)
    how: dict[str, Any] = {"epochs": 10, "save_epochs": 10, "batch_size": 8, "display_iters": 10}
    dlc.train_network(config, device="cpu", snapshot_path=untrained(config, len(labels.keypoints), folder / "untrained.pt"), **how)
    make_project(labels, folder, "several", multianimal=True)


def untrained(config: str, n_keypoints: int, path: Path) -> Path:
    """Make a project's network small, and write it with random weights; without a snapshot DeepLabCut starts from downloaded ones."""
    import torch
    from deeplabcut.pose_estimation_pytorch.data import DLCLoader
    from deeplabcut.pose_estimation_pytorch.models import PoseModel

    loader = DLCLoader(config, shuffle=1)
    small = {
        "data.train": {"normalize_images": True},  # frames are learned as they are: they are smaller than DeepLabCut's crops
        "model.backbone.model_name": "resnet18",
        "model.backbone_output_channels": 512,
        "model.heads.bodypart.heatmap_config.channels": [512, n_keypoints],
        "model.heads.bodypart.locref_config.channels": [512, 2 * n_keypoints],
        "runner.optimizer.params.lr": 1e-3,
    }
    for name, value in small.items():
        loader.model_cfg.set_nested(name, value)
    loader.model_cfg.to_yaml(loader.model_config_path)
    torch.manual_seed(SEED)
    torch.save({"model": PoseModel.build(loader.model_cfg["model"]).state_dict()}, path)
    return path


def make_project(labels: Labels, folder: Path, name: str, **more: Any) -> str:
    """Make a project with one labelled video, as DeepLabCut does, and return the path of its configuration."""
    import deeplabcut as dlc
    from deeplabcut.utils.auxiliaryfunctions import edit_config

    video = write_video(labels, folder / "mouse.avi")
    made = Path(dlc.create_new_project("tiny", "ranvier", [str(video)], str(folder), copy_videos=True, **more)).parent
    config = made.replace(folder / name) / "config.yaml"
    marked = config.parent / "labeled-data" / video.stem
    index = [("labeled-data", video.stem, picture.name) for picture in labels.pictures]
    for picture in labels.pictures:
        shutil.copy(picture, marked)
    import pandas as pd

    table = write_table(labels, marked / "CollectedData_ranvier.csv", pd.MultiIndex.from_tuples(index))
    table.to_hdf(marked / "CollectedData_ranvier.h5", key="df_with_missing")
    bodyparts = "multianimalbodyparts" if more else "bodyparts"
    edit_config(str(config), {bodyparts: labels.keypoints, "project_path": str(config.parent), "engine": "pytorch"})
    return str(config)


def write_video(labels: Labels, path: Path) -> Path:
    """Write a video of the labelled frames."""
    import cv2

    pictures = [cv2.imread(str(picture)) for picture in labels.pictures]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, pictures[0].shape[1::-1])
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


PACKAGES = {"sleap_nn": sleap_nn, "lightning_pose": lightning_pose, "deeplabcut": deeplabcut}


def main(package: str, labels: str, folder: str) -> None:
    """Train with one package."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    PACKAGES[package](Labels.read(Path(labels)), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
