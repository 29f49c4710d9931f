"""What every stand-in finds, and the table in which DeepLabCut and Lightning Pose write it."""

import numpy as np

KEYPOINTS = ("nose_tip", "paw_l", "paw_r")
#: The last frames in which sleap-nn finds nothing.
UNSEEN = 5


def count_frames(video):
    import av

    with av.open(str(video)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def places(n_frames):
    """x, y and likelihood, shape (n_frames, n_keypoints, 3): each keypoint goes 0.1 px to the right with each frame."""
    at = np.arange(n_frames)
    found = [np.column_stack([30 + 20 * index + 0.1 * at, 40 + 0 * at, 0.9 + 0 * at]) for index in range(len(KEYPOINTS))]
    return np.stack(found, axis=1)


def write_csv(path, scorer, keypoints, found):
    heads = [
        ["scorer", *[scorer] * 3 * len(keypoints)],
        ["bodyparts", *[name for name in keypoints for _ in range(3)]],
        ["coords", *["x", "y", "likelihood"] * len(keypoints)],
    ]
    rows = np.column_stack([np.arange(len(found)), found.reshape(len(found), -1)])
    np.savetxt(path, rows, "%.6f", ",", header="\n".join(map(",".join, heads)), comments="")
