"""Lightning Pose (2) on one video: VIDEO MODEL_FOLDER FOLDER."""

import sys
from pathlib import Path


def main(video: str, model: str, folder: str) -> None:
    """Predict with the model's checkpoint."""
    from lightning_pose.api.model import Model

    Model.from_dir(model).predict_on_video_file(video, output_dir=Path(folder), compute_metrics=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
