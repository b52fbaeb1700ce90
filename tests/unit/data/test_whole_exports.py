"""An export as it was unpacked: one folder down, in folders called like splits, or not unpacked; and where to go."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from focalkit.cli import main
from focalkit.data import open_train_and_val
from focalkit.data.find import find_layout
from focalkit.errors import InputError
from unit.data.tiny_data import annotation, coco_content, save_image, write_coco, write_text, write_voc, write_yolo


@pytest.mark.parametrize(("write", "form"), [(write_coco, "COCO"), (write_voc, "Pascal VOC"), (write_yolo, "YOLO")])
def test_an_export_is_found_one_folder_down(tmp_path: Path, write: Callable[[Path], Path], form: str) -> None:
    write(tmp_path / "export-1")
    write_text(tmp_path / "README.txt", "an export")
    assert find_layout(tmp_path).format == form


def test_several_data_sets_in_folders_are_named_and_not_taken_for_classes_of_images(tmp_path: Path, capsys) -> None:
    for name in ("first", "second"):
        write_yolo(tmp_path / name)
    assert main(["inspect", str(tmp_path)]) == 2
    assert "holds several data sets: first (YOLO), second (YOLO); give one of them" in capsys.readouterr().err


def test_several_years_of_voc_are_not_taken_for_classes_of_images(tmp_path: Path, capsys) -> None:
    for name in ("VOC2007", "VOC2012"):
        write_voc(tmp_path / name)
    assert main(["inspect", str(tmp_path)]) == 2
    assert "several VOC data sets: VOC2007, VOC2012" in capsys.readouterr().err


def test_data_sets_in_folders_called_like_splits_are_the_splits(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        for name in "ab":
            save_image(tmp_path / split / "images" / f"{name}.png")
        write_text(tmp_path / split / "labels.json", json.dumps(coco_content(annotations=[annotation()])))
        (tmp_path / split / "labels.json").rename(tmp_path / split / "boxes.json")
    train, val = open_train_and_val(tmp_path)
    assert (train.split, len(train), val.split, len(val)) == ("train", 2, "val", 2)
    assert train.images[0].path == tmp_path / "train/images/a.png"


@pytest.mark.parametrize("name", ["export.zip", "export.tar.gz"])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    for given in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match="is an archive: unpack it"):
            find_layout(given)


def test_labels_whose_classes_nothing_names_are_recognised_as_such(tmp_path: Path) -> None:
    save_image(tmp_path / "images/a.png")
    write_text(tmp_path / "labels/a.txt", "0 .5 .5 .2 .2\n")
    with pytest.raises(InputError, match=r"nothing names their classes: put the names into .*classes\.txt"):
        find_layout(tmp_path)


@pytest.mark.parametrize("part", ["images", "images/train", "labels"])
def test_of_a_part_of_a_data_set_the_whole_is_named(tmp_path: Path, part: str) -> None:
    write_yolo(tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path} holds a YOLO data set: give that folder"):
        find_layout(tmp_path / part)
