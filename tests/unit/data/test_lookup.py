"""Files under other names than the data set gives: found where exactly one can be meant, and counted."""

import json
import unicodedata
from pathlib import Path

import pytest

from focalkit.data import open_detection_data
from focalkit.data._lookup import Lookup
from focalkit.data.check import Findings
from focalkit.errors import DataError
from unit.data.tiny_data import coco_content, save_image, write_coco, write_text, write_voc, write_yolo


def coco_named(root: Path, name: str, file: str = "images/train/a.png") -> Path:
    """A data set of one image, `file`, that the JSON file calls `name`."""
    images = [{"id": 11, "file_name": name, "width": 40, "height": 30}]
    save_image(root / file)
    write_text(root / "annotations/instances_train.json", json.dumps(coco_content(images=images)))
    return root


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("images\\a.png", "images/a.png"),
        ("sub\\a.png", "images/train/sub/a.png"),
        ("A.PNG", "images/train/a.png"),
        ("C:\\photos\\train\\a.png", "images/train/a.png"),
        ("/home/someone/images/train/a.png", "images/train/a.png"),
        ("../../media/upload/1/a.png", "images/train/a.png"),
        (unicodedata.normalize("NFD", "é.png"), "images/train/é.png"),
        ("é.png", "images/train/" + unicodedata.normalize("NFD", "é.png")),
        ("a%20b%23.png", "images/train/a b#.png"),
        ("images/8d3f1a2b-a.png", "images/train/a.png"),
        ("a.png ", "images/train/a.png"),
        ("a", "images/train/a.png"),
        ("a.jpg", "images/train/a.png"),
    ],
)
def test_names_of_other_systems_are_found_and_counted(tmp_path: Path, name: str, file: str) -> None:
    data = open_detection_data(coco_named(tmp_path, name, file))
    assert data.images[0].path == tmp_path / file
    assert len(data.warnings) == 1
    assert "1 x files are found under a name that differs" in data.warnings[0]


def test_the_literal_name_comes_first_and_is_not_counted(tmp_path: Path) -> None:
    save_image(tmp_path / "images/train/A.png")
    data = open_detection_data(coco_named(tmp_path, "a.png"))
    assert data.images[0].path.name == "a.png"
    assert data.warnings == ()


def test_a_name_that_could_mean_two_files_means_none(tmp_path: Path) -> None:
    for name in ("a.png", "A.png"):
        save_image(tmp_path / name)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("the file system takes both for one")
    assert Lookup([tmp_path], Findings()).files([("a.PNG",)]) == [None]


def test_of_two_files_with_other_suffixes_none_is_meant(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp"):
        save_image(tmp_path / name)
    assert Lookup([tmp_path], Findings()).files([("a.jpg",)]) == [None]


def test_pictures_in_a_folder_of_any_name_are_found(tmp_path: Path) -> None:
    data = open_detection_data(coco_named(tmp_path, "a.png", "photos/a.png"))
    assert data.warnings[0].startswith("1 x images are found in a folder")
    assert data.images[0].path == tmp_path / "photos/a.png"


def test_pictures_of_another_split_are_not_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="were not found"):
        open_detection_data(coco_named(tmp_path, "a.png", "my_val/a.png"))


def test_two_names_never_find_one_file(tmp_path: Path) -> None:
    save_image(tmp_path / "1.png")
    lookup = Lookup([tmp_path], Findings())
    assert lookup.files([("camera1/1.png",), ("camera2/1.png",)]) == [tmp_path / "1.png", None]


def test_a_name_that_differs_never_finds_the_file_of_one_that_does_not(tmp_path: Path) -> None:
    save_image(tmp_path / "1.png")
    assert Lookup([tmp_path], Findings()).files([("camera1/1.png",), ("1.png",)]) == [None, tmp_path / "1.png"]


@pytest.mark.parametrize("name", ["20230101-001.png", "deadbeef-001.png"])
def test_an_image_without_labels_does_not_get_those_of_another_by_a_prefix(tmp_path: Path, name: str) -> None:
    for file in ("001.png", name):
        save_image(tmp_path / "images/train" / file)
    write_text(tmp_path / "labels/train/001.txt", "0 .5 .5 .2 .2\n")
    write_text(tmp_path / "data.yaml", "train: images/train\nnames: [dog]\n")
    data = open_detection_data(tmp_path)
    assert {image.file_name: len(image.boxes) for image in data.images} == {"001.png": 1, name: 0}


