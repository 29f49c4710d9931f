"""DeepLabCut (2.3 or 3) on one video: VIDEO CONFIG FOLDER SHUFFLE."""

import sys


def main(video: str, config: str, folder: str, shuffle: str) -> None:
    """Analyse the video with the project's latest snapshot of that shuffle."""
    import deeplabcut

    deeplabcut.analyze_videos(config, [video], shuffle=int(shuffle), destfolder=folder, save_as_csv=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
