"""Movies of every format that is read: the same pictures come back, and what is not whole is refused in words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ranvier.tasks.imaging.frame_times import from_header, from_pulses
from ranvier.tasks.imaging.movie import ImagingError, Movie, as_int16, open_movie
from ranvier.tasks.imaging.settings import merged, settle, tau_of

tifffile = pytest.importorskip("tifffile", reason="movies need tifffile: pip install 'ranvier[imaging]'")

RATE = {"frame_rate": 30.0}


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2000, (24, 12, 16)).astype(np.int16)


def opened(*files: Path, **facts: object) -> Movie:
    return open_movie(files, RATE | facts, str(files[0].parent))


def test_tiff_plain_compressed_and_in_several_files(tmp_path: Path, pictures: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a_00001.tif", pictures[:10])
    tifffile.imwrite(tmp_path / "a_00002.tif", pictures[10:], compression="zlib")
    movie = opened(tmp_path / "a_00002.tif", tmp_path / "a_00001.tif")
    assert (movie.n_frames, movie.height, movie.width) == (24, 12, 16)
    np.testing.assert_array_equal(movie.images(7, 15), pictures[7:15])


def test_planes_and_channels_are_taken_apart(tmp_path: Path, pictures: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pictures[:23])
    movie = opened(tmp_path / "a.tif", planes=3, channels=1)
    blocks = np.concatenate(list(movie.volumes(at_a_time=2)))
    assert (movie.n_volumes, movie.volume_rate) == (7, 10.0)
    np.testing.assert_array_equal(blocks[:, 1, 0], pictures[1:21:3])
    tifffile.imwrite(tmp_path / "b.tif", pictures)
    movie = opened(tmp_path / "b.tif", planes=2, channels=2, functional_channel=2)
    np.testing.assert_array_equal(np.concatenate(list(movie.volumes()))[:, 1, 1], pictures[3::4])
    with pytest.raises(ImagingError, match="functional_channel 3 of 2"):
        opened(tmp_path / "b.tif", channels=2, functional_channel=3)
    with pytest.raises(ImagingError, match="24 pictures are no whole number of frames of 5 channels"):
        opened(tmp_path / "b.tif", channels=5)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.999])
def test_a_tiff_that_is_cut_off_is_named(tmp_path: Path, pictures: np.ndarray, part: float) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for picture in pictures:
            file.write(picture, contiguous=False)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(ImagingError, match=r"a\.tif .*copy the file from the rig again"):
        opened(path)


def test_what_is_no_movie_is_refused(tmp_path: Path, pictures: np.ndarray) -> None:
    (tmp_path / "a.tif").write_bytes(b"not a TIFF at all" * 50)
    with pytest.raises(ImagingError, match=r"a\.tif is no TIFF"):
        opened(tmp_path / "a.tif")
    (tmp_path / "empty.tif").touch()
    with pytest.raises(ImagingError, match=r"empty\.tif"):
        opened(tmp_path / "empty.tif")
    tifffile.imwrite(tmp_path / "b.tif", pictures)
    tifffile.imwrite(tmp_path / "c.tif", pictures[:, :8])
    with pytest.raises(ImagingError, match="differ in size"):
        opened(tmp_path / "b.tif", tmp_path / "c.tif")
    (tmp_path / "d.raw").write_bytes(b"1")
    with pytest.raises(ImagingError, match="movies of several kinds"):
        opened(tmp_path / "b.tif", tmp_path / "d.raw")


def test_hdf5(tmp_path: Path, pictures: np.ndarray) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["mov"] = pictures.reshape(12, 2, 12, 16)
    movie = opened(tmp_path / "a.h5")
    assert (movie.n_planes, movie.n_frames) == (2, 24)
    np.testing.assert_array_equal(movie.images(5, 12), pictures[5:12])
    with pytest.raises(ImagingError, match="has planes = 2, the description of the session has 3"):
        opened(tmp_path / "a.h5", planes=3)
    with pytest.raises(ImagingError, match=r"no data set 'data' \(it has mov"):
        opened(tmp_path / "a.h5", key="data")
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:3000])
    with pytest.raises(ImagingError, match=r"b\.h5 cannot be read"):
        opened(tmp_path / "b.h5")


def test_binary_needs_a_shape(tmp_path: Path, pictures: np.ndarray) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(pictures.tobytes())
    np.testing.assert_array_equal(opened(path, shape=[12, 16]).images(3, 9), pictures[3:9])
    with pytest.raises(ImagingError, match="has no header"):
        opened(path)
    with pytest.raises(ImagingError, match="no whole number of frames"):
        opened(path, shape=[12, 17])
    with pytest.raises(ImagingError, match="dtype 'short16' is unknown"):
        opened(path, shape=[12, 16], dtype="short16")


def test_scanbox(tmp_path: Path) -> None:
    pytest.importorskip("sbxreader", reason="Scanbox's files need sbxreader: pip install 'ranvier[imaging]'")
    from scipy.io import savemat

    pictures = np.random.default_rng(0).integers(0, 60_000, (10, 2, 12, 16)).astype(np.uint16)  # frames, channels, y, x
    path = tmp_path / "a.sbx"
    path.write_bytes((65_535 - np.moveaxis(pictures, 1, 3)).astype(np.uint16).tobytes())
    with pytest.raises(ImagingError, match=r"a\.mat is missing"):
        opened(path)
    config = dict(magnification=1, lines=12, frames=10, coord_rel=np.zeros(4), magnification_list=np.array([1.0, 2.0]))
    info = dict(
        channels=1, volscan=0, sz=np.array([12, 16]), config=config, scanmode=1, resfreq=360.0, scanbox_version=2, recordsPerBuffer=12
    )
    savemat(tmp_path / "a.mat", {"info": info})
    movie = open_movie([path], {}, str(tmp_path))
    assert (movie.n_channels, movie.n_frames, movie.frame_rate) == (2, 10, 30.0)
    np.testing.assert_array_equal(movie.images(3, 8), pictures.reshape(-1, 12, 16)[3:8])
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ImagingError, match="no whole number of frames"):
        opened(path)


def test_unsigned_pictures_are_halved_so_that_they_fit() -> None:
    assert as_int16(np.array([65_535, 4], dtype=np.uint16)).tolist() == [32_767, 2]
    assert as_int16(np.array([-5, 4], dtype=np.int16)).tolist() == [-5, 4]


def stand_in(n_frames: int, n_planes: int = 1) -> Any:
    return SimpleNamespace(n_frames=n_frames, n_planes=n_planes, n_volumes=n_frames // n_planes, volume_rate=30 / n_planes)


def test_each_volume_has_the_pulse_of_its_first_plane() -> None:
    pulses = np.arange(31) / 30
    found = from_pulses(pulses, stand_in(30, 3), "FOV_00", 4)
    np.testing.assert_allclose(found.times, np.arange(10) / 10)
    assert (found.n_extra, found.source) == (1, "sync")
    assert found.rate == pytest.approx(10)
    for n_frames in (28, 29, 32):
        with pytest.raises(ImagingError, match=f"FOV_00 has {n_frames} frames, but 31 frame pulses"):
            from_pulses(pulses, stand_in(n_frames), "FOV_00", 4)


def test_header_times_must_increase_and_suffice() -> None:
    with pytest.raises(ImagingError, match="has 3 frame times for 4 frames"):
        from_header(np.arange(3.0), stand_in(4), "header")
    for times in ([0, 1, 1, 2.0], [0, 1, np.nan, 3.0]):
        with pytest.raises(ImagingError, match="do not increase"):
            from_header(np.array(times), stand_in(4), "header")


def test_settings_are_merged_deeply_and_wrong_ones_named() -> None:
    defaults = {"fs": 10.0, "run": {"do_registration": 1, "do_detection": True}}
    assert merged(defaults, {"run": {"do_registration": 0}}) == {"fs": 10.0, "run": {"do_registration": 0, "do_detection": True}}
    with pytest.raises(ImagingError, match=r"no setting run\.dance"):
        merged(defaults, {"run": {"dance": 1}})


def test_blocks_are_small_enough_for_the_picture() -> None:
    defaults: dict[str, Any] = {
        "registration": {"block_size": [128, 128]},
        "classification": {},
        "io": {},
        "fs": 1,
        "tau": 1,
        "torch_device": "",
    }
    picture = Movie((), 100, 512, 1, 1, 30.0)
    used = settle(defaults, picture, {"indicator": "GCaMP6s"}, {}, rate=29.9, gpu=False)
    assert used["registration"]["block_size"] == [50, 128]
    assert (used["fs"], used["tau"], used["torch_device"]) == (29.9, 1.25, "cpu")
    assert settle(defaults, picture, {}, {"fs": 5.0}, rate=29.9, gpu=True)["fs"] == 5.0


def test_an_unknown_indicator_is_refused() -> None:
    assert tau_of({"indicator": "jGCaMP8m"}) == 0.2
    assert tau_of({"indicator": "Glowworm", "tau": 0.4}) == 0.4
    with pytest.raises(ImagingError, match="'Glowworm' is unknown"):
        tau_of({"indicator": "Glowworm"})
