"""Stand-in of DeepLabCut 3."""

from pathlib import Path

import stand_in


def analyze_videos(config, videos, video_extensions=None, shuffle=1, save_as_csv=False, destfolder=None, **torch_kwargs):
    if shuffle != 1:
        raise FileNotFoundError(f"Snapshot of shuffle {shuffle} not found!")
    assert Path(config).name == "config.yaml"
    assert save_as_csv
    (video,) = videos
    scorer = "DLC_Resnet50_miceJan15shuffle1_snapshot_200"
    print(f"Starting to analyze {video}")
    stem = Path(destfolder) / (Path(video).stem + scorer)
    Path(f"{stem}.h5").touch()
    stand_in.write_csv(f"{stem}.csv", scorer, stand_in.KEYPOINTS, stand_in.places(stand_in.count_frames(video)))
    return scorer
