"""sleap-nn (0.3) on one video: VIDEO MODEL_FOLDER FOLDER."""

import sys
from pathlib import Path


def main(video: str, model: str, folder: str) -> None:
    """Predict with the model's best checkpoint, and write what DeepLabCut would: a frame without an animal has NaN and likelihood 0."""
    import numpy as np
    from sleap_nn.inference import predict

    labels = predict(video, model_paths=[model])
    places = labels.numpy(untracked=True, return_confidence=True)  # frames, animals, nodes, (x, y, score)
    if places.shape[1] > 1:
        sys.exit(f"{model} finds {places.shape[1]} animals in {video}; use a model of one animal")
    names = [node.name for node in labels.skeletons[0].nodes]
    table = np.full((len(labels.videos[0]), len(names), 3), np.nan)
    if places.shape[1]:
        table[: len(places)] = places[:, 0]
    table[..., 2] = np.nan_to_num(table[..., 2])
    heads = [
        ["scorer", *["sleap_nn"] * 3 * len(names)],
        ["bodyparts", *[name for name in names for _ in range(3)]],
        ["coords", *["x", "y", "likelihood"] * len(names)],
    ]
    rows = np.column_stack([np.arange(len(table)), table.reshape(len(table), -1)])
    np.savetxt(Path(folder) / "pose.csv", rows, "%.7g", ",", header="\n".join(map(",".join, heads)), comments="")


if __name__ == "__main__":
    main(*sys.argv[1:])
