"""DeepLabCut (2.3 or 3) on one video: VIDEO CONFIG FOLDER SHUFFLE."""

import sys


def main(video: str, config: str, folder: str, shuffle: str) -> None:
    """Analyse the video with the snapshot of that shuffle that the project's ``snapshotindex`` names."""
    import deeplabcut

    deeplabcut.analyze_videos(config, [video], shuffle=int(shuffle), destfolder=folder, save_as_csv=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