def test_a_date_is_no_prefix_of_label_studio(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="20230101-a"):
        open_detection_data(coco_named(tmp_path, "20230101-a.png"))


def test_a_message_names_what_nearly_matched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the most similar name is .*frame_0012\.png"):
        open_detection_data(coco_named(tmp_path, "frame_012.png", "images/train/frame_0012.png"))


@pytest.mark.parametrize("line", ["images\\train\\a.png", "D:\\old\\images\\train\\a.png", "/srv/x/images/train/A.png"])
def test_lists_of_other_machines_are_read(tmp_path: Path, line: str) -> None:
    write_text(write_yolo(tmp_path) / "list.txt", line + "\n")
    write_text(tmp_path / "data.yaml", "train: list.txt\nnames: [dog, cat]\n")
    data = open_detection_data(tmp_path)
    assert [i.path for i in data.images] == [tmp_path / "images/train/a.png"]
    assert len(data.images[0].boxes) == 2


@pytest.mark.parametrize("entry", ["images\\train", "D:\\old\\images\\train", "/srv/old/images/train"])
def test_folders_of_other_machines_are_read(tmp_path: Path, entry: str) -> None:
    write_yolo(tmp_path)
    write_text(tmp_path / "data.yaml", f"train: {entry}\nnames: [dog, cat]\n")
    assert len(open_detection_data(tmp_path)) == 2


def test_a_missing_split_folder_is_not_replaced_by_the_folder_of_all(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    write_text(tmp_path / "data.yaml", "train: test/images\nnames: [dog, cat]\n")
    with pytest.raises(DataError, match="test/images was not found"):
        open_detection_data(tmp_path)


def test_a_label_file_whose_name_differs_in_its_accents_is_no_empty_image(tmp_path: Path) -> None:
    save_image(tmp_path / "images/train" / unicodedata.normalize("NFD", "é.png"))
    write_text(tmp_path / "labels/train/é.txt", "0 .5 .5 .2 .2\n")
    write_text(tmp_path / "data.yaml", "train: images/train\nnames: [dog]\n")
    assert [len(i.boxes) for i in open_detection_data(tmp_path).images] == [1]


def test_voc_images_of_other_systems_are_found(tmp_path: Path) -> None:
    xml = write_voc(tmp_path) / "Annotations/a.xml"
    write_text(xml, xml.read_text().replace("a.png", "C:\\photos\\A.png"))
    xml.rename(xml.with_name("other.xml"))
    write_text(tmp_path / "ImageSets/Main/train.txt", "other\n")
    assert open_detection_data(tmp_path).images[0].path.name == "a.png"


HIDDEN = ("images/train/._a.png", "images/train/.ipynb_checkpoints/a-checkpoint.png")


def test_hidden_files_are_no_data(tmp_path: Path) -> None:
    for name in (*HIDDEN, "annotations/._instances_train.json", "labels/train/._a.txt", "Annotations/._a.xml"):
        for kind in ("coco", "yolo", "voc"):
            write_text(tmp_path / kind / name, "\0\5\x16\7")
    write_text(tmp_path / "split/train/._a.xml", "\0\5\x16\7")
    write_text(tmp_path / "split/train/a.xml", (write_voc(tmp_path / "voc") / "Annotations/a.xml").read_text())
    save_image(tmp_path / "split/train/a.png")
    write_text(tmp_path / "yolo/._data.yaml", "\0")
    assert len(open_detection_data(write_coco(tmp_path / "coco"))) == 2
    assert len(open_detection_data(write_yolo(tmp_path / "yolo"))) == 2
    assert len(open_detection_data(tmp_path / "voc")) == 2
    assert len(open_detection_data(tmp_path / "split")) == 1


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    write_yolo(tmp_path / "data")
    save_image(tmp_path / "elsewhere/d.png")
    (tmp_path / "data/images/train/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "elsewhere")
    found = [i.file_name for i in open_detection_data(tmp_path / "data").images]
    assert found == ["a.png", "b.png", "d.png"]
