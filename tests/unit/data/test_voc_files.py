"""Pascal VOC files where people have them: lists, folders of any depth, and the image that belongs to a file."""

from pathlib import Path

import pytest

from focalkit.data import open_detection_data, open_train_and_val
from focalkit.data.find import find_layout
from focalkit.errors import DataError
from unit.data.tiny_data import save_image, voc_xml, write_text, write_voc

DOG = ("dog", (2, 3, 12, 13), 0)


@pytest.mark.parametrize(
    ("xml", "image"),
    [
        ("cam{}/{}.xml", "cam{}/{}.png"),
        ("xml/{1}.xml", "images/{1}.png"),
        ("xml/{1}.xml", "photos/{1}.png"),
        ("annotations/xmls/{1}.xml", "images/{1}.png"),
        ("annotations/cam{}/{}.xml", "images/cam{}/{}.png"),
        ("Annotations/{1}.XML", "JPEGImages/{1}.png"),
    ],
)
def test_xml_files_in_folders_of_any_depth_find_their_images(tmp_path: Path, xml: str, image: str) -> None:
    for number, name in enumerate("ab"):
        write_text(tmp_path / xml.format(number, name), voc_xml(name, DOG))
        save_image(tmp_path / image.format(number, name))
    data = open_detection_data(tmp_path, "all")
    assert [i.path for i in data.images] == [tmp_path / image.format(number, name) for number, name in enumerate("ab")]


def test_xml_files_in_folders_called_like_splits_are_the_splits(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("val", "a")):
        write_text(tmp_path / f"annotations/{split}/{name}.xml", voc_xml(name, DOG))
        save_image(tmp_path / f"images/{split}/{name}.png")
    train, val = open_train_and_val(tmp_path)
    assert [i.path.parent.name for i in (*train.images, *val.images)] == ["train", "val"]


@pytest.mark.parametrize("place", ["ImageSets", "Annotations", "."])
def test_lists_of_names_are_found_outside_main(tmp_path: Path, place: str) -> None:
    for split in ("train", "val"):
        (write_voc(tmp_path / split) / f"ImageSets/Main/{split}.txt").rename(tmp_path / f"{split}.moved")
    data = write_voc(tmp_path / "data")
    for split in ("train", "val"):
        write_text(data / place / f"{split}.txt", (data / f"ImageSets/Main/{split}.txt").read_text())
        (data / f"ImageSets/Main/{split}.txt").unlink()
    assert list(find_layout(data).splits) == ["train", "val"]


def test_trainval_beside_test_is_divided_and_test_stays(tmp_path: Path) -> None:
    lists = write_voc(tmp_path) / "ImageSets/Main"
    (lists / "train.txt").rename(lists / "trainval.txt")
    (lists / "val.txt").rename(lists / "test.txt")
    assert list(find_layout(tmp_path).splits) == ["all", "test"]
    assert [image.file_name for image in open_detection_data(tmp_path, "all").images] == ["a.png", "c.png"]


def test_the_image_of_an_xml_file_is_the_one_called_like_it(tmp_path: Path) -> None:
    write_voc(tmp_path)
    write_text(tmp_path / "Annotations/a.xml", voc_xml("c", DOG))
    data = open_detection_data(tmp_path)
    assert [image.file_name for image in data.images] == ["a.png", "c.png"]
    assert any("name another image than their own" in line for line in data.warnings)


@pytest.mark.parametrize("named", ["a.xml", "IMG_1.png", "a", ""])
def test_a_name_of_nothing_is_passed_over_for_the_image_called_like_the_file(tmp_path: Path, named: str) -> None:
    write_voc(tmp_path)
    write_text(tmp_path / "Annotations/a.xml", voc_xml("a", DOG).replace("a.png", named))
    assert open_detection_data(tmp_path).images[0].file_name == "a.png"


def test_parts_of_an_object_do_not_say_where_pixels_are_counted_from(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    write_voc(tmp_path)
    write_text(tmp_path / "Annotations/a.xml", voc_xml("a", DOG).replace("<object>", f"<object>{part}"))
    assert open_detection_data(tmp_path).images[0].boxes == ((1, 2, 12, 13),)


def test_a_name_listed_twice_is_taken_once_with_a_warning(tmp_path: Path) -> None:
    write_text(write_voc(tmp_path) / "ImageSets/Main/train.txt", "a\nc\na\n")
    data = open_detection_data(tmp_path)
    assert [image.file_name for image in data.images] == ["a.png", "c.png"]
    assert any("1 x images are listed again" in line for line in data.warnings)


def test_images_without_an_xml_file_are_counted(tmp_path: Path) -> None:
    save_image(write_voc(tmp_path) / "JPEGImages/lost.png")
    assert any("have no XML file" in line and "lost.png" in line for line in open_detection_data(tmp_path).warnings)


def test_a_problem_of_a_box_names_its_file_and_the_remedy(tmp_path: Path) -> None:
    write_text(write_voc(tmp_path) / "Annotations/a.xml", voc_xml("a", DOG, ("dog", (9, 9, 3, 12), 0)))
    with pytest.raises(DataError, match=r"Annotations/a\.xml: box 2 \(image a\.png\): .* has no area \(--repair"):
        open_detection_data(tmp_path)


def test_a_name_that_ends_like_a_mark_of_one_class_is_a_name(tmp_path: Path) -> None:
    for name in ("scan", "scan 1", "scan 2"):
        write_text(tmp_path / f"Annotations/{name}.xml", voc_xml(name, DOG))
        save_image(tmp_path / f"JPEGImages/{name}.png")
    write_text(tmp_path / "ImageSets/Main/train.txt", "scan 1\nscan 2\n")
    write_text(tmp_path / "ImageSets/Main/val.txt", "scan -1\n")
    names = {split: [i.path.stem for i in open_detection_data(tmp_path, split).images] for split in ("train", "val")}
    assert names == {"train": ["scan 1", "scan 2"], "val": ["scan"]}
