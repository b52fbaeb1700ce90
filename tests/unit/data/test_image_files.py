"""Image files: bit depths, arrays as they come, what a folder gives."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from focalkit import _pictures
from focalkit.cli._sources import note_left_out
from focalkit.data import open_detection_data
from focalkit.errors import InputError
from focalkit.images import as_image, find_images, is_large, left_out, read_image
from unit.data.tiny_data import write_yolo


def save(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("brightest", [255, 300, 4095, 65535])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_the_scale_of_16_bits_does_not_depend_on_the_brightest_pixel(
    tmp_path: Path, brightest: int, suffix: str
) -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16
    values[0, 0] = brightest
    got = read_image(save(tmp_path / f"a.{suffix}", values))[0].numpy()
    assert np.array_equal(got, np.round(values / 257).astype(np.uint8))


@pytest.mark.parametrize(("brightest", "bits", "factor"), [(4095, 12, 16), (1000, 10, 64), (40000, 0, 0)])
def test_data_of_fewer_bits_are_told(tmp_path: Path, brightest: int, bits: int, factor: int) -> None:
    values = np.full((30, 40), brightest, dtype=np.uint16)
    write_yolo(tmp_path)
    for name in ("train/a.png", "train/b.png"):
        save(tmp_path / "images" / name, values)
    told = [w for w in open_detection_data(tmp_path).warnings if "brightness" in w]
    said = f"2 of 2 x 16-bit pictures looked at hold no value above {brightest}: data of {bits} bits"
    assert told == [] if not bits else (told[0].startswith(said) and f"multiply them by {factor}" in told[0])
    assert not any("brightness" in w for w in open_detection_data(tmp_path, check=False).warnings)


def test_float_pixels_are_shares_of_white(tmp_path: Path) -> None:
    got = read_image(save(tmp_path / "a.tif", np.array([[0, 0.5, 1]], dtype=np.float32)))
    assert got[0].tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("value", [255.0, -0.1, float("nan"), float("inf")])
def test_float_pixels_outside_their_range_are_refused_with_their_file(tmp_path: Path, value: float) -> None:
    with pytest.raises(InputError, match=r"a\.tif: grey values .* expected 0 to 1 "):
        read_image(save(tmp_path / "a.tif", np.full((2, 2), value, np.float32)))


def test_an_array_that_cannot_be_written_to_gives_no_warning() -> None:
    array = np.asarray(Image.new("RGB", (4, 3), (1, 2, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_image(array)[:, 0, 0].tolist() == [1, 2, 3]


def test_a_folder_gives_every_kind_of_image_and_counts_the_rest(tmp_path: Path) -> None:
    for suffix in ("png", "JPG", "bmp", "tif", "gif", "webp"):
        Image.new("RGB", (4, 3)).save(tmp_path / f"a.{suffix}")
    (tmp_path / "a.jfif").write_bytes((tmp_path / "a.JPG").read_bytes())
    for name in ("b.mp4", "c.mp4", "README", ".hidden.mp4", "._a.png"):
        (tmp_path / name).write_bytes(b"x")
    found = find_images(tmp_path)
    assert sorted(f.suffix for f in found) == [".JPG", ".bmp", ".gif", ".jfif", ".png", ".tif", ".webp"]
    assert {read_image(file).shape for file in found} == {(3, 3, 4)}
    assert left_out(tmp_path) == {".mp4": 2, "README": 1}


def test_linked_folders_are_read(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "there/a.png")
    (tmp_path / "here/linked").symlink_to(tmp_path / "there")
    assert find_images(tmp_path / "here") == [tmp_path / "here/linked/a.png"]


def test_predict_says_what_it_leaves_out_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note_left_out([tmp_path, tmp_path / "none", Path("x" * 5000)])
    assert capsys.readouterr().err == ""
    for name in ("a.mp4", "b.mp4", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    note_left_out([tmp_path])
    assert capsys.readouterr().err.rstrip().endswith("left out, not images by their names: 2 .mp4, 1 .txt")


def test_a_picture_larger_than_the_memory_is_read_by_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pictures, "memory_for_a_file", lambda: 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for suffix in ("png", "tif", "jpg"):
        Image.new("RGB", (40, 30)).save(file := tmp_path / f"a.{suffix}")
        assert is_large(file)


def test_a_file_of_a_format_that_is_read_whole_must_fit_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (40, 30)).save(file := tmp_path / "a.webp")
    assert read_image(file).shape == (3, 30, 40)
    monkeypatch.setattr(_pictures, "memory_for_a_file", lambda: 10)
    with pytest.raises(InputError, match=r"a\.webp"):
        read_image(file)
