"""A large COCO split opens from the cache while nothing has changed, and only then."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from focalkit.data import _opened, coco, open_detection_data
from focalkit.errors import DataError
from unit.data.tiny_data import annotation, coco_content, save_image, write_coco, write_text


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every small split is large; the splits that were read from their annotations."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_opened, "FEWEST", 1)
    found: list[str] = []
    read = coco._read

    def counted(split: str, *more):
        found.append(split)
        return read(split, *more)

    monkeypatch.setattr(coco, "_read", counted)
    return found


def test_the_second_opening_gives_the_same_without_reading(tmp_path: Path, reads: list[str]) -> None:
    content = coco_content()
    content["images"][0]["file_name"] = "sub/\u00e9.png"
    write_coco(tmp_path / "data", content=content)
    first, second = open_detection_data(tmp_path / "data"), open_detection_data(tmp_path / "data")
    assert reads == ["train"]
    assert second == first
    assert repr(second) == repr(first)
    open_detection_data(tmp_path / "data", check=False)
    open_detection_data(tmp_path / "data", repair=True)
    assert len(reads) == 3


def test_the_cache_gives_paths_as_the_data_set_is_spelt(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (write_coco(tmp_path / "data") / "images/train/b.png").rename(tmp_path / "data/b.png")
    monkeypatch.chdir(tmp_path)
    for spelt in (Path("data"), tmp_path / "data", Path("data/../data")):
        found = open_detection_data(spelt)
        assert [image.path for image in found.images] == [spelt / "images/train/a.png", spelt / "b.png"]
    monkeypatch.chdir("data")
    assert [str(i.path) for i in open_detection_data(".").images] == ["images/train/a.png", "b.png"]
    assert len(reads) == 2  # ".." is another spelling of the key


def test_a_broken_link_beside_the_images_stops_nothing(tmp_path: Path, reads: list[str]) -> None:
    data = write_coco(tmp_path / "data")
    (data / "images/train/gone.png").symlink_to("nowhere")
    assert open_detection_data(data) == open_detection_data(data)
    assert len(reads) == 1


def test_annotations_rewritten_while_they_are_read_are_read_again(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, read = write_coco(tmp_path / "data"), coco._read
    new = json.dumps(coco_content(annotations=[annotation()]))

    def rewritten(*given):
        found = read(*given)
        write_text(data / "annotations/instances_train.json", new)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(coco, "_read", rewritten)
        open_detection_data(data)
    assert sum(len(image.boxes) for image in open_detection_data(data).images) == 1


def test_another_version_and_a_nearer_folder_are_noticed(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_coco(tmp_path / "data")
    (data / "images/train").rename(data / "train")
    (data / "images/train").mkdir()
    open_detection_data(data)
    for name in ("a.png", "b.png"):
        save_image(data / "images/train" / name)  # comes before data/train
    assert open_detection_data(data).images[0].path == data / "images/train/a.png"
    monkeypatch.setattr(_opened, "version", lambda _: "0.0.1")
    open_detection_data(data)
    assert len(reads) == 3


def touch(file: Path) -> None:
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1))


def test_a_change_of_any_file_is_noticed(tmp_path: Path, reads: list[str]) -> None:
    data = write_coco(tmp_path / "data")
    images, annotations = data / "images/train", data / "annotations/instances_train.json"
    changes = [
        lambda: touch(annotations),
        lambda: write_text(annotations, json.dumps(coco_content(annotations=[annotation()]))),
        lambda: save_image(images / "new.png"),
        lambda: touch(images / "a.png"),
        lambda: (images / "new.png").unlink(),
    ]
    for number, change in enumerate(changes, start=1):
        open_detection_data(data)
        assert len(reads) == number
        change()
    assert len(open_detection_data(data).images[0].boxes) == 1
    (images / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png"):
        open_detection_data(data)


def test_a_damaged_or_foreign_cache_is_passed_over(tmp_path: Path, reads: list[str]) -> None:
    data = write_coco(tmp_path / "data")
    whole = open_detection_data(data)
    (file,) = (tmp_path / "cache/focalkit/opened").iterdir()
    content = file.read_bytes()
    with np.load(file) as arrays:
        parts = dict(arrays.items())
    short = {**parts, "labels": parts["labels"][:-1]}
    coded = {**parts, "boxes": np.array([object()], dtype=object)}
    for number, damage in enumerate([b"", content[:200], content[:-400], short, coded], start=2):
        file.write_bytes(damage) if isinstance(damage, bytes) else np.savez(file, allow_pickle=True, **damage)
        assert open_detection_data(data) == whole
        assert len(reads) == number


def test_a_cache_that_cannot_be_written_stops_nothing(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(write_text(tmp_path / "file", "")))
    data = write_coco(tmp_path / "data")
    assert len(open_detection_data(data)) == len(open_detection_data(data)) == 2
    assert len(reads) == 2


def test_the_cache_keeps_a_few_splits(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_opened, "KEPT", 2)
    for name in "abc":
        open_detection_data(write_coco(tmp_path / name))
    assert len(list((tmp_path / "cache/focalkit/opened").iterdir())) == 2
