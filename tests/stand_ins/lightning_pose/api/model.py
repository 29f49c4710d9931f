"""Its class of a trained model."""

from pathlib import Path

import stand_in


class Model:
    @staticmethod
    def from_dir(model_dir):
        assert (Path(model_dir) / "config.yaml").exists()
        return Model()

    def predict_on_video_file(self, video_file, output_dir="unspecified", compute_metrics=True, generate_labeled_video=False):
        assert not compute_metrics, "it would write more tables"
        path = output_dir / f"{Path(video_file).stem}.csv"
        stand_in.write_csv(path, "heatmap_tracker", stand_in.KEYPOINTS, stand_in.places(stand_in.count_frames(video_file)))
