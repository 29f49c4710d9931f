"""Movies that roiextractors reads, where it is installed; without it, what is said."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ranvier.tasks.imaging.movie import ImagingError, Movie, open_movie

tifffile = pytest.importorskip("tifffile", reason="movies need tifffile: pip install 'ranvier[imaging]'")
installed = find_spec("roiextractors") is not None
needs_roiextractors = pytest.mark.skipif(not installed, reason="roiextractors is not installed: pip install roiextractors")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2000, (12, 10, 14)).astype(np.uint16)


def opened(folder: Path, ending: str = "tif", **facts: object) -> Movie:
    return open_movie(sorted(folder.glob(f"*.{ending}")), facts, str(folder))


def bruker(folder: Path, pictures: np.ndarray) -> None:
    """Two channels as PrairieView writes them: a file a picture, and an XML named as the folder of the rig."""
    names = [(frame, channel, f"TSeries-001_Cycle00001_Ch{channel}_{frame + 1:06d}.ome.tif") for frame in range(6) for channel in (1, 2)]
    frames = []
    for frame in range(6):
        files = [f'<File channel="{ch}" channelName="Ch{ch}" page="1" filename="{name}"/>' for at, ch, name in names if at == frame]
        frames.append(f'<Frame relativeTime="{frame / 30}" absoluteTime="{1 + frame / 30}" index="{frame + 1}">{"".join(files)}</Frame>')
    sequence = f'<Sequence type="TSeries Timed Element" cycle="1">{"".join(frames)}</Sequence>'
    (folder / "TSeries-001.xml").write_text(f'<?xml version="1.0"?><PVScan version="5.6.64.400">{sequence}</PVScan>')
    for picture, (_, _, name) in zip(pictures, names, strict=True):
        tifffile.imwrite(folder / name, picture)


@needs_roiextractors
def test_bruker_channels_are_told_apart(tmp_path: Path, pictures: np.ndarray) -> None:
    bruker(tmp_path, pictures)
    movie = opened(tmp_path, reader="BrukerTiffImagingExtractor", reader_options={"channel_name": "Ch2"})
    assert (movie.n_frames, movie.n_channels, movie.n_planes, movie.height, movie.width) == (6, 1, 1, 10, 14)
    assert movie.frame_rate == pytest.approx(30)
    np.testing.assert_array_equal(movie.images(0, 6), pictures[1::2])
    np.testing.assert_allclose(movie.header_times, np.arange(6) / 30)
    next(tmp_path.glob("*Ch2_000004*")).unlink()
    with pytest.raises(ImagingError, match="cannot be read by roiextractors' BrukerTiffImagingExtractor"):
        opened(tmp_path, reader="BrukerTiffImagingExtractor", reader_options={"channel_name": "Ch2"}).images(0, 6)


@needs_roiextractors
def test_planes_follow_each_other(tmp_path: Path, pictures: np.ndarray) -> None:
    stack = pictures.reshape(4, 3, 10, 14)
    tifffile.imwrite(tmp_path / "movie.tif", stack.reshape(-1, 10, 14))
    options = {"sampling_frequency": 10.0, "dimension_order": "ZCT", "num_channels": 1, "num_planes": 3}
    movie = opened(tmp_path, reader="MultiTIFFMultiPageExtractor", reader_options=options)
    assert (movie.n_planes, movie.n_volumes, movie.frame_rate) == (3, 4, 30.0)
    np.testing.assert_array_equal(np.concatenate([movie.images(0, 5), movie.images(5, 12)]), pictures)
    np.testing.assert_array_equal(np.concatenate(list(movie.volumes()))[:, 1, 0], stack[:, 1] // 2)


@needs_roiextractors
def test_what_it_cannot_read_is_said(tmp_path: Path, pictures: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pictures)
    with pytest.raises(ImagingError, match=r"no reader 'Telescope' \(say one of Bruker"):
        opened(tmp_path, reader="Telescope")
    with pytest.raises(ImagingError, match=r"BrukerTiffImagingExtractor: ValueError: Found plain \.tif files"):
        opened(tmp_path, reader="BrukerTiffImagingExtractor")
    tifffile.imwrite(tmp_path / "b.tif", pictures)
    with pytest.raises(ImagingError, match=r"it reads one file, here are 2: a\.tif, b\.tif"):
        opened(tmp_path, reader="TiffImagingExtractor", reader_options={"sampling_frequency": 30.0})


@pytest.mark.skipif(installed, reason="roiextractors is installed")
def test_without_roiextractors_it_says_so(tmp_path: Path, pictures: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pictures)
    with pytest.raises(ImagingError, match=r"roiextractors is not installed \(pip install roiextractors"):
        opened(tmp_path, reader="BrukerTiffImagingExtractor")


def test_a_kind_that_only_roiextractors_reads_needs_a_reader(tmp_path: Path) -> None:
    (tmp_path / "a.isxd").touch()
    with pytest.raises(ImagingError, match=r"\.isxd are read by a reader of roiextractors only \(name one"):
        opened(tmp_path, "isxd")
